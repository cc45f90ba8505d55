"""What a comparison shows, in figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify.figures import SCATTER_POINTS, details, drop_points, figures, largest_label_fraction
from tests.helpers.comparisons import CLIPS, comparison, everywhere


def test_agreement_has_its_share_and_interval() -> None:
    record = figures(comparison(wrong=10))
    assert record["windows"] == 200 and record["clips"] == CLIPS and record["groups"] == ["g0", "g1", "g2"]
    assert record["agreement"]["share"] == 0.95 and record["agreement"]["interval_by"] == "groups"
    low, high = record["agreement"]["interval"]
    assert 0.8 < low <= 0.95 <= high <= 1
    assert record["probability_error"]["max_error"] == pytest.approx(0.92)
    assert record["probability_error"]["mean_error"] == pytest.approx(0.92 * 2 / 4 * 10 / 200)
    assert record["accuracy"]["float"]["windows"]["share"] == 1
    assert record["accuracy"]["stream"]["windows"]["share"] == 0.95
    assert record["accuracy"]["stream"]["clips"]["share"] == 0.95, "clip 0 is off in all its windows"


def test_one_group_has_wilsons_interval() -> None:
    one = replace(comparison(wrong=10), groups=("g0",) * CLIPS)
    for record in (figures(one), figures(replace(comparison(wrong=10), groups_known=False))):
        assert record["agreement"]["interval_by"] == "wilson"
        assert record["agreement"]["interval"] == pytest.approx([0.9104, 0.9726], abs=1e-3)
    assert figures(replace(comparison(), groups_known=False))["groups"] == "unknown"


def test_clips_that_were_trained_on_have_no_accuracy() -> None:
    trained = replace(comparison(wrong=10), held_out=False)
    assert not {"accuracy", "drop"} & figures(trained).keys()
    assert not {"confusion", "recall"} & details(trained).keys()


def test_every_way_has_its_figures() -> None:
    good = comparison(wrong=10)
    assert "float_tflite" not in figures(good)["accuracy"]
    record = figures(replace(good, float_tflite=good.keras + 1e-3))
    assert list(record["accuracy"]) == ["float", "float_tflite", "whole_clip", "stream"]
    assert record["agreement_float_tflite"]["share"] == 1
    assert record["probability_error_float_tflite"]["max_error"] == pytest.approx(1e-3, rel=1e-2)


def test_the_drop_is_paired_over_groups() -> None:
    """Where both ways err alike nothing is lost, and the interval knows: an unpaired one would be wide."""
    base = comparison(wrong=40)
    both_wrong = replace(base, keras=base.stream)
    record = figures(both_wrong)
    assert record["accuracy"]["float"]["windows"]["share"] == 0.8
    assert record["drop"] == {"points": 0.0, "interval": [0.0, 0.0], "interval_by": "groups"}
    lost = figures(comparison(wrong=10))["drop"]
    assert lost["points"] == pytest.approx(5.0)
    low, high = lost["interval"]
    assert 0 <= low < 5 < high <= 20
    assert figures(replace(base, groups_known=False))["drop"]["interval_by"] == "clips"


def test_a_gain_is_a_drop_below_zero() -> None:
    base = comparison(wrong=10)
    assert drop_points(replace(base, keras=base.stream, stream=base.keras)) == pytest.approx(-5.0)


def test_details_name_the_worst_clips() -> None:
    moved = comparison(wrong=12)
    record = details(moved)
    worst = record["worst_clips"]
    assert len(worst) == 10 and worst[0]["clip"] == "clip-00.avi"
    assert worst[0] == {
        "clip": "clip-00.avi",
        "label": "Jump",
        "float_answer": "Jump",
        "stream_answer": "Run",
        "windows": 10,
        "windows_changed": 10,
        "max_error": pytest.approx(0.92),
    }
    assert worst[1]["windows_changed"] == 2
    assert record["confusion"]["float"] == (50 * np.eye(4, dtype=int)).tolist()
    assert record["confusion"]["stream"][0] == [40, 10, 0, 0]
    assert record["recall"]["stream"]["Jump"] == {"share": 0.8, "windows": 50}


def test_a_sample_of_probabilities_is_seeded_and_small() -> None:
    one, other = (details(comparison(), seed=3)["scatter"] for _ in range(2))
    assert one == other and one["of"] == 800 and len(one["float"]) == len(one["stream"]) == 800
    wide = np.tile(comparison().keras, (5, 1))
    many = replace(
        everywhere(wide, comparison()),
        clip_of_window=np.repeat(np.arange(20), 50),
        by_contract=np.ones(1000, bool),
    )
    assert len(details(many)["scatter"]["float"]) == SCATTER_POINTS


def test_balance_counts_labels_not_windows() -> None:
    """Nine windows in ten of one label, all answered rightly, is no collapse."""
    truth = np.array([0] * 18 + [1] * 2)
    uneven = replace(comparison(), truth=truth)
    scores = np.full_like(uneven.keras, 0.02)
    scores[np.arange(200), truth[uneven.clip_of_window]] = 0.94
    assert largest_label_fraction(scores, uneven) == 0.5
    assert largest_label_fraction(scores, replace(uneven, truth=np.zeros(CLIPS, int))) == 0.0
