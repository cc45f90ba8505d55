"""The page's HTTP server: tornado in a thread of its own, which reads the run's status and never waits for a
viewer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tornado.httpserver
import tornado.iostream
import tornado.web
import tornado.websocket

from edge_har.errors import EdgeHarError, MisuseError
from edge_har.pipeline.status import RunStatus
from edge_har.web.auth import COOKIE_DAYS, RequestAuth
from edge_har.web.history import KEPT, History
from edge_har.web.limits import MAX_CONNECTIONS, Connections, TooManyTries
from edge_har.web.machine import MachineMonitor
from edge_har.web.options import WebOptions, is_loopback
from edge_har.web.pictures import EncodedFrame, FrameBroadcaster
from edge_har.web.snapshot import Snapshots, stuck, unready

STATE_S = 0.5  # how often pages get the state
IDLE_S = 1.0  # how often the history is updated without viewers
WRITE_TIMEOUT_S = 20.0  # a viewer that takes nothing for so long is let go
START_TIMEOUT_S, CLOSE_TIMEOUT_S = 10.0, 1.0
STILL_S = 5.0  # how long a still waits for the next picture
FAREWELL_S = 0.4  # how long viewers have at the end to take the last state
DEFAULT_EVENTS = 100  # in the list for programs
MAX_VIEWERS = 32  # pages and streams
MAX_BODY_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
KEEP_ALIVE_S = 60.0
UNSENT_BYTES = 128 * 1024  # what the system keeps for a slow viewer: more would only be older
EVERYWHERE = ("0.0.0.0", "::")  # addresses that mean all of this machine's
ELSEWHERE = "192.0.2.1"  # an address of no machine (RFC 5737)
BOUNDARY = "picture"

State = dict[str, Any]  # a snapshot
GONE = (asyncio.TimeoutError, tornado.iostream.StreamClosedError, tornado.websocket.WebSocketClosedError)
SWITCHED, GOING_AWAY, UNSUPPORTED_DATA = 101, 1001, 1003  # RFC 6455

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "edge_har",
}
NO_METRICS = "metrics need prometheus-client: pip install 'edge-har[metrics]'"

log = logging.getLogger("edge_har")


class WebServer:
    """Serves a run's page until `close()`.

    broadcaster: the frame sink through which pictures come. url: where the page is, after `start()`. link:
    the same with the token, which opens the page at once; from other machines too where it listens for them.
    """

    def __init__(self, options: WebOptions, run_status: RunStatus) -> None:
        self.options = options
        self.run_status = run_status
        self.broadcaster = FrameBroadcaster(options.rate_hz, options.picture_px, self._wake)
        self.access = RequestAuth(options.token)
        self.history = History(lambda source: run_status.source(source).lost_reason)
        self.machine = MachineMonitor(time.monotonic)
        self.snapshots = Snapshots(run_status)
        self.files = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
        self.clients: set[PageClient] = set()
        self.connections = Connections()
        self.url = self.link = ""
        self._read_s = run_status.started_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="web")
        self._exposition: Any = None

    def start(self) -> None:
        """Listen and serve. Raises EdgeHarError where it cannot listen."""
        self._sockets = self._bind()
        host, port = self._sockets[0].getsockname()[:2]
        self.url = _url(socket.gethostname() if host in EVERYWHERE else host, port)
        # Not every network knows the name of this machine: the link has its address.
        self.link = _url(_own_address() if host in EVERYWHERE else host, port)
        if self.options.token is not None:
            self.link += f"?token={quote(self.options.token, safe='')}"
        # Without a handler Python prints what clients do wrong; an application that wants it adds one.
        logging.getLogger("tornado").addHandler(logging.NullHandler())
        self._thread.start()
        self._started.wait(START_TIMEOUT_S)
        log.info("the live page is at %s", self.url)

    def close(self) -> None:
        """Close every connection and end the thread; may be called twice."""
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of all sources."""
        return tuple(source.name for source in self.run_status.sources)

    def update_history(self) -> None:
        """Bring the history up to now."""
        now_s = time.monotonic()
        self.history.record(self.run_status.events_since(self._read_s))
        self._read_s = now_s
        self.history.attach(self.run_status.clips())
        self.history.forget(now_s)

    async def state(self, *, over: bool = False) -> State:
        """The run's state; the machine's readings are taken in another thread. over: whether it is the
        last.
        """
        readings = await asyncio.get_running_loop().run_in_executor(None, self.machine.read)
        return self.snapshots.make(readings, over=over)

    async def metrics(self, accept: str) -> tuple[bytes, str] | None:
        """Prometheus' text and its type; None where prometheus_client is not installed."""
        if self._exposition is None:
            try:
                from edge_har.web.metrics import Exposition, StatusCollector
            except ImportError as error:
                if (error.name or "").partition(".")[0] != "prometheus_client":
                    raise
                return None
            self._exposition = Exposition(
                StatusCollector(
                    self.run_status, self.machine.read, self.history.started, lambda: len(self.clients)
                )
            )
        await asyncio.get_running_loop().run_in_executor(None, self.machine.read)
        self.update_history()
        text: tuple[bytes, str] = self._exposition.text(accept)
        return text

    def _bind(self) -> list[socket.socket]:
        try:
            sockets = _listen(*self.options.address)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise EdgeHarError(f"the page cannot listen on {self.options.listen}: {reason}") from None
        if self.options.token is None and not all(is_loopback(s.getsockname()[0]) for s in sockets):
            for bound in sockets:
                bound.close()
            raise MisuseError(f"{self.options.listen} is more than this machine: give the page a token")
        return sockets

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  the page must never take recognition down
            _report("has ended", error)
        finally:
            self._started.set()
            self.broadcaster.close()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_report_context)
        server = _Server(
            _application(self),
            max_body_size=MAX_BODY_BYTES,
            max_header_size=MAX_BODY_BYTES,
            idle_connection_timeout=KEEP_ALIVE_S,
            body_timeout=KEEP_ALIVE_S,
        )
        server.connections = self.connections
        server.add_sockets(self._sockets)
        pushing = asyncio.create_task(self._push_states())
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            pushing.cancel()
            server.stop()
            with suppress(Exception):  # whatever is wrong, it ends
                await asyncio.wait_for(self._push_last_state(), FAREWELL_S)
            for client in list(self.clients):
                client.drop()
            self.connections.close()

    async def _push_states(self) -> None:
        """Keep the history and all viewers up to date."""
        while True:
            began_s = time.monotonic()
            try:
                self.update_history()
                if self.clients:
                    state = await self.state()
                    for client in list(self.clients):
                        client.push_state(state)
            except Exception as error:  # noqa: BLE001  what cannot be shown must not freeze every page
                _report("misses a state", error)
            period_s = STATE_S if self.clients else IDLE_S
            await asyncio.sleep(max(0.0, began_s + period_s - time.monotonic()))

    async def _push_last_state(self) -> None:
        """Let all viewers know that the run is over; they leave when they took it."""
        self.update_history()
        state = await self.state(over=True)
        for client in list(self.clients):
            client.push_state(state)
        while self.clients:
            await asyncio.sleep(0.01)

    def _wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.broadcaster.publish)


