"""The parity gate: float Keras, quantised whole clip and quantised stream on the same held-out windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.modes import INT8_WEIGHTS
from edge_har.bundle import Bundle
from edge_har.cadence import TemporalContract, fill_indices, window_starts
from edge_har.errors import MisuseError, ParityError
from edge_har.preprocess import Pixels
from edge_har.recognizer import Recognizer, WholeClip
from train.batches import CachedClip
from train.evaluate import Predict, group_interval, keras_predict, wilson_interval
from train.videos import tick_indices

AGREEMENT_LIMITS = {"int8": 0.98, INT8_WEIGHTS: 0.97, "float32": 0.999}
OTHER_AGREEMENT_LIMIT = 0.97
STREAM_TOLERANCE = (
    0.05  # of a probability, between the stream and the whole clip's graph; also of golden clips
)
COLLAPSE_SHARE = 0.6  # of balanced windows under one label
MAX_WINDOWS = 2000  # beyond these the interval hardly shrinks
PREDICTED_AT_ONCE = 32
DIGITS = 6  # of reported figures

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """Probabilities [windows, labels] of three ways to compute the same windows, at every tick offset.

    place: int64 [windows], which clip. by_contract: bool [windows], those that `classify` would average. truth,
    groups: per clip.
    """

    keras: Scores
    whole: Scores
    stream: Scores
    place: NDArray[np.int64]
    by_contract: NDArray[np.bool_]
    truth: NDArray[np.int64]
    groups: tuple[str, ...]


def compare(model: Any, bundle: Bundle, clips: Sequence[CachedClip], *, seed: int = 0) -> Comparison:
    """Run the windows of `clips` (a seeded choice where they have more than MAX_WINDOWS) all three ways.

    The stream goes through `Recognizer` tick by tick, once per offset of the hop, so that every window is a result.
    """
    if not clips:
        raise MisuseError("there is no clip to compare on")
    contract = bundle.manifest.temporal
    recognizer, whole_clip, predict = Recognizer(bundle), WholeClip(bundle), keras_predict(model)
    keras, whole, stream, place, by_contract, used = [], [], [], [], [], []
    for at in np.random.default_rng([seed, 5]).permutation(len(clips)):
        clip = clips[at]
        frames = _tick_frames(clip, contract)
        windows = np.lib.stride_tricks.sliding_window_view(frames, contract.frames, axis=0)
        windows = np.ascontiguousarray(np.moveaxis(windows, -1, 1))
        keras.append(_in_chunks(predict, windows))
        whole.append(np.stack([whole_clip.clip(window) for window in windows]))
        stream.append(stream_scores(recognizer, frames))
        place.append(np.full(len(windows), len(used)))
        chosen = window_starts(len(frames), contract.frames, contract.hop_ticks)
        by_contract.append(np.isin(np.arange(len(windows)), chosen))
        used.append(clip)
        if sum(map(len, place)) >= MAX_WINDOWS:
            break
    return Comparison(
        np.concatenate(keras),
        np.concatenate(whole),
        np.concatenate(stream),
        np.concatenate(place),
        np.concatenate(by_contract),
        np.array([clip.label for clip in used]),
        tuple(clip.group for clip in used),
    )


def stream_scores(recognizer: Recognizer, frames: Pixels) -> Scores:
    """What the stream answers for each window of `frames` (uint8 [ticks, h, w, 3]): [ticks - N + 1, labels].

    A stream answers each hop from its start; starting it at each offset of a hop gives every window.
    """
    contract = recognizer.manifest.temporal
    count = len(frames) - contract.frames + 1
    found: dict[int, Scores] = {}
    for offset in range(min(contract.hop_ticks, count)):
        recognizer.reset()
        for tick, frame in enumerate(frames[offset:]):
            scores = recognizer.tick(frame)
            if scores is not None:
                found[offset + tick - contract.frames + 1] = scores
    recognizer.reset()
    return np.stack([found[start] for start in range(count)])


def stream_predict(bundle: Bundle, *, threads: int = 1) -> Predict:
    """The bundle's stream as a function on windows, for train.evaluate: uint8 [n, N, h, w, 3] -> [n, labels]."""
    recognizer = Recognizer(bundle, threads=threads)
    return lambda windows: np.stack([recognizer.clip(window) for window in windows])


def whole_clip_predict(bundle: Bundle, *, threads: int = 1) -> Predict:
    """As `stream_predict`, with the bundle's whole-clip graph."""
    graph = WholeClip(bundle, threads=threads)
    return lambda windows: np.stack([graph.clip(window) for window in windows])


