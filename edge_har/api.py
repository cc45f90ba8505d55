"""What `edge_har` exports: a bundle, frames in and predictions out, the events of a source."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from inspect import GEN_RUNNING, getgeneratorstate
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_har.errors import EdgeHarError, MisuseError, SourceError
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import Scores, TickRecognizer
from edge_har.model.trial import ensure_tried
from edge_har.model.values import check_range
from edge_har.pipeline.capture import Timeouts
from edge_har.pipeline.events import Event
from edge_har.pipeline.options import MAX_THREADS, RunOptions
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.sampler import Sampler, Ticks, ticks_of
from edge_har.sources import open_source
from edge_har.sources.base import Frame, GivenFrames, Source, Wrapper
from edge_har.sources.named import NAME, NamedSource, named_source

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("edge_har")


def load_bundle(path: str | os.PathLike[str] | None = None, *, trial: bool = True) -> Bundle:
    """Open and verify a bundle; the returned one is immutable and may be shared by threads.

    path: an `.ehar` file, or the folder it was unpacked into; None: the bundle that ships with the package.
    trial: run one window in a process of its own first, with limits on memory and time, as the commands do:
    a bad graph then crashes that process and not this one. The shipped bundle is not tried, nor is one that
    passed before on a machine that keeps record of it; otherwise it takes some 0.3 s on a PC.

    Raises BundleError where the bundle is missing, damaged, altered or of a newer schema, or where its graphs
    do not run.
    """
    path = default_bundle_path() if path is None else path
    bundle = open_bundle(path)
    if trial:
        ensure_tried(bundle, path)
    return bundle


@dataclass(frozen=True)
class Prediction:
    """What one window of frames shows; neighbouring predictions are not averaged.

    label: that of the highest probability; None where this is below the bundle's reject threshold, and so no
    label is sure enough. score: the highest probability. scores: the probability of each label, from 0 to 1,
    summing to 1, in the order of the bundle's labels. start_s, end_s: the first and the last tick of the
    window, in seconds of the frames' own times.
    """

    label: str | None
    score: float
    scores: Mapping[str, float] = field(hash=False)
    start_s: float
    end_s: float


class Recognizer:
    """Recognises what happens in one stream of frames: frames with times in, predictions out.

    Frames may come at any rate: they are sampled by their times to the bundle's cadence (`interval_ms`), so
    pass all of them. Those that no tick needs cost next to nothing. The first prediction comes when a whole
    window of `bundle.manifest.temporal.window_s` seconds was seen, the next ones every `hop_ticks` ticks.

    threads: CPU threads of each graph, 1 to 256. Not thread-safe: a recognizer holds the state of one stream,
    and one thread at a time may call it. Different recognizers of one bundle may run in different threads at
    the same time. It cannot be pickled.

    Raises BundleError where the bundle's graphs do not fit its manifest or it is not sampled by time, and
    MisuseError for `threads` out of range.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        _check_bundle(bundle)
        check_range("threads", threads, 1, MAX_THREADS, MisuseError)
        self.bundle = bundle
        self._recognizer = TickRecognizer(bundle, threads=threads)
        self._sampler = Sampler(bundle.manifest.frame, bundle.manifest.temporal)
        self._warned = False

    def push(self, frame: Pixels, time_s: float, *, color: Literal["rgb", "bgr"] = "rgb") -> list[Prediction]:
        """Take the next frame; what was recognised with it, oldest first.

        frame: uint8 [height, width, 3], of any size, and the size may change; it is not kept. time_s: when it
        was taken, in seconds of any clock, such as `time.monotonic()` or a recording's own. color: the order
        of its channels; OpenCV gives `bgr`.

        Mostly the list is empty or has one prediction. It has more where frames come more slowly than the
        model's ticks, as then one frame serves several. A silence longer than the bundle's `max_gap_ms`, or a
        time that runs backwards, starts a new window: no window spans it.

        Raises MisuseError for a frame of another shape or dtype and a time that is no finite number, and
        BundleError where the model gives no numbers. A frame that is refused changes nothing.
        """
        source = GivenFrames([(time_s, frame)], color=color)
        grabbed_s = source.grab()
        assert grabbed_s is not None
        ticks = self._sampler.offer(source, grabbed_s)
        return [] if ticks is None else list(self._recognise(ticks))

    def predictions(self, source: Source) -> Iterator[Prediction]:
        """All predictions of an open source to its end, read in the caller's thread; it is left open.

        Begins with `reset`. Each recording of a folder starts a new window. Only the frames that ticks need
        are converted, and a damaged one is replaced by the next. A live source that is read too slowly loses
        frames, which `events` avoids.

        Raises SourceError where the source fails, or where a live one is lost; BundleError as `push` does.
        """
        self.reset()
        for ticks in ticks_of(source, self._sampler):
            yield from self._recognise(ticks)
        source.check_ended()

    def reset(self) -> None:
        """Forget the frames so far: the next one starts a new window, whatever its time."""
        self._sampler.restart()

    def _recognise(self, ticks: Ticks) -> Iterator[Prediction]:
        if self._sampler.squeezed is not None and not self._warned:
            self._warned = True
            log.warning("a frame of %s", self._sampler.squeezed)
        if ticks.reset:
            self._recognizer.reset()
        for time_s in ticks.times_s:
            scores = self._recognizer.tick(ticks.frame)
            if scores is not None:
                yield self._prediction(time_s, scores)

    def _prediction(self, end_s: float, scores: Scores) -> Prediction:
        manifest = self.bundle.manifest
        top = int(np.argmax(scores))
        score = float(scores[top])
        return Prediction(
            label=manifest.labels[top] if score >= (manifest.reject_threshold or 0.0) else None,
            score=score,
            scores=dict(zip(manifest.labels, scores.tolist(), strict=True)),
            start_s=end_s - manifest.temporal.window_s,
            end_s=end_s,
        )


