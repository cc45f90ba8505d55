"""Events to a web server: one POST each, signed, again and again until the server has taken it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar

from edge_har import __version__
from edge_har.errors import MisuseError
from edge_har.options.addresses import parse_url
from edge_har.options.fields import option
from edge_har.options.kinds import DURATION, PATH, TEXT
from edge_har.pipeline.events import Event, utc_now
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import Rejected, RetryLater, line_of, reason_of, tls_context
from edge_har.sinks.options import DeliveryOptions, SinkContext
from edge_har.sinks.queued import QueuedSink
from edge_har.system.files import open_private
from edge_har.system.http_login import HttpLogin, request_target

SIGNATURE, TIMESTAMP, DELIVERY = "X-Edge-Har-Signature", "X-Edge-Har-Timestamp", "X-Edge-Har-Delivery"
ANSWER_BYTES = 65_536  # of an answer that are read; nothing in it matters
HTTPS = "https"
SCHEMES = {"http": 80, HTTPS: 443}  # and their usual ports
UNAUTHORIZED = 401
# Of the 4xx: these speak of who asks, or of the moment, not of the event. A rotated token must cost no event.
NOT_YET = frozenset({UNAUTHORIZED, 403, 407, 408, 421, 423, 425, 429})
REFUSED_FILE = "refused.jsonl"
REFUSED_BYTES = 1_000_000  # then it becomes refused.jsonl.1
VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class WebhookOptions(DeliveryOptions):
    """A web server. Its address is never shown whole: it may hold secrets."""

    kind: ClassVar[str] = "webhook"
    # What stands behind ? belongs to the server.
    query_mark: ClassVar[str] = "#"
    password_instead: ClassVar[str | None] = "url_env or url_file, or a token"
    url: str = option(TEXT, "address to which events are posted", needed=True, secret=True, address=True)
    secret: str | None = option(TEXT, "key that signs each POST", default=None, secret=True)
    token: str | None = option(TEXT, "token sent as `Authorization: Bearer`", default=None, secret=True)
    ca_file: str | None = option(PATH, "certificates to trust", otherwise="the system's", default=None)
    timeout_s: float = option(DURATION, "longest wait for a reply", default=10.0, low=0.1)

    @classmethod
    def of_address(cls, scheme: str, address: str) -> dict[str, object]:
        """The address itself."""
        return {"url": f"{scheme}:{address}"}

    def _check(self) -> None:
        super()._check()
        try:
            url = parse_url(self.url)
            fine = url.scheme.lower() in SCHEMES and not re.search(r"[\s\x00-\x1f#]", url.rest)
        except ValueError:
            fine = False
        if not fine:
            raise MisuseError("webhook: url is http://HOST/... or https://HOST/...")
        if self.token is not None and not VISIBLE.fullmatch(self.token):
            raise MisuseError("webhook: token is letters, digits and signs without spaces")
        if self.ca_file and url.scheme.lower() != HTTPS:
            raise MisuseError("webhook: ca_file needs https://")

    def open(self, context: SinkContext) -> OpenedSink:
        """A sink that posts in a thread of its own."""
        state, spool = SinkState(self.called), self.open_spool()
        target = WebhookDestination(self)
        aside = DeadLetterFile(spool.folder / REFUSED_FILE) if spool is not None else None
        context.run_status.add_sink(state)
        sink = QueuedSink(
            target, state, spool=spool, updates=self.updates, set_aside=aside, waits=context.waits
        )
        return OpenedSink(events=sink)


class WebhookDestination:
    """A web server that takes one event at a time. The connection is kept open between them."""

    batch = 1

    def __init__(self, options: WebhookOptions) -> None:
        url = parse_url(options.url)
        scheme = url.scheme.lower()
        self._host, port = url.host_and_port
        self._port = port or SCHEMES[scheme]
        path, _, query = url.path_and_query.partition("?")
        self._path = request_target(path, query)
        self._secret = options.secret.encode() if options.secret else None
        self._timeout_s = options.timeout_s
        self._context = tls_context(options.kind, options.ca_file) if scheme == HTTPS else None
        self._headers = {"Content-Type": "application/json", "User-Agent": f"edge-har/{__version__}"}
        self._login: HttpLogin | None = None
        if options.token:
            self._headers["Authorization"] = f"Bearer {options.token}"
        elif url.user_info is not None:
            # Many answer with 403 or 404 to a request without a login.
            user, password = url.credentials
            self._login = HttpLogin(user or "", password or "", unasked=True)
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        """Post one after the other; raises RetryLater where the server is not there or not ready, else
        Rejected.
        """
        for delivered, event in enumerate(events):
            body = line_of(event)
            try:
                status, retry_after = self._post(body)
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = f"{self._host} cannot be reached: {reason_of(error)}"
                if isinstance(error, http.client.HTTPException):
                    reason = f"{self._host} does not answer as a web server does: {type(error).__name__}"
                raise RetryLater(reason, delivered=delivered) from None
            if not 200 <= status < 300:
                reason = f"{self._host} answers {status} {http.client.responses.get(status, '')}".rstrip()
                if status in NOT_YET or not 400 <= status < 500:
                    raise RetryLater(reason, delivered=delivered, wait_s=_retry_after_s(retry_after))
                raise Rejected(reason, delivered=delivered)

    def tend(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes) -> tuple[int, str | None]:
        """Status and the Retry-After header, logged in as the server asks for it."""
        status, headers = self._post_over(body)
        while status == UNAUTHORIZED and self._login is not None:
            if not self._login.refused(headers.get_all("WWW-Authenticate", [])):
                break
            status, headers = self._post_over(body)
        if self._login is not None and status != UNAUTHORIZED:
            self._login.accepted()
        return status, headers.get("Retry-After")

    def _post_over(self, body: bytes) -> tuple[int, http.client.HTTPMessage]:
        """Status and headers. A connection that was closed since is opened once more."""
        reused = self._connection is not None
        try:
            return self._post_once(body)
        except (ConnectionError, http.client.BadStatusLine):
            if not reused:
                raise
        return self._post_once(body)

    def _post_once(self, body: bytes) -> tuple[int, http.client.HTTPMessage]:
        connection = self._connection = self._connection or self._connect()
        whole, late = False, threading.Event()
        watch = None
        try:
            if connection.sock is None:
                connection.connect()
            watch = threading.Timer(self._timeout_s, _cut, (connection.sock, late))
            watch.daemon = True
            watch.start()
            headers = self._headers | self._signed(body) | self._authorization(body)
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            response.read(ANSWER_BYTES)
            if late.is_set():
                raise TimeoutError  # it was cut off, and yet could be read as an answer
            whole = response.isclosed() and not response.will_close
            return response.status, response.headers
        except (OSError, ValueError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            if watch is not None:
                watch.cancel()
            if late.is_set() or not whole:
                self.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=self._context
        )

    def _authorization(self, body: bytes) -> dict[str, str]:
        login = self._login
        header = None if login is None else login.authorization("POST", self._path, body)
        return {} if header is None else {"Authorization": header}

    def _signed(self, body: bytes) -> dict[str, str]:
        """Headers that differ with each POST; the delivery stays the same however often the event is sent."""
        timestamp = str(int(time.time()))
        headers = {TIMESTAMP: timestamp, DELIVERY: hashlib.sha256(body).hexdigest()[:32]}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, timestamp, body)
        return headers


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The value of X-Edge-Har-Signature: HMAC-SHA256 of the timestamp, a dot and the body."""
    return f"sha256={hmac.new(secret, timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def _cut(line: socket.socket, late: threading.Event) -> None:
    """End a connection from another thread: the thread that reads from it goes on at once, and finds that
    it is `late`.
    """
    late.set()
    with suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)


def _retry_after_s(retry_after: str | None) -> float | None:
    """Seconds that `Retry-After` asks for; None where it does not."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds())


class DeadLetterFile:
    """A small file of the events that a server will never take, and why."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, event: Event, reason: str) -> None:
        line = json.dumps({"time": utc_now(), "reason": reason, "event": event.to_json()}) + "\n"
        with suppress(OSError):  # the log has it as well
            if self._path.exists() and self._path.stat().st_size + len(line) > REFUSED_BYTES:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            with open(self._path, "a", encoding="utf-8", opener=open_private) as file:
                file.write(line)
