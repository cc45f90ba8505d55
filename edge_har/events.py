"""Predictions -> start, update and end events of one source; smoothing in seconds, so the frame rate does not matter."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_har.bundle import Smoothing

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


class EventMachine:
    """Turns the predictions of one source into events; at most one activity is open at a time.

    The probabilities are averaged over `smooth_s`. An event of a label starts when its average reaches `enter`, and is
    dated back to the first tick of the latest run of predictions at or above `enter`; it ends when the average falls
    below `leave`, or another label enters, and is dated to its last prediction at or above `leave`; none begins before
    the one before it ended. Events shorter than `min_s` are not told. A prediction's time is the tick at which its window ends.

    reject_threshold: no label enters below it. ids: where new events get their names. now: the wall clock.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        smoothing: Smoothing,
        *,
        source: str,
        model: str,
        reject_threshold: float | None = None,
        ids: Iterator[str] | None = None,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self.source = source
        self.labels: tuple[str, ...] = ()
        self._tune(labels, smoothing, reject_threshold, model)
        self._ids = ids if ids is not None else event_ids()
        self._now = now
        self._outage: tuple[str, float] | None = None

    def swap(
        self,
        labels: tuple[str, ...],
        smoothing: Smoothing,
        *,
        model: str,
        reject_threshold: float | None,
        reset: bool,
    ) -> list[Event]:
        """Go on with another model. Where its labels are the same and not `reset`, what is open stays open."""
        events = self.close("swap") if reset or labels != self.labels else []
        self._tune(labels, smoothing, reject_threshold, model)
        return events

    def _tune(
        self, labels: tuple[str, ...], smoothing: Smoothing, reject_threshold: float | None, model: str
    ) -> None:
        if labels != self.labels:
            self.labels = labels
            self._forget()
        self.smoothing = smoothing
        self.model = model
        self._enter = max(smoothing.enter, reject_threshold or 0.0)
        self._leave = smoothing.leave

    def _forget(self) -> None:
        self._recent: deque[tuple[float, Scores]] = deque()
        self._open: _Open | None = None
        self._free_s = float("-inf")  # before this another event was open
        self._above = np.zeros(len(self.labels), bool)
        self._run_start_s = [0.0] * len(self.labels)
        self._run = [_Mean() for _ in self.labels]
        self._last_above_s = [0.0] * len(self.labels)
        self._run_at_last = [_Mean() for _ in self.labels]

    def predict(self, time_s: float, scores: Scores) -> list[Event]:
        """Take the probabilities (float32 [labels]) of the window that ends at `time_s`; what there is to tell."""
        self._recent.append((time_s, scores))
        while (
            self._recent[0][0] < time_s - self.smoothing.smooth_s + TIME_TOLERANCE_S and len(self._recent) > 1
        ):
            self._recent.popleft()
        self._follow_runs(time_s, scores)
        average = self.average
        events: list[Event] = []
        top = int(average.argmax())
        # An average lags behind: what is over when it gets there does not begin any more.
        enters = bool(average[top] >= self._enter and scores[top] >= self._leave and self._run[top].ticks)
        if self._open is not None:
            self._continue(self._open, time_s, float(scores[self._open.label]))
            changed = enters and top != self._open.label
            if changed or average[self._open.label] < self._leave:
                events += self._finish("left")
        if self._open is None and enters and self._run[top].ticks:
            self._begin(top)
        if self._open is not None:
            events += self._tell(self._open, time_s)
        return events

    @property
    def average(self) -> NDArray[np.float64]:
        """Probabilities averaged over the last `smooth_s`: float64 [labels]; zeros before the first prediction."""
        if not self._recent:
            return np.zeros(len(self.labels))
        averaged: NDArray[np.float64] = np.mean([s for _, s in self._recent], axis=0, dtype=np.float64)
        return averaged

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

    def _follow_runs(self, time_s: float, scores: Scores) -> None:
        above = scores >= self._enter
        for label, probability in enumerate(scores.tolist()):
            if above[label] and not self._above[label]:
                self._run_start_s[label] = time_s
                self._run[label] = _Mean()
            if above[label] or self._run[label].ticks:
                self._run[label].add(probability)
            if probability >= self._leave:
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
        if probability < self._leave:
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
        return [self._line("end", event, reason)]

    def _line(self, kind: Type, event: _Open, reason: Reason | None = None) -> Event:
        mean = event.mean_at_last if kind == "end" else event.mean
        return Event(
            id=event.id,
            type=kind,
            source=self.source,
            label=self.labels[event.label],
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
