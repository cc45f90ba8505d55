"""Events to an MQTT broker: every event once at least, what each source shows now, and all of it known to
Home Assistant.

TOPIC/NODE/status/CLIENT        online, or offline (also as last will); retained
TOPIC/NODE/name                 what people call this device; retained
TOPIC/NODE/SOURCE/event         each event, JSON
TOPIC/NODE/SOURCE/state         what goes on there now, JSON; retained
TOPIC/NODE/SOURCE/availability  online while the source gives frames, else offline; retained
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from edge_har.errors import EdgeHarError, MisuseError, RuntimeMissingError
from edge_har.options.addresses import parse_url
from edge_har.options.fields import option
from edge_har.options.kinds import PATH, TEXT, TRUTH, WHOLE
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import RunStatus, SinkState
from edge_har.sinks.base import RetryLater, line_of, reason_of, tls_context
from edge_har.sinks.home_assistant import MIGRATE, NO_ACTIVITY, OFFLINE, ONLINE, Device, entities_of
from edge_har.sinks.options import DeliveryOptions, SinkContext, slug
from edge_har.sinks.queued import QueuedSink
from edge_har.system.files import home, take_lock
from edge_har.system.identity import FILE as IDENTITY_FILE
from edge_har.system.identity import machine_identity

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

PORT, TLS_PORT = 1883, 8883
CONNECT_S = 5.0  # a broker that sends nothing for so long is not there
ACKNOWLEDGE_S = 10.0
GOODBYE_S = 0.4
LOOP_S = 0.1
INFLIGHT = 20
CLIENT_PREFIX, CLIENT_ID_LENGTH = "edge-har-", 23  # characters that every broker must take
SOON_S, DROPS = 30.0, 3  # so many connections in a row that end so soon are no accident
LOCKS_MODE = 0o700
MIGRATE_S = 1.0  # Home Assistant lets go of an old entity in less
WILDCARDS = re.compile(r"[+#\x00\s]")
# All clients of the broker read it, so it holds no password; and a template, so it holds no braces.
PAGE_URL = re.compile(r"https?://[^\s@{}?#/]+(/[^\s@{}?#]*)?")


@dataclass(frozen=True)
class MqttOptions(DeliveryOptions):
    """A broker."""

    kind: ClassVar[str] = "mqtt"
    password_instead: ClassVar[str | None] = "password_env or password_file"
    host: str = option(TEXT, "host name or address of the broker", needed=True)
    port: int | None = option(
        WHOLE, "port of the broker", otherwise="1883, with TLS 8883", default=None, low=1, high=65535
    )
    user: str | None = option(TEXT, "user name, where the broker needs one", default=None)
    password: str | None = option(TEXT, "password of the user", default=None, secret=True)
    tls: bool = option(TRUTH, "encrypt the connection", default=False)
    ca_file: str | None = option(PATH, "certificates to trust", otherwise="the system's", default=None)
    cert_file: str | None = option(
        PATH, "certificate of this device, where the broker needs one", default=None
    )
    key_file: str | None = option(PATH, "private key of that certificate", default=None)
    topic: str = option(TEXT, "what all topics begin with", default="edge-har")
    node: str | None = option(
        TEXT,
        "name of this device in topics",
        otherwise="twelve digits, made once in the home of edge_har",
        default=None,
    )
    discovery: str = option(
        TEXT, "topic at which Home Assistant looks for devices; `off`: none", default="homeassistant"
    )
    page_url: str | None = option(
        TEXT,
        "address of the live page, as Home Assistant reaches it without a token: it shows the picture",
        otherwise="no picture",
        default=None,
    )
    keepalive_s: int = option(
        WHOLE, "a connection silent for so long is probed", default=30, low=5, high=65535
    )

    @classmethod
    def of_address(cls, scheme: str, address: str) -> dict[str, object]:
        """The broker that `mqtt://USER@HOST:PORT/TOPIC` names. Raises MisuseError where it names none."""
        if not address.startswith("//"):
            raise MisuseError(f"a broker is written {scheme}://HOST, or {scheme}://USER@HOST:PORT/TOPIC")
        try:
            url = parse_url(f"{scheme}:{address}")
        except ValueError as error:
            raise MisuseError(f"a broker is {scheme}://USER@HOST:PORT/TOPIC: {error}") from None
        host, port = url.host_and_port
        found: dict[str, object] = {
            "host": host,
            "port": port,
            "user": url.credentials[0],
            "topic": url.rest.partition("#")[0].strip("/"),
            "tls": scheme == "mqtts",
        }
        return {name: value for name, value in found.items() if value not in (None, "", False)}

    def _check(self) -> None:
        super()._check()
        if not self.host or re.search(r"[\s/@]", self.host):
            raise MisuseError("mqtt: host is the broker's name or address")
        if self.password is not None and self.user is None:
            raise MisuseError("mqtt: a password needs a user")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise MisuseError("mqtt: certificates need tls = true")
        if self.key_file and not self.cert_file:
            raise MisuseError("mqtt: key_file needs cert_file")
        for name in ("topic", "discovery"):
            if WILDCARDS.search(getattr(self, name)) or getattr(self, name).startswith("$"):
                raise MisuseError(f"mqtt: {name} is a topic without +, # and spaces")

        if self.page_url is not None and not PAGE_URL.fullmatch(self.page_url):
            raise MisuseError("mqtt: page_url is http://HOST:PORT or https://HOST/..., without a password")

    def open(self, context: SinkContext) -> OpenedSink:
        """A sink that keeps a connection in a thread of its own."""
        self.check_installed()
        claim = self._claim()
        try:
            return self._open(context, claim)
        except BaseException:
            _release(claim)
            raise

    def _open(self, context: SinkContext, claim: int | None) -> OpenedSink:
        run_status, state = context.run_status, SinkState(self.called)
        shown = PublishedStates(source.name for source in run_status.sources)
        target = MqttDestination(self, run_status, shown, self.tls_context())
        sink = MqttSink(
            target,
            state,
            spool=self.open_spool(),
            updates=self.updates,
            waits=context.waits,
            shown=shown,
            claim=claim,
        )
        run_status.add_sink(state)
        return OpenedSink(events=sink)

    def _claim(self) -> int | None:
        """Reserve this device's topics at the broker for this run: a lock on a file, which ends with it; None
        where none can be made. Raises EdgeHarError where another run, or another sink, has them.
        """
        folder = home() / self.kind
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=LOCKS_MODE)
            return take_lock(folder / f"{self.client_id}.lock")
        except BlockingIOError:
            raise EdgeHarError(
                f"{self.called}: {self.base} at {self.host} is in use by another run or sink; give this one "
                "another `node`, and another `name`"
            ) from None
        except OSError:
            return None

    def check_installed(self) -> None:
        """Raise RuntimeMissingError without paho-mqtt."""
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise RuntimeMissingError("MQTT needs a library: pip install 'edge-har[mqtt]'") from error

    def tls_context(self) -> ssl.SSLContext | None:
        """How connections are encrypted; None: they are not. Raises MisuseError where a file cannot be
        used.
        """
        return tls_context(self.kind, self.ca_file, self.cert_file, self.key_file) if self.tls else None

    @property
    def broker_port(self) -> int:
        """The port to connect to."""
        return self.port or (TLS_PORT if self.tls else PORT)

    @property
    def base(self) -> str:
        """What all topics of this device begin with."""
        return f"{self.topic}/{self.node_id}"

    @property
    def node_id(self) -> str:
        """This device, in characters that any broker and Home Assistant take."""
        return slug(self.node) if self.node else machine_identity()

    @property
    def node_name(self) -> str:
        """What people call this device."""
        return self.node or socket.gethostname()

    @property
    def status_topic(self) -> str:
        """Where this connection shows whether it is there. No other has the same, also where nodes do."""
        return f"{self.base}/status/{self.client_id}"

    @property
    def client_id(self) -> str:
        """The name of the connection: a broker ends one when another of the same name comes.

        It differs between machines also where they share a configuration, and between sinks of one machine.
        """
        here = json.dumps([machine_identity(), self.base, self.host, self.broker_port])
        return f"{CLIENT_PREFIX}{hashlib.sha256(here.encode()).hexdigest()}"[:CLIENT_ID_LENGTH]


class PublishedStates:
    """What goes on at each source now, for clients of the broker; only the present state is of use."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {name: dict(NOTHING) for name in sources}

    def note(self, event: Event) -> None:
        """An event happened."""
        if event.type in ("source_lost", "source_back"):
            return
        with self._lock:
            before = self._states.get(event.source, NOTHING)
            if event.type != "end":
                self._states[event.source] = {
                    "activity": event.label,
                    "score": event.to_json()["score"],
                    "id": event.id,
                    "since": before["since"] if before["id"] == event.id else event.time,
                    "model": event.model,
                }
            elif before["id"] in (event.id, None):
                self._states[event.source] = {**NOTHING, "since": event.time, "model": event.model}

    def now(self) -> dict[str, dict[str, Any]]:
        """The state of each source."""
        with self._lock:
            return dict(self._states)


