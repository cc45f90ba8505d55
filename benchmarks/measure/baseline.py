"""Simple features of clips and a logistic regression: where a person moves, seen from the middle of the
motion; what a frozen encoder sees in the first frame, or in a few frames.

Any model worth its cost must beat them. Their few constants were set once and plainly,
not searched for the best figure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_har.model.preprocess import Pixels

STILL_LEVELS = 8  # a change of fewer grey levels is noise
BOX_PX = 48  # the square around the middle of the motion
CELLS = 8  # a side of the grid over that square
RIDGE = 1.0  # weight of the squared coefficients, per training set
STEPS = 500
FRAMES = 8  # of a clip, for an encoder
RAW_PX = 32  # a side of the first frame where no encoder is at hand

Floats = NDArray[np.float64]


def motion_features(ticks: Pixels) -> Floats:
    """What moves in one clip, uint8 [ticks, h, w, 3] RGB of two ticks or more: float64 [CELLS x CELLS + 6].

    The mean change of grey over a grid around the middle of the motion, and how that middle wanders.
    """
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in ticks]).astype(np.float32)
    change = np.abs(np.diff(grey, axis=0))
    change[change < STILL_LEVELS] = 0
    height, width = change.shape[1:]
    amount = np.maximum(change.sum((1, 2)), 1e-6)
    x = (change.sum(1) * np.arange(width)).sum(1) / amount
    y = (change.sum(2) * np.arange(height)).sum(1) / amount
    grid = np.mean([_around(picture, at) for picture, *at in zip(change, x, y, strict=True)], axis=0)
    wander = [x.std(), y.std(), np.abs(np.diff(x)).sum(), np.abs(np.diff(y)).sum(), abs(x[-1] - x[0])]
    per_tick = np.array([1, 1, *[1 / len(ticks)] * 3])
    features: Floats = np.r_[
        grid.ravel() / (grid.mean() + 1e-6), np.array(wander) * per_tick, amount.std() / amount.mean()
    ]
    return features


def _around(picture: NDArray[np.float32], middle_xy: Sequence[float]) -> Floats:
    """Mean over CELLS x CELLS cells of the square around `middle_xy`; black outside the picture."""
    shift = np.array([[1, 0, BOX_PX / 2 - middle_xy[0]], [0, 1, BOX_PX / 2 - middle_xy[1]]], np.float64)
    box = cv2.warpAffine(picture, shift, (BOX_PX, BOX_PX))
    side = BOX_PX // CELLS
    return np.asarray(box.reshape(CELLS, side, CELLS, side).mean((1, 3)), np.float64)


def raw_features(frame: Pixels) -> Floats:
    """Grey pixels of one frame, uint8 [h, w, 3] RGB, made small: float64 [RAW_PX x RAW_PX], 0..1."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (RAW_PX, RAW_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small.ravel() / 255, np.float64)


def spread_frames(ticks: Pixels) -> Pixels:
    """FRAMES of the ticks of a clip, from the first to the last at even steps; a short clip repeats some."""
    return np.asarray(ticks[np.linspace(0, len(ticks) - 1, FRAMES).round().astype(np.int64)])


def encoder_features(encode: Callable[[Pixels], Floats], ticks: Pixels) -> Floats:
    """Mean and deviation over FRAMES of what an encoder, [n, h, w, 3] -> [n, width], makes of them:
    float64 [2 x width].
    """
    seen = encode(spread_frames(ticks))
    return np.asarray(np.r_[seen.mean(0), seen.std(0)], np.float64)


def predict_held_out(
    features: Sequence[Floats],
    labels: Sequence[str],
    groups: Sequence[str],
    folds: Sequence[Collection[str]],
) -> list[str | None]:
    """The label each clip gets from a regression on the clips of all groups that its fold does not hold out.

    folds: the groups that each holds out. A clip in none of them gets None.
    """
    table, names = np.stack(features), sorted(set(labels))
    truth = np.array([names.index(label) for label in labels])
    predicted: list[str | None] = [None] * len(truth)
    for held_out in folds:
        test = np.array([group in held_out for group in groups])
        middle, spread = table[~test].mean(0), table[~test].std(0) + 1e-6
        known, unknown = (
            np.c_[(table[part] - middle) / spread, np.ones(part.sum())] for part in (~test, test)
        )
        found = (unknown @ regress(known, np.eye(len(names))[truth[~test]])).argmax(1)
        for clip, label in zip(np.flatnonzero(test), found, strict=True):
            predicted[clip] = names[label]
    return predicted


def regress(known: Floats, targets: Floats) -> Floats:
    """Softmax regression with a ridge (not on the last, constant column), by accelerated gradient steps.

    known: float64 [n, width]. targets: the probabilities of each label, float64 [n, labels]. Returns weights,
    float64 [width, labels].
    """
    count, classes = targets.shape
    ridge = np.full((known.shape[1], 1), RIDGE / count)
    ridge[-1] = 0
    pace = 1 / (np.linalg.norm(known, 2) ** 2 / count / 2 + RIDGE / count)
    weights = ahead = np.zeros((known.shape[1], classes))
    momentum = 1.0
    for _ in range(STEPS):
        logits = known @ ahead
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        stepped = ahead - pace * (known.T @ (scores - targets) / count + ridge * ahead)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, weights, momentum = (
            stepped + (momentum - 1) / following * (stepped - weights),
            stepped,
            following,
        )
    return weights
