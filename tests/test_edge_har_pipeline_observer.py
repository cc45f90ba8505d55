"""What measurements see of a run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edge_har.pipeline.events import Event
from edge_har.pipeline.observer import PipelineObserver
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.sampler import Ticks
from edge_har.pipeline.status import RunStatus
from tests.helpers.colours import colour_bundle, painted
from tests.helpers.running import Kept
from tests.helpers.videos import write_video


class Notes(PipelineObserver):
    """Keeps the calls in their order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.counted: int | None = None

    def on_frame(self, source: str, ticks: Ticks) -> None:
        self.calls.append(("frame", ticks.times_s))

    def on_event(self, event: Event) -> None:
        self.calls.append(("event", event))

    def on_tick(self, source: str, ticks: Ticks, recognised_s: float) -> None:
        assert source == "door" and ticks.grabbed_s <= recognised_s <= time.monotonic()
        self.calls.append(("tick", ticks.times_s))

    def on_end(self, run_status: RunStatus) -> None:
        self.counted = run_status.source("door").counts.ticks


def scene(folder: Path) -> Path:
    parts = [painted(colour, 50, (32, 24)) for colour in ("Red", "Green")]
    return write_video(folder / "scene.mkv", np.concatenate(parts), 25.0)


def test_an_observer_sees_each_tick_with_its_events_and_the_end(tmp_path: Path) -> None:
    notes, sink = Notes(), Kept()
    (summary,) = Pipeline(colour_bundle(), [f"door={scene(tmp_path)}"], [sink], observer=notes).run()
    frames = [what for kind, what in notes.calls if kind == "frame"]
    assert frames == [what for kind, what in notes.calls if kind == "tick"]
    assert len(frames) == summary.ticks == notes.counted == 50
    assert [what for kind, what in notes.calls if kind == "event"] == sink.events != []
    kinds = [kind for kind, _ in notes.calls]
    first = kinds.index("event")
    assert (
        kinds[first - 1] == "frame" and kinds[first + 1] == "tick"
    )  # the events of a frame come before its tick


def test_an_observer_is_not_left_without_an_end_where_a_run_fails(tmp_path: Path) -> None:
    class Broken(Kept):
        def write(self, event: Event) -> None:
            raise BrokenPipeError

    notes = Notes()
    with pytest.raises(BrokenPipeError):
        Pipeline(colour_bundle(), [f"door={scene(tmp_path)}"], [Broken()], observer=notes).run()
    assert notes.counted is not None
