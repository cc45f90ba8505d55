"""What a run knows of itself: its sources, its latest events, its sinks. Written by the pipeline, read by
pages and metrics.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event

EVENTS_KEPT = 2000
RATE_S = 5.0  # a source's rate is that of its latest seconds
RATE_STEP_S = 0.25  # how finely its frames are noted in time for that
LATENCY_BUCKETS_MS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)

State = Literal["opening", "live", "lost", "ended", "failed"]


@dataclass(frozen=True)
class Counts:
    """What a source gave so far; a later count is never smaller.

    frames: that were offered. ticks: that were recognised. unused: frames that no tick needed. skipped: ticks
    that came too fast. repeated: ticks that shared a frame. damaged: frames that could not be decoded.
    reconnects: how often it was reconnected. abandoned: how often its thread hung and was left behind.
    """

    frames: int = 0
    ticks: int = 0
    unused: int = 0
    skipped: int = 0
    repeated: int = 0
    damaged: int = 0
    reconnects: int = 0
    abandoned: int = 0


@dataclass(frozen=True)
class Latency:
    """How long ticks took, in milliseconds: `counts[i]` of them at most LATENCY_BUCKETS_MS[i] (and more than
    the bound before), the last of `counts` more than all bounds. sum_ms: all together.
    """

    counts: tuple[int, ...]
    sum_ms: float

    @property
    def ticks(self) -> int:
        """How many there were."""
        return sum(self.counts)


@dataclass
class SinkState:
    """What became of the events that were given to one sink. Written by the sink, read by all.

    queued: that wait now. dropped: that went because too many waited. delivered: that arrived. failed:
    attempts that failed. last_error: why the latest did, without secrets; None while nothing failed. refused:
    events that the other side will never take. lost: events that are gone for good: dropped, or kept nowhere
    when the run ended.
    """

    name: str
    queued: int = 0
    dropped: int = 0
    delivered: int = 0
    failed: int = 0
    last_error: str | None = None
    refused: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Clip:
    """A finished video file. events: ids of those it shows. plays: whether browsers can play it."""

    path: Path
    events: tuple[str, ...]
    plays: bool


class SourceState:
    """One source as it is now. The pipeline writes; others only read, each value on its own at any time.

    name: what events call it. state: `opening` until it was open once, then `live`, `lost`, and at last
    `ended` or `failed`; reason: why it is lost or failed, else None. lost_reason: why it was lost the last
    time; None where it never was. last_frame_s: time.monotonic() when its
    newest frame came that a tick took; None before. age_s: how old the frame was when it was recognised.
    label, score: of what goes on, and its smoothed probability; None while nothing reached its threshold.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: State = "opening"
        self.reason: str | None = None
        self.lost_reason: str | None = None
        self.counts = Counts()
        self.label: str | None = None
        self.score: float | None = None
        self.age_s: float | None = None
        self.last_frame_s: float | None = None
        self._lock = threading.Lock()
        self._buckets = [0] * (len(LATENCY_BUCKETS_MS) + 1)
        self._sum_ms = 0.0
        # (monotonic seconds, frames) at some moments of the latest RATE_S, and one before.
        self._noted: deque[tuple[float, int]] = deque()

    @property
    def rate_hz(self) -> float:
        """Frames a second that came in the latest seconds; 0.0 where none did."""
        now_s = time.monotonic()
        with self._lock:
            noted = [(at_s, frames) for at_s, frames in self._noted if at_s >= now_s - RATE_S]
            frames = self.counts.frames
        if not noted or now_s - noted[0][0] <= 0:
            return 0.0
        return (frames - noted[0][1]) / (now_s - noted[0][0])

    @property
    def latency(self) -> Latency:
        """How long its ticks took, from converting the frame to the events that came of it."""
        with self._lock:
            return Latency(tuple(self._buckets), self._sum_ms)

    def count(self, counts: Counts, now_s: float) -> None:
        """Take what was counted up to `now_s` (time.monotonic())."""
        with self._lock:
            self.counts = counts
            if not self._noted or now_s - self._noted[-1][0] >= RATE_STEP_S:
                self._noted.append((now_s, counts.frames))
            while len(self._noted) > 1 and self._noted[1][0] < now_s - RATE_S:
                self._noted.popleft()

    def ticked(
        self,
        *,
        grabbed_s: float,
        now_s: float,
        cost_ms: float,
        ticks: int,
        label: str | None,
        score: float | None,
    ) -> None:
        """A frame that came at `grabbed_s` was recognised at `now_s`: `ticks` of them, each for `cost_ms`."""
        with self._lock:
            self._buckets[bisect_left(LATENCY_BUCKETS_MS, cost_ms)] += ticks
            self._sum_ms += ticks * cost_ms
        self.last_frame_s, self.age_s = grabbed_s, now_s - grabbed_s
        self.label, self.score = label, score

    def turn(self, state: State, reason: str | None = None) -> None:
        """The source is now in `state`."""
        self.state, self.reason = state, reason
        if state == "lost":
            self.lost_reason = reason
        if state != "live":
            self.label = self.score = None


