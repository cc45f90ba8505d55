"""Recorded video files, with the times that stand in their container."""

from __future__ import annotations

import math
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_har.errors import SourceError, printable
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.opencv import CapturedSource, open_capture
from edge_har.sources.timestamps import LOOK_AHEAD, TimestampRepair
from edge_har.system.files import PathKind, path_kind, utf8_path

DECODER_THREADS = 1  # more threads buffer more frames: memory a Pi does not have
END_ATTEMPTS = 250  # refused packets in a row before a file counts as ended: 10 s of damage at 25 fps
HEAD_BYTES = 4096
USUAL_RATE_HZ = 25.0  # where a container states neither times nor a rate
MISSING_SHARE, MISSING_S = 0.1, 0.5  # a file that ends this much before its stated end was cut
AVI_MAGIC = b"RIFF"  # its header counts frames exactly
AVI_MISSING_FRAMES = 2
# Matroska and ASF state when their last frame ends, by times of their own.
STATED_ENDS = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")


@dataclass
class _FileFrame:
    """A frame that was grabbed. kept: its pixels were taken out of the decoder (None: damaged) before the
    next frame replaced them.
    """

    stamp_s: float
    kept: bool = False
    pixels: Pixels | None = None


class FileSource(CapturedSource):
    """A video file. Damage in its middle is stepped over; `warning` then says what could not be read.

    Raises SourceError when it is missing, empty, or nothing in it is a video that OpenCV can decode.
    """

    live = False
    color = "bgr"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = printable(mask_uri(str(path)))  # an address that was mistyped may hold a password
        self.warning: str | None = None
        self._head = _checked_head(self.path, self.name)
        # An absolute path, or FFmpeg takes what comes before a colon in a name for a protocol.
        try:
            with utf8_path(self.path) as target:
                self._capture = open_capture(
                    target, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, DECODER_THREADS]
                )
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be read: {error.strerror or error}") from error
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{self.name}: not a video that can be decoded (damaged, sound only, or another kind of file)"
            )
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # the default of OpenCV 5 alone
        self._stated_frames = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._step_s = 1 / (self.rate_hz or USUAL_RATE_HZ)
        self._times = TimestampRepair(self._step_s)
        self._ahead: deque[_FileFrame] = deque()  # grabbed, but not yet given
        self._current: _FileFrame | None = None
        self._newest: _FileFrame | None = None  # the one that stands in the decoder
        self._start_s = 0.0  # what the container's own times begin with
        self._end_stamp_s = 0.0  # the last of them, in any order
        self._frames = 0
        self._holes = 0
        self._first_s = 0.0
        self._time_s = 0.0

    @property
    def rate_hz(self) -> float:
        """The rate that the container states, in frames a second; 0.0 where it states none.

        Not used for timing.
        """
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if math.isfinite(rate) and rate > 0 else 0.0

    def grab(self) -> float | None:
        """Time of the next frame in seconds from the container, or None at the end of the file.

        Raises SourceError at the end of a file of which no frame could be decoded.
        """
        frame = self._ahead.popleft() if self._ahead else self._next_frame()
        if frame is None:
            self._end()
            return None
        self._current = frame
        if self._times.needs_following(frame.stamp_s):
            self._look_ahead()
        self._time_s = self._times.at(frame.stamp_s, [later.stamp_s for later in self._ahead])
        if self._frames == 0:
            self._first_s = self._time_s
        self._frames += 1
        return self._time_s

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        frame = self._current
        if frame is None or not frame.kept:
            return super().retrieve()
        if frame.pixels is None:
            raise SourceError(f"{self.name}: a frame could not be decoded")
        return frame.pixels

    def _next_frame(self) -> _FileFrame | None:
        refused = 0
        while not self._capture.grab():
            refused += 1
            if refused >= END_ATTEMPTS:
                return None
        self._holes += refused > 0
        stamp_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if self._newest is None:
            self._start_s = self._container_start_s(stamp_s)
        if math.isfinite(stamp_s):
            self._end_stamp_s = max(self._end_stamp_s, stamp_s)
        self._newest = _FileFrame(stamp_s)
        return self._newest

    def _look_ahead(self) -> None:
        """Grab the next LOOK_AHEAD frames; the pixels of those before the last are kept."""
        while len(self._ahead) < LOOK_AHEAD:
            newest = self._newest
            if newest is not None and not newest.kept:
                newest.kept = True
                with suppress(SourceError):
                    newest.pixels = super().retrieve()
            frame = self._next_frame()
            if frame is None:
                return
            self._ahead.append(frame)

    def _container_start_s(self, stamp_s: float) -> float:
        """What OpenCV subtracts from all times: a part of a longer recording may begin late by its own ones.

        0.0 where that does not count, or OpenCV does not give it (before 4.11).
        """
        if not self._head.startswith(STATED_ENDS) or not hasattr(cv2, "CAP_PROP_PTS"):
            return 0.0
        own_s = float(self._capture.get(cv2.CAP_PROP_PTS)) * self._step_s
        return max(0.0, own_s - stamp_s) if math.isfinite(own_s) and math.isfinite(stamp_s) else 0.0

    def _end(self) -> None:
        if self._frames == 0:
            raise SourceError(f"{self.name}: no frame can be decoded")
        read_s = self._time_s - self._first_s + self._step_s
        stated_s = self._stated_frames * self._step_s
        # The end is what a container states; frames with wrong stamps count for it as the others do.
        missing_s = stated_s - max(read_s, self._start_s + self._end_stamp_s + self._step_s)
        allowed_s = max(MISSING_S, MISSING_SHARE * stated_s)
        if self._head.startswith(AVI_MAGIC):
            # Frames that repeat the one before are counted and are not there: only the time of the end shows.
            allowed_s = min(allowed_s, (AVI_MISSING_FRAMES + 0.5) * self._step_s)
        if missing_s > allowed_s:
            self.warning = f"its video ends after {read_s:.1f} s; the file states {read_s + missing_s:.1f} s"
        elif self._holes:
            self.warning = f"damaged in {self._holes} place{'s' * (self._holes > 1)}; the rest was read"


def _checked_head(path: Path, name: str) -> bytes:
    """The first bytes of a file that may be a video; raises SourceError for anything that cannot be one."""
    kind = path_kind(path, SourceError, name)
    if kind is PathKind.ABSENT:
        raise SourceError(f"{name}: no such file")
    if kind is not PathKind.FILE:
        raise SourceError(f"{name}: not a file; expected a video")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror}") from error
    if not head:
        raise SourceError(f"{name}: an empty file; expected a video")
    if _is_text(head):
        raise SourceError(f"{name}: a text file, not a video")  # FFmpeg would play it as a terminal's picture
    return head


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head[: max(1, len(head) - 3)].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 6  # a character cut at the end of what was read
    return True