class PageClient:
    """A viewer of the page or of a stream: what waits for it is at most one state and one picture of each
    source, the newest.

    drop: closes its connection at once.
    """

    def __init__(self, web: WebServer, drop: Callable[[], None]) -> None:
        self.left = False
        self._web = web
        self._drop = drop
        self._shots: dict[str, EncodedFrame] = {}
        self._state: State | None = None
        self._news = asyncio.Event()

    def offer(self, shot: EncodedFrame) -> None:
        """A newer picture."""
        self._shots[shot.source] = shot
        self._news.set()

    def push_state(self, state: State) -> None:
        """A newer state."""
        self._state = state
        self._news.set()

    async def news(self) -> tuple[State | None, list[EncodedFrame]]:
        """What came since the last time; waits until something did."""
        await self._news.wait()
        self._news.clear()
        state, self._state = self._state, None
        shots, self._shots = list(self._shots.values()), {}
        return state, shots

    def enter(self) -> None:
        """Look from now on; raises HTTPError 503 where too many do."""
        if len(self._web.clients) >= MAX_VIEWERS:
            raise tornado.web.HTTPError(503, reason="Too many viewers")
        self._web.clients.add(self)

    def leave(self) -> None:
        """Look no more; may be called twice."""
        self.left = True
        self._web.clients.discard(self)
        self._web.broadcaster.leave(self)
        self._news.set()

    def drop(self) -> None:
        """Leave, and close the connection at once."""
        self.leave()
        self._drop()


class _Server(tornado.httpserver.HTTPServer):
    """Keeps the number of connections within their limits. connections: set before it listens."""

    connections: Connections

    def handle_stream(self, stream: tornado.iostream.IOStream, address: Any) -> None:
        if not self.connections.admit(stream, address[0]):
            stream.close()
            return
        with suppress(OSError, AttributeError):
            stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        stream.set_nodelay(True)
        super().handle_stream(stream, address)


