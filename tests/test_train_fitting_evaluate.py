"""Figures are counted right."""

import numpy as np
import pytest

from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.data import batches
from train.data.batches import CachedClip
from train.fitting import evaluate
from train.fitting.evaluate import Predictions

LABELS = ("A", "B", "C")


def predictions() -> Predictions:
    """Four clips in two groups; the first has two windows that disagree, the last is wrong."""
    windows = np.float32([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0, 0.1, 0.9], [0.9, 0.1, 0]])
    clip_index = np.array([0, 0, 1, 2, 3])
    clips = np.stack([windows[clip_index == clip].mean(axis=0) for clip in range(4)])
    return Predictions(
        windows, clip_index, clips, np.array([0, 1, 2, 2]), ("g1", "g1", "g2", "g2"), ("a", "b", "c", "d")
    )


def test_measures_count_clips_windows_and_confusion() -> None:
    figures = evaluate.measures(predictions(), LABELS)
    assert figures["clips"] == 4 and figures["clip_accuracy"] == 0.75
    assert figures["windows"] == 5 and figures["window_accuracy"] == 0.6
    assert figures["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert figures["recall"] == {"A": 1.0, "B": 1.0, "C": 0.5}
    assert figures["wrong"] == [{"clip": "d", "label": "C", "answer": "A"}]
    assert figures["groups"] == ["g1", "g2"]
    low, high = figures["interval_groups"]
    assert low == 0.5 and high == 1.0
    expected = -np.log([0.8, 0.3, 0.8, 0.9, 1e-7]).mean()
    assert figures["window_loss"] == pytest.approx(expected, rel=1e-5)


def test_unknown_groups_are_recorded_and_give_no_group_interval() -> None:
    figures = evaluate.measures(predictions(), LABELS, groups_known=False)
    assert figures["groups"] == "unknown" and figures["interval_groups"] is None


def test_clips_are_the_mean_of_their_windows(tmp_path) -> None:
    clips = []
    for i, frames in enumerate((30, 12, 70)):
        clip = CachedClip(f"clip {i}", i % 2, f"g{i}", tmp_path / f"clip_{i}")
        level = np.full((frames, 8, 8, 3), 50 * (i + 1), np.uint8)
        batches.store(clip, np.arange(frames) / 25, level)
        clips.append(clip)
    contract = TemporalContract(4, 80)

    def predict(pixels: np.ndarray) -> np.ndarray:
        share = pixels.mean(axis=(1, 2, 3, 4), dtype=np.float32) / 255
        return np.stack([share, 1 - share], axis=1)

    made = evaluate.predict_clips(predict, clips, contract)
    np.testing.assert_allclose(made.clips[:, 0], [50 / 255, 100 / 255, 150 / 255], rtol=1e-5)
    assert np.bincount(made.clip_index).tolist() == [12, 3, 32]
    assert made.truth.tolist() == [0, 1, 0] and made.groups == ("g0", "g1", "g2")
    with pytest.raises(MisuseError, match="no clip"):
        evaluate.predict_clips(predict, [], contract)


def test_a_keras_model_is_called_on_bytes() -> None:
    from train.models.architectures import build_convlstm

    model = build_convlstm(3, 32, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32, 3), np.uint8)
    scores = evaluate.keras_predict(model)(pixels)
    np.testing.assert_allclose(scores, model(pixels).numpy(), atol=1e-6)
