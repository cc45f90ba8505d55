"""The way to the servers that a configuration names: cameras on the network, brokers, webhooks."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from edge_har.doctor.finding import Finding, Level, Machine
from edge_har.errors import EdgeHarError
from edge_har.options.addresses import Url, parse_url
from edge_har.sinks.base import reason_of, tls_context
from edge_har.sinks.mqtt import CLIENT_PREFIX, CONNECT_S, LOOP_S, MqttOptions
from edge_har.sinks.webhook import HTTPS, SCHEMES, WebhookOptions

if TYPE_CHECKING:
    from edge_har.config.file import Config

SOURCE_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
CHECK_SUFFIX_BYTES = 4  # of the name of the connection, so that it ends no other one


class Unreachable(Exception):
    """Why a server cannot be used, and what to do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


def check_network(machine: Machine, config: Config | None) -> Iterator[Finding]:
    """Each server that the configuration names is called once; nothing is published or posted."""
    calls = list(_calls(config)) if config else []
    for name, where, call in calls:
        try:
            call()
        except Unreachable as error:
            yield Finding("network", Level.PROBLEM, f"{name}: {where}: {error}", error.advice)
        except EdgeHarError as error:
            yield Finding("network", Level.PROBLEM, f"{name}: {error}", "correct it in the configuration")
        else:
            yield Finding("network", Level.OK, f"{name}: {where} answers")
    if not calls:
        yield Finding("network", Level.NOTE, "no server is configured")


def _calls(config: Config) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """For each server: what is configured, host and port, and what calls it."""
    for source in config.sources:
        if source.address.kind in ("rtsp", "http"):
            url = parse_url(source.address.target)
            place = _place(url, SOURCE_PORTS)
            yield f"source {source.name}", _shown(place), partial(_call, place)
    for sink in config.sinks:
        if isinstance(sink, MqttOptions):
            place = (sink.host, sink.broker_port)
            yield f"broker of {sink.called}", _shown(place), partial(_log_in, sink)
        elif isinstance(sink, WebhookOptions):
            url = parse_url(sink.url)
            place = _place(url, SCHEMES)
            context = tls_context(sink.kind, sink.ca_file) if url.scheme.lower() == HTTPS else None
            yield f"webhook {sink.called}", _shown(place), partial(_call, place, context)


def _place(url: Url, usual_ports: Mapping[str, int]) -> tuple[str, int]:
    host, port = url.host_and_port
    return host, port or usual_ports[url.scheme.lower()]


def _shown(place: tuple[str, int]) -> str:
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _call(place: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
    _connect(place, context).close()


def _connect(place: tuple[str, int], context: ssl.SSLContext | None = None) -> socket.socket:
    """A connection, encrypted where there is a context. Raises Unreachable."""
    try:
        connection = socket.create_connection(place, timeout=CONNECT_S)
    except socket.gaierror:
        raise Unreachable(
            "its name is not known",
            "write it as an IP address, or see what name server /etc/resolv.conf names",
        ) from None
    except ConnectionRefusedError:
        raise Unreachable(
            "nothing listens there", "start the server, or correct the port; a firewall may refuse it too"
        ) from None
    except OSError as error:
        raise Unreachable(
            reason_of(error), "see that both are on one network: ping it; a firewall may drop what is sent"
        ) from None
    if context is None:
        return connection
    try:
        return context.wrap_socket(connection, server_hostname=place[0])
    except (OSError, ValueError) as error:
        connection.close()
        advice = "set ca_file to its certificate authority; see that the clock is right"
        if not isinstance(error, ssl.SSLCertVerificationError):
            advice = (
                "it may not be encrypted there: correct the port, or http and mqtt instead of https and mqtts"
            )
        raise Unreachable(reason_of(error), advice) from None


def _log_in(sink: MqttOptions) -> None:
    """Connect to a broker as the sink does, but under another name, and leave. Raises Unreachable."""
    sink.check_installed()
    context = sink.tls_context()
    _call((sink.host, sink.broker_port), context)
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    answers: list[object] = []
    name = f"{CLIENT_PREFIX}{secrets.token_hex(CHECK_SUFFIX_BYTES)}"
    client = Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.on_connect = lambda client, data, flags, reason, properties: answers.append(reason)
    if sink.user is not None:
        client.username_pw_set(sink.user, sink.password)
    if context is not None:
        client.tls_set_context(context)
    try:
        client.connect(sink.host, sink.broker_port, keepalive=sink.keepalive_s)
        until_s = time.monotonic() + CONNECT_S
        while not answers and time.monotonic() < until_s and not client.loop(LOOP_S):
            pass
    except OSError as error:
        raise Unreachable(reason_of(error), "see the broker's log") from None
    finally:
        client.disconnect()
        client.loop(LOOP_S)
    if not answers:
        raise Unreachable("it does not answer as a broker does", "correct the port: 1883, with TLS 8883")
    if getattr(answers[0], "is_failure", False):
        raise Unreachable(
            f"it refuses the login ({answers[0]})",
            "correct user and password; see the broker's list of users",
        )
