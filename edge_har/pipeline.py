"""From sources to events: capture threads, a stream per source, sinks; a new model without losing a source."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from edge_har.board import Board, Counts, SourceState
from edge_har.bundle import Bundle, Manifest
from edge_har.capture import Capture, Ended, Failed, Item, Lost, Opened
from edge_har.errors import MisuseError
from edge_har.events import Event, event_ids
from edge_har.feeds import Feed, check_names, feed_of
from edge_har.sinks.base import Sink
from edge_har.stream import RunOptions, Stream
from edge_har.ticks import Sampler, Ticks
from edge_har.viewers import Picture, Viewers
from edge_har.watch import ModelWatch

WAKE_S = 0.2  # how soon a signal is noticed while nothing comes
JOIN_S = 1.0  # how long a capture thread may take to end before it is left behind

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class Summary:
    """What one source gave. unused: frames that no tick needed. repeated: ticks that shared a frame. skipped: ticks
    that came too fast. damaged: frames that could not be decoded. events: how many, per label. tick_ms: median cost of
    a tick, from converting its frame to its events; None without ticks.
    """

    source: str
    frames: int
    ticks: int
    unused: int
    repeated: int
    skipped: int
    damaged: int
    events: dict[str, int]
    tick_ms: float | None

    def __str__(self) -> str:
        counted = (("unused", self.unused), ("repeated", self.repeated), ("skipped", self.skipped))
        shown = "".join(f", {count} {name}" for name, count in (*counted, ("damaged", self.damaged)) if count)
        labels = ", ".join(f"{label} {count}" for label, count in self.events.items()) or "none"
        cost = "" if self.tick_ms is None else f"; {self.tick_ms:.2f} ms a tick (p50)"
        return f"{self.source}: {self.frames} frames, {self.ticks} ticks{shown}; events: {labels}{cost}"


@dataclass
class _Lane:
    """A source's capture and its stream."""

    feed: Feed
    capture: Capture
    stream: Stream
    samplers: list[Sampler]
    state: SourceState
    opened: int = 0  # times
    live: bool = True  # until it is open and says otherwise
    first_s: float | None = None
    done: bool = False


