"""What a comparison shows: agreement, errors, accuracy and its loss, with intervals, for reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.verify.comparison import DIGITS, KERAS, STREAM, Comparison, Scores
from train.fitting.evaluate import confusion_matrix
from train.intervals import fraction_interval, group_interval

WORST_CLIPS = 10
SCATTER_POINTS = 2000
SCATTER_DIGITS = 4
SCATTER_SEED = 6


def figures(comparison: Comparison) -> dict[str, Any]:
    """What the report and the manifest hold of a comparison.

    These are fractions with their intervals, errors, the drop.
    """
    against = comparison.keras
    known = sorted(set(comparison.groups)) if comparison.groups_known else "unknown"
    record: dict[str, Any] = {
        "clips": len(comparison.truth),
        "windows": len(comparison.clip_of_window),
        "groups": known,
        "agreement": _fraction(same_label(comparison.stream, against), comparison),
        "agreement_whole_clip": _fraction(same_label(comparison.whole, against), comparison),
        "probability_error": _errors(comparison.stream, against),
        "probability_error_whole_clip": _errors(comparison.whole, against),
        "stream_against_whole_clip": {
            "agreement": _rounded(same_label(comparison.stream, comparison.whole).mean()),
            **_errors(comparison.stream, comparison.whole),
        },
    }
    if comparison.float_tflite is not None:
        record["agreement_float_tflite"] = _fraction(same_label(comparison.float_tflite, against), comparison)
        record["probability_error_float_tflite"] = _errors(comparison.float_tflite, against)
    if comparison.labelled:
        record["largest_label_share"] = {
            way: _rounded(largest_label_fraction(comparison.ways[way], comparison)) for way in (KERAS, STREAM)
        }
    if comparison.accuracy_counts:
        record["accuracy"] = {
            way: {
                "windows": _fraction(correct_windows(scores, comparison), comparison),
                "clips": _fraction(_correct_clips(scores, comparison), comparison, of_clips=True),
            }
            for way, scores in comparison.ways.items()
        }
        record["drop"] = _drop(comparison)
    return record


def details(comparison: Comparison, *, seed: int = 0) -> dict[str, Any]:
    """What a report shows beside the figures: worst clips by name, a sample of probabilities, and where
    accuracy counts, recall and confusion of windows (rows the truth, columns the predictions, in the order of
    `labels`).
    """
    record: dict[str, Any] = {
        "labels": list(comparison.labels),
        "worst_clips": _worst_clips(comparison),
        "scatter": _scatter(comparison, seed),
    }
    if comparison.accuracy_counts:
        count = len(comparison.labels)
        matrices = {
            way: confusion_matrix(comparison.window_truth, comparison.ways[way].argmax(axis=1), count)
            for way in (KERAS, STREAM)
        }
        record["confusion"] = {way: matrix.tolist() for way, matrix in matrices.items()}
        record["recall"] = {way: _recall(matrix, comparison.labels) for way, matrix in matrices.items()}
    return record


def drop_points(comparison: Comparison) -> float:
    """Window accuracy lost from float Keras to the stream, in percentage points; below 0 where it gained."""
    return float(100 * lost(comparison).mean())


def lost(comparison: Comparison) -> NDArray[np.float64]:
    """Per window: 1 where the float model is right and the stream is not, -1 the other way round, else 0."""
    before, after = (correct_windows(comparison.ways[way], comparison) for way in (KERAS, STREAM))
    return before.astype(np.float64) - after


def largest_label_fraction(scores: Scores, comparison: Comparison) -> float:
    """The largest fraction of windows with one prediction, each true label weighted alike.

    It is 0.0 where there is one label.
    """
    truth = comparison.window_truth
    present = np.unique(truth)
    if len(present) < 2:
        return 0.0
    predictions = scores.argmax(axis=1)
    by_label = [np.bincount(predictions[truth == label], minlength=scores.shape[1]) for label in present]
    return float(np.mean([counts / counts.sum() for counts in by_label], axis=0).max())


def same_label(one: Scores, other: Scores) -> NDArray[np.bool_]:
    """Whether two ways agree on the top label: bool [windows]."""
    return np.asarray(one.argmax(axis=1) == other.argmax(axis=1))


def correct_windows(scores: Scores, comparison: Comparison) -> NDArray[np.bool_]:
    """Whether the top label is the true one: bool [windows]."""
    return np.asarray(scores.argmax(axis=1) == comparison.window_truth)


def _clip_scores(scores: Scores, comparison: Comparison) -> Scores:
    """What `classify` reports of each clip: the mean of its windows by contract, [clips, labels]."""
    chosen = [
        (comparison.clip_of_window == clip) & comparison.by_contract for clip in range(len(comparison.truth))
    ]
    return np.stack([scores[windows].mean(axis=0) for windows in chosen])


def _correct_clips(scores: Scores, comparison: Comparison) -> NDArray[np.bool_]:
    return np.asarray(_clip_scores(scores, comparison).argmax(axis=1) == comparison.truth)


def _window_groups(comparison: Comparison) -> list[str]:
    return [comparison.groups[clip] for clip in comparison.clip_of_window]


def _many_groups(comparison: Comparison) -> bool:
    return comparison.groups_known and len(set(comparison.groups)) > 1


def _fraction(
    correct: NDArray[np.bool_], comparison: Comparison, *, of_clips: bool = False
) -> dict[str, Any]:
    groups = comparison.groups if of_clips else _window_groups(comparison)
    record = fraction_interval(correct, groups, comparison.groups_known)
    low, high = record["interval"]
    return {**record, "share": _rounded(record["share"]), "interval": [_rounded(low), _rounded(high)]}


def _drop(comparison: Comparison) -> dict[str, Any]:
    """Points lost with their 95 % interval.

    The same groups are drawn for both models, or clips where groups are unknown.
    """
    by_group = _many_groups(comparison)
    units = _window_groups(comparison) if by_group else [str(clip) for clip in comparison.clip_of_window]
    interval = group_interval(lost(comparison), units)
    return {
        "points": _rounded(drop_points(comparison)),
        "interval": [_rounded(100 * end) for end in interval],
        "interval_by": "groups" if by_group else "clips",
    }


def _errors(one: Scores, other: Scores) -> dict[str, float]:
    apart = np.abs(one - other)
    return {"mean_error": _rounded(apart.mean()), "max_error": _rounded(apart.max())}


def _worst_clips(comparison: Comparison) -> list[dict[str, Any]]:
    """The clips whose prediction changed, then those of the largest errors; WORST_CLIPS at most."""
    apart = np.abs(comparison.stream - comparison.keras).max(axis=1)
    changed = ~same_label(comparison.stream, comparison.keras)
    before, after = (_clip_scores(comparison.ways[way], comparison).argmax(axis=1) for way in (KERAS, STREAM))
    rows = []
    for clip, name in enumerate(comparison.names):
        windows = comparison.clip_of_window == clip
        rows.append(
            {
                "clip": name,
                "label": comparison.labels[comparison.truth[clip]] if comparison.labelled else None,
                "float_answer": comparison.labels[before[clip]],
                "stream_answer": comparison.labels[after[clip]],
                "windows": int(windows.sum()),
                "windows_changed": int(changed[windows].sum()),
                "max_error": _rounded(apart[windows].max()),
            }
        )
    rows.sort(key=lambda row: (row["float_answer"] == row["stream_answer"], -row["max_error"]))
    return rows[:WORST_CLIPS]


def _scatter(comparison: Comparison, seed: int) -> dict[str, Any]:
    """A sample of probabilities, float Keras beside the stream's."""
    count = comparison.keras.size
    random = np.random.default_rng([seed, SCATTER_SEED])
    chosen = np.sort(random.permutation(count)[:SCATTER_POINTS])
    pairs = {way: comparison.ways[way].ravel()[chosen] for way in (KERAS, STREAM)}
    return {"of": count, **{way: [round(float(p), SCATTER_DIGITS) for p in pairs[way]] for way in pairs}}


def _recall(confusion: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    """By label that has windows: the fraction predicted correctly, and the number of windows."""
    counts = confusion.sum(axis=1)
    return {
        label: {"share": _rounded(confusion[at, at] / counts[at]), "windows": int(counts[at])}
        for at, label in enumerate(labels)
        if counts[at]
    }


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
