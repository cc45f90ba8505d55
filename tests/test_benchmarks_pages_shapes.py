"""The page on pictures of every shape: what is counted, and where the limit lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages.shapes import COMPARED, SIZES_WH, Shapes, page, right_fraction
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import default_bundle_path
from edge_har.sources.synthetic_body import LABELS
from tests.helpers.colours import colour_bytes


def measured(worst: float) -> Shapes:
    """Everything right at .8, but for one compared size."""
    right = {size: {(label, 200): 0.8 for label in LABELS} for size in SIZES_WH}
    right[COMPARED[-1]] = dict.fromkeys(right[COMPARED[-1]], worst)
    return Shapes("weizmann-motion@0123456789ab", right)


def test_the_limit_is_on_the_sizes_that_cameras_give() -> None:
    measured(0.78).check_limits()
    with pytest.raises(EdgeHarError, match=r"differ by 4\.0 points between sizes, 3 are the limit"):
        measured(0.76).check_limits()
    apart = measured(0.8)
    upright = {**apart.right, SIZES_WH[-1]: dict.fromkeys(apart.right[SIZES_WH[-1]], 0.1)}
    Shapes(apart.model, upright).check_limits()


def test_the_page_holds_every_figure() -> None:
    text = page(measured(0.76), ["python", "-m", "benchmarks", "shapes"])
    assert "| 320x240 | 0.800 | 0.800 to 0.800 |" in text and "| 1280x720 | 0.760 | 0.760 to 0.760 |" in text
    assert "4.0 percentage points" in text and "weizmann-motion@0123456789ab" in text
    assert all(f"| {label} | 0.80 |" in text for label in LABELS)


def test_the_shipped_model_is_right_most_of_the_time_and_another_models_labels_never(tmp_path: Path) -> None:
    assert right_fraction(default_bundle_path(), "WaveTwoHands", 200, (320, 240)) > 0.8
    colours = tmp_path / "colours.ehar"
    colours.write_bytes(colour_bytes())
    assert right_fraction(colours, "WaveTwoHands", 200, (320, 240)) == 0