def events(
    source: str | Source | Iterable[Frame | tuple[float, Pixels]],
    bundle: Bundle,
    *,
    name: str | None = None,
    options: RunOptions | None = None,
) -> EventStream:
    """The events of a source: what `edge-har run` reports of it, in the same order with the same times.

    source: an address as `--source` takes it (`0`, `rtsp://...`, `clip.mp4`, `NAME=URI`), which is opened
    when the first event is requested, opened again where a camera or stream was lost, and closed at the end;
    or a source that is open, which stays open and is left to this until the iterator is closed; or frames
    with their times in seconds (`(time_s, rgb)`, uint8 [height, width, 3], RGB), which are taken in another
    thread, one after another.
    name: what events call it (letters, digits, `_` and `-`); None: as `run` does. options: thresholds, rules
    and how to follow the source, as the options of `run`; None: the bundle's.

    Raises MisuseError for a source, name or options that cannot be, BundleError where the bundle's graphs do
    not fit its manifest or it is not sampled by time. `EventStream` names what iterating raises.
    """
    _check_bundle(bundle)
    options = options or RunOptions()
    stop, found = threading.Event(), _Found()
    named = _named(source, name, options)
    pipeline = Pipeline(bundle, [named], [found], options)
    return EventStream(_events_of(pipeline, stop, found, is_open=isinstance(source, Source)), stop)


