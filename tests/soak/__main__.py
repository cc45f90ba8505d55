"""`python -m tests.soak --minutes 60 --out docs/figures/soak.md`: exit 0 where every limit was kept."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.measure import provenance
from tests.soak.report import page, summary
from tests.soak.run import soak

LEAST_MINUTES = 3


def main() -> None:
    """Run a soak and write its report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Soak edge-har run in faults.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the plan of faults")
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--keep", type=Path, help="a new folder for logs, plan, journals and what arrived")
    given = parser.parse_args()
    if given.minutes < LEAST_MINUTES:
        parser.error(f"a soak takes {LEAST_MINUTES} minutes at least, or not every kind of fault is in it")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever stops us stops all that we started
    commit = provenance.commit()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as temporary:
        folder = given.keep or Path(temporary)
        try:
            soaked = soak(folder, 60 * given.minutes, given.seed, commit, _say)
        except KeyboardInterrupt:
            sys.exit("stopped; so is all that was started")
        except (
            RuntimeError,
            pytest.fail.Exception,
            pytest.skip.Exception,
        ) as error:  # also: what is not installed
            sys.exit(f"error: {error}")
    if given.out is not None:
        command = ["make", "soak", f"MINUTES={given.minutes:g}"]
        given.out.write_text(page(soaked, command), encoding="utf-8")
        _say(f"wrote {given.out}")
    _say(summary(soaked))
    for problem in soaked.problems():
        _say(f"not kept: {problem}")
    sys.exit(1 if soaked.problems() else 0)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
