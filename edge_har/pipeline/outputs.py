"""Where a run's events and pictures go: event sinks and frame sinks. Without a frame sink no picture is
passed on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import cv2
import numpy as np

from edge_har.model.preprocess import Pixels
from edge_har.pipeline.events import Event

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class Picture:
    """The frame of a tick, as the source gave it, and what is seen in it.

    time_s: seconds of the source's clock. pixels: uint8, height x width x 3, in the order `color`; shared by
    all frame sinks and by recognition, so nobody writes into it. label, score: of what goes on, and its
    smoothed probability; None while nothing reached its threshold.
    """

    source: str
    time_s: float
    pixels: Pixels = field(repr=False, compare=False)
    color: Literal["rgb", "bgr"]
    label: str | None
    score: float | None

    def resized(self, size_wh: tuple[int, int]) -> Picture:
        """A copy of `size_wh` px that may be kept and written to; its colours as they were.

        Linear, because it happens in the recognizer's thread: 1080p costs a quarter of what averaging does.
        """
        if size_wh == self.pixels.shape[1::-1]:
            return replace(self, pixels=self.pixels.copy())
        small = cv2.resize(self.pixels, size_wh, interpolation=cv2.INTER_LINEAR)
        return replace(self, pixels=np.asarray(small, np.uint8))

    def in_bgr(self) -> Picture:
        """The same in OpenCV's order of colours."""
        if self.color == "bgr":
            return self
        pixels = np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2BGR), np.uint8)
        return replace(self, pixels=pixels, color="bgr")


class EventSink(Protocol):
    """Takes events one by one, in order."""

    def write(self, event: Event) -> None:
        """Take one event; it is delivered when this returns, unless the sink queues."""

    def stop(self) -> None:
        """Begin to close without waiting for it; may be called twice."""

    def close(self) -> None:
        """Nothing more comes; may be called twice."""


class FrameSink(Protocol):
    """Takes pictures. One that raises gets none any more; the run goes on."""

    def wants(self, source: str) -> bool:
        """Whether to pass the next picture of the source; called at each tick, by several threads, so
        cheap.
        """

    def consume(self, picture: Picture) -> None:
        """Take a picture without blocking: scale down and copy what is to be kept, or drop it."""

    def stop(self) -> None:
        """Begin to close without waiting for it; may be called twice."""

    def close(self) -> None:
        """Nothing more comes; may be called twice."""


@dataclass(frozen=True)
class OpenedSink:
    """What the options of a sink open. events: takes the events; frames: the pictures; one object may do
    both.
    """

    events: EventSink | None = None
    frames: FrameSink | None = None


class FrameSinks:
    """All frame sinks of a run."""

    def __init__(self, frame_sinks: Iterable[FrameSink] = ()) -> None:
        self._sinks = tuple(frame_sinks)  # exchanged as a whole: other threads read it

    def add(self, frame_sink: FrameSink) -> None:
        """Pass pictures to this one too, from the next tick on."""
        self._sinks = (*self._sinks, frame_sink)

    def wants(self, source: str) -> bool:
        """Whether any of them wants the next picture of the source."""
        return any(self._guarded(frame_sink, lambda v: v.wants(source)) for frame_sink in self._sinks)

    def consume(self, picture: Picture) -> None:
        """Pass a picture to all that want it."""
        for frame_sink in self._sinks:
            if self._guarded(frame_sink, lambda v: v.wants(picture.source)):
                self._guarded(frame_sink, lambda v: v.consume(picture))

    def stop(self) -> None:
        """Nothing more comes: those that need time for it begin to close."""
        for frame_sink in self._sinks:
            self._guarded(frame_sink, lambda v: v.stop())

    def close(self) -> None:
        """Nothing more comes."""
        self.stop()
        for frame_sink in self._sinks:
            self._guarded(frame_sink, lambda v: v.close())

    def _guarded(self, frame_sink: FrameSink, call: Callable[[FrameSink], bool | None]) -> bool:
        try:
            return bool(call(frame_sink))
        except Exception as error:  # noqa: BLE001  a picture that cannot be shown must not end recognition
            self._sinks = tuple(other for other in self._sinks if other is not frame_sink)
            log.error(
                "%s shows nothing any more: %s", type(frame_sink).__name__, error or type(error).__name__
            )
            return False
