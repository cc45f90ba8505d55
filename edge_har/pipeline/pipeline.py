"""From sources to events: a capture and a stream per source, event and frame sinks; a new model without
losing a source.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from edge_har.errors import EdgeHarError, MisuseError
from edge_har.model.bundle import Bundle
from edge_har.model.manifest import Manifest
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.capture import Capture, Ended, Failed, Item, Lost, Opened, Timeouts
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.model_watcher import ModelWatch
from edge_har.pipeline.observer import PipelineObserver
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.outputs import EventSink, FrameSinks, Picture
from edge_har.pipeline.rules import UNKNOWN
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.status import Counts, RunStatus, SourceState
from edge_har.pipeline.stream import Stream
from edge_har.sources.named import NamedSource, check_names, named_source

WAKE_S = 0.2  # how soon a signal, or a thread that hangs, is noticed while nothing comes
JOIN_S = 1.0  # how long all threads together may take to end before they are left behind
EMIT_S = 0.2  # how long a sink may hold up the end of a run from outside
COSTS_JUDGED = 5  # of a source's latest ticks, from which its load is computed

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class Summary:
    """What one source gave. unused: frames that no tick needed. repeated: ticks that shared a frame. skipped:
    ticks that came too fast. damaged: frames that could not be decoded. reconnects: how often it was
    reconnected. events: how many, per label. tick_ms: median cost of a tick, from converting its frame to its
    events; None without ticks.
    """

    source: str
    frames: int
    ticks: int
    unused: int
    repeated: int
    skipped: int
    damaged: int
    reconnects: int
    events: dict[str, int]
    tick_ms: float | None

    def __str__(self) -> str:
        names = ("unused", "repeated", "skipped", "damaged", "reconnects")
        shown = "".join(f", {getattr(self, name)} {name}" for name in names if getattr(self, name))
        labels = ", ".join(f"{label} {count}" for label, count in self.events.items()) or "none"
        cost = "" if self.tick_ms is None else f"; {self.tick_ms:.2f} ms a tick (p50)"
        return f"{self.source}: {self.frames} frames, {self.ticks} ticks{shown}; events: {labels}{cost}"


class Load:
    """Whether one thread can recognise all live sources: how much of their intervals the latest ticks
    took.
    """

    def __init__(self) -> None:
        self._costs: dict[str, deque[float]] = {}
        self._fractions: dict[str, float] = {}

    def add(self, name: str, cost_s: float, interval_s: float) -> None:
        """A tick of the source took `cost_s` of the `interval_s` until the next one."""
        costs = self._costs.setdefault(name, deque(maxlen=COSTS_JUDGED))
        costs.append(cost_s)
        # The lower median, and never of a single one: a hiccup is no load.
        if len(costs) > 1:
            self._fractions[name] = statistics.median_low(costs) / interval_s

    def forget(self, name: str) -> None:
        """The source gives no ticks for now."""
        self._costs.pop(name, None)
        self._fractions.pop(name, None)

    @property
    def too_much(self) -> bool:
        """Whether ticks come faster than they are recognised."""
        return sum(self._fractions.values()) > 1.0


@dataclass
class Lane:
    """A source's capture and its stream. opened: how often it was. live: its frames come by the clock;
    assumed so until it is open. first_s: time of its first tick. done: nothing more of it is processed.
    """

    source: NamedSource
    capture: Capture
    stream: Stream
    state: SourceState
    opened: int = 0
    live: bool = True
    first_s: float | None = None
    done: bool = False


@dataclass(frozen=True)
class Reload:
    """What a run goes on with after its settings were read again. bundle_path: of the model; None: it stays.
    manifest: of the model that is at `bundle_path` now, which the options are for; None: they are for the
    running one.
    """

    options: RunOptions
    bundle_path: Path | None = None
    manifest: Manifest | None = None


class Pipeline:
    """Runs sources through a bundle into sinks until they end, `stop` is set or the time is up.

    sources: named ones, or what `named_source` makes them of. bundle_path: watched for another bundle while
    it runs; None: the bundle stays. timeouts: of sources; None: the usual, and `options.give_up_s`.
    on_reload: reads the settings again when `reload` was called. observer: sees each tick and event; None:
    nothing does. run_status: what the run knows of itself. frame_sinks: what takes its pictures; add to them.
    lanes: one per source. failures: why sources ended that should not have.

    Raises MisuseError without sources, where two have the same name, and where options and bundle do not go
    together.
    """

    def __init__(
        self,
        bundle: Bundle,
        sources: Sequence[str | NamedSource],
        sinks: Sequence[EventSink],
        options: RunOptions | None = None,
        *,
        bundle_path: Path | None = None,
        timeouts: Timeouts | None = None,
        on_reload: Callable[[], Reload] | None = None,
        observer: PipelineObserver | None = None,
    ) -> None:
        self.options = options or RunOptions()
        self.sinks = sinks
        self.frame_sinks = FrameSinks()
        self.failures: list[EdgeHarError] = []
        named = [
            named_source(source, realtime=self.options.realtime) if isinstance(source, str) else source
            for source in sources
        ]
        if not named:
            raise MisuseError("name a source to follow")
        check_names(named)
        self._names = tuple(source.name for source in named)
        self.options.check(bundle.manifest, self._names)
        self._warn_of_options(bundle.manifest)
        self.run_status = RunStatus(bundle.model_id, bundle.manifest.labels, self._names)
        self._timeouts = timeouts or Timeouts(give_up_s=self.options.give_up_s)
        self._on_reload = on_reload
        self._observer = observer
        self._reload = threading.Event()
        self._emitting = threading.Lock()  # what is taken from a stream reaches the sinks before what follows
        self._ready = threading.Condition()
        self._load = Load()
        self.lanes: list[Lane] = []
        ids = event_ids()
        for source in named:
            self.lanes.append(self._lane(source, bundle, ids))
        self._watch = (
            ModelWatch(bundle_path, bundle, self._ready, streams=len(named), threads=self.options.threads)
            if bundle_path is not None
            else None
        )

    def _lane(self, source: NamedSource, bundle: Bundle, ids: Iterator[str]) -> Lane:
        first = self.lanes[0].stream.recognizer if self.lanes else None
        recognizer = TickRecognizer(bundle, threads=self.options.threads, beside=first)
        capture = Capture(
            source,
            self._sampler(source, bundle.manifest),
            self._ready,
            wait_for_source=self.options.wait_for_source,
            timeouts=self._timeouts,
        )
        stream = Stream(source.name, bundle, self.options, ids, recognizer=recognizer)
        return Lane(source, capture, stream, self.run_status.source(source.name))

    def _sampler(self, source: NamedSource, manifest: Manifest) -> Callable[[], Sampler]:
        wants_picture = partial(self.frame_sinks.wants, source.name)
        return partial(Sampler, manifest.frame, manifest.temporal, wants_picture)

    def run(self, stop: threading.Event | None = None) -> list[Summary]:
        """Run to the end; a summary per source.

        Raises what makes a source unusable, as EdgeHarError, where it is the only one or named wrongly; of
        several, one that fails ends alone and is in `failures`. However it ends, open events are closed; only
        where a sink fails (a broken pipe) no more events are emitted.
        """
        cv2.setNumThreads(self.options.threads)
        for _ in self.turns(stop or threading.Event()):
            pass
        return self.summaries()

    def turns(self, stop: threading.Event) -> Generator[None, None, None]:
        """Run as `run` does, in the caller's thread and a turn at a time: one item of each source, or a wait
        of WAKE_S where there is none. The last turn closes open events.

        Between two turns nothing is recognised: ticks wait, and those of live sources are dropped when they
        are old. Closing the iterator ends the run where it is, without closing open events.
        """
        try:
            for lane in self.lanes:
                lane.capture.start()
            if self._watch is not None:
                self._watch.start()
            yield from self._loop(stop)
            for lane in self.lanes:
                lane.stream.close()
                self._emit(lane)
            yield
        finally:
            self._stop_sinks()
            self._end_threads()
            self.frame_sinks.close()
            if self._observer is not None:
                for lane in self.lanes:
                    self._count(lane)
                self._observer.on_end(self.run_status)

    def end_from_outside(self) -> None:
        """End all open events, as `run` does, from another thread: for a run that is in a call which does not
        return, such as that of a slow model. Nothing more is emitted; should `run` come back, it ends too.
        """
        for lane in self.lanes:
            lane.stream.close()
        # A sink that holds up the other thread would hold up this one.
        if self._emitting.acquire(timeout=EMIT_S):
            try:
                for lane in self.lanes:
                    self._pass_on(lane)
            finally:
                self._emitting.release()
        self._stop_sinks()

    def summaries(self) -> list[Summary]:
        """What each source gave so far, in the order in which they were named."""
        return [self._summary(lane) for lane in self.lanes]

    @property
    def is_live(self) -> bool:
        """Whether frames come by the clock, as far as is known: then no sink may make recognition wait."""
        return any(lane.live for lane in self.lanes)

    def reload(self) -> None:
        """Read settings and model again, between two ticks; may be called by a signal's handler."""
        self._reload.set()

    def _stop_sinks(self) -> None:
        for sink in self.sinks:
            sink.stop()
        self.frame_sinks.stop()

    def _end_threads(self) -> None:
        for lane in self.lanes:
            lane.capture.stop()
        if self._watch is not None:
            self._watch.stop()
        until_s = time.monotonic() + JOIN_S
        for lane in self.lanes:
            lane.capture.join(max(0.0, until_s - time.monotonic()))

    def _loop(self, stop: threading.Event) -> Iterator[None]:
        began_s = checked_s = time.monotonic()
        while not (stop.is_set() or all(lane.done for lane in self.lanes)):
            with self._ready:
                if not any(lane.capture.queue for lane in self.lanes if not lane.done):
                    self._ready.wait(WAKE_S)
            self.run_status.turned()
            self._swap()
            if self._reload.is_set():
                self._reload.clear()
                self._reread()
            # One item of each in turn, so that none waits for another's backlog.
            for lane in self.lanes:
                item = None if lane.done or stop.is_set() else lane.capture.queue.pop()
                if item is not None:
                    self.handle(lane, item)
            now_s = time.monotonic()
            if now_s - checked_s >= WAKE_S:
                checked_s = now_s
                self._check_threads(began_s)
            yield

    def _check_threads(self, began_s: float) -> None:
        """What is looked after a few times a second: threads that hang, and what no tick would show."""
        for lane in self.lanes:
            if not lane.done:
                lane.capture.check_thread()
                self._count(lane)
                limit_s = self.options.duration_s
                if lane.live and limit_s is not None and time.monotonic() - began_s >= limit_s:
                    self._end(lane)

    def handle(self, lane: Lane, item: Item) -> None:
        """Process one item of a source, as `run` does with each; for a program that captures by itself."""
        if isinstance(item, Ticks):
            if item.made_by is lane.capture.sampler:
                self._recognise(lane, item)
            return  # counted a few times a second
        if isinstance(item, Opened):
            lane.live = item.live
            lane.opened += 1
            lane.state.turn("live")
            log.log(logging.INFO if item.live else logging.DEBUG, "%s is open", lane.source.name)
        elif isinstance(item, Lost):
            log.warning("%s; reconnecting", _named(lane, item.reason))
            lane.state.turn("lost", item.reason)
            self._load.forget(lane.source.name)
            lane.stream.lost(item.time_s)
            self._emit(lane)
        elif isinstance(item, Ended):
            lane.stream.ended(item.warning)
            self._end(lane)
        elif isinstance(item, Failed):
            self._fail(lane, item.error)
        self._count(lane)

    def _recognise(self, lane: Lane, ticks: Ticks) -> None:
        lane.first_s = ticks.times_s[0] if lane.first_s is None else lane.first_s
        began_s = time.monotonic()
        if self._observer is not None:
            self._observer.on_frame(lane.source.name, ticks)
        lane.stream.recognise(ticks)
        label, score = lane.stream.ongoing
        now_s = time.monotonic()
        lane.state.ticked(
            grabbed_s=ticks.grabbed_s,
            now_s=now_s,
            cost_ms=lane.stream.last_cost_ms,
            ticks=len(ticks.times_s),
            label=label,
            score=score,
        )
        self._emit(lane)
        if ticks.picture is not None:
            self.frame_sinks.consume(
                Picture(lane.source.name, ticks.times_s[-1], ticks.picture, ticks.color, label, score)
            )
        if lane.live:
            cost_s = (time.monotonic() - began_s) / len(ticks.times_s)
            self._load.add(lane.source.name, cost_s, lane.stream.bundle.manifest.temporal.interval_ms / 1000)
            newest_only = self._load.too_much
            for other in self.lanes:
                other.capture.queue.newest_only = newest_only
        limit_s = self.options.duration_s
        if limit_s is not None and ticks.times_s[-1] - lane.first_s >= limit_s:
            self._end(lane)
        if self._observer is not None:
            self._observer.on_tick(lane.source.name, ticks, now_s)

    def _end(self, lane: Lane) -> None:
        """The source is at its end: nothing more of it is processed."""
        lane.done = True
        lane.capture.stop()
        lane.state.turn("ended")
        self._load.forget(lane.source.name)
        lane.stream.close()
        self._emit(lane)

    def _fail(self, lane: Lane, error: EdgeHarError) -> None:
        """The source cannot be used: that ends it alone, or the run where there is no other or the options
        are wrong.
        """
        self._end(lane)
        lane.state.turn("failed", str(error))
        self.failures.append(error)
        if len(self.lanes) == 1 or isinstance(error, MisuseError):
            raise error
        log.error("%s", _named(lane, str(error)))

    def _count(self, lane: Lane) -> None:
        counts = lane.capture.counts
        lane.state.count(
            Counts(
                frames=counts.frames,
                ticks=lane.stream.ticks,
                unused=counts.unused,
                skipped=lane.capture.queue.skipped,
                repeated=lane.stream.repeated,
                damaged=counts.damaged,
                reconnects=max(0, lane.opened - 1),
                abandoned=lane.capture.abandoned,
            ),
            time.monotonic(),
        )

    def _swap(self) -> None:
        fresh = self._watch.fresh() if self._watch is not None else None
        if fresh is None:
            return
        bundle, recognizers = fresh
        manifest = bundle.manifest
        try:
            for lane in self.lanes:
                self._sampler(lane.source, manifest)()
            if self.options.unknown and UNKNOWN in manifest.labels:
                raise MisuseError(f"it has a label {UNKNOWN!r} of its own")
        except EdgeHarError as error:
            log.error("the new model cannot be used, the old one goes on: %s", error)
            return
        try:
            self.options.check(manifest, self._names)
        except MisuseError as error:
            log.warning("the new model: %s", error)
        self.run_status.swap(bundle.model_id, manifest.labels)
        for lane, recognizer in zip(self.lanes, recognizers, strict=True):
            if not lane.stream.swap(bundle, recognizer):
                lane.capture.resample(self._sampler(lane.source, manifest))
            self._emit(lane)
        log.info("the model is now %s", bundle.model_id)

    def _reread(self) -> None:
        """Go on with the settings as they are now; where they cannot be used the old ones go on."""
        bundle_path = None
        if self._on_reload is not None:
            try:
                read = self._on_reload()
                manifest = read.manifest or self.lanes[0].stream.bundle.manifest
                read.options.check(manifest, self._names)
            except EdgeHarError as error:
                log.error("the new settings cannot be used, the old ones go on: %s", error)
                return
            self.options, bundle_path = read.options, read.bundle_path
            self._warn_of_options(manifest)
            for lane in self.lanes:
                lane.stream.tune(read.options)
                self._emit(lane)
            log.info("the settings were read again")
        if self._watch is not None:
            self._watch.look(bundle_path)

    def _warn_of_options(self, manifest: Manifest) -> None:
        for line in self.options.without_effect(manifest):
            log.warning("%s", line)

    def _emit(self, lane: Lane) -> None:
        with self._emitting:
            self._pass_on(lane)

    def _pass_on(self, lane: Lane) -> None:
        for event in lane.stream.take_events():
            self.run_status.record(event)
            for sink in self.sinks:
                sink.write(event)
            if self._observer is not None:
                self._observer.on_event(event)

    def _summary(self, lane: Lane) -> Summary:
        self._count(lane)
        counts = lane.state.counts
        return Summary(
            source=lane.source.name,
            frames=counts.frames,
            ticks=counts.ticks,
            unused=counts.unused,
            repeated=counts.repeated,
            skipped=counts.skipped,
            damaged=counts.damaged,
            reconnects=counts.reconnects,
            events=dict(lane.stream.events),
            tick_ms=lane.stream.tick_ms,
        )


def _named(lane: Lane, text: str) -> str:
    """`text` about a source, with the name that events call it by."""
    return text if lane.source.name in text else f"{lane.source.name}: {text}"
