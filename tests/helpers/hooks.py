"""A web server on loopback that takes events, and fails in every way that a test asks for."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 30.0


@dataclass(frozen=True)
class Post:
    """One request. connection: which of those it came on."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class HookServer:
    """Takes POSTs and answers `answers` in turn, then `status`; a context manager. `posts` is what came.

    An answer is a status, or (status, headers). hang: nothing is answered until it stops. drip: headers come
    now and then, without end; trickle: so does the body. drop: connections are closed without an answer.
    """

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self.status = 204
        self.answers: deque[int | tuple[int, dict[str, str]]] = deque()
        self.posts: list[Post] = []
        self.connections = 0
        self.hang = self.drip = self.trickle = self.drop = False
        self._released = threading.Event()
        self._certificate, self._key = certificate, key
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._lines: set[Any] = set()

    @property
    def url(self) -> str:
        """Where it takes events; the same after a restart."""
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self._port}/hook"

    def bodies(self) -> list[str]:
        """What came."""
        return [post.body.decode() for post in list(self.posts)]

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._released.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificate, self._key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and close every connection."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for line in list(self._lines):
            with suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)
        self._lines.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


def _handler(server: HookServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            server.connections += 1
            self.number = server.connections
            server._lines.add(self.connection)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # the server was stopped while the request came
                self.close_connection = True
                return
            if server.hang:
                server._released.wait(WAIT_S)
                return
            if server.drop:
                self.close_connection = True
                return
            if server.drip or server.trickle:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                if server.trickle:
                    self.wfile.write(b"Connection: close\r\n\r\n")
                while not server._released.wait(0.02):
                    self.wfile.write(b"X-Slow: 1\r\n")
                return
            server.posts.append(Post(self.path, dict(self.headers), body, self.number))
            answer = server.answers.popleft() if server.answers else server.status
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    return Handler
