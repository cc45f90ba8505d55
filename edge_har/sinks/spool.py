"""Events on the disk that wait for a destination to answer: first in, first out, through restarts, power cuts
and a full disk.

NNN.events   events in order, one a line: checksum, number, JSON. NNN is the number of the first;
             the last file grows
cursor       the number of the next event to deliver, overwritten where it is (which needs no room)
lock         held by the one process that uses the spool; the kernel frees it with its holder
*.damaged    the latest file that held lines which this program did not write, to look at

A line that a power cut has cut short is no event. What was delivered but not noted is delivered again.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edge_har.errors import EdgeHarError
from edge_har.pipeline.events import Event
from edge_har.sinks.base import event_of, line_of
from edge_har.system.files import make_private_folder, open_private, sync_directory, take_lock

MAX_BYTES = 64_000_000  # some 200,000 events
SEGMENTS = 8  # files that together hold `max_bytes`
SEGMENT_BYTES = 1_000_000
MEMORY_BYTES = 4_000_000  # of events that the disk does not take
READ_BYTES = 65_536
SYNC_S = 1.0  # what is not delivered by then is on the disk, whatever happens
CLOSE_S = 0.2  # how long closing waits for a disk that hangs
SUFFIX, DAMAGED, CURSOR, LOCK = ".events", ".damaged", "cursor", "lock"
SEGMENT_NAME = re.compile(r"(\d{20})\.events")
LINE = re.compile(rb"([0-9a-f]{8}) ((\d{1,20}) .+)")
CURSOR_LINE = re.compile(rb"(\d{20}) ([0-9a-f]{8})\n")
CURSOR_BYTES = 30
MAY_PASS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # troubles of a disk, not of a configuration

log = logging.getLogger("edge_har")


@dataclass
class _Segment:
    """One file. first: number of its first event. size: bytes that may be read."""

    path: Path
    first: int
    size: int
    damaged: bool = False


class Spool:
    """Events that wait in `folder`, at most `max_bytes` of them; where more come the oldest go, a file at a
    time.

    What the disk does not take (it is full, or broken) waits in memory, at most `memory_bytes` of it, and
    goes to the disk when it can; both are logged once. name: what messages call it. Safe to use from several
    threads.

    Raises EdgeHarError where another process uses the folder, or it cannot be used at all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "spool",
        max_bytes: int = MAX_BYTES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.folder = folder
        self.name = name
        self.dropped = 0
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // SEGMENTS)
        self._memory_bytes = memory_bytes
        self._lock = threading.RLock()
        self._closed = False
        self._trouble = False  # whether the log says that the disk takes nothing
        self._holder: int | None = None
        self._cursor_file: int | None = None
        self._segments: deque[_Segment] = deque()
        self._writer: int | None = None  # descriptor of the last segment, while it grows
        self._torn = False  # whether the last segment may end within a line
        self._unsynced = False
        self._synced_s = time.monotonic()
        self._cursor = self._next = 0  # numbers of the next event to deliver, and of the next to write
        self._read_at = 0  # bytes of the first segment that were read
        self._expected = 0  # number of the next event to read
        self._ahead: deque[tuple[int, Event]] = deque()  # read from it, not delivered yet
        self._unsaved: deque[tuple[Event, bytes]] = deque()  # newer than all on the disk
        self._unsaved_bytes = 0
        self._leaving: list[int] = []  # numbers of what is on its way; negative: of unsaved ones
        try:
            self._take_folder()
        except OSError as error:
            if error.errno not in MAY_PASS:
                raise EdgeHarError(f"events cannot wait in {folder}: {error.strerror}") from error
            self._log_trouble(error)

    def __len__(self) -> int:
        return self._next - self._cursor + len(self._unsaved)

    @property
    def unsaved(self) -> int:
        """How many wait in memory because the disk does not take them; closing loses them."""
        return len(self._unsaved)

    def append(self, events: Sequence[Event]) -> None:
        """Take events; where the disk does not, they wait in memory. What is not delivered within a second is
        synced.
        """
        with self._lock:
            if self._closed:
                return
            for event in events:
                line = line_of(event)
                self._unsaved.append((event, line))
                self._unsaved_bytes += len(line)
            self._save()
            self._shrink()
        if time.monotonic() - self._synced_s >= SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Make what is not delivered outlast a power cut; no sync is spent on what was delivered
        meanwhile.
        """
        self._synced_s = time.monotonic()
        with self._lock:
            if self._closed or self._writer is None or not self._unsynced or self._next == self._cursor:
                return
            self._unsynced = False
            descriptor = os.dup(self._writer)
        try:
            os.fdatasync(descriptor)  # may take seconds: not under the lock
        except OSError as error:
            self._log_trouble(error)
        finally:
            os.close(descriptor)

    def peek(self, limit: int) -> list[Event]:
        """The oldest events; they stay until `ack`."""
        with self._lock:
            if self._closed:
                return []
            while len(self._ahead) < limit and self._read():
                pass
            if self._ahead:
                found = list(islice(self._ahead, limit))
                self._leaving = [number for number, _ in found]
                return [event for _, event in found]
            events = [event for event, _ in islice(self._unsaved, limit)]
            self._leaving = [-1] * len(events)
            return events

    def ack(self, count: int) -> None:
        """The first `count` of those last seen by `peek` have gone; the others wait again."""
        with self._lock:
            gone, stayed, self._leaving = self._leaving[:count], self._leaving[count:], []
            self.dropped += sum(0 <= number < self._cursor for number in stayed)
            if self._closed or not gone:
                return
            if gone[0] < 0:
                for _ in gone:
                    self._forget_unsaved(0)
                return
            self._cursor = max(self._cursor, gone[-1] + 1)
            while self._ahead and self._ahead[0][0] < self._cursor:
                self._ahead.popleft()
            self._write_cursor()
            if self._cursor == self._next and self._segments and self._segments[-1].size >= READ_BYTES:
                self._remove_first()  # all is delivered: give the room back

    def close(self) -> None:
        """Sync, and let another process use the folder. Where the disk hangs it is left as it is."""
        if not self._lock.acquire(timeout=CLOSE_S):
            return
        try:
            if self._closed:
                return
            self._leaving = []
            self._save()
            self._closed = True
            if self._unsynced and self._writer is not None:
                with suppress(OSError):
                    os.fdatasync(self._writer)
            for descriptor in (self._writer, self._cursor_file, self._holder):
                if descriptor is not None:
                    os.close(descriptor)
            self._writer = self._cursor_file = self._holder = None
        finally:
            self._lock.release()

    # The folder.

    def _take_folder(self) -> None:
        """Lock the folder and find what is in it; may be called again after an OSError."""
        make_private_folder(self.folder)
        try:
            holder = take_lock(self.folder / LOCK)
        except BlockingIOError:
            raise EdgeHarError(
                f"events cannot wait in {self.folder}: another process uses it; give one of the two sinks "
                "another `name` (or `spool`)"
            ) from None
        try:
            self._find_segments()
            self._cursor_file = open_private(self.folder / CURSOR, os.O_RDWR)
        except OSError:
            for descriptor in (holder, self._writer):
                if descriptor is not None:
                    os.close(descriptor)
            self._writer = None
            raise
        self._holder = holder
        noted = CURSOR_LINE.fullmatch(os.pread(self._cursor_file, CURSOR_BYTES, 0))
        first = self._segments[0].first if self._segments else 0
        known = noted is not None and int(noted[2], 16) == zlib.crc32(noted[1])
        self._cursor = max(first, int(noted[1])) if noted is not None and known else first
        self._next = max(self._next, self._cursor)
        self._expected = self._cursor
        while len(self._segments) > 1 and self._segments[1].first <= self._cursor:
            self._remove_first()
        self._write_cursor()

    def _find_segments(self) -> None:
        found = [(name, SEGMENT_NAME.fullmatch(name)) for name in sorted(os.listdir(self.folder))]
        self._segments = deque(
            _Segment(self.folder / name, int(match[1]), (self.folder / name).stat().st_size)
            for name, match in found
            if match
        )
        if not self._segments:
            return
        last = self._segments[-1]
        end = last.size
        self._next, last.size, last.damaged = _scan(last)
        if last.damaged:
            self._next += self._next == last.first  # the next file needs another name
        else:
            self._writer = os.open(last.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            if end > last.size:
                os.ftruncate(self._writer, last.size)

    def _remove_first(self) -> None:
        """Give the room of the oldest segment back; a damaged one is kept aside."""
        first = self._segments.popleft()
        if not self._segments and self._writer is not None:
            os.close(self._writer)
            self._writer = None
        self._ahead.clear()
        self._read_at = 0
        if not first.damaged:
            with suppress(OSError):
                first.path.unlink()
            return
        kept = first.path.with_suffix(DAMAGED)
        with suppress(OSError):
            for older in self.folder.glob(f"*{DAMAGED}"):
                older.unlink()
            first.path.rename(kept)
        log.warning(
            "%s: what waited on the disk was damaged; what was whole goes on, see %s", self.name, kept
        )

    def _begin_anew(self) -> None:
        """The folder was removed: what was there is gone."""
        self.dropped += max(0, self._next - self._cursor)
        log.warning("%s: another program removed the events that waited in %s", self.name, self.folder)
        for descriptor in (self._writer, self._cursor_file, self._holder):
            if descriptor is not None:
                os.close(descriptor)
        self._writer = self._cursor_file = self._holder = None
        self._segments.clear()
        self._ahead.clear()
        self._leaving = []
        self._cursor = self._next = self._expected = self._read_at = 0

    def _write_cursor(self) -> None:
        if self._cursor_file is not None:
            number = b"%020d" % self._cursor
            with suppress(OSError):  # then the same is delivered again after a restart, which is allowed
                os.pwrite(self._cursor_file, b"%s %08x\n" % (number, zlib.crc32(number)), 0)

    # Writing.

    def _save(self) -> None:
        """Bring to the disk what waits in memory; nothing while some of that is on its way."""
        if not self._unsaved or (self._leaving and self._leaving[0] < 0):
            return
        try:
            if self._writer is not None and not os.fstat(self._writer).st_nlink:
                self._begin_anew()
            if self._holder is None:
                self._take_folder()
            while self._unsaved:
                self._save_some()
        except OSError as error:
            self._log_trouble(error)
        else:
            if self._trouble:
                self._trouble = False
                log.info("%s: %s takes events again", self.name, self.folder)

    def _save_some(self) -> None:
        if self._writer is None:
            path = self.folder / f"{self._next:020d}{SUFFIX}"
            self._writer = open_private(path, os.O_RDWR | os.O_APPEND)
            self._segments.append(_Segment(path, self._next, os.fstat(self._writer).st_size))
            self._torn = self._segments[-1].size > 0
            sync_directory(self.folder)
        segment = self._segments[-1]
        blob, count = b"\n" if self._torn else b"", 0
        for _, line in self._unsaved:
            if count and segment.size + len(blob) >= self._segment_bytes:
                break
            body = b"%d %s" % (self._next + count, line)
            blob += b"%08x %s\n" % (zlib.crc32(body), body)
            count += 1
        self._write_whole(self._writer, blob, segment.size)
        self._torn = False
        self._unsynced = True
        segment.size += len(blob)
        self._next += count
        for _ in range(count):
            self._forget_unsaved(0)
        if segment.size >= self._segment_bytes:
            os.fdatasync(self._writer)
            os.close(self._writer)
            self._writer = None

    def _write_whole(self, descriptor: int, blob: bytes, size: int) -> None:
        """Append all of `blob` to a file of `size` bytes, or nothing."""
        try:
            while blob:
                blob = blob[os.write(descriptor, blob) :]
        except OSError:
            try:
                os.ftruncate(descriptor, size)
            except OSError:
                self._torn = True
            raise

    def _forget_unsaved(self, index: int) -> None:
        self._unsaved_bytes -= len(self._unsaved[index][1])
        del self._unsaved[index]

    def _shrink(self) -> None:
        """Keep to the bounds: the oldest go."""
        while len(self._segments) > 1 and sum(s.size for s in self._segments) > self._max_bytes:
            self._drop_first()
        while self._unsaved_bytes > self._memory_bytes:
            if len(self._segments) > 1:
                self._drop_first()
                self._save()
                continue
            leaving = sum(number < 0 for number in self._leaving)
            if leaving >= len(self._unsaved):
                return
            self._forget_unsaved(leaving)
            self.dropped += 1

    def _drop_first(self) -> None:
        end = self._segments[1].first
        leaving = sum(self._cursor <= number < end for number in self._leaving)
        self.dropped += max(0, end - self._cursor - leaving)
        self._remove_first()
        self._cursor = max(self._cursor, end)
        self._expected = max(self._expected, end)
        self._write_cursor()

    def _log_trouble(self, error: OSError) -> None:
        if not self._trouble:
            self._trouble = True
            log.error(
                "%s: events cannot wait in %s: %s; they wait in memory until they can",
                self.name,
                self.folder,
                error.strerror,
            )

    # Reading.

    def _read(self) -> bool:
        """Read some more of the oldest segment; False where there is no more to read at the moment."""
        if not self._segments:
            return False
        segment = self._segments[0]
        data = _read_lines(segment, self._read_at)
        if data:
            self._read_at += len(data)
            for number, event in _parse(data):
                if event is None:
                    segment.damaged = True
                elif number >= self._expected:
                    self._miss(number)
                    self._ahead.append((number, event))
                    self._expected = number + 1
            return True
        if self._ahead:
            return False
        end = self._segments[1].first if len(self._segments) > 1 else self._next
        segment.damaged = segment.damaged or end > self._expected
        self._miss(end)
        self._expected = self._cursor = max(self._cursor, end)
        if len(self._segments) == 1:
            return False
        self._remove_first()
        return True

    def _miss(self, number: int) -> None:
        """The next event that can be read is the one of `number`: those before it are lost."""
        self.dropped += max(0, number - self._expected)


def _read_lines(segment: _Segment, at: int) -> bytes:
    """Whole lines of a segment from byte `at` on, or, where nothing ends a line, whatever is there; b"" at
    its end.
    """
    try:
        with open(segment.path, "rb") as file:
            file.seek(at)
            data = file.read(min(READ_BYTES, max(0, segment.size - at)))
    except OSError:
        data = b""  # it was removed, or cannot be read
    return data[: data.rfind(b"\n") + 1] or data


def _parse(data: bytes) -> Iterator[tuple[int, Event | None]]:
    """Number and event of each line; no event where the line is not what was written."""
    for line in data.splitlines():
        match = LINE.fullmatch(line)
        if match and int(match[1], 16) == zlib.crc32(match[2]):
            with suppress(ValueError):
                yield int(match[3]), event_of(match[2].split(b" ", 1)[1])
                continue
        if line:
            yield -1, None


def _scan(segment: _Segment) -> tuple[int, int, bool]:
    """Of the last segment: the number after its last event, the bytes before a line that was cut short,
    whether others are damaged.
    """
    at, after, damaged = 0, segment.first, False
    while data := _read_lines(segment, at):
        if not data.endswith(b"\n"):
            cut_short = at + len(data) == segment.size and not damaged
            if cut_short:
                break
            damaged = True
        for number, event in _parse(data):
            after = max(after, number + 1)
            damaged = damaged or event is None
        at += len(data)
    return after, at, damaged
