"""`edge-har run` as a process of its own that reports when its ticks were recognised and how old their frames
were.

`python -m benchmarks.limits.observed REPORT SLOW_MS ARGUMENT...` is `edge-har ARGUMENT...`; SLOW_MS above 0
makes each tick's recognition take so much longer. REPORT: a file for the JSON object, written when the run
ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_har.cli import main as edge_har
from edge_har.pipeline.observer import PipelineObserver
from edge_har.pipeline.sampler import Ticks
from edge_har.pipeline.status import RunStatus
from edge_har.system.memory import peak_memory_mb

MODULE = "benchmarks.limits.observed"


@dataclass(frozen=True)
class ObservedSource:
    """What was seen of one source. ages_ms: of the frame of each tick, when that was recognised. counts: as
    Counts.
    """

    name: str
    ages_ms: tuple[float, ...]
    counts: dict[str, int]


@dataclass(frozen=True)
class Observed:
    """What was seen of a process. first_tick_s: from its start to its first tick; None without one."""

    first_tick_s: float | None
    wall_s: float
    cpu_s: float
    peak_mb: float
    sources: tuple[ObservedSource, ...]


def start(report: Path, *arguments: str, slow_ms: float = 0.0, **options: Any) -> subprocess.Popen[str]:
    """Start the process; options: of subprocess.Popen. Its standard output and error are pipes unless these
    are set.
    """
    from benchmarks.measure.commands import ROOT

    command = [sys.executable, "-m", MODULE, str(report), f"{slow_ms:g}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=ROOT, **(pipes | options))


def finish(child: subprocess.Popen[str], report: Path, began_s: float, timeout_s: float) -> Observed:
    """Wait for the process, which began at `began_s` of time.monotonic(). Raises EdgeHarError where it
    fails.
    """
    from edge_har.errors import EdgeHarError

    try:
        _, errors = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise EdgeHarError(f"edge-har had not ended after {timeout_s:.0f} s") from None
    if child.returncode:
        last = (errors or "").strip().splitlines()[-1:] or ["no message"]
        raise EdgeHarError(f"edge-har ended with {child.returncode}: {last[0]}")
    seen = json.loads(report.read_text())
    first_s = seen["first_s"]
    return Observed(
        None if first_s is None else first_s - began_s,
        seen["ended_s"] - began_s,
        seen["cpu_s"],
        seen["peak_mb"],
        tuple(ObservedSource(s["name"], tuple(s["ages_ms"]), s["counts"]) for s in seen["sources"]),
    )


class TickLog(PipelineObserver):
    """Notes how old each tick's frame was, and writes `report` when the run ends. slow_s: by so many seconds
    it makes the recognition of each tick longer.
    """

    def __init__(self, report: Path, slow_s: float) -> None:
        self._report = report
        self._slow_s = slow_s
        self._first_s: float | None = None
        self._ages_ms: dict[str, array[float]] = {}

    def on_frame(self, source: str, ticks: Ticks) -> None:
        """Take longer."""
        if self._slow_s > 0:
            time.sleep(self._slow_s * len(ticks.times_s))

    def on_tick(self, source: str, ticks: Ticks, recognised_s: float) -> None:
        """Note the age."""
        if self._first_s is None:
            self._first_s = recognised_s
        self._ages_ms.setdefault(source, array("f")).append(1000 * (recognised_s - ticks.grabbed_s))

    def on_end(self, run_status: RunStatus) -> None:
        """Write the report."""
        sources = [
            {"name": name, "ages_ms": ages_ms.tolist(), "counts": asdict(run_status.source(name).counts)}
            for name, ages_ms in self._ages_ms.items()
        ]
        seen = {
            "first_s": self._first_s,
            "ended_s": time.monotonic(),
            "cpu_s": time.process_time(),
            "peak_mb": peak_memory_mb() or 0.0,
            "sources": sources,
        }
        self._report.write_text(json.dumps(seen))


def main() -> None:
    """The process itself."""
    observer = TickLog(Path(sys.argv[1]), float(sys.argv[2]) / 1000)
    sys.argv = ["edge-har", *sys.argv[3:]]
    edge_har(observer)


if __name__ == "__main__":
    main()
