"""Pictures out of a stream of bytes, whoever sends it: motion JPEG or raw frames, cut, checked, decoded."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import cv2
import numpy as np

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Source

MAX_JPEG_BYTES = 16 * 1024 * 1024
MAX_JPEG_PIXELS = 4096 * 4096  # a header can claim 12 GB
MAX_SCANS = 64  # a progressive picture has some ten; each costs a pass over all of it
MAX_MARKERS = 256  # before a picture's coded data; real ones have a few dozen
START, END, SCAN = b"\xff\xd8\xff", b"\xff\xd9", 0xDA
SCAN_MARK = b"\xff\xda"
BEGIN_AND_END = (START[1], END[1])
BARE_MARKERS = frozenset([0x01, *range(0xD0, 0xD8)])  # markers without a length
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Splitter(Protocol):
    """Cuts a stream of bytes into pictures."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pictures that became whole with `data`, in order."""


class JpegSplitter:
    """Cuts whole JPEG pictures out of a stream of bytes, whatever comes between them.

    A multipart stream's headers, and damage, are what comes between. Holds at most one picture's bytes, and
    looks at each byte a bounded number of times, whatever they are.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._begin()

    def feed(self, data: bytes) -> list[bytes]:
        """The pictures that became whole with `data`, in order."""
        self._held += data
        whole = []
        while self._to_start() and (end := self._end()):
            if end > 0:
                whole.append(bytes(self._held[:end]))
            self._drop(abs(end))
        if len(self._held) > MAX_JPEG_BYTES:
            self._drop(len(START))
        return whole

    def _begin(self) -> None:
        self._at = 2  # bytes of the picture at the front that were understood
        self._markers = 0
        self._in_scan = False
        self._searched = 0  # bytes of its coded data in which no end was found

    def _to_start(self) -> bool:
        if self._at > 2 or self._in_scan:
            return True
        start = self._held.find(START)
        if start < 0:
            self._drop(max(0, len(self._held) - len(START) + 1))
        elif start > 0:
            self._drop(start)
        return start >= 0

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._begin()

    def _end(self) -> int:
        """Where the picture at the front ends; negative: how much of it to give up; 0: not yet known."""
        held = self._held
        while not self._in_scan:
            at = self._at
            if at + 4 > len(held):
                return 0
            marker = held[at + 1]
            if held[at] != 0xFF or marker == 0x00:
                return -len(START)
            if marker in BEGIN_AND_END or self._markers >= MAX_MARKERS:
                return -at
            self._markers += 1
            if marker == 0xFF or marker in BARE_MARKERS:
                self._at += 1 if marker == 0xFF else 2
                continue
            length = held[at + 2] << 8 | held[at + 3]
            if length < 2:
                return -len(START)
            self._at += 2 + length
            self._in_scan = marker == SCAN
        return self._scan_end()

    def _scan_end(self) -> int:
        begin = max(self._at, self._searched)
        # A start inside coded data cannot be: this picture was cut off and another follows.
        next_start = self._held.find(START, begin)
        end = self._held.find(END, begin, next_start if next_start >= 0 else len(self._held))
        if end >= 0:
            return end + len(END)
        self._searched = max(self._at, len(self._held) - len(START) + 1)
        return -next_start if next_start >= 0 else 0


class RawSplitter:
    """Cuts frames of `frame_bytes` bytes each."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that became whole with `data`, in order."""
        self._held += data
        whole = []
        while len(self._held) >= self._frame_bytes:
            whole.append(bytes(self._held[: self._frame_bytes]))
            del self._held[: self._frame_bytes]
        return whole


def jpeg_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's header states, in px; None where it states none."""
    at = 2
    while at + 9 <= len(picture) and picture[at] == 0xFF:
        marker = picture[at + 1]
        if marker in SIZE_MARKERS:
            return picture[at + 7] << 8 | picture[at + 8], picture[at + 5] << 8 | picture[at + 6]
        if marker == SCAN:
            return None
        bare = marker in BARE_MARKERS
        at += 1 if marker == 0xFF else 2 if bare else 2 + (picture[at + 2] << 8 | picture[at + 3])
    return None