class Pipeline:
    """Runs sources through a bundle into sinks until they end, `stop` is set or the time is up.

    sources: feeds, or what `feed_of` makes them of. bundle_path: watched for another bundle while it runs; None: the
    bundle stays. board: what the run knows of itself. viewers: who looks at its pictures; add them there.

    Raises MisuseError without sources, and where two have the same name.
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: Sequence[str | Feed],
        sinks: Sequence[Sink],
        options: RunOptions | None = None,
        *,
        bundle_path: Path | None = None,
    ) -> None:
        self.options = options or RunOptions()
        self.sinks = sinks
        self.viewers = Viewers()
        feeds = [
            feed_of(source, realtime=self.options.realtime) if isinstance(source, str) else source
            for source in sources
        ]
        if not feeds:
            raise MisuseError("name a source to follow")
        check_names(feeds)
        self.board = Board(bundle.model_id, bundle.manifest.labels, (feed.name for feed in feeds))
        self._ready = threading.Condition()
        ids = event_ids()
        self._lanes = [self._lane(feed, bundle, ids) for feed in feeds]
        self._watch = (
            ModelWatch(bundle_path, bundle, self._ready, streams=len(feeds), threads=self.options.threads)
            if bundle_path is not None
            else None
        )

    def _lane(self, feed: Feed, bundle: Bundle, ids: Iterator[str]) -> _Lane:
        sampler = self._sampler(feed, bundle.manifest)
        capture = Capture(feed.open, sampler, self._ready, wait_for_source=self.options.wait_for_source)
        stream = Stream(feed.name, bundle, self.options, ids)
        return _Lane(feed, capture, stream, [sampler], self.board.source(feed.name))

    def _sampler(self, feed: Feed, manifest: Manifest) -> Sampler:
        return Sampler(manifest.frame, manifest.temporal, partial(self.viewers.wanted, feed.name))

    def run(self, stop: threading.Event | None = None) -> list[Summary]:
        """Run to the end; a summary per source. Raises what makes a source unusable, as EdgeHarError.

        However it ends, open events are closed; only where a sink fails (a broken pipe) nothing more is told.
        """
        stop = stop or threading.Event()
        cv2.setNumThreads(self.options.threads)
        threads: list[Capture | ModelWatch] = [lane.capture for lane in self._lanes]
        if self._watch is not None:
            threads.append(self._watch)
        for thread in threads:
            thread.start()
        try:
            self._loop(stop)
            for lane in self._lanes:
                self._tell(lane.stream.close())
        finally:
            for thread in threads:
                thread.stop()
            for thread in threads:
                thread.join(JOIN_S)
            self.viewers.close()
        return [self._summary(lane) for lane in self._lanes]

    @property
    def threads_left(self) -> bool:
        """Whether a capture thread hangs in its source's library although it was told to end."""
        return any(lane.capture.is_alive() for lane in self._lanes)

    def _loop(self, stop: threading.Event) -> None:
        began_s = time.monotonic()
        while not (stop.is_set() or all(lane.done for lane in self._lanes)):
            with self._ready:
                if not any(lane.capture.handover for lane in self._lanes if not lane.done):
                    self._ready.wait(WAKE_S)
            self.board.turned()
            self._swap()
            for lane in self._lanes:
                if lane.done:
                    continue
                item = lane.capture.handover.take()
                if item is not None:
                    self._handle(lane, item)
                self._count(lane)
                if self._time_is_up(lane, began_s):
                    lane.done = True
                    lane.capture.stop()

    def _time_is_up(self, lane: _Lane, began_s: float) -> bool:
        limit_s = self.options.duration_s
        if limit_s is None:
            return False
        last_s = lane.stream.last_s
        if lane.first_s is not None and last_s is not None and last_s - lane.first_s >= limit_s:
            return True
        return lane.live and time.monotonic() - began_s >= limit_s

    def _handle(self, lane: _Lane, item: Item) -> None:
        if isinstance(item, Ticks):
            if item.made_by is lane.capture.sampler:
                self._take(lane, item)
        elif isinstance(item, Opened):
            lane.live = item.live
            lane.opened += 1
            lane.state.turn("live")
            log.log(logging.INFO if item.live else logging.DEBUG, "%s is open", lane.stream.name)
        elif isinstance(item, Lost):
            log.warning("%s; opening it again", item.reason)
            lane.state.turn("lost", item.reason)
            self._tell(lane.stream.lost(item.time_s))
        elif isinstance(item, Ended):
            lane.done = True
            lane.state.turn("ended")
            lane.stream.ended(item.warning)
        elif isinstance(item, Failed):
            lane.state.turn("failed", str(item.error))
            raise item.error

    def _take(self, lane: _Lane, ticks: Ticks) -> None:
        lane.first_s = ticks.times_s[0] if lane.first_s is None else lane.first_s
        events = lane.stream.take(ticks)
        label, score = lane.stream.top
        lane.state.ticked(
            grabbed_s=ticks.grabbed_s,
            now_s=time.monotonic(),
            cost_ms=lane.stream.last_cost_ms,
            ticks=len(ticks.times_s),
            label=label,
            score=score,
        )
        self._tell(events)
        if ticks.picture is not None:
            self.viewers.see(
                Picture(lane.feed.name, ticks.times_s[-1], ticks.picture, ticks.color, label, score)
            )

    def _count(self, lane: _Lane) -> None:
        samplers = lane.samplers
        lane.state.count(
            Counts(
                frames=sum(s.frames for s in samplers),
                ticks=lane.stream.ticks,
                unused=sum(s.unused for s in samplers),
                skipped=lane.capture.handover.skipped,
                repeated=lane.stream.repeated,
                damaged=sum(s.damaged for s in samplers),
                reconnects=max(0, lane.opened - 1),
            ),
            time.monotonic(),
        )

    def _swap(self) -> None:
        fresh = self._watch.fresh() if self._watch is not None else None
        if fresh is None:
            return
        bundle, recognizers = fresh
        self.board.swap(bundle.model_id, bundle.manifest.labels)
        for lane, recognizer in zip(self._lanes, recognizers, strict=True):
            events, same_ticks = lane.stream.swap(bundle, recognizer)
            if not same_ticks:
                sampler = self._sampler(lane.feed, bundle.manifest)
                lane.samplers.append(sampler)
                lane.capture.sampler = sampler
            self._tell(events)
        log.info("the model is now %s", bundle.model_id)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self.board.tell(event)
            for sink in self.sinks:
                sink.write(event)

    def _summary(self, lane: _Lane) -> Summary:
        self._count(lane)
        counts = lane.state.counts
        return Summary(
            source=lane.feed.name,
            frames=counts.frames,
            ticks=counts.ticks,
            unused=counts.unused,
            repeated=counts.repeated,
            skipped=counts.skipped,
            damaged=counts.damaged,
            events=dict(lane.stream.events),
            tick_ms=lane.stream.tick_ms,
        )
