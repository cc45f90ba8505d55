"""A queue and a thread between recognition and a destination of events, so that a slow one slows nothing
else.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from traceback import format_tb
from typing import Protocol

from edge_har.pipeline.events import Event
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import Destination, Rejected, RetryLater
from edge_har.sinks.spool import SYNC_S, Spool
from edge_har.system.backoff import Backoff

QUEUE_EVENTS = 10_000  # some 4 MB
KEEP_EVENTS = 512  # that the disk is given at once
CLOSE_S = 0.7  # a run has two seconds to end
LOOK_S = 0.1  # how soon a sink that waits for room notices that it should no more
TEND_S = 0.5
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 60.0
MAX_REQUESTED_S = 3600.0  # no destination makes us wait longer

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class RetryPolicy:
    """Seconds: the first pause before another try and the longest one; how long closing may take; between
    looks after a destination without events.
    """

    first_s: float = FIRST_RETRY_S
    last_s: float = LAST_RETRY_S
    close_s: float = CLOSE_S
    tend_s: float = TEND_S


class EventBuffer(Protocol):
    """Events that wait for a destination, oldest first; safe to use from several threads."""

    @property
    def dropped(self) -> int:
        """How many went because too many waited."""

    def __len__(self) -> int: ...

    def peek(self, limit: int) -> list[Event]:
        """The oldest events; they stay until `ack`."""

    def ack(self, count: int) -> None:
        """The first `count` of those last seen by `peek` have gone; the others wait again."""


class MemoryBuffer:
    """Events that wait in memory, at most `capacity`; where more come the oldest go, but none that is on its
    way.
    """

    def __init__(self, capacity: int) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._leaving: deque[Event] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._leaving)

    def put(self, event: Event) -> None:
        """Take one more."""
        with self._lock:
            if len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(event)

    def peek(self, limit: int) -> list[Event]:
        """The oldest events; they stay until `ack`."""
        with self._lock:
            while self._waiting and len(self._leaving) < limit:
                self._leaving.append(self._waiting.popleft())
            return list(self._leaving)

    def ack(self, count: int) -> None:
        """The first `count` of those last seen by `peek` have gone; the others wait again."""
        with self._lock:
            for _ in range(count):
                self._leaving.popleft()
            self._waiting.extendleft(reversed(self._leaving))
            self._leaving.clear()


class QueuedSink:
    """A sink that takes events at once and brings them to `target` in a thread of its own, in order, again
    and again until they arrive.

    At most `capacity` events wait in memory; where more come the oldest go. With a `spool` they wait on the
    disk: a second thread puts them there, and what is not delivered when the sink is closed is delivered by
    the next run. state: its counters. updates: take `update` events too. set_aside: called with an event that
    the target will never take, and why. waits: whether `write`, where memory is full, waits for room rather
    than drop, and closing takes as long as events arrive; for sources that are not live.

    Raises BrokenPipeError from `write` once the target did: the reader has gone.
    """

    def __init__(  # `waits` and `changed` (notified of all that happens) are for sinks made of this one
        self,
        target: Destination,
        state: SinkState,
        *,
        capacity: int = QUEUE_EVENTS,
        spool: Spool | None = None,
        updates: bool = True,
        retries: RetryPolicy | None = None,
        set_aside: Callable[[Event, str], None] | None = None,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state = state
        self._target = target
        self._spool = spool
        self._updates = updates
        self._retries = retries or RetryPolicy()
        self._set_aside = set_aside
        self.waits = waits
        self._capacity = capacity
        self._memory = MemoryBuffer(capacity)
        self._store: EventBuffer = self._memory if spool is None else spool
        self.changed = threading.Condition()  # guards what follows, and the counters
        self._closing = False
        self._until_s = math.inf  # time.monotonic() when closing must be over
        self._keeping = spool is not None  # whether events may still be on their way from memory to the disk
        self._broken = False
        self.raised = False  # whether `write` raised that events are lost
        self._closed = False
        # Of the thread that brings events alone:
        self._backoff = Backoff(self._retries.first_s, self._retries.last_s)
        self._gave_up = False
        self._failing = False
        self._refusing = False
        self._reported_dropped = 0
        self._full = False  # whether the log says that events are dropped
        if len(self._store):
            log.info("%s: %d events of an earlier run are delivered first", state.name, len(self._store))
        self._count()
        self._threads = [self._thread("bring", self._bring)]
        if spool is not None:
            self._threads.append(self._thread("keep", partial(self._keep, spool)))

    def _thread(self, does: str, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=run, daemon=True, name=f"{self.state.name}-{does}")
        thread.start()
        return thread

    def write(self, event: Event) -> None:
        """Take one event; never waits, unless it was made so."""
        if event.type == "update" and not self._updates:
            return
        if self._broken:
            raise BrokenPipeError("the reader of the events has gone")
        self.wait_for(lambda: len(self._memory) < self._capacity or self._closing or self._broken)
        if self._closing:
            return
        self._memory.put(event)
        self._count()
        self._warn_full()

    def wait_for(self, found: Callable[[], object]) -> None:
        """Wait until `found`, for as long as this sink `waits`."""
        with self.changed:
            while not found() and self.waits():
                self.changed.wait(LOOK_S)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, or nothing ever will be delivered."""
        return self.is_broken or self._closing or not (len(self._memory) or len(self._store))

    @property
    def is_broken(self) -> bool:
        """Whether the reader has gone."""
        return self._broken

    def stop(self) -> None:
        """Begin to close without waiting for it; what waits is delivered as far as time allows."""
        with self.changed:
            if not self._closing:
                self._closing = True
                self._until_s = time.monotonic() + self._retries.close_s
                self.changed.notify_all()

    def close(self) -> None:
        """Deliver what waits, as far as time allows, and log what could not be."""
        self.stop()
        for thread in self._threads:
            while thread.is_alive() and (left_s := self._until_s - time.monotonic()) > 0:
                thread.join(left_s)
        with self.changed:
            closed, self._closed = self._closed, True
        if closed:
            return
        lost = len(self._memory)
        if self._spool is not None:
            self._spool.close()
            lost += self._spool.unsaved
            kept = len(self._spool) - self._spool.unsaved
            if kept:
                log.warning("%s: %d events are not delivered yet, the next run does", self.state.name, kept)
        if lost and not (self._broken or self.raised):
            self.state.lost = self.state.dropped + lost
            log.error("%s: %d events could not be delivered and are lost", self.state.name, lost)

    def _count(self) -> None:
        """Bring the counters up to date, and wake the threads that wait for events."""
        with self.changed:
            memory, spool = self._memory, self._spool
            self.state.queued = len(memory) + (len(spool) if spool is not None else 0)
            self.state.dropped = memory.dropped + (spool.dropped if spool is not None else 0)
            self.state.lost = self.state.dropped
            self.changed.notify_all()

    def _warn_full(self) -> None:
        if self.state.dropped > self._reported_dropped and not self._full:
            self._full = True
            log.warning("%s: too many events wait, the oldest are dropped", self.state.name)

    # The thread that puts events on the disk.

    def _keep(self, spool: Spool) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: len(self._memory) or self._closing, SYNC_S)
                closing = self._closing
            events = self._memory.peek(KEEP_EVENTS)
            spool.append(events)
            self._memory.ack(len(events))
            if closing and not len(self._memory):
                break
            self._count()
            self._warn_full()
        spool.sync()
        with self.changed:
            self._keeping = False
        self._count()

    # The thread that brings events to the target.

    def _bring(self) -> None:
        try:
            while self._wait():
                self._try()
        finally:
            try:
                self._target.close()
            except Exception as error:  # noqa: BLE001  whatever a library makes of a dead connection
                log.debug("%s: while closing: %s", self.state.name, error)

    def _wait(self) -> bool:
        """Wait for events, or until the target is due to be looked after; False when there is nothing more to
        do.
        """
        with self.changed:
            if not (len(self._store) or self._closing):
                self.changed.wait(self._retries.tend_s)
            if self._closing:
                self.changed.wait_for(
                    lambda: len(self._store) or not self._keeping, self._until_s - time.monotonic()
                )
                if self._gave_up or not len(self._store) or time.monotonic() >= self._until_s:
                    return False
            return not self._broken

    def _try(self) -> None:
        events: list[Event] = []
        try:
            events = self._store.peek(self._target.batch)
            if events:
                self._target.deliver(events)
                self._arrived(len(events))
            self._target.tend()
            self._works()
        except RetryLater as later:
            self._arrived(later.delivered)
            self._fails(str(later), later.wait_s, progress=later.delivered > 0)
        except Rejected as refusal:
            self._refuse(events[refusal.delivered], refusal)
        except BrokenPipeError:
            self._broken = True
            self._count()
        except Exception as error:  # noqa: BLE001  a fault of ours, or of a library: the next try may work
            self._arrived(0)
            log.debug("%s: %s", self.state.name, "".join(format_tb(error.__traceback__)))
            self._fails(f"unexpected {type(error).__name__}", None, progress=False)

    def _arrived(self, count: int, refused: int = 0) -> None:
        """Of the events on their way `count` have arrived, and the next `refused` never will; the others wait
        again.
        """
        self._store.ack(count + refused)
        self.state.delivered += count
        self.state.refused += refused
        if count:
            self._backoff.reset()
            self._refusing = False
        if count and self._closing and self.waits():
            self._until_s = time.monotonic() + self._retries.close_s
        self._count()

    def _works(self) -> None:
        self._backoff.reset()
        if self._failing:
            self._failing = False
            log.info("%s: works again", self.state.name)
        if self._full and not len(self._store):
            self._full = False
            log.warning(
                "%s: %d events were dropped", self.state.name, self.state.dropped - self._reported_dropped
            )
            self._reported_dropped = self.state.dropped

    def _fails(self, reason: str, wait_s: float | None, *, progress: bool) -> None:
        self.state.last_error = reason
        self.state.failed += 1
        self._count()
        if not self._failing:
            self._failing = True
            log.warning("%s: %s; trying again until it works", self.state.name, reason)
        pause_s = self._backoff.after_failure()
        if wait_s is not None:
            pause_s = max(pause_s, min(wait_s, MAX_REQUESTED_S))
        with self.changed:
            self._gave_up = self._closing and not progress  # who closes does not try in vain twice
            self.changed.wait_for(lambda: self._closing, pause_s)

    def _refuse(self, event: Event, refusal: Rejected) -> None:
        reason = str(refusal)
        if self._set_aside is not None:
            self._set_aside(event, reason)
        self._arrived(refusal.delivered, refused=1)
        self.state.failed += 1
        self.state.last_error = reason
        if not self._refusing:
            self._refusing = True
            log.error("%s: %s; such events are set aside", self.state.name, reason)
