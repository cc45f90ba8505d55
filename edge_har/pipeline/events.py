"""Predictions -> start, update and end events of one source; smoothing in seconds, so the frame rate does not matter."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import MisuseError
from edge_har.model.manifest import Smoothing
from edge_har.pipeline.rules import UNKNOWN, LabelRule, RuleClock, check_cooldown

EVENT_VERSION = 1
UPDATE_S = 1.0  # at most one update in this time
TIME_TOLERANCE_S = 1e-6
TIME_DECIMALS, SCORE_DECIMALS = 3, 4

Type = Literal["start", "update", "end", "source_lost", "source_back"]
Reason = Literal["left", "gap", "stop", "lost", "swap"]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Event:
    """One line about an activity, or about a source that went away.

    id: joins the lines of one event. score: mean probability so far. start_s, end_s: seconds of the source's clock;
    end_s in `end` and `source_back` only. reason: of an `end`. time: RFC 3339, UTC. model: name@digest.
    """

    id: str
    type: Type
    source: str
    label: str | None
    score: float | None
    start_s: float
    end_s: float | None
    time: str
    model: str
    reason: Reason | None = None

    def to_json(self) -> dict[str, Any]:
        """The event as it is written; `reason` stands in `end` alone."""
        line = {
            "v": EVENT_VERSION,
            "id": self.id,
            "type": self.type,
            "source": self.source,
            "label": self.label,
            "score": None if self.score is None else round(self.score, SCORE_DECIMALS),
            "start_s": round(self.start_s, TIME_DECIMALS),
            "end_s": None if self.end_s is None else round(self.end_s, TIME_DECIMALS),
            "time": self.time,
            "model": self.model,
        }
        return line | ({"reason": self.reason} if self.reason else {})


def event_ids() -> Iterator[str]:
    """Names of events: a token of this process and a number that counts without gaps."""
    token = secrets.token_hex(4)
    return (f"{token}-{number}" for number in count(1))


def utc_now() -> str:
    """The wall clock, RFC 3339, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class _Mean:
    """The mean of a label's probabilities since some tick."""

    total: float = 0.0
    ticks: int = 0

    def add(self, probability: float) -> None:
        self.total += probability
        self.ticks += 1

    @property
    def value(self) -> float:
        return self.total / self.ticks


@dataclass
class _Open:
    """An event that has begun. `announced` once its start was reported; `mean_at_last` is the mean up to `last_s`;
    `after_s` is the first prediction after that one.
    """

    id: str
    label: int
    start_s: float
    last_s: float
    mean: _Mean
    mean_at_last: _Mean
    after_s: float | None = None
    told_s: float = 0.0
    announced: bool = False


@dataclass(frozen=True)
class Tuning:
    """When predictions become events, beyond what the smoothing says.

    reject_threshold: no label enters below it. unknown: while no label reaches it, tell that as an activity called
    `unknown`; its probability is 1 minus the highest one. cooldown_s: seconds after an event's end in which no other
    of its label starts. rules: by label, in place of these. gate: what bars a label now. Raises MisuseError for a
    cool-down that cannot be.
    """

    reject_threshold: float | None = None
    unknown: bool = False
    cooldown_s: float = 0.0
    rules: Mapping[str, LabelRule] = field(default_factory=dict)
    gate: RuleClock | None = None

    def __post_init__(self) -> None:
        check_cooldown(self.cooldown_s)

    def of(self, label: str) -> LabelRule:
        """The rule of a label."""
        return self.rules.get(label, LabelRule())