def figures(comparison: Comparison, *, groups_known: bool = True, accuracy: bool = True) -> dict[str, Any]:
    """What the report and the manifest say of a comparison. accuracy: False where its clips were trained on."""
    window_groups = [comparison.groups[i] for i in comparison.place]
    known = sorted(set(comparison.groups)) if groups_known else "unknown"
    said: dict[str, Any] = {
        "clips": len(comparison.truth),
        "windows": len(comparison.place),
        "groups": known,
        "agreement": _share(_same(comparison.stream, comparison.keras), window_groups, groups_known),
        "agreement_whole_clip": _share(
            _same(comparison.whole, comparison.keras), window_groups, groups_known
        ),
        "probability_error": _errors(comparison.stream, comparison.keras),
        "stream_against_whole_clip": {
            "agreement": _rounded(_same(comparison.stream, comparison.whole).mean()),
            **_errors(comparison.stream, comparison.whole),
        },
        "largest_label_share": {
            "float": _rounded(largest_label_share(comparison.keras, comparison)),
            "stream": _rounded(largest_label_share(comparison.stream, comparison)),
        },
    }
    if accuracy:
        ways = {"float": comparison.keras, "whole_clip": comparison.whole, "stream": comparison.stream}
        said["accuracy"] = {
            name: {
                "windows": _share(
                    scores.argmax(axis=1) == comparison.truth[comparison.place], window_groups, groups_known
                ),
                "clips": _share(_clips_right(scores, comparison), comparison.groups, groups_known),
            }
            for name, scores in ways.items()
        }
    return said


def gate(comparison: Comparison, precision: str) -> None:
    """Raises ParityError, naming what is past its limit, unless the bundle computes what Keras computes."""
    for name, scores in (("float model", comparison.keras), ("stream", comparison.stream)):
        share = largest_label_share(scores, comparison)
        if share > COLLAPSE_SHARE:
            raise ParityError(
                f"the {name} gives one label to {share:.0%} of balanced windows (limit {COLLAPSE_SHARE:.0%}): it has "
                "collapsed; train it longer or on more clips"
            )
    limit = AGREEMENT_LIMITS.get(precision, OTHER_AGREEMENT_LIMIT)
    for name, scores in (("stream", comparison.stream), ("whole clip", comparison.whole)):
        agreement = _same(scores, comparison.keras).mean()
        if agreement < limit:
            raise ParityError(
                f"the quantised {name} agrees with the float model on {agreement:.3f} of {len(scores)} windows, "
                f"below {limit}: no bundle is written; try less pruning or longer training"
            )
    apart = np.abs(comparison.stream - comparison.whole).max()
    if apart > STREAM_TOLERANCE:
        raise ParityError(
            f"the stream differs from the whole clip by {apart:.3f} in a probability, more than {STREAM_TOLERANCE}"
        )


def largest_label_share(scores: Scores, comparison: Comparison) -> float:
    """The largest share of windows under one answer, each true label weighted alike; 0.0 where there is one label."""
    truth = comparison.truth[comparison.place]
    present = np.unique(truth)
    if len(present) < 2:
        return 0.0
    answers = scores.argmax(axis=1)
    by_label = [np.bincount(answers[truth == label], minlength=scores.shape[1]) for label in present]
    return float(np.mean([counts / counts.sum() for counts in by_label], axis=0).max())


def _tick_frames(clip: CachedClip, contract: TemporalContract) -> Pixels:
    """The clip's frames as the device ticks through them; a short clip filled to one window."""
    taken = tick_indices(clip.times_s(), contract.interval_ms, max_gap_ms=contract.gap_ms)
    if len(taken) < contract.frames:
        taken = taken[fill_indices(len(taken), contract.frames)]
    return np.asarray(clip.frames()[taken])


def _in_chunks(predict: Predict, windows: Pixels) -> Scores:
    return np.concatenate(
        [predict(windows[at : at + PREDICTED_AT_ONCE]) for at in range(0, len(windows), PREDICTED_AT_ONCE)]
    )


def _same(one: Scores, other: Scores) -> NDArray[np.bool_]:
    return np.asarray(one.argmax(axis=1) == other.argmax(axis=1))


def _clips_right(scores: Scores, comparison: Comparison) -> NDArray[np.bool_]:
    means = [
        scores[(comparison.place == clip) & comparison.by_contract].mean(axis=0)
        for clip in range(len(comparison.truth))
    ]
    return np.asarray(np.argmax(means, axis=1) == comparison.truth)


def _share(right: NDArray[np.bool_], groups: Sequence[str], groups_known: bool) -> dict[str, Any]:
    """A share with its 95 % interval: whole groups resampled, or Wilson's where there is one or they are unknown."""
    by_group = groups_known and len(set(groups)) > 1
    low, high = group_interval(right, groups) if by_group else wilson_interval(int(right.sum()), len(right))
    return {
        "share": _rounded(right.mean()),
        "interval": [_rounded(low), _rounded(high)],
        "interval_by": "groups" if by_group else "wilson",
    }


def _errors(one: Scores, other: Scores) -> dict[str, float]:
    apart = np.abs(one - other)
    return {"mean_error": _rounded(apart.mean()), "max_error": _rounded(apart.max())}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