class _Handler(tornado.web.RequestHandler):
    """What all responses have in common: headers, and who may request."""

    needs_token = True

    def initialize(self, web: WebServer) -> None:
        self.web = web
        self._pause_s = 0.0  # before another token may be tried
        self._stream: tornado.iostream.IOStream | None = getattr(self.request.connection, "stream", None)

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        if self._stream is not None:
            self.web.connections.begin(self._stream)
        access, headers = self.web.access, self.request.headers
        if not access.host_allowed(self.request.host):
            raise tornado.web.HTTPError(403, reason="Forbidden host name; use localhost or 127.0.0.1")
        if not self.needs_token:
            return
        if not access.site_allowed(headers):
            raise tornado.web.HTTPError(403, reason="Not for pages of other sites")
        if not self.known:
            raise tornado.web.HTTPError(401)

    @property
    def known(self) -> bool:
        """Whether the client may see data. Raises HTTPError 429 where it tried too many wrong tokens."""
        access, cookie = self.web.access, self.get_cookie(self.web.access.cookie_name)
        with self._slowed():
            return access.known(self.request.headers, cookie, self.request.remote_ip or "")

    def is_token(self, given: str) -> bool:
        """Whether the client gave the token. Raises HTTPError 429 where it tried too many wrong ones."""
        with self._slowed():
            return self.web.access.is_token(given, self.request.remote_ip or "")

    @contextmanager
    def _slowed(self) -> Iterator[None]:
        try:
            yield
        except TooManyTries as slow:
            self._pause_s = slow.pause_s
            raise tornado.web.HTTPError(429, reason=str(slow).capitalize()) from None

    def on_finish(self) -> None:
        # A WebSocket's handshake is finished, and the connection is used from then on.
        if self._stream is not None and self.get_status() != SWITCHED:
            self.web.connections.end(self._stream)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 429:
            self.set_header("Retry-After", str(math.ceil(self._pause_s)))
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="edge_har"')
        self.text(f"{status_code} {self._reason}\n")

    def log_exception(self, *exception: Any) -> None:
        error = exception[1]
        if not isinstance(error, tornado.web.HTTPError):
            _report("could not answer", error)

    def text(self, text: str) -> None:
        """Answer in plain text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text)

    def file(self, name: str) -> None:
        """Answer with one of the page's files; browsers ask whether it changed."""
        self.set_header("Content-Type", TYPES[Path(name).suffix])
        self.set_header("Cache-Control", "no-cache")
        self.finish(self.web.files[name])

    def let_in(self) -> None:
        """Give the cookie that is as good as the token."""
        self.set_cookie(
            self.web.access.cookie_name,
            self.web.access.cookie,
            max_age=int(timedelta(days=COOKIE_DAYS).total_seconds()),
            httponly=True,
            samesite="Strict",
            secure=self.request.protocol == "https",
        )


class _Page(_Handler):
    """`/`: the page, or the question for the token. `/?token=...` answers it: its script then hides the
    address.
    """

    needs_token = False

    def get(self) -> None:
        given = self.get_query_argument("token", None)
        if given is not None and self.is_token(given):
            self.let_in()
        elif not self.known:
            self.set_status(401)
            self.file("login.html")
            return
        self.file("index.html")


class _Login(_Handler):
    """`/login`: the token from the form."""

    needs_token = False

    def get(self) -> None:
        self.redirect(".")

    def post(self) -> None:
        if self.is_token(self.get_body_argument("token", "").strip()):
            self.let_in()
            self.redirect(".", status=303)
        else:
            self.set_status(401)
            self.file("login.html")


class _File(_Handler):
    """`/static/NAME`: the page's files, which hold no secrets."""

    needs_token = False

    def get(self, name: str) -> None:
        if name not in self.web.files or name.endswith(".html"):
            raise tornado.web.HTTPError(404)
        self.file(name)


class _State(_Handler):
    """`/api/state`: the run's status and the latest events."""

    async def get(self) -> None:
        self.web.update_history()
        state = await self.web.state()
        zero_s = self.web.run_status.started_s
        events = [entry.to_json(zero_s) for entry in self.web.history.after(0)]
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(state | {"events": events}))


