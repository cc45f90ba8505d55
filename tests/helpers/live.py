"""A run without cameras and model: a real board and real viewers with a page, and pictures of one colour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edge_har.pipeline.events import Event, Reason, Type, utc_now
from edge_har.pipeline.outputs import EventSink, FrameSinks, Picture
from edge_har.pipeline.status import Counts, RunStatus
from edge_har.web import WebOptions, start_web
from edge_har.web.pictures import FrameBroadcaster
from tests.helpers.need import need_module

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 60.0  # for anything, on a busy machine
TICK_S = 0.02
SIZE_WH = (64, 48)
COLOUR_RGB = (200, 30, 30)


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.01)


def viewers_of(broadcaster: FrameBroadcaster, source: str) -> int:
    """How many viewers look at a source."""
    return sum(source in sources for sources in broadcaster._watchers.values())


class LiveRun:
    """Serves the page of a run whose sources all are live and show COLOUR_RGB; a context manager.

    label, score: what is seen in every source. `still` sources give nothing. `shown` counts pictures,
    `turns` the ticks that have begun.
    """

    def __init__(
        self,
        *sources: str,
        labels: tuple[str, ...] = ("Walk", "Run"),
        options: WebOptions | None = None,
        size_wh: tuple[int, int] = SIZE_WH,
    ) -> None:
        need_module("tornado", "pip install -e '.[test]'")
        self.run_status = RunStatus("colours@0123456789ab", labels, sources or ("door",))
        self.frame_sinks = FrameSinks()
        self.options = options or WebOptions("127.0.0.1:0", rate_hz=30.0)
        self.label: str | None = labels[0]
        self.score: float | None = 0.93
        self.still: set[str] = set()
        self.shown = self.turns = 0
        self._ids = count(1)
        self._stop = threading.Event()
        self._pixels = np.full((size_wh[1], size_wh[0], 3), COLOUR_RGB, np.uint8)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        for source in self.run_status.sources:
            source.turn("live")
        self.web = start_web(self.options, self.run_status, self.frame_sinks)
        self._thread.start()
        wait_for(lambda: all(source.last_frame_s for source in self.run_status.sources))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        self.frame_sinks.close()
        self.web.close()

    @property
    def port(self) -> int:
        """Where the page listens."""
        return int(self.web.url.rstrip("/").rpartition(":")[2])

    def tell(
        self,
        kind: Type,
        label: str | None = "Walk",
        source: str = "door",
        *,
        name: str | None = None,
        score: float | None = 0.9,
        end_s: float | None = None,
        reason: Reason | None = None,
        sinks: Sequence[EventSink] = (),
    ) -> str:
        """Emit a line of an event, by default of a new one, to `sinks` too; its name."""
        name = name or f"e{next(self._ids)}"
        score = None if label is None else score
        start_s = time.monotonic() if sinks else 0.0
        event = Event(name, kind, source, label, score, start_s, end_s, utc_now(), "m@1", reason)
        self.run_status.record(event)
        for sink in sinks:
            sink.write(event)
        return name

    def _run(self) -> None:
        for tick in count(1):
            if self._stop.wait(TICK_S):
                return
            self.turns = tick
            self.run_status.turned()
            for source in self.run_status.sources:
                if source.state == "live" and source.name not in self.still:
                    self._tick(source.name, tick)

    def _tick(self, name: str, tick: int) -> None:
        source, now_s = self.run_status.source(name), time.monotonic()
        source.count(Counts(frames=2 * tick, ticks=tick, unused=tick), now_s)
        source.ticked(
            grabbed_s=now_s - 0.04, now_s=now_s, cost_ms=6.5, ticks=1, label=self.label, score=self.score
        )
        if self.frame_sinks.wants(name):
            self.frame_sinks.consume(Picture(name, now_s, self._pixels, "rgb", self.label, self.score))
            self.shown += 1
