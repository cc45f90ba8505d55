"""The shipped model's manifest gets the figures of its folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.controls import HAND_MADE
from benchmarks.experiments.entries import MOTION
from benchmarks.experiments.evaluation import Row, SetAccuracy
from benchmarks.experiments.folds import Folds
from benchmarks.measure.clips import Figures
from benchmarks.ship import figures_json
from tests.test_benchmarks_pages_accuracy import GROUPS, HELD_OUT, RIGHT, result, wrong


def test_the_manifest_gets_the_figures_of_the_folds() -> None:
    parts = {group: wrong(group) if group == "g02" else RIGHT for group in GROUPS}
    drawn = Figures(8, 1, (), 80, 70)
    results = [replace(result(MOTION, group, part, part), drawn=drawn) for group, part in parts.items()]
    folds = Folds(Path("index.csv"), Path("folds.json"), "5dfd" * 16, GROUPS)
    control = {HAND_MADE: tuple(parts.values())}
    report = figures_json(SetAccuracy(folds, HELD_OUT, (Row(MOTION),), tuple(results), control))
    assert report["protocol"] == "3 folds by groups"
    metrics = report["metrics"]
    assert metrics["left_out_stream"]["clip_accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert metrics["left_out_stream"]["window_accuracy"] == pytest.approx(0.8)
    assert metrics["left_out_stream"]["interval_people"] == [0.5, 1.0]
    assert metrics["left_out_parity"] == {"windows": 300, "agreement": 0.99, "folds_refused": 0}
    assert metrics["linear_motion_baseline"] == {"clip_accuracy": pytest.approx(5 / 6, abs=1e-6)}
    assert metrics["drawn_person_unseen_seeds"]["recall"] == 0.875
