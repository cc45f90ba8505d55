"""Sets of clips on which rows of a table are measured: folds by groups, seeds, controls, one run for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments import controls
from benchmarks.experiments.cache import NOTHING_PUBLISHED, Published
from benchmarks.experiments.folds import (
    CACHE,
    Experiment,
    FoldResult,
    Folds,
    Say,
    Task,
    prepare_folds,
    run_tasks,
)
from benchmarks.measure.clips import Figures, HeldOut
from edge_har.errors import DataError
from train.intervals import Interval, group_interval, wilson_interval

Form = Callable[[FoldResult], "Figures | None"]
Floats = NDArray[np.float64]


def float_form(result: FoldResult) -> Figures | None:
    """Of float Keras."""
    return result.float_figures


def stream_form(result: FoldResult) -> Figures | None:
    """Of the stream; None where it was not converted."""
    return result.stream


@dataclass(frozen=True)
class Row:
    """A row of a table. seeds: trainings 0 to seeds - 1. folds: how many of the set's; None: all.

    converted_seeds: how many of the seeds become streams, where the entry is converted at all.
    """

    entry: Experiment
    seeds: int = 1
    folds: int | None = None
    converted_seeds: int = 1

    def tasks(self, folds: Folds) -> list[Task]:
        """Everything that this row is made of."""
        count = len(folds.groups) if self.folds is None else min(self.folds, len(folds.groups))
        made = []
        for seed in range(self.seeds):
            converted = self.entry.converted and seed < self.converted_seeds
            entry = replace(self.entry, seed=seed, converted=converted)
            made += [Task(folds, entry, fold) for fold in range(count)]
        return made


@dataclass(frozen=True)
class SetPlan:
    """What is measured on one set. clips: folder, clips.csv or index. count: folds by groups; None: one for
    each group. folds: how many of them the controls are measured on; None: all. encoder_px: side of the
    pictures that the controls' encoder sees.
    """

    clips: Path
    rows: tuple[Row, ...]
    count: int | None = None
    folds: int | None = None
    controls: tuple[str, ...] = controls.CONTROLS
    encoder_px: int = 224

    def with_seeds(self, most: int) -> SetPlan:
        """The same rows with at most so many seeds each."""
        return replace(self, rows=tuple(replace(row, seeds=min(row.seeds, most)) for row in self.rows))

    def briefly(self, whole: Experiment) -> SetPlan:
        """The same rows with one seed each, but for the row of `whole`."""
        rows = (row if row.entry.name == whole.name else replace(row, seeds=1) for row in self.rows)
        return replace(self, rows=tuple(rows))

    def shortened(self) -> SetPlan:
        """The same rows with one seed and one fold each."""
        return replace(self, rows=tuple(replace(row, seeds=1, folds=1) for row in self.rows), folds=1)


@dataclass(frozen=True)
class Fraction:
    """A fraction of clips, the mean over seeds, with both intervals. shares: of each seed.

    by_clips takes clips as independent, by_groups resamples whole groups.
    """

    shares: tuple[float, ...]
    count: int
    by_clips: Interval
    by_groups: Interval

    @classmethod
    def of(cls, right: Floats, groups: Sequence[str]) -> Fraction:
        """From how right each clip is, float64 [seeds, clips]: 1, 0, or a fraction where it is known of all
        clips of a fold only.
        """
        shares, by_clip = right.mean(1), right.mean(0)
        correct = round(float(by_clip.sum()))
        return cls(
            tuple(shares.tolist()),
            right.shape[1],
            wilson_interval(correct, right.shape[1]),
            group_interval(by_clip, groups),
        )

    @property
    def share(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.shares))

    @property
    def right(self) -> float:
        """Clips recognised, mean over seeds."""
        return self.share * self.count


@dataclass(frozen=True)
class Lost:
    """Percentage points that one form loses against another, on the same clips and seeds."""

    points: float
    interval: Interval


@dataclass(frozen=True)
class SetAccuracy:
    """Everything measured on one set. held_out: the clips of each fold, by its name in `folds.groups`.
    controls: figures of each by fold.
    """

    folds: Folds
    held_out: Mapping[str, tuple[HeldOut, ...]]
    rows: tuple[Row, ...]
    results: tuple[FoldResult, ...]
    controls: Mapping[str, tuple[Figures, ...]] = field(default_factory=dict)

    @property
    def clips(self) -> tuple[HeldOut, ...]:
        """Of all folds."""
        return tuple(clip for part in self.held_out.values() for clip in part)

    @property
    def labels(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    def of(self, entry: Experiment, seed: int | None = None) -> list[FoldResult]:
        """The results of an entry, by its name; of all seeds, or of one."""
        return [
            result
            for result in self.results
            if result.entry.name == entry.name and seed in (None, result.entry.seed)
        ]

    def fraction(self, results: Sequence[FoldResult], form: Form) -> Fraction | None:
        """Of one form over folds and seeds; None where a result lacks it, or there are none.

        Raises DataError where they were measured on other clips than the set's, or seeds on other folds.
        """
        table = self._table(results, form)
        return None if table is None else Fraction.of(table, self._groups(results))

    def lost(self, results: Sequence[FoldResult]) -> Lost | None:
        """What the stream loses against float Keras, over the results that were converted."""
        both = [result for result in results if result.stream is not None]
        before, after = self._table(both, float_form), self._table(both, stream_form)
        if before is None or after is None:
            return None
        points = 100 * (before - after).mean(0)
        return Lost(float(points.mean()), group_interval(points, self._groups(both)))

    def control(self, name: str) -> Fraction:
        """One control over all folds that it was measured on."""
        parts = list(zip(self.held_out.values(), self.controls[name], strict=False))
        right = np.concatenate([clips_right(clips, figures) for clips, figures in parts])
        return Fraction.of(right[np.newaxis], [clip.group for clips, _ in parts for clip in clips])

    def _table(self, results: Sequence[FoldResult], form: Form) -> Floats | None:
        """How right each clip is: float64 [seeds, clips], clips by fold."""
        by_seed: dict[int, list[Floats]] = {}
        for result in results:
            figures = form(result)
            if figures is None:
                return None
            by_seed.setdefault(result.entry.seed, []).append(
                clips_right(self.held_out[result.group], figures)
            )
        if not by_seed:
            return None
        seeds = [np.concatenate(parts) for parts in by_seed.values()]
        if len({len(seed) for seed in seeds}) > 1:
            raise DataError("the seeds of one row were measured on different folds")
        return np.stack(seeds)

    def _groups(self, results: Sequence[FoldResult]) -> list[str]:
        folds = dict.fromkeys(result.group for result in results)
        return [clip.group for fold in folds for clip in self.held_out[fold]]


def clips_right(clips: Sequence[HeldOut], figures: Figures) -> Floats:
    """1 for each clip that was recognised, else 0: float64 [clips]. Where it is not known which ones were
    (folds that the gate refused, whose figures leave out clips shorter than a window), each gets the fraction
    of all.

    Raises DataError where the figures are not of these clips.
    """
    wrong = {one["clip"] for one in figures.wrong}
    if figures.clips > len(clips) or (figures.clips < len(clips) and wrong):
        raise DataError("the folds were measured on other clips than the index lists")
    right = np.array([clip.name not in wrong for clip in clips], np.float64)
    return right if right.sum() == figures.right else np.full(len(clips), figures.accuracy)


def measure_sets(
    plans: Sequence[SetPlan],
    *,
    say: Say,
    jobs: int,
    weights: Path | None = None,
    cache: Path = CACHE,
    published: Published = NOTHING_PUBLISHED,
    on_result: Callable[[FoldResult], None] | None = None,
) -> list[SetAccuracy]:
    """Run what is not in the cache yet. weights: of the controls' encoder. published, on_result: as
    `run_tasks` takes them.

    Seed 0 of all sets comes first, rows on all folds before those on few. Raises DataError for unfit clips,
    EdgeHarError where a fold fails.
    """
    prepared = [prepare_folds(plan.clips, cache, say, plan.count) for plan in plans]
    simple = [
        controls.measure_controls(
            made,
            range(len(made.groups))[: plan.folds],
            names=plan.controls,
            size=plan.encoder_px,
            weights=weights,
            cache=cache,
            say=say,
        )
        for plan, made in zip(plans, prepared, strict=True)
    ]
    of_sets = [
        [task for row in plan.rows for task in row.tasks(made)]
        for plan, made in zip(plans, prepared, strict=True)
    ]
    few = {row.entry.name for plan in plans for row in plan.rows if row.folds is not None}
    every = (task for of_set in of_sets for task in of_set)
    tasks = sorted(every, key=lambda task: (task.entry.seed, task.entry.name in few))
    done = run_tasks(tasks, cache=cache, jobs=jobs, say=say, published=published, on_result=on_result)
    results = dict(zip(tasks, done, strict=True))
    return [
        SetAccuracy(
            made,
            {name: tuple(made.held_out(fold)) for fold, name in enumerate(made.groups[: plan.folds])},
            plan.rows,
            tuple(results[task] for task in of_set),
            control,
        )
        for plan, made, of_set, control in zip(plans, prepared, of_sets, simple, strict=True)
    ]
