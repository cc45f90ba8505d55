"""Pictures for the page's viewers: scaled down once, encoded once, shared by all; nothing happens without
viewers.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import cv2

from edge_har.pipeline.outputs import Picture
from edge_har.web.values import rounded

QUALITY = 78  # JPEG; higher costs bytes that a small picture does not show
SCORE_DECIMALS = 3
HEADER_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class EncodedFrame:
    """A picture ready to be sent. message: length of a JSON header (4 bytes, big endian), the header, the
    JPEG.
    """

    source: str
    jpeg: bytes = field(repr=False)
    message: bytes = field(repr=False)


class FrameListener(Protocol):
    """A viewer of the page or of a stream."""

    def offer(self, shot: EncodedFrame) -> None:
        """Take a newer picture in place of one that was not sent yet; must not block."""


class FrameBroadcaster:
    """A frame sink of the run that serves many viewers.

    The pipeline's threads call `wants` and `consume`, which scale and copy; the page's thread calls all else.
    A picture that was not taken yet is not followed by another. wake: called from the pipeline's thread when
    one waits to be encoded. now: a clock in seconds.
    """

    def __init__(
        self,
        rate_hz: float,
        picture_px: int,
        wake: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period_s = 1 / rate_hz
        self._picture_px = picture_px
        self._wake = wake
        self._now = now
        self._closed = False
        self._lock = threading.Lock()
        self._watchers: dict[FrameListener, frozenset[str]] = {}
        self._watched: frozenset[str] = frozenset()  # exchanged as a whole: the pipeline reads it
        self._due_s: dict[str, float] = {}
        self._waiting: dict[str, Picture] = {}

    def wants(self, source: str) -> bool:
        """Whether a viewer looks at the source, its time has come and the picture before was taken."""
        return (
            source in self._watched
            and source not in self._waiting
            and self._now() >= self._due_s.get(source, 0.0)
        )

    def consume(self, picture: Picture) -> None:
        """Keep a small copy for the page's thread."""
        now_s = self._now()
        due_s = self._due_s.get(picture.source, now_s)
        # Ticks come when they come: one that is late does not make the next one late, but there is no burst.
        self._due_s[picture.source] = max(due_s + self._period_s, now_s + self._period_s / 2)
        height, width = picture.pixels.shape[:2]
        scale = min(1.0, self._picture_px / max(height, width))
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = picture.resized(size_wh).in_bgr()
        with self._lock:
            first = not self._waiting
            self._waiting[picture.source] = small
        if first:
            self._wake()

    def stop(self) -> None:
        """Nothing takes time to close."""

    def close(self) -> None:
        """Nothing more comes; may be called by any thread."""
        self._closed, self._watched = True, frozenset()

    def watch(self, watcher: FrameListener, sources: Iterable[str]) -> None:
        """`watcher` looks at these sources from now on, and no others."""
        self._watchers[watcher] = frozenset(sources)
        self._update()

    def leave(self, watcher: FrameListener) -> None:
        """`watcher` looks no more; may be called twice."""
        self._watchers.pop(watcher, None)
        self._update()

    def publish(self) -> None:
        """Encode what waits and give it to those who look at it."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for source, picture in waiting.items():
            watchers = [watcher for watcher, sources in self._watchers.items() if source in sources]
            if watchers:
                shot = _shot(picture)
                for watcher in watchers:
                    watcher.offer(shot)

    def _update(self) -> None:
        self._watched = frozenset() if self._closed else frozenset[str]().union(*self._watchers.values())


def _shot(picture: Picture) -> EncodedFrame:
    _, encoded = cv2.imencode(".jpg", picture.pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    jpeg = encoded.tobytes()
    header = json.dumps(
        {
            "source": picture.source,
            "label": picture.label,
            "score": rounded(picture.score, SCORE_DECIMALS),
        }
    ).encode()
    return EncodedFrame(picture.source, jpeg, HEADER_LENGTH.pack(len(header)) + header + jpeg)
