"""Recorded video files, with the times that stand in their container."""

from __future__ import annotations

import math
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from edge_har.errors import SourceError, printable
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.base import Source
from edge_har.sources.timestamps import LOOK_AHEAD, TimestampRepair
from edge_har.system.files import PathKind, path_kind

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

END_ATTEMPTS = 250  # reads refused in a row before a file counts as ended: 10 s of damage at 25 fps
HEAD_BYTES = 4096
USUAL_RATE_HZ = 25.0  # where a container states neither times nor a rate
MISSING_SHARE, MISSING_S = 0.1, 0.5  # a file that ends this much before its stated end was cut
AVI = "avi"  # its header counts frames exactly
AVI_MISSING_FRAMES = 2
# These state when their last frame ends, by times of their own; the others how long they last.
STATED_ENDS = ("matroska,webm", "asf")
# A recording opens nothing but itself, whatever it asks for.
ITSELF_ALONE = {"protocol_whitelist": "file"}


class FileSource(Source):
    """A video file. Damage in its middle is stepped over; `warning` then says what could not be read.

    Raises SourceError when it is missing, empty, or nothing in it is a video that FFmpeg can decode.
    """

    live = False
    color = "bgr"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = printable(mask_uri(str(path)))  # an address that was mistyped may hold a password
        self.warning: str | None = None
        _check_head(self.path, self.name)
        # An absolute path, or FFmpeg takes what comes before a colon in a name for a protocol.
        target = os.path.abspath(path)
        from edge_har.sources.ffmpeg import Decoder

        try:
            self._decoder = Decoder(target, self.name, options=ITSELF_ALONE, retries=END_ATTEMPTS)
        except SourceError as error:
            raise SourceError(
                f"{self.name}: not a video that can be decoded (damaged, sound only, or another kind of file)"
            ) from error
        self._step_s = 1 / (self.rate_hz or USUAL_RATE_HZ)
        self._times = TimestampRepair(self._step_s)
        self._ahead: deque[VideoFrame] = deque()  # decoded, but not yet given
        self._current: VideoFrame | None = None
        self._end_stamp_s = 0.0  # the last of the container's own times, in any order
        self._frames = 0
        self._first_s = 0.0
        self._time_s = 0.0
        self._closed = False

    @property
    def rate_hz(self) -> float:
        """The rate that the container states, in frames a second; 0.0 where it states none.

        Not used for timing.
        """
        return self._decoder.rate_hz

    def grab(self) -> float | None:
        """Time of the next frame in seconds from the container; None at the end, or once closed.

        Raises SourceError at the end of a file of which no frame could be decoded, and for colours that
        cannot be converted.
        """
        if self._closed:
            return None
        self._current = self._ahead.popleft() if self._ahead else self._next_frame()
        if self._current is None:
            self._end()
            return None
        stamp_s = self._decoder.stamp_s(self._current)
        self._time_s = self._times.at(stamp_s, self._following(stamp_s))
        if self._frames == 0:
            self._first_s = self._time_s
        self._frames += 1
        return self._time_s

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        if self._current is None:
            raise SourceError(f"{self.name}: no frame was grabbed")
        return self._decoder.pixels(self._current)

    def close(self) -> None:
        """Release the decoder and the file."""
        self._closed = True
        self._ahead.clear()
        self._current = None
        self._decoder.close()

    def _following(self, stamp_s: float) -> list[float]:
        """Stamps of the frames after the current one, where its time hangs on them."""
        if self._frames == 0:
            return self._decoder.stamps_ahead(LOOK_AHEAD)
        if self._times.needs_following(stamp_s):
            while len(self._ahead) < LOOK_AHEAD and (frame := self._next_frame()) is not None:
                self._ahead.append(frame)
        return [self._decoder.stamp_s(later) for later in self._ahead]

    def _next_frame(self) -> VideoFrame | None:
        frame = self._decoder.next_frame()
        if frame is not None and math.isfinite(stamp_s := self._decoder.stamp_s(frame)):
            self._end_stamp_s = max(self._end_stamp_s, stamp_s)
        return frame

    def _end(self) -> None:
        if self._frames == 0:
            raise SourceError(f"{self.name}: no frame can be decoded")
        decoder = self._decoder
        read_s = self._time_s - self._first_s + self._step_s
        stated_s = decoder.stated_frames * self._step_s or decoder.stated_s
        # The end is what a container states; frames with wrong stamps count for it as the others do.
        start_s = decoder.start_s if decoder.format_name in STATED_ENDS else 0.0
        missing_s = stated_s - max(read_s, start_s + self._end_stamp_s + self._step_s)
        allowed_s = max(MISSING_S, MISSING_SHARE * stated_s)
        if decoder.format_name == AVI:
            # Frames that repeat the one before are counted and are not there: only the time of the end shows.
            allowed_s = min(allowed_s, (AVI_MISSING_FRAMES + 0.5) * self._step_s)
        places = decoder.damaged_places
        if missing_s > allowed_s:
            self.warning = f"its video ends after {read_s:.1f} s; the file states {read_s + missing_s:.1f} s"
        elif places:
            self.warning = f"damaged in {places} place{'s' * (places > 1)}; the rest was read"


def _check_head(path: Path, name: str) -> None:
    """Raises SourceError for anything that cannot be a video by its first bytes."""
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


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head[: max(1, len(head) - 3)].decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 6  # a character cut at the end of what was read
    return True
