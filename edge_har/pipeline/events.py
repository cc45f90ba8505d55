"""Predictions -> start, update and end events of one source;
smoothing in seconds, so the frame rate does not matter.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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

    id: joins the lines of one event. score: mean probability since start_s; of an `end`, up to end_s.
    start_s, end_s: seconds of the source's clock; end_s in `end` and `source_back` only. reason: of an `end`.
    time: RFC 3339, UTC.
    model: name@digest.
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
        """The event as it is written; only `end` has a `reason`."""
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
class _Run:
    """A run of a label's predictions: when it began (seconds) and the mean of its probabilities.
    No ticks: no run.
    """

    start_s: float = 0.0
    total: float = 0.0
    ticks: int = 0

    def add(self, probability: float) -> None:
        self.total += probability
        self.ticks += 1

    @property
    def mean(self) -> float:
        return self.total / self.ticks


@dataclass
class _Open:
    """An event that has begun. run: from its start to now.
    end_s, end_score: its end and score if it ended now.

    fading: the predictions (time, probabilities) since `end_s`, all below `leave`. reported_s: when it was
    last reported; None: not yet.
    """

    label: int
    run: _Run
    end_s: float
    end_score: float
    fading: list[tuple[float, NDArray[np.float64]]] = field(default_factory=list)
    id: str = ""
    reported_s: float | None = None


@dataclass(frozen=True)
class Tuning:
    """When predictions become events, beyond the smoothing.

    reject_threshold: no label enters below it. unknown: while no label reaches it, report that as an activity
    called `unknown`; its probability is 1 minus the highest one. cooldown_s: seconds after an event's end in
    which no other of its label starts. rules: by label, in place of these. gate: what bars a label now.
    Raises MisuseError where the cool-down is negative or not finite.
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


def surest(scores: NDArray[Any], interval_s: float, smooth_s: float) -> float:
    """The highest probability, averaged over `smooth_s`, that an `EventMachine` comes to in predictions
    [n, labels] that follow each other by `interval_s`.
    """
    together = max(1, math.ceil((smooth_s - TIME_TOLERANCE_S) / interval_s))
    sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - together, 0)
    return float(((sums[ends] - sums[starts]) / (ends - starts)[:, np.newaxis]).max())


