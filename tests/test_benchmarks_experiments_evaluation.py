"""Rows over folds and seeds: which trainings they are made of, fractions with intervals, what int8 loses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.experiments import evaluation
from benchmarks.experiments.controls import HAND_MADE
from benchmarks.experiments.evaluation import (
    Fraction,
    Row,
    SetPlan,
    clips_right,
    float_form,
    measure_sets,
    stream_form,
)
from benchmarks.experiments.folds import Experiment, FoldResult, Folds, Task
from benchmarks.measure.clips import Figures, HeldOut
from edge_har.errors import DataError
from tests.helpers.videos import make_dataset
from tests.test_benchmarks_pages_accuracy import GROUPS, HELD_OUT, RIGHT, measured, result, small, wrong

ENTRY = Experiment("made", "motion")
FOLDS = Folds(Path("index.csv"), Path("folds.json"), "", GROUPS, "set")


def test_a_row_is_every_fold_of_every_seed_and_converts_the_first() -> None:
    tasks = Row(ENTRY, seeds=3).tasks(FOLDS)
    assert [(task.entry.seed, task.fold) for task in tasks] == [(s, f) for s in range(3) for f in range(3)]
    assert [task.entry.seed for task in tasks if task.entry.converted] == [0, 0, 0]
    assert [task.fold for task in Row(ENTRY, folds=2).tasks(FOLDS)] == [0, 1]
    assert len(Row(ENTRY, folds=9).tasks(FOLDS)) == 3
    assert not any(task.entry.converted for task in Row(replace(ENTRY, converted=False)).tasks(FOLDS))
    assert tasks[-1].name == "set: made, seed 2, without g03" and tasks[-1].kind == "set: made"


def test_fractions_are_over_clips_and_seeds() -> None:
    groups = [clip.group for part in HELD_OUT.values() for clip in part]
    one = Fraction.of(np.array([[1.0, 1, 0, 1, 1, 1]]), groups)
    assert (one.right, one.count, one.share) == (pytest.approx(5), 6, pytest.approx(5 / 6))
    assert one.by_clips == pytest.approx((0.4365, 0.9699), abs=1e-3)
    assert one.by_groups == pytest.approx((0.5, 1.0))
    two = Fraction.of(np.array([[1.0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]]), groups)
    assert two.shares == pytest.approx((5 / 6, 1.0)) and two.share == pytest.approx(11 / 12)
    assert two.by_groups == pytest.approx((0.75, 1.0))


def test_clips_whose_names_are_not_known_share_the_fraction_of_their_fold() -> None:
    clips = HELD_OUT["g01"]
    assert clips_right(clips, wrong("g01")).tolist() == [0, 1]
    assert clips_right(clips, replace(wrong("g01"), wrong=())).tolist() == [0.5, 0.5]
    assert clips_right([*clips, *clips], replace(wrong("g01"), wrong=())).tolist() == [0.5] * 4
    with pytest.raises(DataError, match="other clips"):
        clips_right([*clips, *clips], wrong("g01"))
    with pytest.raises(DataError, match="other clips"):
        clips_right(clips[:1], RIGHT)


def test_what_int8_loses_is_counted_on_the_same_clips_and_seeds() -> None:
    accuracy = measured()
    lost = accuracy.lost(small())
    assert lost is not None and lost.points == pytest.approx(100 / 6)
    assert lost.interval[0] == pytest.approx(0) and lost.interval[1] >= lost.points
    assert accuracy.fraction(small(), stream_form) is None  # seeds 1 and 2 have none
    assert accuracy.lost([result(ENTRY, "g01", RIGHT)]) is None


def test_seeds_on_different_folds_are_refused() -> None:
    with pytest.raises(DataError, match="different folds"):
        measured().fraction(small()[:-1], float_form)


def test_sets_are_measured_in_one_run_with_seed_0_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Task] = []

    def run(tasks: list[Task], **_: object) -> list[FoldResult]:
        seen.extend(tasks)
        return [result(task.entry, task.folds.groups[task.fold], Figures(2, 0, (), 4, 4)) for task in tasks]

    monkeypatch.setattr(evaluation, "run_tasks", run)
    clips = [make_dataset(tmp_path / name, ("Right", "Down"), groups=3, frames=8) for name in ("one", "two")]
    plans = [SetPlan(folder, (Row(ENTRY, 2),), controls=(HAND_MADE,)) for folder in clips]
    sets = measure_sets(plans, say=lambda _: None, jobs=1, cache=tmp_path / "cache")
    assert [one.folds.name for one in sets] == ["one", "two"]
    assert [task.entry.seed for task in seen] == [0] * 6 + [1] * 6
    assert all(len(one.results) == 6 and len(one.clips) == 6 for one in sets)
    assert isinstance(sets[0].clips[0], HeldOut) and sets[0].labels == ("Down", "Right")
    assert sets[0].control(HAND_MADE).count == 6
    fraction = sets[1].fraction(sets[1].of(ENTRY), float_form)
    assert fraction is not None and fraction.shares == (1.0, 1.0)
