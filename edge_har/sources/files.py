"""Recorded video files, with the times that stand in their container."""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge_har.errors import SourceError, printable
from edge_har.options.addresses import mask_uri
from edge_har.sources.opencv import CapturedSource, open_capture
from edge_har.system.files import PathKind, path_kind, utf8_path

VIDEO_SUFFIXES = frozenset(
    [
        ".avi",
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".3gp",
        ".wmv",
        ".flv",
        ".ogv",
        ".mjpg",
        ".mjpeg",
        ".gif",
    ]
)
DECODER_THREADS = 1  # more threads buffer more frames: memory a Pi does not have
END_ATTEMPTS = 250  # refused packets in a row before a file counts as ended: 10 s of damage at 25 fps
HEAD_BYTES = 4096
USUAL_RATE_HZ = 25.0  # where a container states neither times nor a rate
MISSING_SHARE, MISSING_S = 0.1, 0.5  # a file that ends this much before its stated end was cut
AVI_MAGIC = b"RIFF"  # its header counts frames exactly
AVI_MISSING_FRAMES = 2


def find_videos(path: str) -> Iterator[str]:
    """The files that `path` means: itself, a folder's videos at any depth, what a pattern matches; in sorted
    order.

    A path that is not there is given as it is: whoever opens it says so.
    """
    if os.path.isdir(path):
        for parent, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith("."):
                    yield os.path.join(parent, name)
    elif glob.has_magic(path) and not os.path.exists(path):
        yield from sorted(glob.glob(path, recursive=True)) or [path]
    else:
        yield path


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
        self._frames = 0
        self._holes = 0
        self._first_s = 0.0
        self._time_s = 0.0
        self._container_s = 0.0
        self._shift_s = 0.0

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
        refused = 0
        while not self._capture.grab():
            refused += 1
            if refused >= END_ATTEMPTS:
                self._end()
                return None
        self._holes += refused > 0
        self._time_s = self._next_time_s(float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
        if self._frames == 0:
            self._first_s = self._time_s
        self._frames += 1
        return self._time_s

    def _next_time_s(self, container_s: float) -> float:
        """The container's time, made to run forward: it may lack times (B-frames in AVI) or start over
        (joined TS).
        """
        if self._frames == 0:
            self._container_s = container_s if math.isfinite(container_s) else 0.0
            return self._container_s
        if container_s == 0 or not math.isfinite(container_s):
            return self._time_s + self._step_s
        if container_s < self._container_s:
            self._shift_s = self._time_s + self._step_s - container_s
        self._container_s = container_s
        return max(self._time_s, container_s + self._shift_s)

    def _end(self) -> None:
        if self._frames == 0:
            raise SourceError(f"{self.name}: no frame can be decoded")
        read_s = self._time_s - self._first_s + self._step_s
        stated_s = self._stated_frames * self._step_s
        missing_s = stated_s - read_s
        cut = missing_s > max(MISSING_S, MISSING_SHARE * stated_s)
        if self._head.startswith(AVI_MAGIC):
            cut = cut or self._stated_frames - self._frames > AVI_MISSING_FRAMES
        if cut:
            self.warning = f"its video ends after {read_s:.1f} s; the file states {stated_s:.1f} s"
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
