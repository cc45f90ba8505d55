"""What a run tells of itself while it runs, and whom it shows its pictures."""

from __future__ import annotations

import logging
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import FrameSink, FrameSinks, Picture
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.status import (
    EVENTS_KEPT,
    LATENCY_BUCKETS_MS,
    Counts,
    RunStatus,
    SinkState,
    SourceState,
)
from tests.helpers.colours import COLOURS, colour_bundle, painted
from tests.helpers.videos import write_video


def event(number: int) -> Event:
    return Event(f"e{number}", "start", "cam", "A", 0.9, float(number), None, "2026-01-01T00:00:00Z", "m@1")


def run_status(*names: str) -> RunStatus:
    return RunStatus("m@1", ("A", "B"), names)


def test_recent_events_come_oldest_first_and_the_oldest_go() -> None:
    made = run_status("cam")
    for number in range(EVENTS_KEPT + 5):
        made.record(event(number))
    kept = [e for _, e in made.events_since(0.0)]
    assert [e.id for e in kept] == [f"e{n}" for n in range(5, EVENTS_KEPT + 5)]
    assert made.events_since(time.monotonic() + 1) == []


def test_recorded_events_come_with_their_time() -> None:
    made = run_status("cam")
    before_s = time.monotonic()
    made.record(event(1))
    between_s = time.monotonic()
    made.record(event(2))
    recorded = made.events_since(between_s)
    assert [e.id for _, e in made.events_since(before_s)] == ["e1", "e2"]
    assert [e.id for _, e in recorded] == ["e2"] and between_s <= recorded[0][0] <= time.monotonic()


def test_sources_keep_their_order_and_an_unknown_one_is_named() -> None:
    made = run_status("door", "attic", "cam")
    assert [s.name for s in made.sources] == ["door", "attic", "cam"]
    assert made.source("attic") is made.sources[1]
    with pytest.raises(MisuseError, match="'cellar'; there are door, attic, cam"):
        made.source("cellar")


def test_sinks_show_their_counters() -> None:
    made, state = run_status("cam"), SinkState("jsonl")
    made.add_sink(state)
    state.delivered += 1
    assert made.sinks == (SinkState("jsonl", delivered=1),)


def ticked(state: SourceState, cost_ms: float, ticks: int = 1) -> None:
    now_s = time.monotonic()
    state.ticked(grabbed_s=now_s - 0.5, now_s=now_s, cost_ms=cost_ms, ticks=ticks, label="A", score=0.8)


def test_latency_counts_each_tick_in_its_bucket() -> None:
    state = SourceState("cam")
    for cost_ms in (0.1, 0.25, 0.3, 1e9):
        ticked(state, cost_ms)
    ticked(state, 2.0, ticks=3)
    latency = state.latency
    assert latency.counts[:2] == (2, 1) and latency.counts[3] == 3 and latency.counts[-1] == 1
    assert (latency.ticks, len(latency.counts)) == (7, len(LATENCY_BUCKETS_MS) + 1)
    assert latency.sum_ms == pytest.approx(1e9 + 6.65)
    assert state.age_s == pytest.approx(0.5)


def test_a_rate_is_that_of_the_latest_seconds() -> None:
    state, now_s = SourceState("cam"), time.monotonic()
    assert state.rate_hz == 0.0
    for tenths in range(-200, 1):  # 10 fps for 10 s, then 30
        frames = 10 * (tenths + 200) // 10 if tenths < -100 else 100 + 3 * (tenths + 100)
        state.count(Counts(frames=frames), now_s + tenths / 10)
    assert state.rate_hz == pytest.approx(30, rel=0.2)
    stale = SourceState("cam")
    stale.count(Counts(frames=0), now_s - 20)
    stale.count(Counts(frames=100), now_s - 10)
    assert stale.rate_hz == 0.0