class EventStream(Iterator[Event]):
    """The events of one source, as they happen, of every type: `start`, `update`, `end`, `source_lost` and
    `source_back`. Use it as a context manager: the source is closed at the end of the block.

    A thread of its own reads the source; the model runs in the thread that iterates, between two events. A
    recording waits for whoever iterates slowly; of a live source the newest frames are taken and old ones
    are dropped. It ends with the recording, or after `stop`.

    Thread-safe: threads may iterate one stream in turn (as `asyncio.to_thread` does), each event goes to one
    of them, and any thread may call `stop` or `close`.

    Iterating raises SourceError where the source cannot be opened or read, and MisuseError for an address
    that cannot be, after the `end` of what was open. A camera or stream that was opened by its address and is
    lost raises nothing: it is opened again. One that was given open cannot be, and raises SourceError after
    its `source_lost`.
    """

    def __init__(self, found: Generator[Event, None, None], stop: threading.Event) -> None:
        self._events = found
        self._stop = stop
        self._turn = threading.RLock()  # a signal's handler may call `close` in the thread that iterates
        # At the end of the interpreter too, while its threads still run and can close what they read.
        weakref.finalize(self, _end, found, stop)

    def __next__(self) -> Event:
        with self._turn:
            return next(self._events)

    def stop(self) -> None:
        """Take no more frames: the `end` of what is open still comes, then the iteration is over.

        Does not wait; a handler of signals may call it.
        """
        self._stop.set()

    def close(self) -> None:
        """End without further events and close what was opened by its address; may be called twice.

        Waits for a thread that iterates, which is a fifth of a second and a tick at most, and then up to a
        second for the frame that is being read; up to 6 seconds for a source that was given open.
        """
        self._stop.set()
        with self._turn:
            _end(self._events, self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_bundle(bundle: object) -> None:
    """Raise MisuseError where a path, say, is in the place of a bundle."""
    if not isinstance(bundle, Bundle):
        raise MisuseError(f"a bundle is what load_bundle(path) gives, got {type(bundle).__name__}")


def _end(found: Generator[Event, None, None], stop: threading.Event) -> None:
    """End a run; where it is in the middle of a turn, it ends after that."""
    stop.set()
    if getgeneratorstate(found) != GEN_RUNNING:
        found.close()


class _Found:
    """The events of a pipeline that were not taken yet."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    def write(self, event: Event) -> None:
        """Keep an event."""
        self._events.append(event)

    def take(self) -> Iterator[Event]:
        """Those that wait, each once."""
        while self._events:
            yield self._events.popleft()

    def stop(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class _KeptOpen(Wrapper):
    """A source that stays open for whoever opened it."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.address = source.address

    def close(self) -> None:
        """Leave it open."""


def _named(
    source: str | Source | Iterable[Frame | tuple[float, Pixels]], name: str | None, options: RunOptions
) -> NamedSource:
    """How a pipeline follows what `events` was given. Raises MisuseError."""
    if name is not None and not NAME.fullmatch(name):
        raise MisuseError(f"a source's name is letters, digits, _ and -, got {name!r}")
    if isinstance(source, str):
        if name is None:
            return named_source(source, realtime=options.realtime)
        return NamedSource(name, partial(open_source, source, realtime=options.realtime))
    if isinstance(source, Source):
        return NamedSource(name or source.name, partial(_KeptOpen, source))
    if not isinstance(source, Iterable):
        raise MisuseError(
            "a source is an address as a text, an open source, or frames with their times; got "
            f"{type(source).__name__}"
        )
    given = GivenFrames(source, name=name or "frames")
    return NamedSource(given.name, lambda: given)


def _events_of(
    pipeline: Pipeline, stop: threading.Event, found: _Found, *, is_open: bool
) -> Generator[Event, None, None]:
    """What a pipeline finds, until it ends. is_open: the source was given open, and stays so."""
    lane = pipeline.lanes[0]
    try:
        with closing(pipeline.turns(stop)) as turns:
            for _ in turns:
                for event in found.take():
                    yield event
                    if event.type == "source_lost" and is_open:
                        raise SourceError(
                            f"{lane.source.name}: lost; give its address to have it opened again"
                        )
    except EdgeHarError:
        yield from found.take()
        raise
    finally:
        if is_open:
            # Whoever closes it next must not do so while another thread reads a frame of it.
            lane.capture.join(Timeouts().read_s)
