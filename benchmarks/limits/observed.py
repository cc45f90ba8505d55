"""`edge-har` as a process of its own that tells, when it ends, when its ticks were recognised and how old their frames were.

`python -m benchmarks.limits.observed REPORT SLOW_MS ARGUMENT...` is `edge-har ARGUMENT...`; SLOW_MS above 0 makes each tick's
recognition take so much longer. REPORT: a file for the JSON object. Nothing else is changed.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = "benchmarks.limits.observed"


@dataclass(frozen=True)
class ObservedSource:
    """What was seen of one source. ages_ms: of the frame of each tick, when that was recognised. counts: as Counts."""

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
    """Start the process; options: of subprocess.Popen. Its standard output and error are pipes unless these say else."""
    from benchmarks.measure.commands import ROOT

    command = [sys.executable, "-m", MODULE, str(report), f"{slow_ms:g}", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=ROOT, **(pipes | options))


def finish(child: subprocess.Popen[str], report: Path, began_s: float, timeout_s: float) -> Observed:
    """Wait for the process, which began at `began_s` of time.monotonic(). Raises EdgeHarError where it fails."""
    from edge_har.errors import EdgeHarError

    try:
        _, said = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise EdgeHarError(f"edge-har had not ended after {timeout_s:.0f} s") from None
    if child.returncode:
        last = (said or "").strip().splitlines()[-1:] or ["no message"]
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


def main() -> None:
    """The process itself."""
    from edge_har.cli import main as edge_har
    from edge_har.pipeline.status import SourceState

    report, slow_s = Path(sys.argv[1]), float(sys.argv[2]) / 1000
    sys.argv = ["edge-har", *sys.argv[3:]]
    ages_ms: dict[str, array[float]] = {}
    states: dict[str, SourceState] = {}
    first_s: list[float] = []
    ticked = SourceState.ticked

    def noted(state: SourceState, *, grabbed_s: float, now_s: float, ticks: int, **others: Any) -> None:
        ticked(state, grabbed_s=grabbed_s, now_s=now_s, ticks=ticks, **others)
        if not first_s:
            first_s.append(now_s)
        states[state.name] = state
        ages_ms.setdefault(state.name, array("f")).append(1000 * (now_s - grabbed_s))

    def tell() -> None:
        from edge_har.system.memory import peak_memory_mb

        sources = [
            {"name": name, "ages_ms": ages_ms[name].tolist(), "counts": vars(state.counts)}
            for name, state in states.items()
        ]
        seen = {
            "first_s": first_s[0] if first_s else None,
            "ended_s": time.monotonic(),
            "cpu_s": time.process_time(),
            "peak_mb": peak_memory_mb() or 0.0,
            "sources": sources,
        }
        report.write_text(json.dumps(seen))

    SourceState.ticked = noted  # type: ignore[method-assign]
    if slow_s > 0:
        _slow_down(slow_s)
    # The command may end this process without the interpreter's farewell: what `atexit` has would be lost.
    from edge_har import cli

    leave = cli._leave

    def told_leave(code: int) -> None:
        atexit.unregister(tell)
        tell()
        leave(code)

    cli._leave = told_leave  # type: ignore[assignment]
    atexit.register(tell)
    edge_har()


def _slow_down(slow_s: float) -> None:
    from edge_har.model.recognizer import Recognizer

    tick = Recognizer.tick

    def slow(recognizer: Recognizer, frame: Any) -> Any:
        time.sleep(slow_s)
        return tick(recognizer, frame)

    Recognizer.tick = slow  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