NOTHING: dict[str, Any] = {"activity": NO_ACTIVITY, "score": None, "id": None, "since": None, "model": None}


class MqttSink(QueuedSink):
    """Brings events to a broker, and what goes on at each source now."""

    def __init__(
        self,
        target: MqttDestination,
        state: SinkState,
        *,
        shown: PublishedStates,
        claim: int | None = None,
        **queue: Any,
    ) -> None:
        self._shown = shown
        self._claim = claim
        super().__init__(target, state, **queue)

    def write(self, event: Event) -> None:
        """Take one event; never waits."""
        self._shown.note(event)
        super().write(event)

    def close(self) -> None:
        """Deliver what waits, as far as time allows; then the topics are free for another run."""
        super().close()
        claim, self._claim = self._claim, None
        _release(claim)


@dataclass
class _Connection:
    """One connection to the broker. model_id: of the model that Home Assistant knows; answer: the broker's
    answer to the connection; since_s: when it was begun; published: retained topics and what each holds.
    """

    client: Client
    model_id: str
    since_s: float = field(default_factory=time.monotonic)
    answer: Any = None
    published: dict[str, str] = field(default_factory=dict)


class MqttDestination:
    """A broker, connected when there is something for it and kept so. An event has arrived once the broker
    acknowledges it.
    """

    batch = INFLIGHT

    def __init__(
        self,
        options: MqttOptions,
        run_status: RunStatus,
        shown: PublishedStates,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._options = options
        self._run_status = run_status
        self._shown = shown
        self._tls = tls
        self._connection: _Connection | None = None
        self._took_over = options.discovery == "off"
        self._entities: dict[str, dict[str, str]] = {}  # by a device's topic, what Home Assistant knows of it
        self._drops = 0  # in a row, each soon after the connection was made

    def deliver(self, events: Sequence[Event]) -> None:
        """Publish each event, and wait until the broker has them all."""
        connection = self._connected()
        base = self._options.base
        self._acknowledged(
            connection,
            [
                connection.client.publish(f"{base}/{slug(event.source)}/event", line_of(event), qos=1)
                for event in events
            ],
        )

    def tend(self) -> None:
        """Connect, keep the connection alive, bring what is retained up to date."""
        connection = self._connected()
        if connection.client.loop(0.0):
            raise self._dropped(connection)
        changed_model = connection.model_id != self._run_status.model_id
        self._retain(connection, self._retained(discovery=changed_model))
        connection.model_id = self._run_status.model_id

    def close(self) -> None:
        """Say goodbye; where the broker does not listen, it publishes the will itself."""
        connection = self._connection
        if connection is None:
            return
        last = connection.client.publish(self._options.status_topic, OFFLINE, qos=1, retain=True)
        until_s = time.monotonic() + GOODBYE_S
        while not _is_published(last) and time.monotonic() < until_s:
            if connection.client.loop(LOOP_S):
                break
        connection.client.disconnect()
        self._drop()

    def _connected(self) -> _Connection:
        if self._connection is not None:
            return self._connection
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        options = self._options
        client = Client(CallbackAPIVersion.VERSION2, client_id=options.client_id, reconnect_on_failure=False)
        connection = _Connection(client, self._run_status.model_id)
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(INFLIGHT)
        client.will_set(options.status_topic, OFFLINE, qos=1, retain=True)
        client.username_pw_set(options.user, options.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)

        def on_connect(_client: Any, _data: Any, _flags: Any, answer: Any, _properties: Any) -> None:
            connection.answer = answer

        client.on_connect = on_connect
        self._connection = connection
        try:
            client.connect(
                options.host,
                options.broker_port,
                keepalive=options.keepalive_s,
            )
        except (OSError, ValueError) as error:
            raise self._lost(f"{options.host} cannot be reached: {reason_of(error)}") from None
        until_s = time.monotonic() + CONNECT_S
        while connection.answer is None:
            if client.loop(LOOP_S) and connection.answer is None:
                raise self._lost(f"{options.host} closed the connection")
            if time.monotonic() > until_s:
                raise self._lost(f"{options.host} does not answer")
        if connection.answer.is_failure:
            raise self._lost(f"{options.host} answers: {connection.answer}")
        if not self._took_over:
            self._take_over(connection)
            self._took_over = True
        self._retain(connection, self._retained(discovery=True))
        return connection

    def _acknowledged(self, connection: _Connection, sent: list[MQTTMessageInfo]) -> None:
        """Wait until the broker has taken all; raises RetryLater with the number that it did take, in
        order.
        """
        until_s = time.monotonic() + ACKNOWLEDGE_S
        arrived = 0
        while True:
            while arrived < len(sent) and _is_published(sent[arrived]):
                arrived += 1
            if arrived == len(sent):
                return
            if connection.client.loop(LOOP_S):
                raise self._dropped(connection, arrived)
            if time.monotonic() > until_s:
                raise self._lost("the broker does not acknowledge", arrived)

    def _retain(self, connection: _Connection, retained: dict[str, str]) -> None:
        """Publish what is not at its topic yet."""
        changed = {topic: text for topic, text in retained.items() if connection.published.get(topic) != text}
        self._acknowledged(
            connection,
            [connection.client.publish(topic, text, qos=1, retain=True) for topic, text in changed.items()],
        )
        connection.published.update(changed)

    def _retained(self, *, discovery: bool) -> dict[str, str]:
        """What the retained topics should hold now; what Home Assistant is to discover comes first."""
        base = self._options.base
        retained = self._discovered() if discovery else {}
        retained[self._options.status_topic] = ONLINE
        retained[f"{base}/name"] = self._options.node_name
        for name, state in self._shown.now().items():
            retained[f"{base}/{slug(name)}/state"] = json.dumps(state)
        for source in self._run_status.sources:
            retained[f"{base}/{slug(source.name)}/availability"] = (
                ONLINE if source.state == "live" else OFFLINE
            )
        return retained

    def _devices(self) -> list[Device]:
        """What Home Assistant is to discover."""
        options = self._options
        if options.discovery == "off":
            return []
        page = options.page_url.rstrip("/") if options.page_url else None
        return [
            Device(
                prefix=options.discovery,
                node_id=options.node_id,
                node_name=options.node_name,
                source=source.name,
                base=options.base,
                status=options.status_topic,
                page=page,
            )
            for source in self._run_status.sources
        ]

    def _discovered(self) -> dict[str, str]:
        """The message of each device. What a model before had and this one has not is removed by it."""
        retained: dict[str, str] = {}
        for device in self._devices():
            known = self._entities.setdefault(device.topic, {})
            message = device.message(self._run_status.model_id, self._run_status.labels, known)
            known.update(entities_of(message))
            retained[device.topic] = message
        return retained

    def _take_over(self, connection: _Connection) -> None:
        """Replace what earlier runs retained: the messages of single entities, which Home Assistant takes
        over without losing their names and places, and the status that was one for all of a node.
        """
        devices = self._devices()
        old_status = f"{self._options.base}/status"
        old_topics = {topic for device in devices for topic in device.old_topics}
        found = self._read_retained(connection, [old_status, *old_topics, *(each.topic for each in devices)])
        for device in devices:
            self._entities[device.topic] = entities_of(found.get(device.topic, ""))
        old = sorted(old_topics & found.keys())
        if old:
            self._acknowledged(
                connection, [connection.client.publish(topic, MIGRATE, qos=1) for topic in old]
            )
            until_s = time.monotonic() + MIGRATE_S
            while time.monotonic() < until_s:
                if connection.client.loop(LOOP_S):
                    raise self._dropped(connection)
            self._retain(connection, self._discovered())
        gone = [*old, *({old_status} & found.keys())]
        self._retain(connection, dict.fromkeys(gone, ""))

    def _read_retained(self, connection: _Connection, topics: list[str]) -> dict[str, str]:
        """What is retained at topics; those without it are absent, and all of them where the broker lets
        nobody read.
        """
        client, found, subscribed = connection.client, dict[str, str](), list[object]()

        def on_message(_client: Any, _data: Any, message: MQTTMessage) -> None:
            if message.retain and message.payload:
                found[message.topic] = message.payload.decode(errors="replace")

        client.on_message = on_message
        client.on_subscribe = lambda *answer: subscribed.append(answer)
        client.subscribe([(topic, 1) for topic in topics])
        until_s = time.monotonic() + ACKNOWLEDGE_S
        while not subscribed:
            if client.loop(LOOP_S):
                raise self._dropped(connection)
            if time.monotonic() > until_s:
                raise self._lost("the broker does not acknowledge")
        # A broker answers in order: what is retained comes before this is acknowledged.
        self._retain(connection, {f"{self._options.base}/name": self._options.node_name})
        client.unsubscribe(topics)
        client.on_message = client.on_subscribe = None
        return found

    def _dropped(self, connection: _Connection, delivered: int = 0) -> RetryLater:
        """The broker ended a connection that worked; where it does so again and again, why that may be."""
        reason = "the connection to the broker is lost"
        soon = time.monotonic() - connection.since_s < SOON_S
        self._drops = self._drops + 1 if soon else 0
        if self._drops >= DROPS:
            identity = home() / IDENTITY_FILE
            reason += (
                f" again and again: where this machine is a copy of another, remove {identity} and restart"
            )
        return self._lost(reason, delivered)

    def _lost(self, reason: str, delivered: int = 0) -> RetryLater:
        self._drop()
        return RetryLater(reason, delivered=delivered)

    def _drop(self) -> None:
        """Give the connection up; what it had not acknowledged is published again on the next one."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.client.on_connect = None
            line = connection.client.socket()
            if line is not None:
                line.close()


def _release(claim: int | None) -> None:
    if claim is not None:
        os.close(claim)


def _is_published(info: MQTTMessageInfo) -> bool:
    try:
        return bool(info.is_published())
    except (ValueError, RuntimeError):  # it could not even be sent
        return False
