"""Pipelines that run beside a test, what they tell, and cameras that show them colours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_har.errors import EdgeHarError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.preprocess import Pixels
from edge_har.pipeline.capture import Timeouts
from edge_har.pipeline.events import Event
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.outputs import EventSink
from edge_har.pipeline.pipeline import Pipeline, Summary
from edge_har.sources.base import Source
from edge_har.sources.named import NamedSource
from tests.helpers.colours import GREY, colour_bundle, painted
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.videos import write_video

if TYPE_CHECKING:
    from typing_extensions import Self

LONG_S = 30.0  # for what must come, on a busy machine
RED_THEN_GREEN = ((GREY, 2.4), ("Red", 3.2), ("Green", 3.2), (GREY, 2.4))  # whole frames at every rate tried


def wait_until(found: Callable[[], object], timeout_s: float = LONG_S) -> None:
    """Wait until `found` is true."""
    until_s = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < until_s, f"not within {timeout_s} s"
        time.sleep(0.01)


class Kept(EventSink):
    """A sink that keeps what it gets; `wait` for what must come."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Nothing to do."""

    def wait(self, found: Callable[[Event], bool], timeout_s: float = LONG_S) -> Event:
        """The first event that `found` takes."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            for event in list(self.events):
                if found(event):
                    return event
            time.sleep(0.01)
        raise AssertionError(f"not told within {timeout_s} s; told: {self.events}")

    @property
    def types_and_labels(self) -> list[tuple[str, str | None]]:
        """Type and label of each event but updates."""
        return self.told_of(None)

    def told_of(self, source: str | None) -> list[tuple[str, str | None]]:
        """As `told`, of one source."""
        return [
            (e.type, e.label) for e in list(self.events) if e.type != "update" and source in (None, e.source)
        ]


class Running:
    """A pipeline in a thread; stopped at the end of the block. error: what it raised."""

    def __init__(
        self,
        *sources: str | NamedSource,
        path: Path | None = None,
        bundle: Bundle | None = None,
        timeouts: Timeouts | None = None,
        **options: object,
    ) -> None:
        bundle = bundle or (colour_bundle() if path is None else open_bundle(path))
        self.sink = Kept()
        self.pipeline = Pipeline(
            bundle, sources, [self.sink], RunOptions(**options), bundle_path=path, timeouts=timeouts
        )
        self.summaries: dict[str, Summary] = {}
        self.error: EdgeHarError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.summaries = {s.source: s for s in self.pipeline.run(self._stop)}
        except EdgeHarError as error:
            self.error = error

    @property
    def summary(self) -> Summary:
        """Of its only source, once it ended."""
        (summary,) = self.summaries.values()
        return summary

    def wait(self) -> None:
        """Wait for it to end by itself."""
        self._thread.join(LONG_S)
        assert not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self.wait()


def camera(parts: tuple[tuple[object, int], ...], rate_hz: float = 25.0, **options: object) -> MjpegServer:
    """A camera that shows each colour for some frames."""
    pictures = [jpeg(p) for colour, n in parts for p in painted(colour, n, (32, 24))]
    return MjpegServer(pictures, rate_hz, **options)


def steady(colour: object = "Red", rate_hz: float = 25.0, **how: Any) -> MjpegServer:
    """A camera that shows one colour for ever; how: of MjpegServer."""
    return camera(((colour, 1),), rate_hz, loop=True, **how)


def write_scene(
    path: Path, parts: tuple[tuple[object, float], ...] = RED_THEN_GREEN, rate_hz: float = 25.0
) -> Path:
    """A video of flat colours, each for some seconds."""
    return write_video(
        path, np.concatenate([painted(c, round(s * rate_hz), (32, 24)) for c, s in parts]), rate_hz
    )


class ScriptedSource(Source):
    """A live source of our own: a frame of one colour each 1 / rate_hz, until `until_frame`;
    then `then` is called.

    What `then` returns is what `grab` does: a time, or None for the end of the stream.
    """

    live, ends, color = True, False, "rgb"

    def __init__(
        self,
        name: str = "cam",
        *,
        colour: object = "Red",
        rate_hz: float = 50.0,
        until_frame: int | None = None,
        then: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.name = name
        self.closed = threading.Event()
        self._pixels = painted(colour, 1, (32, 24))[0]
        self._period_s = 1 / rate_hz
        self._left = until_frame
        self._then = then

    def grab(self) -> float | None:
        if self._left == 0:
            return self._then()
        if self._left is not None:
            self._left -= 1
        self.closed.wait(self._period_s)
        return time.monotonic()

    def retrieve(self) -> Pixels:
        return self._pixels

    def close(self) -> None:
        self.closed.set()
