"""Fractions and means with their 95 % intervals; arithmetic alone, so that pages and commands load it at
once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import MisuseError

Z_95 = 1.959964  # standard deviations of a two-sided 95 % interval
RESAMPLES = 10_000  # of the bootstrap
PERCENT_95 = (2.5, 97.5)
SEED = 0

Interval = tuple[float, float]
Figures = Sequence[bool] | Sequence[float] | NDArray[np.bool_] | NDArray[np.float64]


def wilson_interval(correct: int, count: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a fraction, 95 % by default; every case counts as independent of the others.

    Raises MisuseError without a count, or for more correct than counted.
    """
    if count < 1 or not 0 <= correct <= count:
        raise MisuseError(f"a fraction needs 0 <= correct <= count and a count, got {correct} of {count}")
    fraction, scale = correct / count, 1 + z * z / count
    middle = (fraction + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def group_interval(figures: Figures, groups: Sequence[str]) -> Interval:
    """95 % percentile bootstrap of a mean over clips, such as the fraction of correct ones; whole groups are
    resampled, because clips of one person are alike.

    figures, groups: one per clip. Seeded: the same clips give the same interval. Raises MisuseError without
    clips.
    """
    values = np.asarray(figures, np.float64)
    if not len(values):
        raise MisuseError("an interval over groups needs clips")
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = (np.bincount(which, weights, len(names)) for weights in (values, None))
    drawn = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), PERCENT_95)
    return float(low), float(high)


def fraction_interval(
    correct: NDArray[np.bool_], groups: Sequence[str], groups_known: bool = True
) -> dict[str, Any]:
    """The fraction of correct clips or windows with its 95 % interval, as reports and manifests hold it: over
    groups, or Wilson's where there is one group or they are unknown. correct: bool [n], groups: n.
    """
    by_group = groups_known and len(set(groups)) > 1
    interval = (
        group_interval(correct, groups) if by_group else wilson_interval(int(correct.sum()), len(correct))
    )
    return {
        "share": float(correct.mean()),
        "interval": list(interval),
        "interval_by": "groups" if by_group else "wilson",
    }