class RunStatus:
    """What a run knows of itself, for pages, metrics and health checks. Cheap to write, safe to read from any
    thread.

    started_s: time.monotonic() when it was made. turned_s: when the loop that recognises last turned. names:
    of the sources, each once.
    """

    def __init__(self, model_id: str, labels: tuple[str, ...], names: Iterable[str]) -> None:
        self.started_s = self.turned_s = time.monotonic()
        self._model = (model_id, labels)
        self._sources = {name: SourceState(name) for name in names}
        self._sinks: list[SinkState] = []
        self._clips: dict[str, Clip] = {}
        self._lock = threading.Lock()
        self._events: deque[tuple[float, Event]] = deque(maxlen=EVENTS_KEPT)

    @property
    def model_id(self) -> str:
        """`name@first 12 digits` of the bundle that runs now."""
        return self._model[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of that bundle."""
        return self._model[1]

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """All sources in the order in which they were named."""
        return tuple(self._sources.values())

    @property
    def sinks(self) -> tuple[SinkState, ...]:
        """All sinks that count, in the order in which they came."""
        with self._lock:
            return tuple(self._sinks)

    @property
    def ticks(self) -> int:
        """Ticks of all sources together: it grows as long as frames are processed."""
        return sum(source.counts.ticks for source in self._sources.values())

    def source(self, name: str) -> SourceState:
        """The source of that name; raises MisuseError where there is none."""
        try:
            return self._sources[name]
        except KeyError:
            raise MisuseError(f"no source is called {name!r}; there are {', '.join(self._sources)}") from None

    def add_sink(self, state: SinkState) -> None:
        """Show a sink's counters too."""
        with self._lock:
            self._sinks.append(state)

    def record_clip(self, clip: Clip) -> None:
        """Keep where the clip of an event is; the first one stays where several show it."""
        with self._lock:
            for event_id in clip.events:
                self._clips.setdefault(event_id, clip)
            while len(self._clips) > EVENTS_KEPT:
                del self._clips[next(iter(self._clips))]

    def clips(self) -> dict[str, Clip]:
        """The clips that were recorded, by the id of their events."""
        with self._lock:
            return dict(self._clips)

    def clip(self, event_id: str) -> Clip | None:
        """The clip of an event; None where there is none, or not yet."""
        return self._clips.get(event_id)

    def swap(self, model_id: str, labels: tuple[str, ...]) -> None:
        """Another model runs now."""
        self._model = (model_id, labels)

    def turned(self) -> None:
        """The loop that recognises has turned: it does not hang, even where no frame comes."""
        self.turned_s = time.monotonic()

    def record(self, event: Event) -> None:
        """Keep an event; the oldest goes where too many are kept."""
        with self._lock:
            self._events.append((time.monotonic(), event))

    def events_since(self, since_s: float) -> list[tuple[float, Event]]:
        """Events recorded at or after `since_s` of time.monotonic(), oldest first, each with the time of its
        record.
        """
        found = []
        with self._lock:
            for recorded in reversed(self._events):
                if recorded[0] < since_s:
                    break
                found.append(recorded)
        return found[::-1]
