"""What systemd is told, and what signals do; the service manager is a socket of our own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_har.pipeline.status import Counts, RunStatus
from edge_har.pipeline.systemd import Heartbeat, Notifier, status, watchdog_s
from tests.helpers.command import start_edge_har
from tests.helpers.running import LONG_S, steady


class Manager:
    """The end that systemd holds: a datagram socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(LONG_S)

    def next(self) -> list[str]:
        """The lines of the next message."""
        return self._socket.recv(4096).decode().splitlines()

    def until(self, found: Callable[[list[str]], bool]) -> list[list[str]]:
        """All messages up to the first that `found` takes."""
        told = [self.next()]
        while not found(told[-1]):
            told.append(self.next())
        return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    made = Manager(tmp_path)
    yield made
    made.close()


def frames(run_status: RunStatus, ticks: int) -> None:
    """Let the first source have had so many ticks."""
    run_status.sources[0].count(Counts(frames=2 * ticks, ticks=ticks), 0.0)


def test_only_processed_frames_feed_the_watchdog(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", str(int(1e9)))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    run_status = RunStatus("m@1", ("A",), ("cam",))
    with Heartbeat(run_status, Notifier(manager.path)) as heart:
        assert manager.next()[0] == "READY=1"
        fed = []
        for ticks in (0, 0, 5, 5, 6):
            frames(run_status, ticks)
            heart.beat()
            fed.append("WATCHDOG=1" in manager.next())
    assert fed == [False, False, True, False, True]
    assert manager.next()[0] == "STOPPING=1"


def test_without_a_watchdog_it_is_never_fed(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    run_status = RunStatus("m@1", ("A",), ("cam",))
    heart = Heartbeat(run_status, Notifier(manager.path))
    frames(run_status, 5)
    heart.beat()
    assert [line.partition("=")[0] for line in manager.next()] == ["STATUS"]


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whose_watchdog_it_is(
    variables: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_s() == seconds


def test_nobody_asked_and_a_manager_that_is_gone_are_no_trouble(manager: Manager) -> None:
    assert not Notifier("").enabled
    Notifier("").notify("READY=1")
    gone = Notifier(manager.path)
    manager.close()
    gone.notify("READY=1")
    gone.close()
    gone.notify("STOPPING=1")


def test_an_abstract_socket_is_found() -> None:
    name = f"edge-har-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(LONG_S)
        notifier = Notifier("@" + name)
        notifier.notify("READY=1", "STATUS=x")
        notifier.close()
        assert manager.recv(100) == b"READY=1\nSTATUS=x"


def test_the_state_is_one_line() -> None:
    run_status = RunStatus("m@1", ("A",), ("door", "attic", "cam"))
    for source, state in zip(run_status.sources, ("live", "lost", "live"), strict=True):
        source.turn(state)
    frames(run_status, 7)
    assert status(run_status) == "2 live, 1 lost; 0.0 frames/s; 7 ticks; m@1"


def test_a_service_is_ready_feeds_its_watchdog_while_frames_come_and_says_when_it_ends(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with steady() as server:
        running = start_edge_har("run", "--source", server.url, "-q")
        assert manager.next()[0] == "READY=1"
        told = manager.until(lambda lines: "WATCHDOG=1" in lines)
        assert told[-1][0].startswith("STATUS=1 live; ")
        server.stall()
        # The frame in progress may still count once; then no more, while the state is told on.
        quiet = [manager.next() for _ in range(8)]
        assert all("WATCHDOG=1" not in lines for lines in quiet[3:])
        running.terminate()
        assert manager.until(lambda lines: lines[0] == "STOPPING=1")
        _, errors = running.communicate(timeout=LONG_S)
    assert running.returncode == 0 and errors == ""
