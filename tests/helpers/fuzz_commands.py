"""Hostile bundles through every command that takes one.

`python -m tests.helpers.fuzz_commands --count 2000` makes so many from a seed and gives each to all of them.
Each command runs in a process of its own, forked from one that has imported everything. It may refuse a
bundle in words: with exit code 1 or 2, without a traceback or control characters, in time and below MAX_MB.
What does not is kept as a file, and its number makes it again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import edge_har.bench
import edge_har.classify
import edge_har.cli.bench
import edge_har.cli.classify
import edge_har.cli.model
import edge_har.cli.receive
import edge_har.cli.run
import edge_har.config.plan
import edge_har.deploy.receive
import edge_har.model.export
import edge_har.pipeline.pipeline
import edge_har.web  # noqa: F401
from edge_har.cli import main as edge_har_main
from edge_har.deploy.receive import ReceiveLimits
from edge_har.model import interpreter, trial
from tests.helpers.fuzz_bundle import hostile_with_graphs
from tests.helpers.videos import noise, write_video

MAX_MB = 400  # of 10^6 bytes, resident at the peak
COMMAND_S = 40.0  # for one command, on a machine that does much else
TRIAL_S = 4.0  # instead of half a minute: endless loops are many here
WORKERS = 2
UNFIT = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")  # what may steer a terminal
TRIAL_ENDS = re.compile(rb"SIG[A-Z]+|took longer|MiB of memory")
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")
KEPT = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"


def _commands(bundle: Path, video: Path, folder: Path) -> dict[str, list[str]]:
    content = bundle.read_bytes() if bundle.is_file() else b""
    commands = {
        "inspect": ["model", "inspect", f"{bundle}"],
        "inspect --json": ["model", "inspect", "--json", f"{bundle}"],
        "verify": ["model", "verify", f"{bundle}"],
        "classify": ["classify", f"{video}", "--model", f"{bundle}"],
        "run": ["run", "--source", f"{video}", "--model", f"{bundle}"],
        "bench": ["bench", "--ticks", "20", "--model", f"{bundle}"],
        "export": ["model", "export", f"{bundle}", "--to", f"{folder / 'export'}"],
    }
    if content:
        sha256 = hashlib.sha256(content).hexdigest()
        commands["receive"] = [
            *("receive", "--allow-downgrade", "--length", f"{len(content)}", "--sha256", sha256)
        ]
    return commands


@dataclass
class Tally:
    """What came of the commands: exit codes by command; the longest time and the largest memory; how trials
    ended that would have taken the command along.
    """

    codes: dict[str, Counter[int]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    longest_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    trials: Counter[str] = field(default_factory=Counter)

    def add(self, command: str, code: int, seconds: float, peak_mb: float, output: bytes) -> None:
        """One command came to an end."""
        self.trials.update(found.decode() for found in TRIAL_ENDS.findall(output))
        self.codes.setdefault(command, Counter())[code] += 1
        self.longest_s[command] = max(seconds, self.longest_s.get(command, 0.0))
        self.peak_mb[command] = max(peak_mb, self.peak_mb.get(command, 0.0))

    def merge(self, other: Tally) -> None:
        """Take over what another has counted."""
        for command, codes in other.codes.items():
            self.codes.setdefault(command, Counter()).update(codes)
            self.longest_s[command] = max(other.longest_s[command], self.longest_s.get(command, 0.0))
            self.peak_mb[command] = max(other.peak_mb[command], self.peak_mb.get(command, 0.0))
        self.failures += other.failures
        self.trials += other.trials

    def lines(self) -> Iterator[str]:
        """For people."""
        for command, codes in self.codes.items():
            ends = ", ".join(f"exit {code}: {count}" for code, count in sorted(codes.items()))
            yield (
                f"{command:<15} {ends}; longest {self.longest_s[command]:.1f} s, "
                f"peak {self.peak_mb[command]:.0f} MB"
            )
        ends = ", ".join(f"{end} {count}" for end, count in sorted(self.trials.items())) or "none"
        yield f"ended the trial alone: {ends}"


def write_case(seed: int, number: int, folder: Path) -> Path:
    """Write hostile bundle `number` of `seed` into `folder`: as a file or, of some, unpacked."""
    rng = random.Random(f"{seed}-{number}")
    content = hostile_with_graphs(rng)
    if rng.random() < 0.1:
        unpacked = folder / "unpacked"
        with suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if PLAIN_NAME.fullmatch(name):
                    (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
                    (unpacked / name).write_bytes(archive.read(name))
            return unpacked
        shutil.rmtree(unpacked, ignore_errors=True)
    path = folder / "bundle.ehar"
    path.write_bytes(content)
    return path


def run_command(
    arguments: Sequence[str], stdin: Path | str, home: Path, folder: Path
) -> tuple[int, float, float, bytes]:
    """Run `edge-har` in a forked process: its exit code (negative: the signal that ended it), seconds, peak
    memory in MB and what it wrote.
    """
    output = folder / "output"
    began_s = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            read = os.open(stdin, os.O_RDONLY)
            written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor, opened in ((0, read), (1, written), (2, written)):
                os.dup2(opened, descriptor)
            os.environ["EDGE_HAR_HOME"] = str(home)
            sys.argv = ["edge-har", *arguments]
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            edge_har_main(ReceiveLimits(selftest_s=TRIAL_S))  # type: ignore[arg-type]
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    status, used = _wait(child, began_s + COMMAND_S)
    seconds = time.monotonic() - began_s
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, seconds, used.ru_maxrss * 1024 / 1e6, output.read_bytes()


def _wait(child: int, until_s: float) -> tuple[int, resource.struct_rusage]:
    """Wait for a process; one that takes longer is ended with all that it started."""
    pause_s = 0.001
    while time.monotonic() < until_s:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            return status, used
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)
    os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    return status, used


def problem_of(code: int, peak_mb: float, output: bytes) -> str | None:
    """What is wrong with how a command ended; None where nothing is."""
    if code not in (0, 1, 2):
        return f"exit {code}"
    if b"Traceback" in output or b"Fatal Python" in output:
        return "traceback"
    if b"RuntimeWarning" in output:
        return "a warning of numpy"
    if UNFIT.search(output):
        return "control characters"
    if code and not output.strip():
        return "no word"
    if peak_mb >= MAX_MB:
        return f"{peak_mb:.0f} MB"
    return None


def try_cases(numbers: Sequence[int], seed: int, only: Sequence[str]) -> Tally:
    """Give so many bundles to all commands, or to those of `only`."""
    trial.time_limit_s = lambda *_: TRIAL_S
    interpreter._load_runtime()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        root = Path(made)
        video = root / "video.avi"
        write_video(video, noise(24))
        for number in numbers:
            folder = root / f"{number}"
            home = folder / "home"
            home.mkdir(parents=True)
            (home / "config.toml").write_text("allow_unsigned = true\n")
            bundle = write_case(seed, number, folder)
            for name, arguments in _commands(bundle, video, folder).items():
                if only and name not in only:
                    continue
                stdin = bundle if name == "receive" else os.devnull
                code, seconds, peak_mb, output = run_command(arguments, stdin, home, folder)
                tally.add(name, code, seconds, peak_mb, output)
                problem = problem_of(code, peak_mb, output)
                if problem is not None:
                    last = output.decode(errors="replace").strip()[-300:]
                    tally.failures.append(f"{number} {name}: {problem}: {last!a}")
                    print(tally.failures[-1], file=sys.stderr, flush=True)
                    KEPT.mkdir(parents=True, exist_ok=True)
                    if bundle.is_file():
                        shutil.copy(bundle, KEPT / f"{seed}-{number}.ehar")
            shutil.rmtree(folder)
    return tally


def _worker(numbers: Sequence[int], seed: int, only: Sequence[str]) -> Callable[[], Tally]:
    """Start `try_cases` in a process of its own; what comes back waits for it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            data = pickle.dumps(try_cases(numbers, seed, only))
            with os.fdopen(write, "wb") as pipe:
                pipe.write(data)
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
    os.close(write)

    def result() -> Tally:
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        if not data:
            raise SystemExit("a worker failed")
        tally: Tally = pickle.loads(data)
        return tally

    return result


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", default=[], help="This one alone; several times.")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="Write the bundles there, and do no more."
    )
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.count)
    if given.keep is not None:
        for number in numbers:
            folder = given.keep / f"{given.seed}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            write_case(given.seed, number, folder)
        return 0
    began_s = time.monotonic()
    results = [_worker(numbers[at::WORKERS], given.seed, given.command) for at in range(WORKERS)]
    tally = Tally()
    for result in results:
        tally.merge(result())
    print("\n".join(tally.lines()))
    print(
        f"{given.count} hostile bundles (seed {given.seed}): {len(tally.failures)} failures; "
        f"{time.monotonic() - began_s:.0f} s"
    )
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
