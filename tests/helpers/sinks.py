"""Events to send, a place that fails on request, and waiting for what other threads do."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_har.pipeline.events import Event, Type
from edge_har.pipeline.status import RunStatus
from edge_har.sinks.base import Rejected, RetryLater
from edge_har.sinks.options import SinkContext
from edge_har.sinks.queued import RetryPolicy

WAIT_S = 30.0  # the machine may be slow
QUICK = RetryPolicy(first_s=0.01, last_s=0.05, close_s=5.0, tend_s=0.02)
LABELS = ("Run", "Walk")


def made_event(number: int, kind: Type = "start", *, source: str = "door", label: str = "Walk") -> Event:
    """The event of that number; no two numbers give the same line."""
    return Event(
        id=f"0a1b2c3d-{number}",
        type=kind,
        source=source,
        label=label,
        score=(50 + number % 50) / 100,
        start_s=float(number),
        end_s=number + 0.5 if kind == "end" else None,
        time=f"2026-11-21T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
        model="test@0123456789ab",
        reason="left" if kind == "end" else None,
    )


def made_events(count: int, first: int = 0) -> list[Event]:
    """That many events in order."""
    return [made_event(first + number) for number in range(count)]


def setting(*names: str) -> SinkContext:
    """What sinks are opened in: the board of a run with these sources, all live."""
    run_status = RunStatus("test@0123456789ab", LABELS, names or ("door",))
    for source in run_status.sources:
        source.turn("live")
    return SinkContext(run_status)


def wait_until(found: Callable[[], object], what: str) -> None:
    """Wait for what another thread or process does."""
    until_s = time.monotonic() + WAIT_S
    while not found():
        assert time.monotonic() < until_s, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.005)


class Place:
    """A target that takes events, fails, refuses or hangs, as a test wants it. `taken` is what arrived.

    fail: text of the failure, None: none. refuse: whether an event is never taken. hang: cleared, it hangs.
    """

    def __init__(self, batch: int = 4) -> None:
        self.batch = batch
        self.taken: list[Event] = []
        self.fail: str | None = None
        self.refuse: Callable[[Event], bool] = lambda event: False
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self.tries = 0
        self.closed = False

    def deliver(self, events: Sequence[Event]) -> None:
        self.tries += 1
        for delivered, event in enumerate(events):
            self.entered.set()
            self.free.wait()
            if self.fail is not None:
                raise RetryLater(self.fail, delivered=delivered)
            if self.refuse(event):
                raise Rejected("it will not have that", delivered=delivered)
            self.taken.append(event)

    def tend(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A new folder, in memory where the system offers that: a disk's sync takes long."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """A disk of that size at `folder`; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here: a full disk cannot be tried")
    if done.returncode:
        pytest.skip(f"no tmpfs may be mounted here, a full disk cannot be tried: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Fill the disk that `folder` is on, but for so much; the file that does it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(max(0, file.tell() - leave_bytes))
    return ballast
