"""Whoever looks at the pictures of a run: a page, a video, clips of events, a window. Without one no picture is passed on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from edge_har.model.preprocess import Pixels
from edge_har.pipeline.events import Event

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class Picture:
    """A frame that a tick took, as the source gave it, and what is seen in it.

    time_s: seconds of the source's clock. pixels: uint8, height x width x 3, in the order `color`; shared by all
    viewers and by recognition, so nobody writes into it. label, score: of the highest smoothed probability; None
    while no label is sure enough.
    """

    source: str
    time_s: float
    pixels: Pixels = field(repr=False, compare=False)
    color: Literal["rgb", "bgr"]
    label: str | None
    score: float | None


@runtime_checkable
class FrameSink(Protocol):
    """Looks at pictures. One that raises is not shown any more; the run goes on."""

    def wants(self, source: str) -> bool:
        """Whether it wants the next picture of the source; asked at each tick, by several threads, so cheap."""

    def consume(self, picture: Picture) -> None:
        """Take a picture without blocking: scale down and copy what is to be kept, or drop it."""

    def close(self) -> None:
        """Nothing more comes; may be called twice."""


class FrameSinks:
    """All viewers of a run."""

    def __init__(self, frame_sinks: Iterable[FrameSink] = ()) -> None:
        self._sinks = tuple(frame_sinks)  # exchanged as a whole: other threads read it

    def add(self, frame_sink: FrameSink) -> None:
        """Show pictures to this one too, from the next tick on."""
        self._sinks = (*self._sinks, frame_sink)

    def wanted(self, source: str) -> bool:
        """Whether anybody wants the next picture of the source."""
        return any(self._asked(frame_sink, lambda v: v.wants(source)) for frame_sink in self._sinks)

    def consume(self, picture: Picture) -> None:
        """Show a picture to all who want it."""
        for frame_sink in self._sinks:
            if self._asked(frame_sink, lambda v: v.wants(picture.source)):
                self._asked(frame_sink, lambda v: v.consume(picture))

    def stop(self) -> None:
        """Nothing more comes: those that need time for it begin to close."""
        stop_all(self._sinks)

    def close(self) -> None:
        """Nothing more comes."""
        self.stop()
        for frame_sink in self._sinks:
            self._asked(frame_sink, lambda v: v.close())

    def _asked(self, frame_sink: FrameSink, question: Callable[[FrameSink], bool | None]) -> bool:
        try:
            return bool(question(frame_sink))
        except Exception as error:  # noqa: BLE001  a picture that cannot be shown must not end recognition
            self._sinks = tuple(other for other in self._sinks if other is not frame_sink)
            log.error(
                "%s shows nothing any more: %s", type(frame_sink).__name__, error or type(error).__name__
            )
            return False


@runtime_checkable
class EventSink(Protocol):
    """Takes events one by one, in order."""

    def write(self, event: Event) -> None:
        """Take one event; it is delivered when this returns, unless the sink says that it queues."""

    def close(self) -> None:
        """Nothing more comes; may be called twice."""


def stop_all(sinks: Iterable[object]) -> None:
    """Let all that can take their time over closing begin with it, together."""
    for sink in sinks:
        stop = getattr(sink, "stop", None)
        if stop is not None:
            stop()
