"""A thread per source: opens it, takes its ticks, opens it again when it is lost; the newest ticks wait for whoever recognises."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_har.cadence import TemporalContract
from edge_har.errors import EdgeHarError, SourceError
from edge_har.sources.base import Source
from edge_har.ticks import Sampler, Ticks

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
RETRY_JITTER = 0.2  # share by which a wait is longer or shorter, so that many sources do not knock at once
BACKLOG_S = 0.5  # a hiccup of the recognizer that costs no tick
CROWDED_S = 10.0  # after a tick was skipped only the newest one waits, for this long
MAX_DAMAGED_S = 5.0  # a live source that sends nothing whole for so long is opened again

log = logging.getLogger("edge_har")


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


class Handover:
    """What a capture thread has for the recognizer: news in order, never lost, and a bounded number of ticks.

    lossless: who puts waits for room (a file). Else the newest ticks stay and `skipped` counts those that went: up
    to `capacity` wait after a short hiccup, a single one where the recognizer is too slow for the source.
    ready: notified on every change.
    """

    def __init__(self, ready: threading.Condition, *, capacity: int) -> None:
        self.skipped = 0
        self._ready = ready
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._waiting = 0
        self._crowded_until_s = -math.inf
        self._closed = False

    def put(self, item: Item, *, lossless: bool = False) -> None:
        """Hand `item` over; waits where `lossless` until there is room or nobody takes any more."""
        with self._ready:
            if isinstance(item, Ticks):
                if lossless:
                    self._ready.wait_for(lambda: self._waiting < self._capacity or self._closed)
                else:
                    item = self._make_room(item)
                self._waiting += 1
            self._items.append(item)
            self._ready.notify_all()

    def take(self) -> Item | None:
        """The oldest item, or None; never waits."""
        with self._ready:
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, Ticks):
                self._waiting -= 1
                self._ready.notify_all()
            return item

    def close(self) -> None:
        """Nobody takes any more: whoever waits for room goes on."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def __bool__(self) -> bool:
        return bool(self._items)

    def _make_room(self, newest: Ticks) -> Ticks:
        limit = 1 if time.monotonic() < self._crowded_until_s else self._capacity
        if self._waiting < limit:
            return newest
        self._crowded_until_s = time.monotonic() + CROWDED_S
        kept: deque[Item] = deque()
        for item in self._items:
            if isinstance(item, Ticks):
                self.skipped += len(item.times_s)
                newest = replace(newest, reset=newest.reset or item.reset)
            else:
                kept.append(item)
        self._items, self._waiting = kept, 0
        return newest


class Capture(threading.Thread):
    """Reads one source for as long as it lasts. What it has stands in `handover`; `sampler` may be exchanged.

    open_it: opens the source. A source that was open once and is lost is opened again for ever, with growing
    pauses; where the first open fails, `Failed` is handed over, unless `wait_for_source`.
    """

    def __init__(
        self,
        open_it: Callable[[], Source],
        sampler: Sampler,
        ready: threading.Condition,
        *,
        wait_for_source: bool,
    ) -> None:
        super().__init__(daemon=True, name="capture")
        self.sampler = sampler
        self.handover = Handover(ready, capacity=backlog_ticks(sampler.contract))
        self._open_it = open_it
        self._keeps_trying = wait_for_source
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end; it does after the frame that it waits for."""
        self._stopped.set()
        self.handover.close()

    def run(self) -> None:
        """The thread: open, read, and again; its last word is `Ended` or `Failed`, whatever happens."""
        last: Ended | Failed = Failed(
            SourceError("the capture thread ended unexpectedly; see the lines before")
        )
        try:
            last = self._run()
        except EdgeHarError as error:
            last = Failed(error)
        finally:
            self.handover.put(last)

    def _run(self) -> Ended:
        pause_s = FIRST_RETRY_S
        told = False
        while not self._stopped.is_set():
            try:
                source = self._open_it()
            except SourceError as error:
                if not self._keeps_trying:
                    raise
                if not told:
                    log.warning("%s; trying again until it is there", error)
                told = True
            else:
                self._keeps_trying = told = True
                frames_before = self.sampler.frames
                self.handover.put(Opened(source.live))
                with source:
                    outcome = self._read(source)
                if isinstance(outcome, Ended):
                    return outcome
                self.handover.put(outcome)
                self.sampler.restart()
                if self.sampler.frames > frames_before:
                    pause_s = FIRST_RETRY_S
            self._stopped.wait(pause_s * random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER))
            pause_s = min(2 * pause_s, LAST_RETRY_S)
        return Ended(None)

    def _read(self, source: Source) -> Lost | Ended:
        """Hand over the ticks of an open source until it ends or is lost."""
        whole_s = time.monotonic()
        try:
            while not self._stopped.is_set():
                time_s = source.grab()
                if time_s is None:
                    break
                sampler = self.sampler
                damaged = sampler.damaged
                made = sampler.offer(source, time_s)
                if made is not None:
                    self.handover.put(made, lossless=not source.live)
                if sampler.damaged == damaged:
                    whole_s = time.monotonic()
                elif source.live and time.monotonic() - whole_s > MAX_DAMAGED_S:
                    raise SourceError(f"{source.name}: nothing whole for {MAX_DAMAGED_S:g} s")
        except SourceError as error:
            if source.ends:
                raise
            return self._lost(str(error))
        if source.ends or self._stopped.is_set():
            return Ended(source.warning)
        return self._lost(f"{source.name}: the stream ended")

    def _lost(self, reason: str) -> Lost:
        last_s = self.sampler.last_s
        return Lost(time.monotonic() if last_s is None else last_s, reason)


def backlog_ticks(contract: TemporalContract) -> int:
    """How many ticks may wait: those of a short hiccup, but never fewer than two."""
    return max(2, math.ceil(BACKLOG_S * 1000 / contract.interval_ms))
