"""Precision by measurement: what a tick costs in each, and the fastest that passes the gate."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from convert.precisions import FLOAT16, FLOAT32, INT8, INT8_CELLS16, INT8_WEIGHTS
from convert.tflite.build import Built, GraphBuilder, GraphPrecision, Part, PrecisionPlan
from edge_har.errors import ConversionError, ParityError
from edge_har.model.bundle import Bundle
from edge_har.model.interpreter import Graph, zeros

# int16x8 is not among them: its kernels are some 30 times slower.
CANDIDATES = (INT8, INT8_WEIGHTS, FLOAT16, FLOAT32)
FLOATS = (FLOAT16, FLOAT32)
FLOAT_LAYERS = (1, 2, 4)  # of an int8 graph that the gate refused, tried in turn
MEASURED_S = 2.0
ROUNDS = (10, 300)  # at least and at most
WARM_UP_ROUNDS = 3
# Up to this ratio two plans are equally fast, and the smaller files are taken.
SAME_SPEED = 1.05
CONTROL = PrecisionPlan.uniform(FLOAT32)

Report = Callable[[str], None]


@dataclass(frozen=True)
class TrialResult:
    """What a bundle predicted on validation clips, then on those of the final gate, and whether it passed.

    agreement: fraction of windows with the float model's top label. max_error: of a probability. drop_points:
    of window accuracy, float to stream; None without labels. refused: why the gate would not let it pass,
    else None. refused_on: the clips that refused it. help: what the user can do about that. acceptable:
    refused, but for losses that the user lets pass. hopeless: refused by the limits of every precision.
    """

    agreement: float
    max_error: float
    drop_points: float | None = None
    refused: str | None = None
    refused_on: str | None = None
    help: str = ""
    acceptable: bool = False
    hopeless: bool = False


Validate = Callable[[Bundle], TrialResult]
Check = Callable[[Built], object]


@dataclass(frozen=True)
class Trial:
    """One plan that could be taken. tick_ms: of the graphs alone, one thread of this machine, all plans in
    turns.

    file_bytes: of what the stream runs. outcome: None where it was not compared, since a faster plan had
    passed or `refused` says why not.
    """

    plan: PrecisionPlan
    tick_ms: float | None = None
    file_bytes: int | None = None
    outcome: TrialResult | None = None
    refused: str | None = None
    taken: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a report holds it."""
        return {
            "route": {part: str(precision) for part, precision in self.plan.by_part.items()},
            "ms_per_tick": None if self.tick_ms is None else round(self.tick_ms, 4),
            "bytes": self.file_bytes,
            "agreement": None if self.outcome is None else round(self.outcome.agreement, 4),
            "drop_points": None if self.outcome is None else self.outcome.drop_points,
            "max_error": None if self.outcome is None else round(self.outcome.max_error, 4),
            "refused": self.refused,
            "refused_on": None if self.outcome is None else self.outcome.refused_on,
            "taken": self.taken,
        }


class NoPassingPlanError(ParityError):
    """No precision passes the gate. trials: what was tried. closest: that which lost least, where one was
    made.
    """

    def __init__(self, message: str, trials: Sequence[Trial], closest: Built | None = None) -> None:
        super().__init__(message)
        self.trials = tuple(trials)
        self.closest = closest


def _anything(built: Built) -> None:
    """No check."""


def choose(
    builder: GraphBuilder, validate: Validate, report: Report, *, check: Check = _anything
) -> tuple[Built, list[Trial]]:
    """The fastest conversion that passes the gate, and what was tried, in the order of speed.

    Step and head (the whole clip of a model that has neither) are made and timed in every precision; from the
    fastest on, whole bundles are built and validated until one passes. Where int8 is refused, it is tried
    with its worst layers in float. Where none passes, the acceptable one that loses least is taken.

    check: raises ConversionError for files that are not as they must be, which refuses their plan. Raises
    ConversionError, and NoPassingPlanError where no plan is taken.
    """
    return _Search(builder, validate, report, check).run()


