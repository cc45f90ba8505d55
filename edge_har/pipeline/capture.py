"""A thread per source: opens it, samples it, reconnects when it is lost; the newest ticks wait for
recognition.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from traceback import format_tb

from edge_har.errors import EdgeHarError, MisuseError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.options.addresses import mask_text
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.sources.base import Source
from edge_har.sources.named import NamedSource
from edge_har.system.backoff import Backoff
from edge_har.system.work import CAPTURE_THREAD

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
STEADY_S = 5.0  # a source that gave frames for so long before it was lost is reconnected soon
BACKLOG_S = 0.5  # a hiccup of the recognizer that costs no tick
CROWDED_S = 10.0  # after a tick was skipped only the newest one waits, for this long
MAX_DAMAGED_S = 5.0  # a live source that sends nothing whole for so long is reconnected
MAX_LEFT_BEHIND = 4  # threads of one source that hang; with more of them it is not reconnected
CONFIRM_S = 0.5  # a hang is believed when it is seen twice: this process may have been stopped itself
SAMPLERS_KEPT = 4

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class Timeouts:
    """How long a source is waited for, in seconds.

    open_s, read_s: a call into its library that takes longer is left behind. Sources time out by themselves
    after 5 seconds; these limits are for those that do not. give_up_s: one that stays away so long fails;
    None: never.
    """

    open_s: float = 20.0
    read_s: float = 6.0
    give_up_s: float | None = None


@dataclass(frozen=True)
class Opened:
    """The source was opened; the first time, or again. live: its frames come by the clock."""

    live: bool


@dataclass(frozen=True)
class Lost:
    """A live source that was open is gone, at `time_s` of its clock."""

    time_s: float
    reason: str


@dataclass(frozen=True)
class Ended:
    """The source has no more frames. warning: what of it could not be read."""

    warning: str | None


@dataclass(frozen=True)
class Failed:
    """The source cannot be used, and will not be tried again."""

    error: EdgeHarError


Item = Ticks | Opened | Lost | Ended | Failed


class TickQueue:
    """What a capture thread passes to the recognizer: state changes in order, never lost, and a bounded
    number of ticks.

    lossless: `push` waits for room (a file). Else the newest ticks stay and `skipped` counts those that went:
    up to `capacity` wait after a short hiccup, a single one where the recognizer is too slow: after a tick
    was skipped, and while the consumer sets `newest_only`. ready: notified on every change.
    """

    def __init__(self, ready: threading.Condition, *, capacity: int) -> None:
        self.skipped = 0
        self.newest_only = False
        self.capacity = capacity
        self._ready = ready
        self._items: deque[Item] = deque()
        self._waiting = 0
        self._lossless = False
        self._crowded_until_s = -math.inf
        self._closed = False

    def push(self, item: Item, *, lossless: bool = False) -> None:
        """Add `item`; waits where `lossless` until there is room or the queue is closed."""
        with self._ready:
            if isinstance(item, Ticks):
                self._lossless = lossless
                if lossless:
                    self._ready.wait_for(lambda: self._waiting < self.capacity or self._closed)
                else:
                    item = self._make_room(item)
                self._waiting += 1
            self._items.append(item)
            self._ready.notify_all()

    def pop(self) -> Item | None:
        """The oldest item, or None; never waits."""
        with self._ready:
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Ticks):
                self._waiting -= 1
                while self._passes_over and self._items and isinstance(newer := self._items[0], Ticks):
                    item = self._skip(item, newer)
                    self._items.popleft()
                    self._waiting -= 1
                self._ready.notify_all()
            return item

    def close(self) -> None:
        """The consumer is gone: a `push` that waits for room goes on."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def __bool__(self) -> bool:
        return bool(self._items)

    def _make_room(self, newest: Ticks) -> Ticks:
        crowded = self.newest_only or time.monotonic() < self._crowded_until_s
        limit = 1 if crowded else self.capacity
        if self._waiting < limit:
            return newest
        self._crowded_until_s = time.monotonic() + CROWDED_S
        kept: deque[Item] = deque()
        for item in self._items:
            if isinstance(item, Ticks):
                newest = self._skip(item, newest)
            else:
                kept.append(item)
        self._items, self._waiting = kept, 0
        return newest

    @property
    def _passes_over(self) -> bool:
        """Whether what came before the newest ticks is of no use any more."""
        return self.newest_only and not self._lossless

    def _skip(self, skipped: Ticks, newer: Ticks) -> Ticks:
        self.skipped += len(skipped.times_s)
        return replace(newer, reset=newer.reset or skipped.reset)


@dataclass(frozen=True)
class FrameCounts:
    """Of a source's frames: how many there were, that no tick needed, that could not be decoded."""

    frames: int = 0
    unused: int = 0
    damaged: int = 0

    def __add__(self, other: FrameCounts) -> FrameCounts:
        return FrameCounts(
            self.frames + other.frames, self.unused + other.unused, self.damaged + other.damaged
        )


