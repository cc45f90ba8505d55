"""Cameras over HTTP: motion JPEG, read by our own hands because FFmpeg invents 25 fps for it, and stills that
are fetched again and again. A frame's time is its arrival.
"""

from __future__ import annotations

import math
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from edge_har import __version__
from edge_har.errors import MisuseError, SourceError
from edge_har.options.addresses import mask_uri, split_credentials
from edge_har.sources.pictures import PictureStream
from edge_har.system.http_login import HttpLogin, request_target, unknown_schemes

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
CHUNK_BYTES = 64 * 1024
STREAM_TYPES = (
    "multipart/",
    "video/mjpeg",
    "video/x-mjpeg",
    "video/x-motion-jpeg",
    "video/x-jpeg",
    "application/octet-stream",
)
STILL_TYPES = ("image/jpeg", "image/jpg", "image/pjpeg")
STILL_INTERVAL_S = 0.2  # between stills, where nobody says how often a frame is wanted
MAX_STILL_INTERVAL_S = 1.0  # a wait that holds up no end of a run
CHECK = "check path, user and password"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class MjpegSource(PictureStream):
    """A camera or program that sends motion JPEG over HTTP, or one JPEG picture for each request.

    User and password stand in the URL (basic or digest). A picture that is one answer is fetched again at the
    interval of `want_every`.

    Raises MisuseError for an address that cannot be, SourceError when nothing responds or it is no JPEG;
    neither shows the password.
    """

    def __init__(
        self, url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        super().__init__(mask_uri(url), read_timeout_s)
        try:
            bare, user, password = split_credentials(url)
            bare = _quoted_url(bare)
        except ValueError:
            raise MisuseError(
                f"{self.name}: expected http://HOST:PORT/PATH, with a port of 1 to 65535"
            ) from None
        self._url = bare
        self._opener = _opener(bare, user, password)
        # The timeout is that of the socket: it holds for every later read too.
        self._timeout_s = min(open_timeout_s, read_timeout_s)
        self._closed = threading.Event()
        self._open()

    def read(self, timeout_s: float) -> bytes | None:
        """More bytes, as soon as there are any; how long that may take is set on the socket."""
        deadline_s = time.monotonic() + timeout_s
        while not (data := self._read_on()) and self._still and self._wait_for_turn():
            if time.monotonic() > deadline_s:
                return None
            self._open()
        return data

    def close(self) -> None:
        """Close the connection."""
        self._closed.set()
        self._response.close()

    def _open(self) -> None:
        self._asked_s = time.monotonic()
        headers = {"User-Agent": f"edge-har/{__version__}"}
        try:
            request = urllib.request.Request(self._url, headers=headers)
            self._response = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            unknown = unknown_schemes(error.headers.get_all("WWW-Authenticate", []))
            advice = f"it asks for {unknown}, not for basic or digest" if unknown else CHECK
            raise SourceError(
                f"{self.name}: the server answers {error.code} {error.reason}; {advice}"
            ) from None
        except urllib.error.URLError as error:
            raise SourceError(f"{self.name}: cannot be reached: {_reason(error.reason)}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self.name}: cannot be opened: {_reason(error)}") from None
        if self._closed.is_set():  # by another thread, meanwhile
            self._response.close()
        kind = self._response.headers.get_content_type()
        self._still = kind in STILL_TYPES
        stated = "Content-Type" in self._response.headers
        if stated and not self._still and not kind.startswith(STREAM_TYPES):
            self.close()
            raise SourceError(f"{self.name}: sends {kind}, not motion JPEG; download it and name the file")

    def _read_on(self) -> bytes:
        try:
            return bytes(self._response.read1(CHUNK_BYTES))
        except (OSError, HTTPException, ValueError, AttributeError) as error:
            # AttributeError: closed by another thread while reading
            raise SourceError(f"{self.name}: the stream broke off: {_reason(error)}") from None

    def _wait_for_turn(self) -> bool:
        """Wait until the next still is due, on a grid of the interval; False once closed."""
        self._response.close()
        interval_s = min(self.wanted_interval_s or STILL_INTERVAL_S, MAX_STILL_INTERVAL_S)
        passed = max(1, math.ceil((time.monotonic() - self._asked_s) / interval_s))
        due_s = self._asked_s + passed * interval_s
        return not self._closed.wait(max(0.0, due_s - time.monotonic()))


class _LoginHandler(urllib.request.BaseHandler):
    """Logs in where the server of `url` asks for it, and with every request after that; nowhere else."""

    handler_order = 490  # before what urllib does with errors

    def __init__(self, url: str, login: HttpLogin) -> None:
        self._server = urlsplit(url)[:2]
        self._login = login

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if urlsplit(request.full_url)[:2] == self._server:
            header = self._login.authorization(request.get_method(), _target_of(request))
            if header is not None:
                request.add_unredirected_header("Authorization", header)
        return request

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        if 200 <= response.status < 300 and urlsplit(request.full_url)[:2] == self._server:
            self._login.accepted()
        return response

    https_request, https_response = http_request, http_response

    def http_error_401(
        self, request: urllib.request.Request, answer: IO[bytes], code: int, reason: str, headers: HTTPMessage
    ) -> Any:
        offered = headers.get_all("WWW-Authenticate", [])
        if urlsplit(request.full_url)[:2] != self._server or not self._login.refused(offered):
            return None
        answer.close()
        return self.parent.open(request, timeout=request.timeout)


def _target_of(request: urllib.request.Request) -> str:
    parts = urlsplit(request.full_url)
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def _quoted_url(url: str) -> str:
    """`url` in ASCII, as a request has it. Raises ValueError where its host cannot be."""
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    return urlunsplit((parts.scheme, host, "", "", "")) + request_target(parts.path, parts.query)


def _opener(url: str, user: str, password: str) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = []
    if user or password:
        handlers.append(_LoginHandler(url, HttpLogin(user, password)))
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _reason(error: object) -> str:
    """One line about an error that cannot hold a password: the system's message, or the error's kind."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
