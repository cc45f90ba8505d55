"""A limit on a measured ratio, and the peak memory of a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure.commands import ROOT
from edge_har.errors import EdgeHarError

# The child's own view of its peak: what the system reports to a parent includes what the parent held when it
# forked.
PEAK_OF_CHILD = (
    "import atexit, sys\n"
    "status = lambda: [l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1]\n"
    "atexit.register(lambda: print('VmHWM', status(), file=sys.stderr))\n"
    "from edge_har.cli import main\n"
    "main()\n"
)


@dataclass(frozen=True)
class Limit:
    """A figure and its bound: `at_least` or at most."""

    name: str
    value: float
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def line(self) -> str:
        """For people."""
        relation = "at least" if self.at_least else "at most"
        verdict = "ok" if self.kept else "BROKEN"
        return f"{verdict:<7}{self.name}: {self.value:.2f}{self.unit}, {relation} {self.bound:g}{self.unit}"


def peak_mb(arguments: Sequence[str]) -> float:
    """Peak memory (VmHWM) of one `edge-har` command in MB of 10^6 bytes; raises EdgeHarError when it
    fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAK_OF_CHILD, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    *messages, last = done.stderr.splitlines() or [""]
    if done.returncode or not last.startswith("VmHWM"):
        raise EdgeHarError(
            f"edge-har {arguments[0]} ended with {done.returncode}: {(messages or [last])[-1]}"
        )
    return int(last.split()[1]) * 1024 / 1e6
