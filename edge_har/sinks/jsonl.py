"""Events as JSON lines: on a stream, for programs that read along, or in a file that is rotated."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

from edge_har.errors import EdgeHarError, MisuseError
from edge_har.options.fields import option
from edge_har.options.kinds import BYTES, PATH, WHOLE
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import RetryLater, line_of
from edge_har.sinks.options import NO_SPOOL, DeliveryOptions, SinkContext, spool_option
from edge_har.sinks.queued import QueuedSink, RetryPolicy
from edge_har.system.files import PathKind, expand_user, path_kind, sync_directory, take_lock

STREAM_BATCH, FILE_BATCH = 64, 256
SYNC_S = 1.0  # how often a file is synced at most, so that it outlasts a power cut
TAIL_BYTES = 65_536  # a line is shorter
BEGIN = b'{"v": '  # of a line
STANDARD_OUTPUT = "-"
MIN_FILE_BYTES = 1000
FILE_RETRIES = RetryPolicy(last_s=5.0)  # a disk with room again is soon made use of

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class JsonLinesOptions(DeliveryOptions):
    """Events as JSON lines. A file that is rotated becomes PATH.1, that one PATH.2."""

    kind: ClassVar[str] = "jsonl"
    address_option: ClassVar[str | None] = "path"
    path: str = option(PATH, "the file; `-`: standard output", default=STANDARD_OUTPUT)
    max_bytes: int = option(
        BYTES, "largest file: it is rotated before it grows beyond", default=10_000_000, low=MIN_FILE_BYTES
    )
    keep: int = option(WHOLE, "rotated files that are kept", default=5, low=0)
    spool: str | None = spool_option(NO_SPOOL)

    def _check(self) -> None:
        super()._check()
        if self.path == STANDARD_OUTPUT and self.spool != NO_SPOOL:
            raise MisuseError("jsonl: events for standard output cannot wait in a spool")

    def open(self, context: SinkContext) -> OpenedSink:
        """A sink that writes the lines in a thread of its own."""
        state = SinkState(self.called)
        if self.path == STANDARD_OUTPUT:
            target = StreamDestination(sys.stdout.fileno())
            sink: QueuedSink = StreamSink(target, state, updates=self.updates, waits=context.waits)
        else:
            path, spooled = expand_user(self.path), self.spool != NO_SPOOL
            file = FileDestination(path, max_bytes=self.max_bytes, keep=self.keep, replayed=spooled)
            spool = self.open_spool()
            sink = QueuedSink(
                file, state, spool=spool, updates=self.updates, retries=FILE_RETRIES, waits=context.waits
            )
        context.run_status.add_sink(state)
        return OpenedSink(events=sink)


class StreamDestination:
    """Writes lines to a descriptor, such as that of standard output. A line that was begun is always
    finished first. line: what makes one of an event, without the line's end.
    """

    batch = STREAM_BATCH

    def __init__(self, descriptor: int, line: Callable[[Event], bytes] = line_of) -> None:
        self._descriptor = descriptor
        self._line = line
        self._rest = b""  # of a line that was begun

    def deliver(self, events: Sequence[Event]) -> None:
        """Write one line each. Raises RetryLater on a full disk, BrokenPipeError when the reader has gone."""
        for delivered, event in enumerate(events):
            self._finish(delivered)
            self._rest = self._line(event) + b"\n"
            self._finish(delivered, whole=len(self._rest))

    def _finish(self, delivered: int, whole: int = 0) -> None:
        """Write what is left of a line; one of `whole` bytes that was not begun is given up where that
        fails.
        """
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._descriptor, self._rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            if len(self._rest) == whole:
                self._rest = b""
            elif whole:
                delivered += 1  # it will be, before any other
            raise RetryLater(f"events cannot be written: {error.strerror}", delivered=delivered) from error

    def tend(self) -> None:
        """Nothing is due."""

    def close(self) -> None:
        """The descriptor is the caller's: nothing to do."""


class StreamSink(QueuedSink):
    """Writes lines to a stream. Where nobody is late (the sources are files) each line is there when
    `write` returns, so that a slow reader gets all of them; what cannot be written is then an
    EdgeHarError.
    """

    def write(self, event: Event) -> None:
        """Take one event; never waits where the sources are live."""
        super().write(event)
        if not self.waits():
            return
        self.wait_for(lambda: self.is_idle or self.state.failed)
        if self.is_broken:
            raise BrokenPipeError("the reader of the events has gone")
        if self.state.failed:
            self.raised = True
            raise EdgeHarError(str(self.state.last_error))