class EventMachine:
    """Turns the predictions of one source into events; at most one activity is open at a time.

    The probabilities are averaged over `smooth_s`. An event of a label starts when its average is the highest
    and reaches `enter`, and is dated back to the first tick of the latest run of predictions at or above
    `enter`; it ends when its average falls below `leave`, or another label enters, and is dated to its last
    prediction at or above `leave`. None begins before the one before it ended. Events shorter than `min_s`
    are not reported. A prediction's time is the tick at which its window ends.

    A label that is barred, by a rule or because it cools down, starts nothing, and its run begins when it is
    free; what is open goes on. ids: where new events get their names. now: the wall clock.
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
        """Go on with another model or tuning; the events that end by it.

        What is open stays open where the labels are the same and `reset` is false.
        """
        tuning = tuning or Tuning()
        same = (labels, _names(labels, tuning)) == (self.labels, self._names)
        events = [] if same and not reset else self.close("swap")
        self._tune(labels, smoothing, tuning, model)
        return events

    def _tune(self, labels: tuple[str, ...], smoothing: Smoothing, tuning: Tuning, model: str) -> None:
        names = _names(labels, tuning)
        if (labels, names) != (self.labels, self._names):
            self.labels, self._names = labels, names
            self._forget()
        self.smoothing = smoothing
        self.tuning = tuning
        self.model = model
        floor = tuning.reject_threshold or 0.0
        of_rules = [tuning.of(name).enter for name in labels]
        enter = [max(smoothing.enter if e is None else e, floor) for e in of_rules]
        leave = [min(smoothing.leave, e) for e in enter]
        if self._reports_unknown:
            # Just above: where the highest probability reaches the threshold, a label is known.
            enter.append(float(np.nextafter(1 - floor, 2)))
            leave.append(max(0.0, 1 - floor - (smoothing.enter - smoothing.leave)))
        self._enter, self._leave = np.array(enter), np.array(leave)
        cooldowns = (tuning.of(name).cooldown_s for name in names)
        self._cooldown_s = [tuning.cooldown_s if c is None else c for c in cooldowns]
        self._cools = any(self._cooldown_s)

    @property
    def _reports_unknown(self) -> bool:
        return len(self._names) > len(self.labels)

    def _forget(self) -> None:
        count = len(self._names)
        self._recent: deque[tuple[float, Scores]] = deque()
        self._average: NDArray[np.float64] = np.zeros(len(self.labels))
        self._open: _Open | None = None
        self._above = [False] * count
        self._runs = [_Run() for _ in range(count)]

    def predict(self, time_s: float, scores: Scores) -> list[Event]:
        """Events that follow from the probabilities (float32 [labels]) of the window that ends at
        `time_s`.
        """
        self._recent.append((time_s, scores))
        oldest_s = time_s - self.smoothing.smooth_s + TIME_TOLERANCE_S
        while self._recent[0][0] < oldest_s and len(self._recent) > 1:
            self._recent.popleft()
        average = np.add.reduce([s for _, s in self._recent], 0, dtype=np.float64) / len(self._recent)
        self._average = average
        top = int(average.argmax())
        seen: NDArray[np.float64] = scores.astype(np.float64)
        if self._reports_unknown:
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
            self._continue(self._open, time_s, seen)
            changed = enters and top != label and self._runs[top].ticks
            if changed or average[label] < self._leave[label]:
                events += self._finish("left", (time_s, seen))
        if self._open is None and enters and self._runs[top].ticks:
            run = self._runs[top]
            self._open = _Open(top, replace(run), end_s=time_s, end_score=run.mean)
        if self._open is not None:
            events += self._report(self._open, time_s)
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
        """Probabilities averaged over the last `smooth_s`: float64 [labels];
        zeros before the first prediction.
        """
        return self._average

    @property
    def ongoing(self) -> tuple[str | None, float | None]:
        """The label of what goes on, though it may be too short yet to be reported, and its probability
        averaged over the last `smooth_s`; None twice while nothing reached its threshold.
        """
        event, average = self._open, self._average  # another thread may close it now
        if event is None:
            return None, None
        if event.label == len(self.labels):
            average = _with_unknown(average)
        return self._names[event.label], float(average[event.label])

    def close(self, reason: Reason) -> list[Event]:
        """End what is open and forget all predictions: a gap, the end, a lost source, another model."""
        events = self._finish(reason, None)
        self._forget()
        return events

    def lost(self, time_s: float) -> list[Event]:
        """The source went away at `time_s`: the `end` of what is open, then `source_lost`,
        once per outage.
        """
        events = self.close("lost")
        if self._outage is None:
            self._outage = (next(self._ids), time_s)
            events.append(self._about_source("source_lost", None))
        return events

    def back(self, time_s: float) -> list[Event]:
        """The source gives frames again, from `time_s` on: `source_back` where it was lost."""
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
                self._runs[at] = _Run()
        # Plain lists: to look into an array costs more than all that is done here.
        now, before = above.tolist(), self._above
        for label, probability in enumerate(seen.tolist()):
            if now[label] and not before[label]:
                self._runs[label] = _Run(time_s)
            if now[label] or self._runs[label].ticks:
                self._runs[label].add(probability)
        self._above = now

    def _continue(self, event: _Open, time_s: float, seen: NDArray[np.float64]) -> None:
        probability = float(seen[event.label])
        event.run.add(probability)
        if probability < self._leave[event.label]:
            event.fading.append((time_s, seen))
        else:
            event.end_s, event.end_score = time_s, event.run.mean
            event.fading.clear()

    def _report(self, event: _Open, time_s: float) -> list[Event]:
        if event.reported_s is None:
            return self._announce(event, time_s)
        if time_s - event.reported_s < UPDATE_S - TIME_TOLERANCE_S:
            return []
        event.reported_s = time_s
        return [self._line("update", event)]

    def _announce(self, event: _Open, time_s: float) -> list[Event]:
        """The start of an event that is not announced yet, once it is long enough."""
        if event.end_s - event.run.start_s < self.smoothing.min_s - TIME_TOLERANCE_S:
            return []
        event.id, event.reported_s = next(self._ids), time_s
        return [self._line("start", event)]

    def _finish(self, reason: Reason, latest: tuple[float, NDArray[np.float64]] | None) -> list[Event]:
        """End what is open. latest: the prediction (time, probabilities) that ends it, where one does."""
        event, self._open = self._open, None
        if event is None:
            return []
        # What comes is another event, even where the label's run of predictions goes on.
        self._above[event.label] = False
        self._runs[event.label] = _Run()
        # The prediction that ends it may be the one that makes it long enough.
        events = self._announce(event, event.end_s) if event.reported_s is None else []
        if event.reported_s is None:
            return []
        if latest is not None:
            self._cut_runs(event.fading or [latest])
        self._ended_s[self._names[event.label]] = event.end_s
        return [*events, self._line("end", event, reason)]

    def _cut_runs(self, rest: list[tuple[float, NDArray[np.float64]]]) -> None:
        """Let the runs that go on begin with `rest`, the predictions since an event's end:
        no two events overlap.
        """
        free_s = rest[0][0]
        for label, run in enumerate(self._runs):
            if run.ticks and run.start_s < free_s:
                self._runs[label] = _Run(free_s, sum(float(seen[label]) for _, seen in rest), len(rest))

    def _line(self, kind: Type, event: _Open, reason: Reason | None = None) -> Event:
        return Event(
            id=event.id,
            type=kind,
            source=self.source,
            label=self._names[event.label],
            score=event.end_score if kind == "end" else event.run.mean,
            start_s=event.run.start_s,
            end_s=event.end_s if kind == "end" else None,
            time=self._now(),
            model=self.model,
            reason=reason,
        )

    def _about_source(self, kind: Type, end_s: float | None) -> Event:
        assert self._outage is not None
        name, start_s = self._outage
        return Event(name, kind, self.source, None, None, start_s, end_s, self._now(), self.model)


def _names(labels: tuple[str, ...], tuning: Tuning) -> tuple[str, ...]:
    """All that can be reported: the labels, and `unknown` where it is requested and the bundle has a
    threshold for it.
    """
    if not tuning.unknown or tuning.reject_threshold is None:
        return labels
    if UNKNOWN in labels:
        raise MisuseError(f"the model has a label of its own called {UNKNOWN!r}: run it without --unknown")
    return (*labels, UNKNOWN)


def _with_unknown(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(probabilities, 1 - probabilities.max())