class _Search:
    """The plans of one model, fastest first, until one passes. A refused one takes with it those that share
    its fault, and is tried again with layers in float.
    """

    def __init__(self, builder: GraphBuilder, validate: Validate, report: Report, check: Check) -> None:
        self._builder, self._validate, self._report, self._check = builder, validate, report, check
        self._stateful = bool(builder.graphs.states)
        temporal = builder.temporal
        banks = temporal.frames // temporal.hop_ticks if self._stateful else 1
        self._runs_per_tick = (
            {"clip": 1 / temporal.hop_ticks}
            if builder.graphs.step is None
            else {"step": float(banks), "head": 1 / temporal.hop_ticks}
        )
        self._files: dict[Part, bytes] = {}
        self._broken: dict[Part, str] = {}
        self._ms: dict[Part, float] = {}
        self._waiting: list[PrecisionPlan] = []
        self._trials: dict[PrecisionPlan, Trial] = {}
        self._built: dict[PrecisionPlan, Built] = {}

    def run(self) -> tuple[Built, list[Trial]]:
        """The bundle's parts and the table of trials; raises NoPassingPlanError."""
        self._add(self._first_plans())
        while self._waiting:
            plan = self._fastest()
            self._waiting.remove(plan)
            trial = self._try(plan)
            if trial.refused is None:
                return self._take(trial)
            if trial.outcome is not None and not self._mend(plan):
                break
        compared = [trial for trial in self._trials.values() if trial.outcome is not None]
        acceptable = _closest([trial for trial in compared if trial.outcome and trial.outcome.acceptable])
        if acceptable is not None:
            return self._take(acceptable)
        raise self._nothing_passes(_closest(compared))

    def _take(self, trial: Trial) -> tuple[Built, list[Trial]]:
        """The parts of the plan that is used and the table of trials."""
        plan = trial.plan
        self._trials[plan] = replace(trial, taken=True)
        self._report(f"precision: {plan}" + _cost(trial, list(self._trials.values())))
        slower = [self._trial(other) for other in self._waiting if other not in self._trials]
        return self._built[plan], [*self._trials.values(), *slower]

    def _nothing_passes(self, closest: Trial | None) -> NoPassingPlanError:
        trials = list(self._trials.values())
        # Of what could not be made, the last says why.
        shown = closest or [trial for trial in trials if trial.refused][-1]
        line = f"no precision passes; {shown.plan}: {shown.refused}"
        if shown.outcome is not None and shown.outcome.help:
            line += f": {shown.outcome.help}"
        built = None if closest is None else self._built[closest.plan]
        return NoPassingPlanError(f"{line}; no bundle is written", trials, built)

    def _first_plans(self) -> list[PrecisionPlan]:
        """Every precision of what the stream runs.

        That is step and head, or the whole clip of a model that cannot be cut.
        """
        heads = [GraphPrecision(precision) for precision in CANDIDATES]
        if "clip" in self._runs_per_tick:
            return [PrecisionPlan(precision, precision, precision) for precision in heads]
        steps = [*heads, GraphPrecision(INT8_CELLS16)] if self._stateful else heads
        return [PrecisionPlan(step, step, head) for step, head in itertools.product(steps, heads)]

    def _parts(self, plan: PrecisionPlan) -> list[Part]:
        """What the stream runs, in its precisions."""
        return [(part, plan.by_part[part]) for part in self._runs_per_tick]

    def _mend(self, refused: PrecisionPlan) -> bool:
        """Choose what to try instead of a refused plan.

        Returns False where float breaks the limits of every precision, so that nothing helps.
        """
        control = self._try(CONTROL).outcome
        if control is not None and control.hopeless:
            return False
        if refused == CONTROL:
            # Float alone has to agree nearly always: what it is refused for is no fault of its graphs.
            return True
        untried = [other for other in self._waiting if other not in self._trials]
        for other in filter(partial(_shares_fault, refused), untried):
            self._waiting.remove(other)
            self._trials[other] = replace(self._trial(other), refused=f"as {refused}")
        # The int8 graphs of a model with states carry all their ranges: none of their layers can stay float.
        if not self._stateful:
            self._add(_partly_float(refused))
        return True

    def _add(self, plans: Sequence[PrecisionPlan]) -> None:
        """Make and time the steps and heads of more plans; those that cannot be made are noted as refused."""
        parts = [part for plan in plans for part in self._parts(plan)]
        missing = [part for part in dict.fromkeys(parts) if part not in self._files | self._broken]
        if missing:
            self._report(f"making {', '.join(f'{part} {precision}' for part, precision in missing)}")
            for part, result in self._builder.attempt(missing).items():
                if isinstance(result, bytes):
                    self._files[part] = result
                else:
                    self._broken[part] = str(result)
            graphs = {part: Graph(content) for part, content in self._files.items()}
            self._ms = dict(zip(graphs, interleaved_ms(list(graphs.values())), strict=True))
        for plan in plans:
            reasons = [self._broken[part] for part in self._parts(plan) if part in self._broken]
            if reasons:
                self._trials[plan] = Trial(plan, refused=reasons[0])
            else:
                self._waiting.append(plan)

    def _trial(self, plan: PrecisionPlan) -> Trial:
        parts = self._parts(plan)
        tick_ms = sum(self._ms[part] * self._runs_per_tick[part[0]] for part in parts)
        return Trial(plan, tick_ms, sum(len(self._files[part]) for part in parts))

    def _fastest(self) -> PrecisionPlan:
        """Of the plans as fast as the fastest but for noise, the smallest."""
        trials = [self._trial(plan) for plan in self._waiting]
        limit = SAME_SPEED * min(trial.tick_ms for trial in trials if trial.tick_ms is not None)
        near = [trial for trial in trials if trial.tick_ms is not None and trial.tick_ms <= limit]
        return min(near, key=lambda trial: trial.file_bytes or 0).plan

    def _try(self, plan: PrecisionPlan) -> Trial:
        """Build and validate a whole bundle, once."""
        if plan not in self._trials:
            trial = self._trial(plan)
            try:
                self._built[plan] = self._builder.build(plan)
                self._check(self._built[plan])
                outcome = self._validate(self._built[plan].bundle())
                trial = replace(trial, outcome=outcome, refused=outcome.refused)
            except ConversionError as error:
                trial = replace(trial, refused=str(error))
            self._trials[plan] = trial
            self._report(_line(trial))
        return self._trials[plan]


