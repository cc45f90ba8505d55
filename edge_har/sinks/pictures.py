"""What all frame sinks have in common: small copies, a thread that takes its time over them, labels drawn on
them.
"""

from __future__ import annotations

import logging
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import cv2

from edge_har.model.preprocess import Pixels
from edge_har.pipeline.outputs import Picture
from edge_har.pipeline.status import SinkState

CLOSE_S = 0.7  # a run has two seconds to end
IDLE_S = 1.0
LOOK_S = 0.1  # how soon a worker that waits notices that it should no more
HARD_LIMIT = 1000  # more than the capacity: of things that are small
TEXT_FRACTION = 0.06  # of a picture's height
FONT, FONT_PX = cv2.FONT_HERSHEY_SIMPLEX, 22.0  # height of its letters at scale 1
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

log = logging.getLogger("edge_har")

T = TypeVar("T")


def small_copy(picture: Picture, width: int) -> Picture:
    """A copy that may be kept: at most `width` wide, with even sides as encoders want them; its colours as
    they were.
    """
    height, source_width = picture.pixels.shape[:2]
    scale = min(1.0, width / source_width)
    return picture.resized((max(2, int(source_width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)))


def draw_label(pixels: Pixels, label: str | None, score: float | None) -> None:
    """Write what is seen, and how sure, into a picture (BGR), on a bar at its top; nothing where there is no
    label.
    """
    if label is None or score is None:
        return
    height, width = pixels.shape[:2]
    text = f"{in_ascii(label)} {score:.0%}"
    scale = max(0.3, height * TEXT_FRACTION / FONT_PX)
    stroke = max(1, round(scale * 1.6))
    (text_width, text_height), below = cv2.getTextSize(text, FONT, scale, stroke)
    margin = text_height // 2
    bar = (min(width, text_width + 2 * margin), text_height + below + 2 * margin)
    cv2.rectangle(pixels, (0, 0), bar, BLACK, cv2.FILLED)
    cv2.putText(pixels, text, (margin, margin + text_height), FONT, scale, WHITE, stroke, cv2.LINE_AA)


def in_ascii(text: str) -> str:
    """`text` in the only letters that OpenCV draws everywhere."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() else "?" for c in plain if not unicodedata.combining(c))


class Worker(Generic[T]):
    """A thread that handles what it is given, in order. At most `capacity` wait: what comes then is dropped
    and counted, or, where it `waits`, `submit` waits for room, and `close` until all is handled.

    state: its counters. work: handles one. end: called last, in the thread. idle: called there each `IDLE_S`
    while nothing comes.
    """

    def __init__(
        self,
        state: SinkState,
        work: Callable[[T], None],
        end: Callable[[], None],
        *,
        capacity: int,
        waits: Callable[[], bool] = lambda: False,
        idle: Callable[[], None] | None = None,
    ) -> None:
        self._state = state
        self._work = work
        self._idle = idle
        self._end = end
        self._capacity = capacity
        self._waits = waits
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._until_s = 0.0
        self._reported = False
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"{state.name}-pictures")
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it still takes anything."""
        return not self._closing

    def has_room(self) -> bool:
        """Whether something given now is handled: else it is counted as dropped, and no copy is made in
        vain.
        """
        if len(self._items) < self._capacity or self._waits():
            return not self._closing
        self._state.dropped += 1
        return False

    def submit(self, item: T) -> None:
        """Queue one item, within reason although there is no room, unless the worker waits for room."""
        with self._changed:
            while len(self._items) >= self._capacity and self._waits() and not self._closing:
                self._changed.wait(LOOK_S)
            if self._closing:
                return
            if len(self._items) >= self._capacity + HARD_LIMIT:
                self._state.dropped += 1
                return
            self._items.append(item)
            self._state.queued = len(self._items)
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin to close without waiting for it."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._until_s = time.monotonic() + CLOSE_S
                self._changed.notify_all()

    def close(self) -> None:
        """Handle what waits, as far as time allows, and end."""
        self.stop()
        while self._thread.is_alive() and self._goes_on:
            self._thread.join(LOOK_S)

    @property
    def _goes_on(self) -> bool:
        """Whether what waits is still handled although it closes."""
        return self._waits() or time.monotonic() <= self._until_s

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._items or self._closing, None if self._idle is None else IDLE_S
                )
                if self._closing and not (self._items and self._goes_on):
                    break
                work = self._idle
                if self._items:
                    work = partial(self._work, self._items.popleft())
                    self._state.queued = len(self._items)
                    self._changed.notify_all()
            if work is not None:
                self._guarded(work)
        self._guarded(self._end)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  a picture that cannot be handled ends nothing
            self._state.failed += 1
            self._state.last_error = f"{type(error).__name__}: {error}".splitlines()[0]
            if not self._reported:
                self._reported = True
                log.error("%s: %s", self._state.name, self._state.last_error)