class EventMachine:
    """Turns the predictions of one source into events; at most one activity is open at a time.

    The probabilities are averaged over `smooth_s`. An event of a label starts when its average reaches `enter`, and is
    dated back to the first tick of the latest run of predictions at or above `enter`; it ends when the average falls
    below `leave`, or another label enters, and is dated to its last prediction at or above `leave`; none begins before
    the one before it ended. Events shorter than `min_s` are not told. A prediction's time is the tick at which its window ends.

    A label that is barred, by a rule or because it cools down, starts nothing, and its run begins when it is free;
    what is open goes on. ids: where new events get their names. now: the wall clock.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        smoothing: Smoothing,
        tuning: Tuning | None = None,
        *,
        source: str,
        model: str,
        ids: Iterator[str] | None = None,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self.source = source
        self.labels: tuple[str, ...] = ()
        self._names: tuple[str, ...] = ()
        self._ended_s: dict[str, float] = {}
        self._tune(labels, smoothing, tuning or Tuning(), model)
        self._ids = ids if ids is not None else event_ids()
        self._now = now
        self._outage: tuple[str, float] | None = None

    def swap(
        self,
        labels: tuple[str, ...],
        smoothing: Smoothing,
        tuning: Tuning | None = None,
        *,
        model: str,
        reset: bool,
    ) -> list[Event]:
        """Go on with another model or tuning. Where the labels are the same and not `reset`, what is open stays open."""
        tuning = tuning or Tuning()
        events = self.close("swap") if reset or _names(labels, tuning) != self._names else []
        self._tune(labels, smoothing, tuning, model)
        return events

    def _tune(self, labels: tuple[str, ...], smoothing: Smoothing, tuning: Tuning, model: str) -> None:
        names = _names(labels, tuning)
        self.labels = labels
        if names != self._names:
            self._names = names
            self._forget()
        self.smoothing = smoothing
        self.tuning = tuning
        self.model = model
        floor = tuning.reject_threshold or 0.0
        asked = [tuning.of(name).enter for name in labels]
        enter = [max(smoothing.enter if e is None else e, floor) for e in asked]
        leave = [min(smoothing.leave, e) for e in enter]
        if self._tells_unknown:
            # Just above: where the highest probability reaches the threshold, a label is known.
            enter.append(float(np.nextafter(1 - floor, 2)))
            leave.append(max(0.0, 1 - floor - (smoothing.enter - smoothing.leave)))
        self._enter, self._leave = np.array(enter), np.array(leave)
        cooldowns = (tuning.of(name).cooldown_s for name in names)
        self._cooldown_s = [tuning.cooldown_s if c is None else c for c in cooldowns]
        self._cools = any(self._cooldown_s)

    @property
    def _tells_unknown(self) -> bool:
        return len(self._names) > len(self.labels)

    def _forget(self) -> None:
        count = len(self._names)
        self._recent: deque[tuple[float, Scores]] = deque()
        self._average: NDArray[np.float64] = np.zeros(len(self.labels))
        self._open: _Open | None = None
        self._free_s = float("-inf")  # before this another event was open
        self._above = np.zeros(count, bool)
        self._run_start_s = [0.0] * count
        self._run = [_Mean() for _ in range(count)]
        self._last_above_s = [0.0] * count
        self._run_at_last = [_Mean() for _ in range(count)]

    def predict(self, time_s: float, scores: Scores) -> list[Event]:
        """Take the probabilities (float32 [labels]) of the window that ends at `time_s`; what there is to tell."""
        self._recent.append((time_s, scores))
        while (
            self._recent[0][0] < time_s - self.smoothing.smooth_s + TIME_TOLERANCE_S and len(self._recent) > 1
        ):
            self._recent.popleft()
        average = np.add.reduce([s for _, s in self._recent], 0, dtype=np.float64) / len(self._recent)
        self._average = average
        top = int(average.argmax())
        seen: NDArray[np.float64] = scores.astype(np.float64)
        if self._tells_unknown:
            seen, average = _with_unknown(seen), _with_unknown(average)
            # It begins where nothing is open: what fades is not unknown before it left.
            if average[-1] >= self._enter[-1] and self._open is None:
                top = len(self.labels)
        self._follow_runs(time_s, seen)
        # An average lags behind: what is over when it gets there does not begin any more.
        enters = bool(average[top] >= self._enter[top] and seen[top] >= self._leave[top])
        events: list[Event] = []
        if self._open is not None:
            label = self._open.label
            self._continue(self._open, time_s, float(seen[label]))
            changed = enters and top != label and self._run[top].ticks
            if changed or average[label] < self._leave[label]:
                events += self._finish("left")
        if self._open is None and enters and self._run[top].ticks:
            self._begin(top)
        if self._open is not None:
            events += self._tell(self._open, time_s)
        return events

    def _barred(self, time_s: float) -> NDArray[np.bool_] | None:
        """Which of the names may start nothing at `time_s`; None: all may."""
        gate = self.tuning.gate
        barred = None if gate is None else gate.barred(self._names)
        if not (self._cools and self._ended_s):
            return barred
        cooling = [
            0 <= time_s - self._ended_s.get(name, float("-inf")) < cooldown_s - TIME_TOLERANCE_S
            for name, cooldown_s in zip(self._names, self._cooldown_s, strict=True)
        ]
        return np.array(cooling) if barred is None else barred | cooling

    @property
    def average(self) -> NDArray[np.float64]:
        """Probabilities averaged over the last `smooth_s`: float64 [labels]; zeros before the first prediction."""
        return self._average

    def close(self, reason: Reason) -> list[Event]:
        """End what is open and forget all predictions: a gap, the end, a lost source, another model."""
        events = self._finish(reason)
        self._forget()
        return events

    def lost(self, time_s: float) -> list[Event]:
        """The source went away at `time_s`: end what is open, then say so."""
        events = self.close("lost")
        if self._outage is None:
            self._outage = (next(self._ids), time_s)
            events.append(self._about_source("source_lost", None))
        return events

    def back(self, time_s: float) -> list[Event]:
        """The source gives frames again, from `time_s` on."""
        if self._outage is None:
            return []
        events = [self._about_source("source_back", time_s)]
        self._outage = None
        return events

    def _follow_runs(self, time_s: float, seen: NDArray[np.float64]) -> None:
        above = seen >= self._enter
        barred = self._barred(time_s)
        if barred is not None:
            above &= ~barred
            for at in np.flatnonzero(barred):
                self._run[at] = _Mean()
        # Plain lists: to look into an array costs more than all that is done here.
        now, before, stays = above.tolist(), self._above.tolist(), (seen >= self._leave).tolist()
        for label, probability in enumerate(seen.tolist()):
            if now[label] and not before[label]:
                self._run_start_s[label] = time_s
                self._run[label] = _Mean()
            if now[label] or self._run[label].ticks:
                self._run[label].add(probability)
            if stays[label]:
                self._last_above_s[label] = time_s
                self._run_at_last[label] = _Mean(self._run[label].total, self._run[label].ticks)
        self._above = above

    def _begin(self, label: int) -> None:
        run, at_last = self._run[label], self._run_at_last[label]
        self._open = _Open(
            id="",
            label=label,
            start_s=max(self._run_start_s[label], self._free_s),
            last_s=self._last_above_s[label],
            mean=_Mean(run.total, run.ticks),
            mean_at_last=_Mean(at_last.total, at_last.ticks),
        )

    def _continue(self, event: _Open, time_s: float, probability: float) -> None:
        event.mean.add(probability)
        if probability < self._leave[event.label]:
            event.after_s = time_s if event.after_s is None else event.after_s
        else:
            event.last_s, event.after_s = time_s, None
            event.mean_at_last = _Mean(event.mean.total, event.mean.ticks)

    def _tell(self, event: _Open, time_s: float) -> list[Event]:
        if not event.announced:
            if event.last_s - event.start_s < self.smoothing.min_s - TIME_TOLERANCE_S:
                return []
            event.id, event.announced, event.told_s = next(self._ids), True, time_s
            return [self._line("start", event)]
        if time_s - event.told_s < UPDATE_S - TIME_TOLERANCE_S:
            return []
        event.told_s = time_s
        return [self._line("update", event)]

    def _finish(self, reason: Reason) -> list[Event]:
        event, self._open = self._open, None
        if event is None:
            return []
        # What comes is another event, even where the label's run of predictions goes on.
        self._above[event.label] = False
        self._run[event.label] = _Mean()
        if not event.announced:
            return []
        self._free_s = self._recent[-1][0] if event.after_s is None else event.after_s
        if self._cools:
            self._ended_s[self._names[event.label]] = event.last_s
        return [self._line("end", event, reason)]

    def _line(self, kind: Type, event: _Open, reason: Reason | None = None) -> Event:
        mean = event.mean_at_last if kind == "end" else event.mean
        return Event(
            id=event.id,
            type=kind,
            source=self.source,
            label=self._names[event.label],
            score=mean.value,
            start_s=event.start_s,
            end_s=event.last_s if kind == "end" else None,
            time=self._now(),
            model=self.model,
            reason=reason,
        )

    def _about_source(self, kind: Type, end_s: float | None) -> Event:
        assert self._outage is not None
        name, start_s = self._outage
        return Event(name, kind, self.source, None, None, start_s, end_s, self._now(), self.model)


def _names(labels: tuple[str, ...], tuning: Tuning) -> tuple[str, ...]:
    """All that can be told: the labels, and `unknown` where it is asked for and there is a threshold below which it is."""
    if not tuning.unknown or tuning.reject_threshold is None:
        return labels
    if UNKNOWN in labels:
        raise MisuseError(f"the model has a label of its own that is called {UNKNOWN!r}")
    return (*labels, UNKNOWN)


def _with_unknown(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(probabilities, 1 - probabilities.max())
