"""From sources to events: capture threads, a stream per source, sinks; a new model without losing a source."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from edge_har.bundle import Bundle
from edge_har.capture import Capture, Ended, Failed, Item, Lost, Opened
from edge_har.events import Event, event_ids
from edge_har.sinks.base import Sink
from edge_har.sources import open_source
from edge_har.sources.uris import mask_uri
from edge_har.stream import RunOptions, Stream
from edge_har.ticks import Sampler, Ticks
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

    capture: Capture
    stream: Stream
    samplers: list[Sampler]
    live: bool = True  # until it is open and says otherwise
    first_s: float | None = None
    done: bool = False


class Pipeline:
    """Runs sources through a bundle into sinks until they end, `stop` is set or the time is up.

    bundle_path: watched for another bundle while it runs; None: the bundle stays.
    """

    def __init__(
        self,
        bundle: Bundle,
        uris: Sequence[str],
        sinks: Sequence[Sink],
        options: RunOptions | None = None,
        *,
        bundle_path: Path | None = None,
    ) -> None:
        self.options = options or RunOptions()
        self.sinks = sinks
        self._ready = threading.Condition()
        ids = event_ids()
        manifest = bundle.manifest
        self._lanes = []
        for uri in uris:
            sampler = Sampler(manifest.frame, manifest.temporal)
            capture = Capture(
                partial(open_source, uri, realtime=self.options.realtime),
                sampler,
                self._ready,
                wait_for_source=self.options.wait_for_source,
            )
            self._lanes.append(_Lane(capture, Stream(mask_uri(uri), bundle, self.options, ids), [sampler]))
        self._watch = (
            ModelWatch(bundle_path, bundle, self._ready, streams=len(uris), threads=self.options.threads)
            if bundle_path is not None
            else None
        )

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
            self._swap()
            for lane in self._lanes:
                if lane.done:
                    continue
                item = lane.capture.handover.take()
                if item is not None:
                    self._handle(lane, item)
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
                lane.first_s = item.times_s[0] if lane.first_s is None else lane.first_s
                self._tell(lane.stream.take(item))
        elif isinstance(item, Opened):
            lane.live = item.live
            log.log(logging.INFO if item.live else logging.DEBUG, "%s is open", lane.stream.name)
        elif isinstance(item, Lost):
            log.warning("%s; opening it again", item.reason)
            self._tell(lane.stream.lost(item.time_s))
        elif isinstance(item, Ended):
            lane.done = True
            lane.stream.ended(item.warning)
        elif isinstance(item, Failed):
            raise item.error

    def _swap(self) -> None:
        fresh = self._watch.fresh() if self._watch is not None else None
        if fresh is None:
            return
        bundle, recognizers = fresh
        for lane, recognizer in zip(self._lanes, recognizers, strict=True):
            events, same_ticks = lane.stream.swap(bundle, recognizer)
            if not same_ticks:
                sampler = Sampler(bundle.manifest.frame, bundle.manifest.temporal)
                lane.samplers.append(sampler)
                lane.capture.sampler = sampler
            self._tell(events)
        log.info("the model is now %s", bundle.model_id)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            for sink in self.sinks:
                sink.write(event)

    def _summary(self, lane: _Lane) -> Summary:
        return Summary(
            source=lane.stream.name,
            frames=sum(s.frames for s in lane.samplers),
            ticks=lane.stream.ticks,
            unused=sum(s.unused for s in lane.samplers),
            repeated=lane.stream.repeated,
            skipped=lane.capture.handover.skipped,
            damaged=sum(s.damaged for s in lane.samplers),
            events=dict(lane.stream.events),
            tick_ms=lane.stream.tick_ms,
        )
