"""What disturbs a scene, and what the page says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.experiments.entries import MOTION
from benchmarks.experiments.folds import BUNDLE, REPORT, FoldResult, GateResult, slow_source
from benchmarks.measure.clips import Figures
from benchmarks.pages.disturbances import (
    AT_S,
    DISTURBANCES,
    SCENE_S,
    Disturbance,
    Disturbances,
    Disturbed,
    Relit,
    disturbed,
    page,
    scene,
)
from edge_har.model.manifest import SLOW_SOURCE
from tests.helpers.colours import INTERVAL_MS, colour_bundle, colour_bytes

STILL = np.full((48, 64, 3), 100, np.uint8)


def fold(folder: Path, group: str, windows: int, shares: tuple[float, float]) -> FoldResult:
    """A fold that was converted into `folder`."""
    folder.mkdir()
    report = {"windows": windows, "window_accuracy": {"1": shares[0], "2": shares[1]}}
    (folder / REPORT).write_text(json.dumps({SLOW_SOURCE: report}))
    (folder / BUNDLE).write_bytes(colour_bytes())
    gate, figures = GateResult(windows, 0.99, None), Figures(4, 0, (), windows, windows)
    return FoldResult(MOTION, group, folder, 9, figures, figures, gate, None, folder, ("c0ffee",), 1.0)


def test_a_scene_is_still_until_it_is_disturbed_and_again_afterwards() -> None:
    bright = Disturbance("a burst", light=lambda s: 1.5 if 0 <= s < 0.3 else 1.0)
    frames = list(scene(STILL, bright, colour_bundle(), np.random.default_rng(0)))
    assert len(frames) == int(SCENE_S * 1000 / INTERVAL_MS)
    lit = {time_s for time_s, frame in frames if abs(frame.mean() - 150) < 1}
    dark = {time_s for time_s, frame in frames if abs(frame.mean() - 100) < 1}
    assert lit == {time_s for time_s, _ in frames if AT_S <= time_s < AT_S + 0.3} and len(lit) + len(
        dark
    ) == len(frames)


def test_a_picture_is_shifted_by_whole_and_broken_pixels() -> None:
    edge = STILL.copy()
    edge[:, 32:] = 200
    assert disturbed(edge, Disturbance("", shift=lambda _: (3.0, 0.0)), 0)[20, 34, 0] == 100
    assert disturbed(edge, Disturbance("", shift=lambda _: (0.5, 0.0)), 0)[20, 32, 0] == pytest.approx(
        150, abs=2
    )


@pytest.mark.parametrize("one", [one for one in DISTURBANCES if one.passing])
def test_before_its_time_nothing_is_disturbed(one: Disturbance) -> None:
    np.testing.assert_array_equal(disturbed(STILL, one, -0.01), STILL)
    assert DISTURBANCES[0].name == "nothing" and (disturbed(STILL, DISTURBANCES[0], 1.0) == STILL).all()


def test_slow_cameras_are_weighed_by_windows(tmp_path: Path) -> None:
    results = [fold(tmp_path / "a", "g01", 10, (1.0, 0.5)), fold(tmp_path / "b", "g02", 30, (0.6, 0.1))]
    assert slow_source(results) == {"windows": 40, "window_accuracy": {"1": 0.7, "2": 0.2}}
    assert slow_source([]) is None


def test_the_page_has_every_figure_and_where_it_comes_from(tmp_path: Path) -> None:
    results = (fold(tmp_path / "a", "g01", 10, (0.97, 0.904)),)
    measured = Disturbances(
        results,
        (Disturbed(DISTURBANCES[0], 12, 0, {}), Disturbed(DISTURBANCES[-1], 12, 5, {"Walk": 6})),
        (Relit(DISTURBANCES[1], 40, 30, 36),),
        "0123abcd",
    )
    text = page(measured, ["python", "-m", "benchmarks", "disturbances"])
    assert "| nothing | 12 | 0 | 0.00 to 0.24 | - |" in text
    assert f"| {DISTURBANCES[-1].name} | 12 | 5 | 0.19 to 0.68 | Walk 6 |" in text
    assert f"| {DISTURBANCES[1].name} | 40 | 0.750 | 0.900 |" in text
    assert "each serves 2 | 0.904 |" in text
    assert "0123abcd" in text and "c0ffee" in text
