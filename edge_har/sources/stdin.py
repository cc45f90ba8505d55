"""Pictures on standard input, from whatever program can write them: motion JPEG or raw frames."""

from __future__ import annotations

import math
import os
import select
import threading
import time

from edge_har.errors import MisuseError, SourceError
from edge_har.sources.options import SourceOptions
from edge_har.sources.pictures import PictureStream, decode_jpeg, raw_frames

READ_TIMEOUT_S = 5.0
CHUNK_BYTES = 256 * 1024
LOOK_S = 0.5  # how soon it is noticed that nobody wants more
JPEG_FORMATS = (None, "mjpeg")

_taken = threading.Lock()  # two readers would each get half of the bytes


class StdinSource(PictureStream):
    """Pictures on standard input, until its end.

    Without a rate they are live: a time is the arrival. With one they are a recording: frame i is at i /
    rate, each is waited for as long as it takes, and none is dropped.

    Raises MisuseError for a terminal, what cannot be read, a second reader, or a format that cannot be.
    """

    _had_pictures = False  # in this process: after a silence the same input is reconnected

    def __init__(
        self, options: SourceOptions, *, descriptor: int = 0, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        splitter, decode = (
            (None, decode_jpeg)
            if options.format in JPEG_FORMATS
            else raw_frames(str(options.format), options.size)
        )
        if splitter is None and options.size is not None:
            raise MisuseError("standard input: 'size' goes with raw frames; each JPEG picture has its own")
        live = options.rate is None
        super().__init__("standard input", read_timeout_s if live else math.inf, splitter, decode)
        self.live, self.ends = live, not live
        self._rate_hz = options.rate
        self._descriptor = descriptor
        self._pictures = self._bytes = 0
        self._closed = False
        self._holds = False
        if os.isatty(descriptor):
            raise MisuseError("standard input is a terminal; pipe motion JPEG or raw frames into it")
        try:
            os.read(descriptor, 0)  # of a folder, or of what is open for writing alone, this fails
        except OSError as error:
            raise MisuseError(f"standard input cannot be read: {error.strerror}") from None
        if not _taken.acquire(blocking=False):
            raise MisuseError("standard input is a source already; it can be one only once")
        self._holds = True

    def grab(self) -> float | None:
        """Time of the next picture in seconds, or None at the end.

        Raises SourceError where live pictures stay away for too long, or where there is none to the end.
        """
        time_s = super().grab()
        if time_s is None:
            self.ends = True
            if not (self._pictures or self._closed or StdinSource._had_pictures):
                held = f"{self._bytes} bytes without a whole picture" if self._bytes else "nothing"
                raise SourceError(f"{self.name} held {held}")
            return None
        self._pictures += 1
        StdinSource._had_pictures = True
        return time_s if self._rate_hz is None else (self._pictures - 1) / self._rate_hz

    def read(self, timeout_s: float) -> bytes | None:
        """More bytes; with a rate they are waited for until the source is closed."""
        deadline_s = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._closed:
            left_s = deadline_s - time.monotonic() if self.live else LOOK_S
            if poll.poll(1000 * max(0.0, min(left_s, LOOK_S))):
                try:
                    data = os.read(self._descriptor, CHUNK_BYTES)
                except OSError as error:
                    raise SourceError(f"{self.name} cannot be read: {error.strerror}") from None
                self._bytes += len(data)
                return data
            if left_s <= 0:
                return None
        return b""

    def close(self) -> None:
        """Let go of standard input, which stays open."""
        self._closed = True
        if self._holds:
            self._holds = False
            _taken.release()