class _EventList(_Handler):
    """`/api/events`: the latest events, for programs. `source`, `label` and `limit` choose among them."""

    def get(self) -> None:
        limit = self.get_query_argument("limit", str(DEFAULT_EVENTS))
        if not (limit.isdecimal() and 1 <= int(limit) <= KEPT):
            self.wrong(f"limit must be a whole number from 1 to {KEPT}")
            return
        source, names = self.get_query_argument("source", None), self.web.source_names
        if source is not None and source not in names:
            self.wrong(f"no source is called {source!r}; there are {', '.join(names)}")
            return
        self.web.update_history()
        events = self.web.history.events(source, self.get_query_argument("label", None), int(limit))
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"events": events}))

    def wrong(self, text: str) -> None:
        """Answer that the request is wrong."""
        self.set_status(400)
        self.text(f"400 {text}\n")


class _Clip(_Handler, tornado.web.StaticFileHandler):
    """`/clip/ID`: the clip of an event, whole or in parts as players ask for them. Only files that this run
    recorded are found: the address is a key, no path.
    """

    def initialize(self, web: WebServer) -> None:  # type: ignore[override]
        _Handler.initialize(self, web)
        self.root, self.default_filename = "", None

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        return path  # `validate_absolute_path` finds the file

    def validate_absolute_path(self, root: str, absolute_path: str) -> str:
        clip = self.web.run_status.clip(absolute_path)
        if clip is None or not clip.path.is_file():
            raise tornado.web.HTTPError(404)  # not recorded by this run, or no longer kept
        self.set_header("Content-Disposition", f'inline; filename="{quote(clip.path.name)}"')
        return str(clip.path)

    def compute_etag(self) -> None:
        """None: a file is not read as a whole to compute one; a clip never changes."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-store")


class _Health(_Handler):
    """`/healthz`: whether the recognizer loop turns."""

    def get(self) -> None:
        reason = stuck(self.web.run_status)
        self.set_status(200 if reason is None else 503)
        self.text(f"{reason or 'ok'}\n")

    head = get


class _Ready(_Handler):
    """`/readyz`: whether every source that has not ended gives frames."""

    def get(self) -> None:
        reasons = unready(self.web.run_status)
        loop = stuck(self.web.run_status)
        ready = not reasons and loop is None
        self.set_status(200 if ready else 503)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"ready": ready, "loop": loop, "sources": reasons}) + "\n")

    head = get


class _Metrics(_Handler):
    """`/metrics`: for Prometheus."""

    async def get(self) -> None:
        made = await self.web.metrics(self.request.headers.get("Accept", ""))
        if made is None:
            self.set_status(501)
            self.text(NO_METRICS + "\n")
            return
        text, content_type = made
        self.set_header("Content-Type", content_type)
        self.finish(text)


class _Stream(_Handler):
    """`/stream/NAME.mjpg`: one source's pictures as motion JPEG, for programs."""

    def initialize(self, web: WebServer) -> None:
        super().initialize(web)
        self.client = PageClient(web, self._disconnect)

    async def get(self, name: str) -> None:
        if name not in self.web.source_names:
            raise tornado.web.HTTPError(404)
        self.client.enter()
        self.web.broadcaster.watch(self.client, [name])
        self.set_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        try:
            await _in_time(self.flush())
            while not self.client.left:
                state, shots = await self.client.news()
                if state is not None and state["over"]:
                    break
                for shot in shots:
                    self.write(_part(shot.jpeg))
                    await _in_time(self.flush())
        except GONE:
            self.client.drop()
        finally:
            self.client.leave()

    def on_connection_close(self) -> None:
        self.client.leave()

    def _disconnect(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()


class _Still(_Handler):
    """`/still/NAME.jpg`: a source's next picture."""

    def initialize(self, web: WebServer) -> None:
        super().initialize(web)
        self.client = PageClient(web, lambda: None)

    async def get(self, name: str) -> None:
        if name not in self.web.source_names:
            raise tornado.web.HTTPError(404)
        self.client.enter()
        self.web.broadcaster.watch(self.client, [name])
        try:
            jpeg = await asyncio.wait_for(self._next(name), STILL_S)
        except asyncio.TimeoutError:
            jpeg = None
        finally:
            self.client.leave()
        if jpeg is None:
            self.set_status(503)
            self.text(f"503 no picture: {unready(self.web.run_status).get(name, 'none came in time')}\n")
            return
        self.set_header("Content-Type", "image/jpeg")
        self.finish(jpeg)

    async def _next(self, name: str) -> bytes | None:
        """None where the source gives none now."""
        while self.web.run_status.source(name).state == "live" and not self.client.left:
            _, shots = await self.client.news()
            if shots:
                return shots[0].jpeg
        return None

    def on_connection_close(self) -> None:
        self.client.leave()


def _part(jpeg: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


class _Events(_Handler, tornado.websocket.WebSocketHandler):
    """`/events`: the page's WebSocket.

    To the page: {"first", "state", "events"} as text, with `first` everything and then what changed; pictures
    (see `pictures.EncodedFrame`) as binary. From it: {"watch": [names]}.
    """

    def initialize(self, web: WebServer) -> None:
        super().initialize(web)
        self.client = PageClient(web, self._disconnect)
        self._revision: int | None = None  # of the history that was sent
        self._sending: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        super().prepare()
        self.client.enter()

    async def open(self, *args: str, **kwargs: str) -> None:
        self._sending = asyncio.create_task(self._send())
        self.web.update_history()
        self.client.push_state(await self.web.state())

    def on_message(self, message: str | bytes) -> None:
        try:
            names = {name for name in json.loads(message)["watch"] if isinstance(name, str)}
        except (ValueError, TypeError, KeyError, RecursionError):
            self.close(UNSUPPORTED_DATA, 'expected {"watch": [names]}')
            return
        if not self.client.left:
            self.web.broadcaster.watch(self.client, names.intersection(self.web.source_names))

    def on_close(self) -> None:
        self.client.leave()

    def on_finish(self) -> None:
        super().on_finish()
        if self.get_status() != SWITCHED:  # the response was no WebSocket
            self.client.leave()

    def _disconnect(self) -> None:
        connection = self.ws_connection
        if connection is not None and connection.stream is not None:
            connection.stream.close()

    async def _send(self) -> None:
        try:
            while not self.client.left:
                state, shots = await self.client.news()
                for shot in shots:
                    await _in_time(self.write_message(shot.message, binary=True))
                if state is not None:
                    await _in_time(self.write_message(self._text(state)))
                    if state["over"]:
                        self.close(GOING_AWAY, "the run has ended")
                        self.client.leave()
        except GONE:
            self.client.drop()

    def _text(self, state: State) -> str:
        history, zero_s = self.web.history, self.web.run_status.started_s
        first, fresh = self._revision is None, history.after(self._revision or 0)
        self._revision = history.revision
        events = [entry.to_json(zero_s) for entry in fresh]
        return json.dumps({"first": first, "state": state, "events": events})


def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of `host`, all on one port; raises OSError, and then none is left
    open.
    """
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            chosen = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((address[0], chosen), family=family, backlog=MAX_CONNECTIONS))
            sockets[-1].setblocking(False)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _own_address() -> str:
    """The IPv4 address by which other machines reach this one; its name where it has no route to any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))  # sends nothing: it only chooses a route
        except OSError:
            return socket.gethostname()
        address: str = probe.getsockname()[0]
        return address


