"""What all fuzzing shares: cases by number and seed, a limit on each,
damage to bytes and to what they mean.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edge_har.errors import EdgeHarError

# For one case, on a machine that does much else; then the place is printed and the process ends.
HANG_S = 120.0
Case = Callable[[random.Random], object]


@contextmanager
def guarded(what: str, number: int, seed: int) -> Iterator[None]:
    """Ends the process where a case hangs; says which one it was where it raises."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        yield
    except BaseException:
        print(f"{what} {number} of seed {seed} raised", file=sys.stderr)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()


def run_cases(what: str, case: Case, count: int, seed: int = 0) -> tuple[int, int]:
    """Run so many cases, which may refuse what they get with an EdgeHarError of one line a problem,
    and nothing else.

    Returns how many took what they got and how many refused it.
    """
    warnings.simplefilter("error", RuntimeWarning)
    taken = refused = 0
    for number in range(count):
        with guarded(what, number, seed):
            try:
                case(random.Random(f"{seed}-{number}"))
                taken += 1
            except EdgeHarError as error:
                refused += 1
                text = str(error)
                assert text.strip() and len(text) < 20_000, text[:200]
                assert all(c.isprintable() or c == "\n" for c in text), repr(text[:2000])
    return taken, refused


def main(what: str, case: Case, doc: str | None) -> None:
    """The command line: run many cases and say what came of them."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began_s = time.monotonic()
    taken, refused = run_cases(what, case, given.count, given.seed)
    print(
        f"{given.count} damaged {what}s (seed {given.seed}): {taken} taken, {refused} refused in words, none "
        "crashed, "
        f"hung or raised; {time.monotonic() - began_s:.0f} s"
    )


def damaged(rng: random.Random, content: bytes, words: tuple[bytes, ...]) -> bytes:
    """`content` with one to five damages: changed, lost, doubled or moved bytes,
    or words that mean something.
    """
    data = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        if not data:
            break
        at = rng.randrange(len(data))
        end = min(len(data), at + rng.choice((1, 2, 8, 64, 700)))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[at:end]
        elif kind == 3:
            data[at:end] = rng.randbytes(end - at)
        elif kind == 4:
            data[at:at] = rng.choice(words) * rng.choice((1, 1, 3, 400))
        elif kind == 5:
            piece = bytes(data[at:end])
            del data[at:end]
            to = rng.randrange(len(data) + 1)
            data[to:to] = piece
        else:
            del data[at:]
    return bytes(data)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    """A value that few expect: of every type, empty, huge, negative, nested."""
    plain = (
        None, True, False, 0, 1, -1, 7, 2**31, -(2**63), 10**30, 0.0, -0.5, 1e-300, 1e308, float("nan"),
        float("inf"), float("-inf"), "", "0", "x", "-", "off", "ü\u2028\x00", "\n", "/", "../..", "a" * 300,
        "%s{}", "***", "10m", "640x480",
        "http://[::1", "rtsp://u:p@h/x", "22:00-06:00",
    )  # fmt: skip
    kind = rng.randrange(10)
    if kind < 7 or depth > 2:
        return rng.choice(plain)
    if kind == 7:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return {str(odd_value(rng, 3)): odd_value(rng, depth + 1) for _ in range(rng.randrange(3))}
    deep: Any = 1
    for _ in range(rng.choice((2, 50))):
        deep = [deep]
    return deep


def changed(rng: random.Random, tree: Any, times: int = 3) -> Any:
    """A tree of dicts and lists, changed in place at a few random places:
    values replaced, lost, doubled, renamed.
    """
    for _ in range(rng.randrange(1, times + 1)):
        holder = tree
        while True:
            below = [v for v in (holder.values() if isinstance(holder, dict) else holder) if _holds(v)]
            if not below or rng.random() < 0.3:
                break
            holder = rng.choice(below)
        _change(rng, holder)
    return tree


def _holds(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _change(rng: random.Random, holder: Any) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not keys:
        return
    key = rng.choice(keys)
    kind = rng.randrange(8)
    if kind < 4:
        holder[key] = odd_value(rng)
    elif kind == 4:
        del holder[key]
    elif kind == 5:
        holder[key] = holder[rng.choice(keys)]
    elif isinstance(holder, list):
        holder.append(odd_value(rng) if kind == 6 else holder[key])
    elif kind == 6:
        name = list(key)
        name[rng.randrange(len(name) or 1) : rng.randrange(len(name) + 1)] = [rng.choice("abc_ ü.")]
        holder["".join(name)] = holder.pop(key)
    else:
        holder[str(odd_value(rng, 3))] = odd_value(rng)
