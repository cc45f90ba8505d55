"""The accuracy page says what was measured, and no more; a failed gate is named."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.entries import LRCN, MOTION, MOTION_ALONE
from benchmarks.experiments.folds import Experiment, FoldResult, Folds, GateResult
from benchmarks.measure.clips import Figures, HeldOut
from benchmarks.pages.accuracy import Accuracy, Fraction, confusion, page
from benchmarks.pages.markdown import markdown_table
from benchmarks.ship import figures_json
from edge_har.errors import DataError

GROUPS = ("g01", "g02", "g03")
LABELS = ("Run", "Walk")
CLIPS = tuple(
    HeldOut(Path(f"{label}/{group}.avi"), f"{label}/{group}.avi", label, group)
    for label in LABELS
    for group in GROUPS
)
RIGHT = Figures(2, 0, (), 40, 38)
WRONG = Figures(2, 1, ({"clip": "Run/g02.avi", "label": "Run", "answer": "Walk"},), 40, 20)
PASSED, REFUSED = (
    GateResult(100, 0.99, None),
    GateResult(100, 0.9, "the quantised stream agrees with the float model on 0.900"),
)


def result(entry: Experiment, group: str, figures: Figures, gate: GateResult | None) -> FoldResult:
    drawn = Figures(8, 1, (), 80, 70) if entry == MOTION else None
    stream = figures if gate else None
    return FoldResult(entry, group, Path(), 30, figures, stream, gate, drawn, None, ("abc", "abd"), 100.0)


def measured(*results: FoldResult) -> Accuracy:
    folds = Folds(Path("index.csv"), Path("folds.json"), "5dfd" * 16, GROUPS)
    entries = tuple(dict.fromkeys(one.entry for one in results))
    baseline = Fraction.of([True, True, True, True, True, False], [clip.group for clip in CLIPS])
    return Accuracy(folds, CLIPS, entries, tuple(results), baseline)


def every_fold(entry: Experiment, figures: list[Figures], gate: GateResult | None) -> list[FoldResult]:
    return [result(entry, group, one, gate) for group, one in zip(GROUPS, figures, strict=True)]


@pytest.fixture
def accuracy() -> Accuracy:
    return measured(
        *every_fold(MOTION, [RIGHT, WRONG, RIGHT], PASSED),
        *every_fold(MOTION_ALONE, [RIGHT, RIGHT, RIGHT], None),
        *every_fold(LRCN, [RIGHT, replace(WRONG, wrong=()), RIGHT], REFUSED),
    )


def test_shares_are_over_all_clips_and_intervals_over_clips_and_groups(accuracy: Accuracy) -> None:
    results = accuracy.of(MOTION)
    share = accuracy.share(results, [one.float_figures for one in results])
    assert (share.right, share.count, share.share) == (5, 6, pytest.approx(5 / 6))
    assert share.by_clips == pytest.approx((0.4365, 0.9699), abs=1e-3)
    assert share.by_groups == pytest.approx((0.5, 1.0))


def test_folds_of_other_clips_are_refused(accuracy: Accuracy) -> None:
    results = accuracy.of(MOTION)[:2]
    with pytest.raises(DataError, match="other clips"):
        accuracy.share(results, [one.float_figures for one in results])


def test_the_page_shows_every_model_form_and_fold(accuracy: Accuracy) -> None:
    text = page(accuracy, ["python", "-m", "benchmarks", "accuracy", "--clips", "made"])
    assert "| linear motion baseline | float | 5/6 | 0.833 |" in text
    assert "| motion | float Keras | 5/6 | 0.833 | 0.44 to 0.97 | 0.50 to 1.00 | 0.800 | - |" in text
    assert "|  | int8 stream | 5/6 | 0.833 | 0.44 to 0.97 | 0.50 to 1.00 | 0.800 | 0.990 |" in text
    assert "| LRCN | float Keras | 2/2 (0.95) | 1/2 (0.50) | 2/2 (0.95) |" in text
    assert "LRCN without g02: the quantised stream agrees" in text
    assert "| Run | 2 | 1 |" in text and "`Run/g02.avi` as Walk" in text
    assert "21/24 clips (0.875" in text  # the synthetic person, all folds
    assert "5dfd" * 16 in text and "abc, abd" in text


def test_the_page_names_neither_host_nor_place(accuracy: Accuracy) -> None:
    text = page(accuracy, ["python", "-m", "benchmarks", "accuracy", "--clips", "made"])
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text and str(Path.cwd()) not in text


def test_confusion_by_truth_and_answer() -> None:
    counts = confusion(CLIPS, WRONG.wrong, LABELS)
    assert counts.tolist() == [[2, 1], [0, 3]]


def test_a_table_keeps_its_columns() -> None:
    assert markdown_table([["a", "b"], ["1|2", ""]]) == ["| a | b |", "| --- | --- |", "| 1\\|2 |  |"]


def test_the_manifest_gets_the_figures_of_the_folds(accuracy: Accuracy) -> None:
    report = figures_json(accuracy, accuracy.of(MOTION))
    assert report["protocol"] == "leave-one-group-out"
    metrics = report["metrics"]
    assert metrics["left_out_stream"]["clip_accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert metrics["left_out_stream"]["window_accuracy"] == pytest.approx(0.8)
    assert metrics["left_out_parity"] == {"windows": 300, "agreement": 0.99, "folds_refused": 0}
    assert metrics["drawn_person_unseen_seeds"]["recall"] == 0.875
