"""Precision by measurement: what a tick costs in each form of the graphs, and the fastest that passes the gate."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from convert.precisions import DYNAMIC, FLOAT16, FLOAT32, INT8, INT8_CELLS16
from convert.tflite.build import Built, GraphBuilder, GraphPrecision, Part, PrecisionPlan
from edge_har.errors import ConversionError, ParityError
from edge_har.model.bundle import Bundle
from edge_har.model.interpreter import Graph, zeros

MODES = (INT8, DYNAMIC, FLOAT16, FLOAT32)  # int16x8 is not among them: its kernels are some 30 times slower
FLOATS = (FLOAT16, FLOAT32)
FLOAT_LAYERS = (1, 2, 4)  # of an int8 graph that the gate refused, tried in turn
MEASURED_S = 2.0
ROUNDS = (10, 300)  # at least and at most
WARM_UP_ROUNDS = 3
SAME_SPEED = 1.05  # up to this ratio two routes are equally fast, and the smaller files are taken
CONTROL = PrecisionPlan.uniform(FLOAT32)

Report = Callable[[str], None]


@dataclass(frozen=True)
class TrialResult:
    """What a bundle answered on clips that the choice may look at (not those of the final gate).

    agreement: share of windows with the float model's top label. max_error: of a probability. drop_points: of window
    accuracy, float to stream; None without labels. refused: why the gate would not let it pass, else None.
    """

    agreement: float
    max_error: float
    drop_points: float | None = None
    refused: str | None = None


Validate = Callable[[Bundle], TrialResult]


@dataclass(frozen=True)
class Trial:
    """One route that could be taken. tick_ms: of the graphs alone, one thread of this machine, all routes in turns.

    file_bytes: of what the stream runs. outcome: None where it was not compared, since a faster route had passed or `refused`
    says why not.
    """

    route: PrecisionPlan
    tick_ms: float | None = None
    file_bytes: int | None = None
    outcome: TrialResult | None = None
    refused: str | None = None
    taken: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a report holds it."""
        return {
            "route": {part: str(form) for part, form in self.route.forms.items()},
            "ms_per_tick": None if self.tick_ms is None else round(self.tick_ms, 4),
            "bytes": self.file_bytes,
            "agreement": None if self.outcome is None else round(self.outcome.agreement, 4),
            "drop_points": None if self.outcome is None else self.outcome.drop_points,
            "max_error": None if self.outcome is None else round(self.outcome.max_error, 4),
            "refused": self.refused,
            "taken": self.taken,
        }


class NoRouteError(ParityError):
    """No precision passes the gate. trials: what was tried."""

    def __init__(self, message: str, trials: Sequence[Trial]) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


def choose(workshop: GraphBuilder, validate: Validate, report: Report) -> tuple[Built, list[Trial]]:
    """The fastest conversion that passes the gate, and what was tried, in the order of speed.

    Step and head (the whole clip of a model that has neither) are made and timed in every form; from the fastest on,
    whole bundles are built and validated until one passes. Where int8 is refused, it is tried with its worst layers in
    float. Raises ConversionError, and NoRouteError where none passes.
    """
    return _Search(workshop, validate, report).run()


class _Search:
    """The routes of one model, fastest first, until one passes. A refused one takes with it those that share its fault,
    and is tried again with layers in float.
    """

    def __init__(self, workshop: GraphBuilder, validate: Validate, report: Report) -> None:
        self._workshop, self._validate, self._say = workshop, validate, report
        self._stateful = bool(workshop.graphs.states)
        temporal = workshop.temporal
        banks = temporal.frames // temporal.hop_ticks if self._stateful else 1
        self._runs_per_tick = (
            {"clip": 1 / temporal.hop_ticks}
            if workshop.graphs.step is None
            else {"step": float(banks), "head": 1 / temporal.hop_ticks}
        )
        self._files: dict[Part, bytes] = {}
        self._broken: dict[Part, str] = {}
        self._ms: dict[Part, float] = {}
        self._waiting: list[PrecisionPlan] = []
        self._trials: dict[PrecisionPlan, Trial] = {}
        self._built: dict[PrecisionPlan, Built] = {}

    def run(self) -> tuple[Built, list[Trial]]:
        """The bundle's parts and the table of trials; raises NoRouteError."""
        self._add(self._first_routes())
        while self._waiting:
            route = self._fastest()
            self._waiting.remove(route)
            trial = self._try(route)
            if trial.refused is None:
                self._trials[route] = replace(trial, taken=True)
                self._say(f"precision: {route}")
                slower = [self._trial(other) for other in self._waiting if other not in self._trials]
                return self._built[route], [*self._trials.values(), *slower]
            if trial.outcome is not None and not self._mend(route):
                break
        said = [f"{trial.route}: {trial.refused}" for trial in self._trials.values() if trial.refused]
        raise NoRouteError(f"no precision passes; {said[-1]}", list(self._trials.values()))

    def _first_routes(self) -> list[PrecisionPlan]:
        """Every form of what the stream runs: step and head, or the whole clip of a model that cannot be cut."""
        heads = [GraphPrecision(mode) for mode in MODES]
        if "clip" in self._runs_per_tick:
            return [PrecisionPlan(form, form, form) for form in heads]
        steps = [*heads, GraphPrecision(INT8_CELLS16)] if self._stateful else heads
        return [PrecisionPlan(step, step, head) for step, head in itertools.product(steps, heads)]

    def _parts(self, route: PrecisionPlan) -> list[Part]:
        """What the stream runs, in its forms."""
        return [(part, route.forms[part]) for part in self._runs_per_tick]

    def _mend(self, refused: PrecisionPlan) -> bool:
        """Choose what to try instead of a refused route; False where float is refused too, so that nothing helps."""
        if self._try(CONTROL).refused is not None:
            return False
        untried = [other for other in self._waiting if other not in self._trials]
        for other in filter(partial(_shares_fault, refused), untried):
            self._waiting.remove(other)
            self._trials[other] = replace(self._trial(other), refused=f"as {refused}")
        if (
            not self._stateful
        ):  # its int8 graphs carry their ranges whole; int8 weights is what it has between
            self._add(_partly_float(refused))
        return True

    def _add(self, routes: Sequence[PrecisionPlan]) -> None:
        """Make and time the steps and heads of more routes; those that cannot be made are noted as refused."""
        parts = [part for route in routes for part in self._parts(route)]
        missing = [part for part in dict.fromkeys(parts) if part not in self._files | self._broken]
        if missing:
            self._say(f"making {', '.join(f'{part} {form}' for part, form in missing)}")
            for part, result in self._workshop.attempt(missing).items():
                if isinstance(result, bytes):
                    self._files[part] = result
                else:
                    self._broken[part] = str(result)
            graphs = {part: Graph(content) for part, content in self._files.items()}
            self._ms = dict(zip(graphs, interleaved_ms(list(graphs.values())), strict=True))
        for route in routes:
            reasons = [self._broken[part] for part in self._parts(route) if part in self._broken]
            if reasons:
                self._trials[route] = Trial(route, refused=reasons[0])
            else:
                self._waiting.append(route)

    def _trial(self, route: PrecisionPlan) -> Trial:
        parts = self._parts(route)
        tick_ms = sum(self._ms[part] * self._runs_per_tick[part[0]] for part in parts)
        return Trial(route, tick_ms, sum(len(self._files[part]) for part in parts))

    def _fastest(self) -> PrecisionPlan:
        """Of the routes as fast as the fastest but for noise, the smallest."""
        trials = [self._trial(route) for route in self._waiting]
        limit = SAME_SPEED * min(trial.tick_ms for trial in trials if trial.tick_ms is not None)
        near = [trial for trial in trials if trial.tick_ms is not None and trial.tick_ms <= limit]
        return min(near, key=lambda trial: trial.file_bytes or 0).route

    def _try(self, route: PrecisionPlan) -> Trial:
        """Build and validate a whole bundle, once."""
        if route not in self._trials:
            trial = self._trial(route)
            try:
                self._built[route] = self._workshop.build(route)
                outcome = self._validate(self._built[route].bundle())
                trial = replace(trial, outcome=outcome, refused=outcome.refused)
            except ConversionError as error:
                trial = replace(trial, refused=str(error))
            self._trials[route] = trial
            self._say(_line(trial))
        return self._trials[route]


def _shares_fault(refused: PrecisionPlan, other: PrecisionPlan) -> bool:
    """Whether a route has the graph that a refusal is due to: the one beside a graph that is as good as float."""
    if refused.head.mode in FLOATS:
        return other.step == refused.step
    return refused.step.mode in FLOATS and other.head == refused.head


def _partly_float(route: PrecisionPlan) -> list[PrecisionPlan]:
    """The route with the worst layers of its int8 graphs in float."""
    if GraphPrecision(INT8) not in route.forms.values():
        return []
    made = []
    for layers in FLOAT_LAYERS:
        forms = {
            p: GraphPrecision(INT8, layers) if form == GraphPrecision(INT8) else form
            for p, form in route.forms.items()
        }
        made.append(PrecisionPlan(**forms))
    return made


def _line(trial: Trial) -> str:
    """One trial for a person."""
    line = str(trial.route)
    if trial.tick_ms is not None and trial.file_bytes is not None:
        line += f": {trial.tick_ms:.3f} ms a tick, {trial.file_bytes / 1000:.0f} kB"
    if trial.outcome is not None:
        line += f", agrees with float on {trial.outcome.agreement:.3f}"
        if trial.outcome.drop_points is not None:
            line += f", loses {trial.outcome.drop_points:.1f} points"
    return line + ("; passes" if trial.refused is None else f"; refused: {trial.refused}")


def interleaved_ms(graphs: Sequence[Graph]) -> list[float]:
    """Median milliseconds of one run of each graph, all in turns, so that whatever else the machine does falls on all."""
    inputs = [[zeros(info) for info in graph.inputs] for graph in graphs]
    taken_s: list[list[float]] = [[] for _ in graphs]
    started_s = time.perf_counter()
    for number in range(-WARM_UP_ROUNDS, ROUNDS[1]):
        if number >= ROUNDS[0] and time.perf_counter() - started_s > MEASURED_S:
            break
        for place in np.roll(np.arange(len(graphs)), number):
            graphs[place].reset()
            before_s = time.perf_counter()
            graphs[place].run_raw(*inputs[place])
            if number >= 0:
                taken_s[place].append(time.perf_counter() - before_s)
    return [float(np.median(seconds)) * 1000 for seconds in taken_s]
