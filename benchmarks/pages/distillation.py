"""docs/figures/distillation.md: what a small model gains from learning what a larger one says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.experiments.entries import FEW_FOLDS, SMALL, WINNER
from benchmarks.experiments.evaluation import Fraction, clips_right
from benchmarks.experiments.folds import (
    CACHE,
    RUN,
    Experiment,
    FoldResult,
    Say,
    Task,
    prepare_folds,
    run_tasks,
)
from benchmarks.measure import provenance
from benchmarks.measure.clips import HeldOut
from benchmarks.measure.frozen import use_folder_of_weights
from benchmarks.pages.markdown import markdown_table

FOLDS = 5  # by groups, of which FEW_FOLDS are measured
SHARES = (0.5, 0.9)  # of a target, that the teacher gives
INTRODUCTION = (
    f"{WINNER.name} is trained first, then {SMALL.name} on the same groups: with labels alone, and with "
    "targets of which the teacher gives a share (`train --teacher RUN --teacher-share SHARE`). The teacher "
    "was trained on the same clips, of which it is surer than of others. Float Keras, clips of groups that "
    "neither saw; *groups*: 95 % interval, by resampling whole groups; one seed."
)


@dataclass(frozen=True)
class Distillation:
    """What was measured. index: name and hash of the clips. held_out: the clips of each fold. rows: results
    of each model, one a fold, by its name, the first the teacher's.
    """

    index: str
    held_out: Sequence[Sequence[HeldOut]]
    rows: Mapping[str, Sequence[FoldResult]]


def taught_by(teacher: FoldResult, share: float) -> Experiment:
    """The small model, with a teacher of the same fold."""
    options = ("--teacher", str(teacher.folder / RUN), "--teacher-share", f"{share:g}")
    return replace(
        SMALL,
        name=f"{SMALL.name}, {share:g} of it taught",
        options=(*SMALL.options, *options),
        converted=False,
    )


def measure_distillation(clips: Path, *, say: Say, jobs: int, cache: Path = CACHE) -> Distillation:
    """Train what is not in the cache. clips: a data set. Raises DataError for unfit clips, EdgeHarError where
    a fold fails.
    """
    use_folder_of_weights(clips.parent)
    folds = prepare_folds(clips, cache, say, FOLDS)
    alone = [replace(entry, converted=False) for entry in (WINNER, SMALL)]
    tasks = [Task(folds, entry, fold) for entry in alone for fold in range(FEW_FOLDS)]
    results = run_tasks(tasks, cache=cache, jobs=jobs, say=say)
    teachers = results[:FEW_FOLDS]
    taught = [
        Task(folds, taught_by(teacher, share), fold)
        for share in SHARES
        for fold, teacher in enumerate(teachers)
    ]
    results += run_tasks(taught, cache=cache, jobs=jobs, say=say)
    rows: dict[str, list[FoldResult]] = {}
    for result in results:
        rows.setdefault(result.entry.name, []).append(result)
    held_out = [folds.held_out(fold) for fold in range(FEW_FOLDS)]
    return Distillation(f"{folds.name} {folds.sha256}", held_out, rows)


def page(measured: Distillation, command: list[str]) -> str:
    """The page as Markdown."""
    table = [["model", "clips", "float", "groups", "by fold"]]
    for name, results in measured.rows.items():
        table.append([name, *_cells(measured.held_out, results)])
    made_at = [at for results in measured.rows.values() for result in results for at in result.made_at]
    return "\n".join(
        [
            "# A small model that a larger one teaches",
            "",
            INTRODUCTION,
            "",
            *markdown_table(table),
            "",
            *provenance.section(command, measured.index, made_at),
        ]
    )


def _cells(held_out: Sequence[Sequence[HeldOut]], results: Sequence[FoldResult]) -> list[str]:
    right = [
        clips_right(clips, result.float_figures) for clips, result in zip(held_out, results, strict=True)
    ]
    every = [one for part in right for one in part]
    fraction = Fraction.of(np.array([every]), [clip.group for clips in held_out for clip in clips])
    low, high = fraction.by_groups
    by_fold = ", ".join(f"{int(part.sum())}/{len(part)}" for part in right)
    return [str(fraction.count), f"{fraction.share:.3f}", f"{low:.2f} to {high:.2f}", by_fold]