async def _in_time(written: Awaitable[None]) -> None:
    await asyncio.wait_for(written, WRITE_TIMEOUT_S)


def _application(web: WebServer) -> tornado.web.Application:
    shared = {"web": web}
    routes: list[Any] = [
        (r"/", _Page, shared),
        (r"/login", _Login, shared),
        (r"/static/([a-z]+\.[a-z]+)", _File, shared),
        (r"/events", _Events, shared),
        (r"/stream/(.+)\.mjpg", _Stream, shared),
        (r"/still/(.+)\.jpg", _Still, shared),
        (r"/clip/([\w-]+)", _Clip, shared),
        (r"/api/state", _State, shared),
        (r"/api/events", _EventList, shared),
        (r"/healthz", _Health, shared),
        (r"/readyz", _Ready, shared),
        (r"/metrics", _Metrics, shared),
    ]
    return tornado.web.Application(
        routes,
        default_handler_class=_Missing,
        default_handler_args=shared,
        log_function=_log_request,
        websocket_max_message_size=MAX_MESSAGE_BYTES,
    )


class _Missing(_Handler):
    """Any other path."""

    needs_token = False

    def prepare(self) -> None:
        super().prepare()
        raise tornado.web.HTTPError(404)


def _report(what: str, error: BaseException) -> None:
    log.error("the live page %s: %s: %s", what, type(error).__name__, error)


def _report_context(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What went wrong outside of any request: one line in place of asyncio's traceback."""
    _report("had a fault", context.get("exception") or RuntimeError(context["message"]))


def _log_request(handler: tornado.web.RequestHandler) -> None:
    request = handler.request
    log.debug("%s %s: %d, %s", request.method, quote(request.path), handler.get_status(), request.remote_ip)