def test_a_source_that_is_not_live_has_no_label() -> None:
    state = SourceState("cam")
    state.turn("live")
    ticked(state, 1.0)
    assert (state.state, state.label, state.score) == ("live", "A", 0.8)
    state.turn("lost", "no picture for 5 s")
    assert (state.state, state.reason, state.label, state.score) == ("lost", "no picture for 5 s", None, None)
    state.turn("live")
    assert (state.reason, state.lost_reason) == (None, "no picture for 5 s")


class Looking(FrameSink):
    """A frame sink that keeps what it sees of one source."""

    def __init__(self, source: str, pictures: int = 10**6) -> None:
        self.source, self.left, self.closed = source, pictures, 0
        self.seen: list[Picture] = []

    def wants(self, source: str) -> bool:
        return source == self.source and self.left > 0

    def consume(self, picture: Picture) -> None:
        self.left -= 1
        self.seen.append(picture)

    def close(self) -> None:
        self.closed += 1


def test_a_run_fills_its_status_and_shows_pictures_to_who_wants_them(tmp_path: Path) -> None:
    shown = np.concatenate([painted(c, 25, (32, 24)) for c in ("Red", "Green")])
    path = write_video(tmp_path / "a.avi", shown)
    pipeline = Pipeline(colour_bundle(), [f"door={path}"], [])
    looking, elsewhere = Looking("door", 10), Looking("attic")
    for viewer in (looking, elsewhere):
        pipeline.frame_sinks.add(viewer)
    (summary,) = pipeline.run()
    state = pipeline.run_status.source("door")
    assert (state.state, state.counts.frames, state.counts.ticks, state.counts.unused) == (
        "ended",
        50,
        25,
        25,
    )
    assert (summary.source, summary.ticks) == ("door", pipeline.run_status.ticks)
    assert state.latency.ticks == 25 and state.age_s > 0 and state.counts.reconnects == 0
    assert {e.source for _, e in pipeline.run_status.events_since(0.0)} == {"door"}
    assert pipeline.run_status.turned_s > pipeline.run_status.started_s
    assert pipeline.run_status.model_id.startswith("colours@") and pipeline.run_status.labels == tuple(
        COLOURS
    )
    assert [p.time_s for p in looking.seen] == pytest.approx([k * 0.08 for k in range(10)])
    assert {(p.pixels.shape, p.color) for p in looking.seen} == {((24, 32, 3), "bgr")}
    assert [p.label for p in looking.seen[:4]] == [None, None, None, "Red"]
    assert np.abs(looking.seen[0].pixels[..., ::-1].astype(int) - shown[0]).max() <= 3
    assert elsewhere.seen == [] and looking.closed == elsewhere.closed == 1


def test_without_a_frame_sink_no_picture_is_kept(tmp_path: Path) -> None:
    from edge_har.pipeline.sampler import Sampler, ticks_of
    from edge_har.sources import open_source

    path, manifest = write_video(tmp_path / "a.avi", painted("Red", 25, (32, 24))), colour_bundle().manifest
    wanted = count()
    with open_source(str(path)) as source:
        made = list(ticks_of(source, Sampler(manifest.frame, manifest.temporal)))
    assert [ticks.picture for ticks in made] == [None] * 13
    with open_source(str(path)) as source:
        sampler = Sampler(manifest.frame, manifest.temporal, lambda: next(wanted) % 2 == 0)
        assert [t.picture is not None for t in ticks_of(source, sampler)] == [True, False] * 6 + [True]


@pytest.mark.parametrize("where", ["wants", "consume", "stop", "close"])
def test_a_frame_sink_that_fails_gets_no_more_pictures_and_is_logged_once(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Looking):
        pass

    def fail(*of: object) -> bool:
        raise RuntimeError("no display")

    broken, sound = Broken("cam"), Looking("cam")
    setattr(broken, where, fail)
    frame_sinks = FrameSinks([broken, sound])
    picture = Picture("cam", 0.0, painted("Red", 1)[0], "rgb", None, None)
    for _ in range(3):
        assert frame_sinks.wants("cam")
        frame_sinks.consume(picture)
    frame_sinks.close()
    assert len(sound.seen) == 3 and sound.closed == 1
    shown = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert shown == ["Broken shows nothing any more: no display"]
