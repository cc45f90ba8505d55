"""The linear motion baseline: where a person moves, seen from the middle of the motion,
and a logistic regression.

Any model worth its cost must beat it. Its few constants were set once and plainly,
not searched for the best figure.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_har.model.preprocess import Pixels

STILL_LEVELS = 8  # a change of fewer grey levels is noise
BOX_PX = 48  # the square around the middle of the motion
CELLS = 8  # a side of the grid over that square
RIDGE = 1.0  # weight of the squared coefficients, per training set
STEPS = 500

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


def leave_one_group_out(
    features: Sequence[Floats], labels: Sequence[str], groups: Sequence[str]
) -> list[str]:
    """The label each clip gets from a regression on all other groups' clips."""
    table, names = np.stack(features), sorted(set(labels))
    truth, group = np.array([names.index(label) for label in labels]), np.array(groups)
    predicted = np.empty(len(truth), np.int64)
    for held_out in sorted(set(groups)):
        test = group == held_out
        middle, spread = table[~test].mean(0), table[~test].std(0) + 1e-6
        known, unknown = (
            np.c_[(table[part] - middle) / spread, np.ones(part.sum())] for part in (~test, test)
        )
        predicted[test] = (unknown @ _regress(known, truth[~test], len(names))).argmax(1)
    return [names[index] for index in predicted]


def _regress(known: Floats, truth: NDArray[np.int64], classes: int) -> Floats:
    """Softmax regression with a ridge (not on the last, constant column), by accelerated gradient steps."""
    count = len(known)
    targets = np.eye(classes)[truth]
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
