"""What a model gets right: clips and windows, with intervals, a confusion matrix and a picture of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import Pixels
from train.data.batches import CachedClip, evaluation_batches
from train.tf import tf

Z_95 = 1.959964  # standard deviations of a two-sided 95 % interval
RESAMPLES = 2000
PERCENT_95 = (2.5, 97.5)
SMALLEST_PROBABILITY = 1e-7

Predict = Callable[
    [Pixels], NDArray[np.float32]
]  # [n, frames, height, width, 3] -> probabilities [n, labels]


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every window and clip, and what they should have been.

    windows: float32 [windows, labels]; place: int64 [windows], the clip of each; clips: float32 [clips, labels], the
    mean over a clip's windows; truth: int64 [clips]; groups, names: one per clip.
    """

    windows: NDArray[np.float32]
    place: NDArray[np.int64]
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
    return lambda clips: traced(tf.constant(clips)).numpy()  # type: ignore[no-any-return]


def predict_clips(
    predict: Predict, clips: Sequence[CachedClip], contract: TemporalContract, hop_ticks: int | None = None
) -> Predictions:
    """Run `predict` over every window of every clip. Raises MisuseError when there is no clip."""
    if not clips:
        raise MisuseError("there is no clip to evaluate")
    scores, places = [], []
    for pixels, place in evaluation_batches(clips, contract, hop_ticks):
        scores.append(predict(pixels))
        places.append(place)
    windows, place = np.concatenate(scores), np.concatenate(places)
    return Predictions(
        windows,
        place,
        np.stack([windows[place == clip].mean(axis=0) for clip in range(len(clips))]),
        np.array([clip.label for clip in clips]),
        tuple(clip.group for clip in clips),
        tuple(clip.name for clip in clips),
    )


def measures(predictions: Predictions, labels: Sequence[str], groups_known: bool = True) -> dict[str, Any]:
    """Figures for metrics.json: clip and window accuracy with 95 % intervals, loss, recall and confusion by clip.

    `interval_wilson` takes clips as independent, `interval_groups` resamples whole groups (null with one group, or
    where groups are unknown). Rows of the confusion matrix are the truth, columns the answers, both in `labels`.
    """
    answers = predictions.clips.argmax(axis=1)
    right = answers == predictions.truth
    window_truth = predictions.truth[predictions.place]
    confusion = confusion_matrix(predictions.truth, answers, len(labels))
    given = predictions.windows[np.arange(len(window_truth)), window_truth]
    known = sorted(set(predictions.groups)) if groups_known else []
    counts = confusion.sum(axis=1)
    return {
        "clips": len(right),
        "clip_accuracy": float(right.mean()),
        "interval_wilson": list(wilson_interval(int(right.sum()), len(right))),
        "interval_groups": group_interval(right, predictions.groups) if len(known) > 1 else None,
        "groups": known if groups_known else "unknown",
        "windows": len(window_truth),
        "window_accuracy": float((predictions.windows.argmax(axis=1) == window_truth).mean()),
        "window_loss": float(-np.log(np.maximum(given, SMALLEST_PROBABILITY)).mean()),
        "recall": {label: float(confusion[i, i] / counts[i]) for i, label in enumerate(labels) if counts[i]},
        "labels": list(labels),
        "confusion": confusion.tolist(),
        "wrong": [
            {"clip": name, "label": labels[truth], "answer": labels[answer]}
            for name, truth, answer in zip(predictions.names, predictions.truth, answers, strict=True)
            if truth != answer
        ],
    }


def confusion_matrix(truth: NDArray[np.int64], answers: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """How often each truth (row) got each answer (column): int64 [labels, labels]."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (truth, answers), 1)
    return matrix


def wilson_interval(right: int, count: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share, 95 % by default; raises MisuseError without a count."""
    if count < 1 or not 0 <= right <= count:
        raise MisuseError(f"a share needs 0 <= right <= count and a count, got {right} of {count}")
    share = right / count
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def group_interval(
    right: NDArray[np.bool_] | NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> list[float]:
    """95 % bootstrap interval of the share of right clips, or of the mean of any figure a clip; whole groups
    resampled: clips of a person go together.
    """
    names = sorted(set(groups))
    which = np.array([names.index(group) for group in groups])
    hits = np.bincount(which, weights=right, minlength=len(names))
    sizes = np.bincount(which, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    shares = hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return [float(share) for share in np.percentile(shares, PERCENT_95)]


def share_interval(
    right: NDArray[np.bool_], groups: Sequence[str], groups_known: bool = True
) -> dict[str, Any]:
    """A share with its 95 % interval: whole groups resampled, or Wilson's where there is one or they are unknown."""
    by_group = groups_known and len(set(groups)) > 1
    interval = group_interval(right, groups) if by_group else wilson_interval(int(right.sum()), len(right))
    return {
        "share": float(right.mean()),
        "interval": [float(end) for end in interval],
        "interval_by": "groups" if by_group else "wilson",
    }


def draw_confusion(path: Path, confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """Draw a confusion matrix as PNG; colour is the share of its row. Raises DataError when it cannot be written."""
    from matplotlib.figure import Figure

    matrix = np.asarray(confusion)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.45 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