class FileDestination:
    """Appends lines to the file `path`, each whole or not at all, and rotates it.

    Before a file grows beyond `max_bytes` it becomes `path.1`, that one `path.2`, and so on; `keep` of these
    stay. A file that another program moved away is started again. replayed: after a restart the first events
    may be in the file already; they are not written again, and what is written is synced before it counts as
    delivered.

    Raises MisuseError where `path` cannot be such a file.
    """

    batch = FILE_BATCH

    def __init__(self, path: Path, *, max_bytes: int, keep: int, replayed: bool = False) -> None:
        _check_file(path)
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._replayed = replayed
        self._file: int | None = None
        self._size = 0  # bytes of it
        self._delivered = 0  # of the events that are at hand
        self._dirty = False
        self._synced_s = time.monotonic()
        self._there: set[bytes] | None = None if replayed else set()  # lines that may come again

    def deliver(self, events: Sequence[Event]) -> None:
        """Append one line each; raises RetryLater where the disk takes no more, with the file still whole."""
        self._delivered = 0
        try:
            self._open()
            lines = self._news([line_of(event) + b"\n" for event in events])
            while lines:
                room = self._max_bytes - self._size
                fit = sum(end <= room for end in accumulate(map(len, lines)))
                if fit or not self._size:
                    fit = max(1, fit)
                    self._append(b"".join(lines[:fit]))
                    lines = lines[fit:]
                else:
                    self._rotate()
            if self._replayed:
                self._sync()
        except OSError as error:
            raise RetryLater(f"{self.path}: {error.strerror}", delivered=self._delivered) from error

    def tend(self) -> None:
        """Make what was written outlast a power cut, now and then."""
        if self._dirty and time.monotonic() - self._synced_s >= SYNC_S:
            try:
                self._sync()
            except OSError as error:
                raise RetryLater(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Sync and close the file."""
        with suppress(OSError):
            self._sync()
        self._close()

    def _news(self, lines: list[bytes]) -> list[bytes]:
        """Without the first ones that an earlier run has already written."""
        if self._there is None:
            self._there = set(self._last_lines())
        while lines and lines[0] in self._there:
            lines = lines[1:]
            self._delivered += 1
        if lines:
            self._there = set()
        return lines

    def _last_lines(self) -> list[bytes]:
        """The latest lines of the file and of those it was rotated into: as many as an earlier run may not
        have noted.
        """
        lines: list[bytes] = []
        for number in range(self._keep + 1):
            if len(lines) >= FILE_BATCH or not self._rotated(number).exists():
                break
            lines[:0] = self._rotated(number).read_bytes().splitlines(keepends=True)
        return lines[-FILE_BATCH:]

    def _rotated(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _open(self) -> None:
        """Have the file open that lies at the path, and whole."""
        if self._file is not None:
            opened = os.fstat(self._file)
            with suppress(FileNotFoundError):
                if os.path.samestat(opened, os.stat(self.path)):
                    return
            self._close()
        try:
            descriptor = take_lock(self.path, os.O_APPEND)
        except BlockingIOError as error:
            raise OSError(error.errno, "another process writes it") from None
        try:
            self._size = _mend(descriptor, self.path)
        except OSError:
            os.close(descriptor)
            raise
        self._file = descriptor

    def _append(self, lines: bytes) -> None:
        assert self._file is not None
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._file, lines[written:])
        finally:
            whole = lines.rfind(b"\n", 0, written) + 1
            if whole < written:
                os.ftruncate(self._file, self._size + whole)
            self._size += whole
            self._delivered += lines.count(b"\n", 0, whole)
            self._dirty = True

    def _rotate(self) -> None:
        self._sync()
        self._close()
        oldest = 0
        while oldest < self._keep and self._rotated(oldest).exists():
            oldest += 1
        if not self._keep:
            self.path.unlink()
        for number in range(oldest, 0, -1):
            self._rotated(number - 1).replace(self._rotated(number))
        self._open()
        sync_directory(self.path.parent)

    def _sync(self) -> None:
        if self._file is not None and self._dirty:
            os.fdatasync(self._file)
        self._dirty = False
        self._synced_s = time.monotonic()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _check_file(path: Path) -> None:
    """Raise MisuseError where something else than events lies at `path`, or nothing can."""
    try:
        kind = path_kind(path, MisuseError)
        if kind is PathKind.ABSENT:
            if path_kind(path.parent, MisuseError) is not PathKind.FOLDER:
                raise MisuseError(f"{path}: there is no folder {path.parent}")
            return
        if kind is not PathKind.FILE:
            raise MisuseError(f"{path} is no ordinary file; - is standard output")
        with path.open("rb") as file:
            begin = file.read(len(BEGIN))
    except OSError as error:
        raise MisuseError(f"{path}: {error.strerror}") from error
    if begin != BEGIN[: len(begin)]:
        raise MisuseError(f"{path} holds something else than events; it is left alone")


def _mend(descriptor: int, path: Path) -> int:
    """Take away a last line that was cut short, or end one that is whole; the file's size."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return size
    try:
        json.loads(last)
    except ValueError:
        os.ftruncate(descriptor, size - len(last))
        log.warning("%s: a line that was cut short is taken away", path)
        return _mend(descriptor, path)
    os.write(descriptor, b"\n")
    return size + 1
