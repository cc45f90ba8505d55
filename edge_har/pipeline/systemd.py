"""A run as a service: signals, and systemd's notifications."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_har.pipeline.status import RunStatus

if TYPE_CHECKING:
    from typing_extensions import Self

SOCKET_VARIABLE, USEC_VARIABLE, PID_VARIABLE = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
STATUS_S = 5.0  # how often the state is sent at most
PINGS_A_LIMIT = 3  # watchdog pings, where all is well, in the time after which systemd restarts the service

log = logging.getLogger("edge_har")


class Notifier:
    """Sends systemd the state of the service (sd_notify); does nothing where systemd does not ask for it."""

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get(SOCKET_VARIABLE, "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            with suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    @property
    def enabled(self) -> bool:
        """Whether systemd listens."""
        return self._socket is not None

    def notify(self, *lines: str) -> None:
        """Send `NAME=value` lines; what cannot be sent at once is not sent."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Nothing more is sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Heartbeat(threading.Thread):
    """Keeps systemd informed while a run lasts: ready, what it does, and a watchdog ping that only processed
    frames give.

    A context manager round the run. Where frames stop for as long as systemd's watchdog allows, it starts the
    service again, whatever the reason.
    """

    def __init__(self, run_status: RunStatus, notifier: Notifier | None = None) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._run_status = run_status
        self._notifier = notifier or Notifier()
        limit_s = watchdog_s()
        self._each_s = STATUS_S if limit_s is None else min(STATUS_S, limit_s / PINGS_A_LIMIT)
        self._pings = limit_s is not None
        self._ended = threading.Event()
        self._ticks = 0

    def __enter__(self) -> Self:
        if self._notifier.enabled:
            self._notifier.notify("READY=1", f"STATUS={status(self._run_status)}")
            self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._notifier.notify("STOPPING=1", "STATUS=ending")
        self._notifier.close()

    def run(self) -> None:
        """The thread."""
        while not self._ended.wait(self._each_s):
            self.beat()

    def beat(self) -> None:
        """Send the state, and ping the watchdog if a frame was processed since the last time."""
        ticks = self._run_status.ticks
        lines = [f"STATUS={status(self._run_status)}"]
        if self._pings and ticks > self._ticks:
            lines.append("WATCHDOG=1")
        self._ticks = ticks
        self._notifier.notify(*lines)


def watchdog_s() -> float | None:
    """Seconds without a watchdog ping after which systemd starts this process again; None where it never
    does.
    """
    if os.environ.get(PID_VARIABLE, str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        usec = int(os.environ.get(USEC_VARIABLE, ""))
        return usec / 1e6 if usec > 0 else None
    return None


def status(run_status: RunStatus) -> str:
    """What the run does, in one line: how many sources are in which state, their frames, its model."""
    states = Counter(source.state for source in run_status.sources)
    rate_hz = sum(source.rate_hz for source in run_status.sources)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{counts}; {rate_hz:.1f} frames/s; {run_status.ticks} ticks; {run_status.model_id}"


def reload_on_hangup(reload: Callable[[], None]) -> None:
    """SIGHUP calls `reload`, which must only note it; at a terminal it ends the run, as that is what went
    away.
    """
    if not any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        signal.signal(signal.SIGHUP, lambda number, frame: reload())
