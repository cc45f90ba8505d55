"""The pictures of a RUN show what they should, and name the file that cannot be written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_har.errors import DataError
from tests.helpers.need import need_module

need_module("matplotlib", "pip install -e '.[workstation]'")
from train.fitting.pictures import draw_confusion, draw_curves

ROWS = [
    {
        "epoch": epoch,
        "loss": 1.4 / epoch,
        "accuracy": 1 - 0.75 / epoch,
        "validation_loss": 1.5 / epoch + 0.02 * epoch,
        "validation_window_accuracy": 0.8 - 0.5 / epoch,
    }
    for epoch in range(1, 21)
]


def test_the_confusion_picture_has_its_darkest_cells_on_the_diagonal(tmp_path: Path) -> None:
    path = tmp_path / "confusion.png"
    draw_confusion(path, [[9, 0], [1, 8]], ["Walk", "Run"], "test")
    picture = cv2.imread(str(path))
    assert picture is not None and min(picture.shape[:2]) > 200
    blue = (picture[..., 0].astype(int) - picture[..., 2] > 60).sum()
    assert blue > 0.1 * picture.shape[0] * picture.shape[1]
    with pytest.raises(DataError, match="cannot be written"):
        draw_confusion(tmp_path / "absent" / "confusion.png", [[1, 0], [0, 1]], ["A", "B"], "test")


@pytest.mark.parametrize("validated", [True, False])
def test_curves_show_training_and_validation_where_there_is_one(tmp_path: Path, validated: bool) -> None:
    rows = ROWS if validated else [{key: row[key] for key in ("epoch", "loss", "accuracy")} for row in ROWS]
    draw_curves(tmp_path / "curves.png", rows, 7, 4)
    picture = cv2.imread(str(tmp_path / "curves.png"))
    orange = np.all(np.abs(picture.astype(int) - (14, 127, 255)) < 30, axis=2).sum()
    assert bool(orange > 100) is validated


def test_one_epoch_is_drawn_too(tmp_path: Path) -> None:
    draw_curves(tmp_path / "curves.png", ROWS[:1], 1, 2)
    assert (tmp_path / "curves.png").stat().st_size > 1000
