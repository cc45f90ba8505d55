"""The board as the page gets it; alive and ready."""

from __future__ import annotations

import json
import time

import pytest

from edge_har.pipeline.status import RunStatus, SinkState, SourceState, State
from edge_har.web.machine import Readings
from edge_har.web.snapshot import FRESH_S, STUCK_S, Costs, Snapshots, stuck, unready

READINGS = Readings({"cpu": 48.3}, ("under-voltage",), (), 84_000_000)


def ticked(source: SourceState, *, ago_s: float = 0.0, cost_ms: float = 4.0) -> None:
    now_s = time.monotonic() - ago_s
    source.ticked(grabbed_s=now_s - 0.03, now_s=now_s, cost_ms=cost_ms, ticks=1, label="Walk", score=0.91234)


def test_a_snapshot_is_json_and_has_everything() -> None:
    run_status = RunStatus("m@1", ("Walk", "Run"), ["door", "attic"])
    run_status.add_sink(SinkState("mqtt", queued=3, last_error="connection refused"))
    door = run_status.source("door")
    door.turn("live")
    ticked(door)
    told = json.loads(json.dumps(Snapshots(run_status).make(READINGS)))
    assert (told["model"], told["labels"]) == ("m@1", ["Walk", "Run"])
    assert told["machine"] == {"hottest_c": 48.3, "throttled": ["under-voltage"], "memory_bytes": 84_000_000}
    assert told["sinks"][0]["queued"] == 3 and told["sinks"][0]["last_error"] == "connection refused"
    shown, waiting = told["sources"]
    assert (shown["name"], shown["state"], shown["label"], shown["score"]) == ("door", "live", "Walk", 0.912)
    assert shown["age_ms"] == 30.0 and shown["tick_ms"] == 4.0 and shown["silent_s"] < 60
    assert (waiting["state"], waiting["age_ms"], waiting["tick_ms"], waiting["silent_s"]) == (
        "opening",
        None,
        None,
        None,
    )


def test_the_cost_of_a_tick_is_that_of_the_latest_seconds() -> None:
    source, costs = SourceState("door"), Costs()
    assert costs.note(source, 0.0) is None
    ticked(source, cost_ms=10.0)
    assert costs.note(source, 1.0) == 10.0
    ticked(source, cost_ms=20.0)
    assert costs.note(source, 5.0) == 15.0
    ticked(source, cost_ms=30.0)
    assert costs.note(source, 14.0) == 25.0
    assert costs.note(source, 40.0) is None


def test_a_loop_that_stands_still_is_not_alive() -> None:
    run_status = RunStatus("m@1", ("Walk",), ["door"])
    assert stuck(run_status) is None
    run_status.turned_s -= STUCK_S + 5
    assert stuck(run_status) == f"the recognizer loop has stood still for {STUCK_S + 5:.0f} s"
    run_status.turned()
    assert stuck(run_status) is None


@pytest.mark.parametrize(
    ("state", "reason", "ago_s", "told"),
    [
        ("live", None, 0.0, None),
        ("live", None, FRESH_S + 3, f"no frame for {FRESH_S + 3:.0f} s"),
        ("live", None, None, "no frame yet"),
        ("opening", None, None, "opening"),
        ("lost", "no answer in time", 0.0, "lost: no answer in time"),
        ("failed", "no such camera", None, "failed: no such camera"),
        ("ended", None, 500.0, None),
    ],
)
def test_ready_means_that_every_source_that_has_not_ended_gives_frames(
    state: State, reason: str | None, ago_s: float | None, told: str | None
) -> None:
    run_status = RunStatus("m@1", ("Walk",), ["door", "attic"])
    for source in run_status.sources:
        source.turn("live")
        ticked(source)
    door = run_status.source("door")
    door.last_frame_s = None
    if ago_s is not None:
        ticked(door, ago_s=ago_s)
    door.turn(state, reason)
    assert unready(run_status) == ({} if told is None else {"door": told})
