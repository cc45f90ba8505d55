"""A plain event machine: all predictions are kept, and everything is looked up in them again at each one.

Written from docs/run.md and the docstrings of `edge_har.pipeline.events`, to compare `EventMachine` with.
Times and probabilities must be exact in binary (multiples of 1/16, say): nothing here allows for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import nextafter

from edge_har.model.manifest import Smoothing
from edge_har.pipeline.events import Event, Reason, Tuning, Type

UNKNOWN = "unknown"
UPDATE_S = 1.0
TIME = "2026-01-01T00:00:00.000Z"  # of the wall clock, in all events


@dataclass
class Prediction:
    """What one prediction was, by name of what can be reported.

    above: names that reached `enter` and were free to start. held: names that reached `leave`. barred: names
    that may start nothing. ended: the name whose event this prediction ended.
    """

    time_s: float
    probabilities: dict[str, float]
    above: set[str]
    held: set[str]
    barred: set[str]
    ended: str | None = None


@dataclass
class OpenEvent:
    """An event that has begun at `history[first]` and was last held at `history[last]`."""

    name: str
    first: int
    last: int
    id: str | None = None
    reported_s: float = 0.0


@dataclass
class ReferenceMachine:
    """Does what `EventMachine` does. barred: whether the rules bar a name now."""

    labels: tuple[str, ...]
    smoothing: Smoothing
    tuning: Tuning
    source: str
    model: str
    barred: Callable[[str], bool]
    ids: int = 0
    outage: tuple[str, float] | None = None
    ended_s: dict[str, float] = field(default_factory=dict)
    history: list[Prediction] = field(default_factory=list)
    window: list[Prediction] = field(default_factory=list)
    open: OpenEvent | None = None
    free: int = 0  # index of the first prediction that the next event may have

    # Thresholds ---------------------------------------------------------------------------------------------

    @property
    def reports_unknown(self) -> bool:
        return self.tuning.unknown and self.tuning.reject_threshold is not None

    @property
    def names(self) -> list[str]:
        return [*self.labels, *([UNKNOWN] if self.reports_unknown else [])]

    def enter(self, name: str) -> float:
        reject = self.tuning.reject_threshold or 0.0
        if name == UNKNOWN and self.reports_unknown:
            return nextafter(1 - reject, 2)  # the highest label is below the threshold
        own = self.tuning.of(name).enter
        return max(self.smoothing.enter if own is None else own, reject)

    def leave(self, name: str) -> float:
        if name == UNKNOWN and self.reports_unknown:
            reject = self.tuning.reject_threshold or 0.0
            return max(0.0, 1 - reject - (self.smoothing.enter - self.smoothing.leave))
        return min(self.smoothing.leave, self.enter(name))

    def cools(self, name: str, time_s: float) -> bool:
        own = self.tuning.of(name).cooldown_s
        cooldown_s = self.tuning.cooldown_s if own is None else own
        return name in self.ended_s and 0 <= time_s - self.ended_s[name] < cooldown_s

    # What happens -------------------------------------------------------------------------------------------

    def predict(self, time_s: float, scores: list[float]) -> list[Event]:
        probabilities = dict(zip(self.labels, scores, strict=True))
        if self.reports_unknown:
            probabilities[UNKNOWN] = 1 - max(scores)
        barred = {n for n in self.names if self.barred(n) or self.cools(n, time_s)}
        above = {n for n in self.names if probabilities[n] >= self.enter(n)} - barred
        held = {n for n in self.names if probabilities[n] >= self.leave(n)}
        now = Prediction(time_s, probabilities, above, held, barred)
        self.history.append(now)
        earlier = [p for p in self.window if p.time_s > time_s - self.smoothing.smooth_s]
        self.window = [*earlier, now]
        average = self.average()
        top = max(self.labels, key=lambda name: average[name])
        if self.reports_unknown and self.open is None and average[UNKNOWN] >= self.enter(UNKNOWN):
            top = UNKNOWN
        begins = self.run_start(top) if average[top] >= self.enter(top) and top in held else None

        events = []
        if self.open is not None:
            name = self.open.name
            if name in held:
                self.open.last = len(self.history) - 1
            if average[name] < self.leave(name) or (begins is not None and top != name):
                events += self.finish("left")
                now.ended = name
        if self.open is None and begins is not None:
            self.open = OpenEvent(top, max(begins, self.free), len(self.history) - 1)
        if self.open is not None:
            if self.open.id is None:
                events += self.announce(time_s)
            elif time_s - self.open.reported_s >= UPDATE_S:
                self.open.reported_s = time_s
                events.append(self.line("update", self.open))
        return events

    def close(self, reason: Reason) -> list[Event]:
        events = self.finish(reason)
        self.history, self.window, self.free = [], [], 0
        return events

    def lost(self, time_s: float) -> list[Event]:
        events = self.close("lost")
        if self.outage is None:
            self.outage = (self.next_id(), time_s)
            events.append(self.about_source("source_lost", None))
        return events

    def back(self, time_s: float) -> list[Event]:
        if self.outage is None:
            return []
        events = [self.about_source("source_back", time_s)]
        self.outage = None
        return events

    def swap(
        self,
        labels: tuple[str, ...],
        smoothing: Smoothing,
        tuning: Tuning,
        barred: Callable[[str], bool],
        *,
        model: str,
        reset: bool,
    ) -> list[Event]:
        names_before, labels_before = self.names, self.labels
        following = ReferenceMachine(labels, smoothing, tuning, self.source, model, barred)
        events = []
        if reset or (names_before, labels_before) != (following.names, labels):
            events = self.close("swap")
        self.labels, self.smoothing, self.tuning = labels, smoothing, tuning
        self.model, self.barred = model, barred
        return events

    # What it is made of -------------------------------------------------------------------------------------

    def average(self) -> dict[str, float]:
        """By name; `unknown` is what the highest average leaves."""
        means = {n: mean([p.probabilities[n] for p in self.window]) for n in self.labels}
        if self.reports_unknown:
            means[UNKNOWN] = 1 - max(means.values())
        return means

    def run_start(self, name: str) -> int | None:
        """Where the latest run of a name began: it was above, and before that not;
        None where none goes on.
        """
        for index in reversed(range(len(self.history))):
            here = self.history[index]
            if name in here.barred or name == here.ended:
                return None
            before = self.history[index - 1] if index else None
            goes_on = before is not None and name in before.above and name != before.ended
            if name in here.above and not goes_on:
                return index
        return None

    def announce(self, time_s: float) -> list[Event]:
        event = self.open
        length_s = self.history[event.last].time_s - self.history[event.first].time_s
        if length_s < self.smoothing.min_s:
            return []
        event.id, event.reported_s = self.next_id(), time_s
        return [self.line("start", event)]

    def finish(self, reason: Reason) -> list[Event]:
        event = self.open
        if event is None:
            return []
        events = self.announce(0.0) if event.id is None else []
        self.open = None
        if event.id is None:
            return []
        # Where the prediction that ends it still held it,
        # the next event begins with that one at the earliest.
        self.free = min(event.last + 1, len(self.history) - 1)
        self.ended_s[event.name] = self.history[event.last].time_s
        return [*events, self.line("end", event, reason)]

    def line(self, kind: Type, event: OpenEvent, reason: Reason | None = None) -> Event:
        last = event.last if kind == "end" else len(self.history) - 1
        own = self.history[event.first : last + 1]
        return Event(
            id=event.id or "",
            type=kind,
            source=self.source,
            label=event.name,
            score=mean([p.probabilities[event.name] for p in own]),
            start_s=own[0].time_s,
            end_s=own[-1].time_s if kind == "end" else None,
            time=TIME,
            model=self.model,
            reason=reason,
        )

    def about_source(self, kind: Type, end_s: float | None) -> Event:
        name, start_s = self.outage
        return Event(name, kind, self.source, None, None, start_s, end_s, TIME, self.model)

    def next_id(self) -> str:
        self.ids += 1
        return f"e{self.ids}"


def mean(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / len(values)