def _shares_fault(refused: PrecisionPlan, other: PrecisionPlan) -> bool:
    """Whether a plan has the graph that a refusal is due to.

    That is the one beside a graph that is as good as float.
    """
    if refused.head.name in FLOATS:
        return other.step == refused.step
    return refused.step.name in FLOATS and other.head == refused.head


def _partly_float(plan: PrecisionPlan) -> list[PrecisionPlan]:
    """The plan with the worst layers of its int8 graphs in float."""
    if GraphPrecision(INT8) not in plan.by_part.values():
        return []
    made = []
    for layers in FLOAT_LAYERS:
        by_part = {
            p: GraphPrecision(INT8, layers) if precision == GraphPrecision(INT8) else precision
            for p, precision in plan.by_part.items()
        }
        made.append(PrecisionPlan(**by_part))
    return made


def _closest(trials: Sequence[Trial]) -> Trial | None:
    """The compared trial that agrees most with float; of equals the last."""
    return max(
        reversed(trials), key=lambda trial: trial.outcome.agreement if trial.outcome else 0.0, default=None
    )


def _cost(taken: Trial, trials: Sequence[Trial]) -> str:
    """What a plan costs beside the fastest that was refused; nothing where none was."""
    refused = [
        trial
        for trial in trials
        if trial.plan != taken.plan and trial.refused and trial.outcome and trial.tick_ms is not None
    ]
    fastest = min(refused, key=lambda trial: trial.tick_ms or 0.0, default=None)
    if fastest is None or taken.tick_ms is None or taken.outcome is None:
        return ""
    cost = (
        f", {taken.tick_ms:.3f} ms a tick instead of {fastest.tick_ms:.3f}, "
        f"{(taken.file_bytes or 0) / 1000:.0f} kB instead of {(fastest.file_bytes or 0) / 1000:.0f}"
    )
    if taken.outcome.drop_points is not None:
        cost += f", {taken.outcome.drop_points:.1f} points of accuracy"
    return f"{cost}: {fastest.plan} was refused"


def _line(trial: Trial) -> str:
    """One trial for a person. Why it was refused is in the report, and in the error where none passes."""
    line = str(trial.plan)
    if trial.tick_ms is not None and trial.file_bytes is not None:
        line += f": {trial.tick_ms:.3f} ms a tick, {trial.file_bytes / 1000:.0f} kB"
    if trial.outcome is None:
        return f"{line}; cannot be used"
    line += f", agrees with float on {trial.outcome.agreement:.3f}"
    if trial.outcome.drop_points is not None:
        line += f", loses {trial.outcome.drop_points:.1f} points"
    if trial.refused is None:
        return f"{line}; passes"
    return f"{line}; refused" + (f" on {trial.outcome.refused_on}" if trial.outcome.refused_on else "")


def interleaved_ms(graphs: Sequence[Graph]) -> list[float]:
    """Median milliseconds of one run of each graph.

    All run in turns, so that other work on the machine slows all alike.
    """
    inputs = [[zeros(info) for info in graph.inputs] for graph in graphs]
    taken_s: list[list[float]] = [[] for _ in graphs]
    started_s = time.perf_counter()
    for number in range(-WARM_UP_ROUNDS, ROUNDS[1]):
        if number >= ROUNDS[0] and time.perf_counter() - started_s > MEASURED_S:
            break
        for index in np.roll(np.arange(len(graphs)), number).tolist():
            graphs[index].reset()
            before_s = time.perf_counter()
            graphs[index].run_raw(*inputs[index])
            if number >= 0:
                taken_s[index].append(time.perf_counter() - before_s)
    return [float(np.median(seconds)) * 1000 for seconds in taken_s]
