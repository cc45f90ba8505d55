"""The run's status as JSON for the page, and whether the run is alive and ready."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict
from typing import Any

from edge_har import __version__
from edge_har.pipeline.status import RunStatus, SourceState
from edge_har.web.machine import Readings
from edge_har.web.values import rounded

STUCK_S = 10.0  # a recognizer loop that did not turn for so long hangs
FRESH_S = 10.0  # a source whose newest picture is older is not ready
COST_S = 10.0  # the cost of a tick is the mean of this time


class Costs:
    """Mean cost of the latest ticks of each source, from sums that only grow."""

    def __init__(self) -> None:
        self._noted: dict[str, deque[tuple[float, int, float]]] = {}

    def note(self, source: SourceState, now_s: float) -> float | None:
        """Milliseconds a tick over the latest COST_S; None while there was none."""
        latency = source.latency
        noted = self._noted.setdefault(source.name, deque([(now_s, 0, 0.0)]))
        noted.append((now_s, latency.ticks, latency.sum_ms))
        while len(noted) > 2 and noted[1][0] <= now_s - COST_S:
            noted.popleft()
        _, ticks, sum_ms = noted[0]
        return (latency.sum_ms - sum_ms) / (latency.ticks - ticks) if latency.ticks > ticks else None


class Snapshots:
    """Makes snapshots of a run's status; times are counted from its start."""

    def __init__(self, run_status: RunStatus) -> None:
        self._run_status = run_status
        self._costs = Costs()

    def make(self, readings: Readings, *, over: bool = False) -> dict[str, Any]:
        """Everything but the events, ready for JSON. over: whether the run has ended."""
        now_s = time.monotonic()
        run_status = self._run_status
        return {
            "version": __version__,
            "model": run_status.model_id,
            "labels": run_status.labels,
            "over": over,
            "now_s": round(now_s - run_status.started_s, 2),
            "machine": {
                "hottest_c": rounded(readings.hottest_c, 1),
                "throttled": readings.throttled,
                "memory_bytes": readings.memory_bytes,
            },
            "sources": [self._source(source, now_s) for source in run_status.sources],
            "sinks": [asdict(sink) for sink in run_status.sinks],
        }

    def _source(self, source: SourceState, now_s: float) -> dict[str, Any]:
        last_s = source.last_frame_s
        cost_ms = self._costs.note(source, now_s)
        return {
            "name": source.name,
            "state": source.state,
            "reason": source.reason,
            "label": source.label,
            "score": rounded(source.score, 3),
            "rate_hz": round(source.rate_hz, 1),
            "age_ms": None if source.age_s is None else rounded(1000 * source.age_s, 1),
            "tick_ms": rounded(cost_ms, 2),
            "silent_s": None if last_s is None else round(now_s - last_s, 1),
            **asdict(source.counts),
        }


def stuck(run_status: RunStatus) -> str | None:
    """Why the run is not alive; None where it is."""
    still_s = time.monotonic() - run_status.turned_s
    return f"the recognizer loop has stood still for {still_s:.0f} s" if still_s > STUCK_S else None


def unready(run_status: RunStatus) -> dict[str, str]:
    """The sources that give nothing, and why; empty where all do that have not ended."""
    now_s = time.monotonic()
    reasons = {source.name: _unready(source, now_s) for source in run_status.sources}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _unready(source: SourceState, now_s: float) -> str | None:
    if source.state == "ended":
        return None
    if source.state != "live":
        return f"{source.state}: {source.reason}" if source.reason else source.state
    if source.last_frame_s is None:
        return "no frame yet"
    silent_s = now_s - source.last_frame_s
    return f"no frame for {silent_s:.0f} s" if silent_s > FRESH_S else None
