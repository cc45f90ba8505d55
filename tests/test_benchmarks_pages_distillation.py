"""The table of distillation: a teacher of the same fold, and figures over all folds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.experiments.entries import SMALL, WINNER
from benchmarks.experiments.folds import Experiment, FoldResult
from benchmarks.measure.clips import Figures, HeldOut
from benchmarks.pages.distillation import Distillation, page, taught_by

HELD_OUT = [
    [HeldOut(Path(f"{fold}/{n}.avi"), f"{n}.avi", "Run", f"g{fold}") for n in range(4)] for fold in (1, 2)
]


def result(entry: Experiment, fold: int, wrong: int) -> FoldResult:
    missed = tuple({"clip": f"{n}.avi", "label": "Run", "answer": "Walk"} for n in range(wrong))
    figures = Figures(4, wrong, missed, 40, 40 - wrong)
    return FoldResult(entry, f"fold {fold}", Path("cache"), 3, figures, None, None, None, None, ("abc",), 9.0)


def test_the_teacher_is_that_of_the_fold() -> None:
    entry = taught_by(result(WINNER, 1, 0), 0.9)
    assert entry.options == ("--teacher", "cache/run", "--teacher-share", "0.9")
    assert (entry.model, entry.converted) == (SMALL.model, False)


def test_the_page_has_each_model_with_all_folds() -> None:
    rows = {
        "large": [result(WINNER, 1, 0), result(WINNER, 2, 1)],
        "taught": [result(SMALL, 1, 2), result(SMALL, 2, 1)],
    }
    text = page(Distillation("ucf9 0123", HELD_OUT, rows), ["python", "-m", "benchmarks", "distillation"])
    assert "| large | 8 | 0.875 | 0.75 to 1.00 | 4/4, 3/4 |" in text
    assert "| taught | 8 | 0.625 | 0.50 to 0.75 | 2/4, 3/4 |" in text
    assert "ucf9 0123" in text and "at: abc" in text
