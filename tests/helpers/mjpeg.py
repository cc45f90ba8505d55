"""A camera on loopback: motion JPEG over HTTP, from the standard library, with faults on request."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self

Pixels = NDArray[np.uint8]

BOUNDARY = "frame"
QUALITY = 95


def jpeg(rgb: Pixels) -> bytes:
    """One picture (uint8 [h, w, 3], RGB) as JPEG."""
    done, content = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return content.tobytes()


def decoded(content: bytes) -> Pixels:
    """What a JPEG shows: uint8 [h, w, 3], BGR."""
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), np.uint8)


class MjpegServer:
    """Serves `pictures` (JPEG bytes) at `rate_hz` to whoever asks, from the first one for each;
    a context manager.

    user_password: `user:password` that is asked for (basic). gate: gets method, path and the `Authorization`
    header (None without one); the `WWW-Authenticate` headers that it gives refuse the request. With an
    image's content type each request gets one picture, the next one. lengths: whether parts carry a
    Content-Length. loop: begin again after the last picture; else the stream ends. `stall()` stops all
    streams without closing them, `drop()` closes them, `stop()` also refuses new ones until `start()`.
    `sent` counts pictures, `standing` the streams that stand still.
    """

    def __init__(
        self,
        pictures: Sequence[bytes] | Callable[[int], bytes | None],
        rate_hz: float,
        *,
        user_password: str | None = None,
        gate: Callable[[str, str, str | None], Sequence[str]] | None = None,
        lengths: bool = True,
        loop: bool = False,
        content_type: str = f"multipart/x-mixed-replace; boundary={BOUNDARY}",
    ) -> None:
        self.pictures = pictures
        self.rate_hz = rate_hz
        self.gate = gate or _basic_gate(user_password)
        self.lengths = lengths
        self.loop = loop
        self.content_type = content_type
        self.redirect = ""  # where requests are sent on to
        self.sent = self.standing = 0
        self.opened = 0
        self.asked: list[str] = []  # paths with their queries
        self._port = 0
        self._dropped = threading.Event()
        self._stalled = threading.Event()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it serves; the same after a restart."""
        return f"http://127.0.0.1:{self._port}/video"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._dropped.clear()
        self._stalled.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close every stream and listen no more."""
        self._dropped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def drop(self) -> None:
        """Close the streams that are open; new ones are welcome."""
        dropped, self._dropped = self._dropped, threading.Event()
        dropped.set()

    def stall(self) -> None:
        """Send nothing more on any stream, and keep them open."""
        self._stalled.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stream(self, write: Callable[[bytes], object]) -> None:
        """Send pictures at the rate, by the clock, until they end or the stream is dropped."""
        dropped, began, number = self._dropped, time.monotonic(), 0
        while not dropped.wait(max(0.0, began + number / self.rate_hz - time.monotonic())):
            if self._stalled.is_set():
                self.standing += 1
                dropped.wait(60)
                return
            picture = self._picture(number)
            if picture is None:
                return
            length = f"Content-Length: {len(picture)}\r\n" if self.lengths else ""
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n{length}\r\n"
            write(head.encode() + picture + b"\r\n")
            self.sent += 1
            number += 1

    def next_still(self) -> bytes:
        """The picture of one answer."""
        picture = self._picture(self.sent)
        self.sent += 1
        assert picture is not None, "a camera of stills has loop or a function"
        return picture

    def _picture(self, number: int) -> bytes | None:
        if callable(self.pictures):
            return self.pictures(number)
        if not self.loop and number >= len(self.pictures):
            return None
        return self.pictures[number % len(self.pictures)]


def _basic_gate(user_password: str | None) -> Callable[[str, str, str | None], Sequence[str]]:
    def gate(method: str, path: str, given: str | None) -> Sequence[str]:
        if user_password is None or given == "Basic " + base64.b64encode(user_password.encode()).decode():
            return ()
        return ('Basic realm="camera"',)

    return gate


def refuse_login(request: BaseHTTPRequestHandler, challenges: Sequence[str]) -> None:
    """Answer 401 with `challenges`, each a header of its own."""
    request.send_response(401)
    for challenge in challenges:
        request.send_header("WWW-Authenticate", challenge)
    request.end_headers()


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


def _handler(server: MjpegServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            challenges = server.gate(self.command, self.path, self.headers.get("Authorization"))
            if challenges:
                refuse_login(self, challenges)
                return
            if server.redirect:
                self.send_response(302)
                self.send_header("Location", server.redirect)
                self.end_headers()
                return
            server.opened += 1
            server.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", server.content_type)
            if server.content_type.startswith("image/"):
                self._send_still()
                return
            self.end_headers()
            server.stream(self.wfile.write)

        def _send_still(self) -> None:
            picture = server.next_still()
            if server.lengths:
                self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
