"""Motion JPEG over HTTP, read by our own hands: FFmpeg invents 25 fps for it; here a frame's time is its arrival."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import deque
from http.client import HTTPException
from typing import cast
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge_har import __version__
from edge_har.errors import SourceError
from edge_har.preprocess import Pixels
from edge_har.sources.base import Source
from edge_har.sources.uris import mask_uri, split_credentials

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
CHUNK_BYTES = 64 * 1024
MAX_JPEG_BYTES = 16 * 1024 * 1024
START, END, SCAN = b"\xff\xd8\xff", b"\xff\xd9", 0xDA
BARE_MARKERS = frozenset([0x01, *range(0xD0, 0xD8)])  # markers without a length
STREAM_TYPES = ("multipart/", "video/x-motion-jpeg", "video/x-jpeg", "application/octet-stream")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class JpegSplitter:
    """Cuts whole JPEG pictures out of a stream of bytes, whatever stands between them.

    A multipart stream's headers, and damage, are what stands between. Holds at most one picture's bytes.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0  # bytes of the picture's scan in which no end was found

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

    def _to_start(self) -> bool:
        start = self._held.find(START)
        if start < 0:
            self._drop(max(0, len(self._held) - len(START) + 1))
        elif start > 0:
            self._drop(start)
        return start >= 0

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._searched = 0

    def _end(self) -> int:
        """Where the picture at the front ends; negative: how much of it to give up; 0: not yet known."""
        held, at = self._held, 2
        while at + 4 <= len(held):
            marker = held[at + 1]
            if held[at] != 0xFF or marker == 0x00:
                return -len(START)
            if marker == 0xFF or marker in BARE_MARKERS:
                at += 1 if marker == 0xFF else 2
                continue
            if marker in START or marker == END[1]:
                return -at if at > 2 else -len(START)
            length = held[at + 2] << 8 | held[at + 3]
            if length < 2:
                return -len(START)
            at += 2 + length
            if marker == SCAN:
                return self._scan_end(at)
        return 0

    def _scan_end(self, at: int) -> int:
        begin = max(at, self._searched)
        end = self._held.find(END, begin)
        # A start inside coded data cannot be: this picture was cut off and another follows.
        next_start = self._held.find(START, begin, end if end >= 0 else len(self._held))
        if next_start >= 0:
            return -next_start
        self._searched = max(at, len(self._held) - len(START) + 1)
        return end + len(END) if end >= 0 else 0


class MjpegSource(Source):
    """A camera or program that sends motion JPEG over HTTP; times are arrivals on time.monotonic().

    Only pictures that are retrieved are decoded. User and password stand in the URL (basic or digest).
    Raises SourceError, which never shows the password, when nothing answers or it is no motion JPEG.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(
        self, url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self.name = mask_uri(url)
        self._read_timeout_s = read_timeout_s
        self._splitter = JpegSplitter()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._picture = b""
        try:
            bare, user, password = split_credentials(url)
            # The timeout is that of the socket: it holds for every later read too.
            self._response = _opener(bare, user, password).open(
                urllib.request.Request(bare, headers={"User-Agent": f"edge-har/{__version__}"}),
                timeout=min(open_timeout_s, read_timeout_s),
            )
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceError(
                f"{self.name}: the server answers {error.code} {error.reason}; check path, user and password"
            ) from None
        except urllib.error.URLError as error:
            raise SourceError(f"{self.name}: cannot be reached: {_reason(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self.name}: cannot be opened: {_reason(error)}") from None
        kind = self._response.headers.get_content_type()
        if "Content-Type" in self._response.headers and not kind.startswith(STREAM_TYPES):
            self.close()
            raise SourceError(f"{self.name}: sends {kind}, not motion JPEG; download it and name the file")

    def grab(self) -> float | None:
        """Arrival of the next whole picture in seconds, or None when the server ended the stream.

        Raises SourceError when none arrives in time.
        """
        deadline_s = time.monotonic() + self._read_timeout_s
        while not self._waiting:
            try:
                data = self._response.read1(CHUNK_BYTES)
            except (OSError, HTTPException, ValueError, AttributeError) as error:
                # AttributeError: closed by another thread while reading
                raise SourceError(f"{self.name}: the stream broke off: {_reason(error)}") from None
            arrival_s = time.monotonic()
            if not data:
                return None
            self._waiting.extend((arrival_s, picture) for picture in self._splitter.feed(data))
            if arrival_s > deadline_s and not self._waiting:
                raise SourceError(f"{self.name}: no whole picture for {self._read_timeout_s:g} s")
        arrival_s, self._picture = self._waiting.popleft()
        return arrival_s

    def retrieve(self) -> Pixels:
        """The picture just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        try:
            pixels = cv2.imdecode(np.frombuffer(self._picture, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            pixels = None
        if pixels is None:
            raise SourceError(f"{self.name}: a picture is damaged")
        return cast(Pixels, pixels)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def _opener(url: str, user: str, password: str) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = []
    if user or password:
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        known.add_password(None, url, user, password)
        handlers += [urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)]
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _reason(error: object) -> str:
    """One line about an error that cannot hold a password: what the system said, or the error's kind."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