class _Worker(threading.Thread):
    """One thread that follows a source; another takes over where it hangs in the source's library.

    call: since when (time.monotonic()) it is in a call into that library, and how long such a call may take;
    None while it is in none.
    """

    def __init__(self, follow: Callable[[_Worker], None], *, pauses: bool) -> None:
        super().__init__(daemon=True, name=CAPTURE_THREAD)
        self.stopped = threading.Event()
        self.pauses = pauses  # before it opens the source
        self.call: tuple[float, float] | None = None
        self._follow = follow

    def run(self) -> None:
        self._follow(self)


class Capture:
    """Follows one source for as long as it lasts. What it has is in `queue`; `check_thread` looks after its
    thread.

    A source that was open once and is lost is reconnected for ever, with growing pauses; where the first open
    fails, `Failed` is queued, unless `wait_for_source`. A thread that hangs in the source's library is left
    behind with it, and another takes over: `abandoned` counts how often. sampler: makes the tick clock and
    the frames of its ticks.
    """

    def __init__(
        self,
        source: NamedSource,
        sampler: Callable[[], Sampler],
        ready: threading.Condition,
        *,
        wait_for_source: bool = False,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.abandoned = 0
        self._source = source
        self._ready = ready
        self._timeouts = timeouts or Timeouts()
        self._keeps_trying = wait_for_source
        self._new_sampler = sampler
        self._samplers = [sampler()]
        self._folded = FrameCounts()
        self.queue = TickQueue(ready, capacity=backlog_ticks(self.sampler.contract))
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._reported = False  # whether the log says that it is not there yet
        self._opened = False
        self._sign_s = time.monotonic()  # of life: its latest frame
        self._worker: _Worker | None = None
        self._left: list[_Worker] = []
        self._suspect: tuple[float, float] | None = None
        self._over = False

    @property
    def sampler(self) -> Sampler:
        """The one whose ticks count now."""
        return self._samplers[-1]

    @property
    def counts(self) -> FrameCounts:
        """What came of the source so far."""
        counts = self._folded
        for sampler in self._samplers:
            counts += FrameCounts(sampler.frames, sampler.unused, sampler.damaged)
        return counts

    def resample(self, sampler: Callable[[], Sampler]) -> None:
        """Sample another way from now on: another model needs other frames or times."""
        with self._ready:
            self._new_sampler = sampler
            self._renew_sampler()
            self.queue.capacity = backlog_ticks(self.sampler.contract)

    def start(self) -> None:
        """Begin."""
        self._start(pauses=False)

    def stop(self) -> None:
        """Ask the thread to end; it does after the frame that it waits for."""
        with self._ready:
            self._over = True
            worker = self._worker
        if worker is not None:
            worker.stopped.set()
        self.queue.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end, but not for those that were left behind."""
        if self._worker is not None:
            self._worker.join(timeout_s)

    def check_thread(self) -> None:
        """Look after the thread: leave it behind where it hangs, give up a source that stays away. Call it
        often.
        """
        if self._over:
            return
        now_s = time.monotonic()
        give_up_s = self._timeouts.give_up_s
        if give_up_s is not None and not self._opened and now_s - self._sign_s > give_up_s:
            self._finish(SourceError(f"{self._source.name}: gave no frame for {give_up_s:g} s, given up"))
        elif self._worker is None:
            self._left = [worker for worker in self._left if worker.is_alive()]
            if len(self._left) < MAX_LEFT_BEHIND:
                self._start(pauses=True)
        else:
            self._check_call(self._worker.call, now_s)

    def _check_call(self, call: tuple[float, float] | None, now_s: float) -> None:
        if call is None or now_s - call[0] <= call[1]:
            self._suspect = None
        elif self._suspect is None or self._suspect[0] != call[0]:
            self._suspect = (call[0], now_s)
        elif now_s - self._suspect[1] >= CONFIRM_S:
            self._abandon(call[1])

    def _abandon(self, limit_s: float) -> None:
        """Leave the thread behind with its source; should it come back, it closes the source and ends."""
        name = self._source.name
        with self._ready:
            worker, self._worker = self._worker, None
            self._suspect = None
            assert worker is not None
            worker.stopped.set()
            was_open, self._opened = self._opened, False
            last_s = self.sampler.last_s
            self._renew_sampler()
        self.abandoned += 1
        self._left.append(worker)
        if was_open:
            reason = f"{name}: silent for {limit_s:g} s, and its thread hangs"
            self.queue.push(Lost(time.monotonic() if last_s is None else last_s, reason))
        elif not self._keeps_trying:
            self._finish(SourceError(f"{name}: no answer within {limit_s:g} s"))
            return
        else:
            log.warning("%s: no answer within %g s, its thread hangs; trying again", name, limit_s)
        left = sum(worker.is_alive() for worker in self._left)
        if left >= MAX_LEFT_BEHIND:
            log.error(
                "%s: %d threads hang in its library; it is reconnected when one of them ends", name, left
            )

    def _finish(self, error: SourceError) -> None:
        self.stop()
        self.queue.push(Failed(error))

    def _renew_sampler(self) -> None:
        self._samplers.append(self._new_sampler())
        if len(self._samplers) > SAMPLERS_KEPT:
            oldest = self._samplers.pop(0)
            self._folded += FrameCounts(oldest.frames, oldest.unused, oldest.damaged)

    def _start(self, *, pauses: bool) -> None:
        self._worker = _Worker(self._follow, pauses=pauses)
        self._worker.start()

    # In the thread of a worker ------------------------------------------------------------------------------

    def _push(self, worker: _Worker, item: Item, *, lossless: bool = False) -> None:
        """Queue an item, unless the thread was left behind meanwhile."""
        with self._ready:
            if worker is self._worker:
                self.queue.push(item, lossless=lossless)

    def _follow(self, worker: _Worker) -> None:
        """The thread: open, read, and again; its last item is `Ended` or `Failed`, whatever happens."""
        last: Ended | Failed = Failed(SourceError(f"{self._source.name}: its thread ended unexpectedly"))
        try:
            last = self._open_and_read(worker)
        except EdgeHarError as error:
            last = Failed(error)
        finally:
            worker.call = None
            self._push(worker, last)

    def _open_and_read(self, worker: _Worker) -> Ended:
        while not worker.stopped.is_set():
            if worker.pauses:
                worker.stopped.wait(min(self._backoff.after_failure(), LAST_RETRY_S))
            worker.pauses = True
            source = None if worker.stopped.is_set() else self._open(worker)
            if source is None:
                continue
            try:
                outcome = self._read_from(worker, source)
                if isinstance(outcome, Ended):
                    return outcome
                self._push(worker, outcome)
            finally:
                self._close(worker, source)
        return Ended(None)

    def _open(self, worker: _Worker) -> Source | None:
        """The open source; None where it is not there, but may come."""
        worker.call = (time.monotonic(), self._timeouts.open_s)
        try:
            source = self._source.open()
        except MisuseError:
            raise
        except Exception as error:
            if not self._keeps_trying:
                raise _as_source_error(self._source.name, error) from error
            if not self._reported:
                log.warning("%s; trying again until it is there", _as_source_error(self._source.name, error))
            self._reported = True
            return None
        finally:
            worker.call = None
        with self._ready:
            if worker is self._worker:
                self._keeps_trying = self._reported = self._opened = True
                self.queue.push(Opened(source.live))
        return source

    def _close(self, worker: _Worker, source: Source) -> None:
        worker.call = (time.monotonic(), self._timeouts.read_s)
        try:
            source.close()
        except Exception as error:  # noqa: BLE001  what is given up need not close well
            log.warning("%s", _as_source_error(self._source.name, error))
        finally:
            worker.call = None

    def _read_from(self, worker: _Worker, source: Source) -> Lost | Ended:
        """Queue the ticks of an open source until it ends or is lost."""
        began_s = time.monotonic()
        try:
            self._read(worker, source)
            reason = f"{self._source.name}: the stream ended"
        except Exception as error:  # whatever a library throws must not end a live source for ever
            if source.ends:
                raise _as_source_error(self._source.name, error) from error
            reason = str(_as_source_error(self._source.name, error))
        if source.ends or worker.stopped.is_set():
            return Ended(source.warning)
        with self._ready:
            if worker is self._worker:
                self._opened = False
                if self._sign_s - began_s >= STEADY_S:
                    self._backoff.reset()
            last_s = self.sampler.last_s
            self.sampler.restart()
        return Lost(time.monotonic() if last_s is None else last_s, reason)

    def _read(self, worker: _Worker, source: Source) -> None:
        whole_s = time.monotonic()
        # A file waits for its disk as long as it takes; nothing would come of opening it again.
        limit_s = math.inf if source.ends else self._timeouts.read_s
        while True:
            worker.call = (time.monotonic(), limit_s)
            time_s = source.grab()
            if time_s is None or worker.stopped.is_set():
                return
            self._sign_s = now_s = time.monotonic()
            sampler = self.sampler
            damaged = sampler.damaged
            made = sampler.offer(source, time_s)
            worker.call = None
            if made is not None:
                self._push(worker, made, lossless=not source.live)
            if sampler.damaged == damaged:
                whole_s = now_s
            elif source.live and now_s - whole_s > MAX_DAMAGED_S:
                raise SourceError(f"{source.name}: nothing whole for {MAX_DAMAGED_S:g} s")


def _as_source_error(name: str, error: Exception) -> EdgeHarError:
    """What happened in a source's library, in one line; our own errors have theirs.

    A library may quote the whole address, so the log has the lines of code alone.
    """
    if isinstance(error, EdgeHarError):
        return error
    log.debug("%s: %s", name, "".join(format_tb(error.__traceback__)))
    return SourceError(f"{name}: {type(error).__name__}: {mask_text(' '.join(str(error).split()))}")


def backlog_ticks(contract: TemporalContract) -> int:
    """How many ticks may wait: those of a short hiccup, but never fewer than two."""
    return max(2, math.ceil(BACKLOG_S * 1000 / contract.interval_ms))
