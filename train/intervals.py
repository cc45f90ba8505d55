"""Shares with their intervals; arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_har.errors import MisuseError

Z_95 = 1.959964  # standard deviations of a two-sided 95 % interval
DRAWS = 10_000  # of the bootstrap
PERCENT_95 = (2.5, 97.5)
SEED = 0

Interval = tuple[float, float]


def wilson_interval(right: int, count: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a share, 95 % by default; every case counts as independent of the others.

    Raises MisuseError without a count, or for more right than counted.
    """
    if count < 1 or not 0 <= right <= count:
        raise MisuseError(f"a share needs 0 <= right <= count and a count, got {right} of {count}")
    share, scale = right / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def group_interval(right: Sequence[bool], groups: Sequence[str]) -> Interval:
    """95 % percentile bootstrap of the share of right clips, whole groups drawn: clips of a person hang together.

    right, groups: one per clip. Seeded. Raises MisuseError without clips.
    """
    if not right:
        raise MisuseError("an interval over groups needs clips")
    names = sorted(set(groups))
    which = np.array([names.index(group) for group in groups])
    hits, sizes = (np.bincount(which, weights, len(names)) for weights in (np.asarray(right, float), None))
    drawn = np.random.default_rng(SEED).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.percentile(hits[drawn].sum(1) / sizes[drawn].sum(1), PERCENT_95)
    return float(low), float(high)
