"""Accuracy of a model on clips and windows, with intervals and a confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import Pixels
from train.data.batches import CachedClip, evaluation_batches
from train.intervals import group_interval, wilson_interval
from train.tf import tf

SMALLEST_PROBABILITY = 1e-7

# [n, frames, height, width, 3] -> probabilities [n, labels]
Predict = Callable[[Pixels], NDArray[np.float32]]


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every window and clip, and what they should have been.

    windows: float32 [windows, labels]; clip_index: int64 [windows], the clip of each; clips: float32 [clips,
    labels], the mean over a clip's windows; truth: int64 [clips]; groups, names: one per clip.
    """

    windows: NDArray[np.float32]
    clip_index: NDArray[np.int64]
    clips: NDArray[np.float32]
    truth: NDArray[np.int64]
    groups: tuple[str, ...]
    names: tuple[str, ...]


def keras_predict(model: Any) -> Predict:
    """A Keras model as a function on arrays, traced once."""
    traced = tf.function(
        lambda clips: model(clips, training=False),
        input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)],
    )
    return lambda clips: traced(tf.constant(clips)).numpy()


def predict_clips(
    predict: Predict, clips: Sequence[CachedClip], contract: TemporalContract, hop_ticks: int | None = None
) -> Predictions:
    """Run `predict` over every window of every clip. Raises MisuseError when there is no clip."""
    if not clips:
        raise MisuseError("there is no clip to evaluate")
    scores, indices = [], []
    for pixels, index in evaluation_batches(clips, contract, hop_ticks):
        scores.append(predict(pixels))
        indices.append(index)
    windows, clip_index = np.concatenate(scores), np.concatenate(indices)
    return Predictions(
        windows,
        clip_index,
        np.stack([windows[clip_index == clip].mean(axis=0) for clip in range(len(clips))]),
        np.array([clip.label for clip in clips]),
        tuple(clip.group for clip in clips),
        tuple(clip.name for clip in clips),
    )


def measures(predictions: Predictions, labels: Sequence[str], groups_known: bool = True) -> dict[str, Any]:
    """Figures for metrics.json: clip and window accuracy with 95 % intervals, loss, recall and confusion by
    clip.

    `interval_wilson` takes clips as independent, `interval_groups` resamples whole groups (null with one
    group, or where groups are unknown). Rows of the confusion matrix are the truth, columns the predictions,
    both in `labels`.
    """
    predicted = predictions.clips.argmax(axis=1)
    correct = predicted == predictions.truth
    window_truth = predictions.truth[predictions.clip_index]
    confusion = confusion_matrix(predictions.truth, predicted, len(labels))
    given = predictions.windows[np.arange(len(window_truth)), window_truth]
    known = sorted(set(predictions.groups)) if groups_known else []
    counts = confusion.sum(axis=1)
    return {
        "clips": len(correct),
        "clip_accuracy": float(correct.mean()),
        "interval_wilson": list(wilson_interval(int(correct.sum()), len(correct))),
        "interval_groups": list(group_interval(correct, predictions.groups)) if len(known) > 1 else None,
        "groups": known if groups_known else "unknown",
        "windows": len(window_truth),
        "window_accuracy": float((predictions.windows.argmax(axis=1) == window_truth).mean()),
        "window_loss": float(-np.log(np.maximum(given, SMALLEST_PROBABILITY)).mean()),
        "recall": {label: float(confusion[i, i] / counts[i]) for i, label in enumerate(labels) if counts[i]},
        "labels": list(labels),
        "confusion": confusion.tolist(),
        "wrong": [
            {"clip": name, "label": labels[truth], "answer": labels[label]}
            for name, truth, label in zip(predictions.names, predictions.truth, predicted, strict=True)
            if truth != label
        ],
    }


def other_measures(predictions: Predictions) -> dict[str, Any]:
    """Figures of clips in which none of the labels happens: how sure the model is of one nevertheless, and of
    how many clips it is more sure than not.
    """
    sure = predictions.clips.max(axis=1)
    return {
        "clips": len(sure),
        "windows": len(predictions.windows),
        "mean_top_probability": float(predictions.windows.max(axis=1).mean()),
        "clips_above_half": int((sure > 0.5).sum()),
    }


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int
) -> NDArray[np.int64]:
    """How often each truth (row) got each prediction (column): int64 [labels, labels]."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix
