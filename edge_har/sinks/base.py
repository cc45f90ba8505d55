"""What every destination of events offers."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event


class Destination(Protocol):
    """Where a thread of its own brings events; all calls come from that thread, and may take their time.

    batch: how many events it wants at once; that many may arrive twice when the process is killed.
    """

    batch: int

    def deliver(self, events: Sequence[Event]) -> None:
        """Bring events there, in order; all have arrived for sure when this returns. Raises RetryLater or
        Rejected.
        """

    def tend(self) -> None:
        """Do what is due without events, such as keeping a connection alive; called at least each second
        while the destination answers. Raises RetryLater where it does not.
        """

    def close(self) -> None:
        """Nothing more comes; called once."""


class RetryLater(Exception):
    """The destination cannot take events now; the text gives the reason, in one line and without secrets.

    delivered: how many of those given had arrived. wait_s: the pause that the destination requests, if it
    does.
    """

    def __init__(self, reason: str, *, delivered: int = 0, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.delivered = delivered
        self.wait_s = wait_s


class Rejected(Exception):
    """The destination will never take the event that follows the first `delivered` ones; the text gives the
    reason.
    """

    def __init__(self, reason: str, *, delivered: int = 0) -> None:
        super().__init__(reason)
        self.delivered = delivered


def line_of(event: Event) -> bytes:
    """An event as JSON in one line, without the line's end."""
    return json.dumps(event.to_json()).encode()


def event_of(line: bytes) -> Event:
    """The event that `line_of` made a line of, by this or another version. Raises ValueError where it holds
    none.
    """
    try:
        read: Any = json.loads(line)
        return Event(**{name: read[name] for name in EVENT_KEYS if name in read})
    except (TypeError, RecursionError) as error:
        raise ValueError("not an event") from error


EVENT_KEYS = tuple(field.name for field in fields(Event))


def tls_context(
    sink: str, ca_file: str | None, cert_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """How connections of a sink are encrypted: whom it trusts, and who it is. Raises MisuseError naming the
    file that cannot be used.
    """
    used = ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file:
            used = " with ".join(filter(None, (cert_file, key_file)))
            context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise MisuseError(f"{sink}: {used} cannot be used: {reason_of(error)}") from error
    return context


def reason_of(error: Exception) -> str:
    """Why a connection or a file failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error.strerror or type(error).__name__}".lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
