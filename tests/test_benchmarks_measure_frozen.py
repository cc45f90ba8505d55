"""The controls' encoder: random weights that are the same each time, weights from where the commands look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure.frozen import FOLDER_VARIABLE, WEIGHTS, frozen_encoder, use_folder_of_weights
from edge_har.errors import DataError
from tests.helpers.need import need_module


def test_random_weights_are_the_same_each_time() -> None:
    need_module("tensorflow", "pip install -e '.[workstation]'")
    frames = np.random.default_rng(0).integers(0, 256, (33, 32, 32, 3), np.uint8)
    first, second = (frozen_encoder(32, None)(frames) for _ in range(2))
    assert first.shape == (33, 256) and np.array_equal(first, second)
    assert first.std(0).max() > 0


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    need_module("tensorflow", "pip install -e '.[workstation]'")
    path = tmp_path / WEIGHTS
    path.write_bytes(b"none")
    with pytest.raises(DataError, match="not the weights"):
        frozen_encoder(32, path)


def test_weights_are_looked_for_where_the_environment_says_else_beside_the_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")  # and put back after the test
    assert use_folder_of_weights(tmp_path / "clips") is None
    beside = tmp_path / "encoders" / WEIGHTS
    beside.parent.mkdir()
    assert use_folder_of_weights(tmp_path / "clips") is None
    beside.touch()
    assert use_folder_of_weights(tmp_path / "clips") == beside
    named = tmp_path / "named" / WEIGHTS
    named.parent.mkdir()
    named.touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(named.parent))
    assert use_folder_of_weights(tmp_path / "clips") == named