def decode_jpeg(picture: bytes) -> Pixels | None:
    """The pixels of a JPEG: uint8 [height, width, 3], BGR; None where it is damaged, or too large."""
    size = jpeg_size(picture)
    if size is None or not 0 < size[0] * size[1] <= MAX_JPEG_PIXELS or picture.count(SCAN_MARK) > MAX_SCANS:
        return None
    try:
        return cast("Pixels | None", cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
    except cv2.error:
        return None


def _bgr(frame: Pixels, width: int, height: int) -> Pixels:
    return frame.reshape(height, width, 3)


def _rgb(frame: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.cvtColor(frame.reshape(height, width, 3), cv2.COLOR_RGB2BGR))


def _grey(frame: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.cvtColor(frame.reshape(height, width), cv2.COLOR_GRAY2BGR))


def _yuyv(frame: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.cvtColor(frame.reshape(height, width, 2), cv2.COLOR_YUV2BGR_YUY2))


def _nv12(frame: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.cvtColor(frame.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_NV12))


def _i420(frame: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.cvtColor(frame.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420))


def _i420_full(frame: Pixels, width: int, height: int) -> Pixels:
    """As JPEG has it: luma from 0 to 255, where OpenCV's own conversion expects 16 to 235."""
    luma, quarter = width * height, width * height // 4
    halves = (
        frame[luma + i * quarter : luma + (i + 1) * quarter].reshape(height // 2, width // 2) for i in (1, 0)
    )
    wide = [cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR) for half in halves]
    merged = cv2.merge([frame[:luma].reshape(height, width), *wide])
    return cast(Pixels, cv2.cvtColor(merged, cv2.COLOR_YCrCb2BGR))


# Name as FFmpeg has it: bytes of a pixel, whether both sides must be even, and how it becomes BGR.
RAW_FORMATS: dict[str, tuple[float, bool, Callable[[Pixels, int, int], Pixels]]] = {
    "bgr24": (3, False, _bgr),
    "rgb24": (3, False, _rgb),
    "gray": (1, False, _grey),
    "yuyv422": (2, True, _yuyv),
    "nv12": (1.5, True, _nv12),
    "yuv420p": (1.5, True, _i420),
    "yuvj420p": (1.5, True, _i420_full),
}


def raw_frames(name: str, size: tuple[int, int] | None) -> tuple[RawSplitter, Callable[[bytes], Pixels]]:
    """What cuts raw frames of this format and size, and what makes BGR pixels of one.

    Raises MisuseError for a format that is not known, or sizes that cannot be.
    """
    if name not in RAW_FORMATS:
        raise MisuseError(f"no format of raw frames is called {name!r}; choose from {', '.join(RAW_FORMATS)}")
    if size is None:
        raise MisuseError(f"raw frames need their size: format={name}&size=640x480")
    pixel_bytes, even, convert = RAW_FORMATS[name]
    width, height = size
    if even and (width % 2 or height % 2):
        raise MisuseError(f"frames in {name} have even sides, got {width}x{height}")

    def decode(frame: bytes) -> Pixels:
        return convert(np.frombuffer(frame, np.uint8), width, height)

    return RawSplitter(int(width * height * pixel_bytes)), decode


class PictureStream(Source):
    """A source that reads bytes and cuts them into pictures; only pictures that are retrieved are decoded.

    Times are arrivals on time.monotonic(). splitter: cuts. decode: gives the pixels of one picture, BGR, or
    None where it is damaged. read_timeout_s: the longest time without a whole picture.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(
        self,
        name: str,
        read_timeout_s: float,
        splitter: Splitter | None = None,
        decode: Callable[[bytes], Pixels | None] = decode_jpeg,
    ) -> None:
        self.name = name
        self._read_timeout_s = read_timeout_s
        self._splitter: Splitter = splitter or JpegSplitter()
        self._decode = decode
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._picture = b""

    @abstractmethod
    def read(self, timeout_s: float) -> bytes | None:
        """More bytes; b"" at the end, None where nothing comes in time.

        Raises SourceError where the stream fails.
        """

    def grab(self) -> float | None:
        """Arrival of the next whole picture in seconds, or None at the end.

        Raises SourceError when none arrives in time.
        """
        if not self._waiting and not self._fill(self._read_timeout_s):
            return None
        arrival_s, self._picture = self._waiting.popleft()
        return arrival_s

    def retrieve(self) -> Pixels:
        """The picture just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        pixels = self._decode(self._picture)
        if pixels is None:
            raise SourceError(f"{self.name}: a picture is damaged")
        return pixels

    def silent(self, timeout_s: float) -> SourceError:
        """The error about a stream in which no whole picture came for `timeout_s`."""
        return SourceError(f"{self.name}: no whole picture for {timeout_s:g} s")

    def _fill(self, timeout_s: float) -> bool:
        """Read until a picture waits; False at the end."""
        deadline_s = time.monotonic() + timeout_s
        while not self._waiting:
            left_s = deadline_s - time.monotonic()
            data = self.read(left_s) if left_s > 0 else None
            if data is None:
                raise self.silent(timeout_s)
            if not data:
                return False
            arrival_s = time.monotonic()
            self._waiting.extend((arrival_s, picture) for picture in self._splitter.feed(data))
        return True
