"""Ways to notice what was not trained on, on features that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.experiments.novelty import WAYS, Clips, apart, notice

WIDTH, LABELS, GROUPS, EACH = 10, 5, 6, 6


def drawn(spread: float) -> Clips:
    """Clips whose labels lie `spread` deviations apart."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(LABELS), GROUPS * EACH)
    groups = np.array([f"g{number % GROUPS}" for number in range(len(labels))])
    centres = spread * np.eye(WIDTH)[:LABELS]
    return Clips(centres[labels] + random.standard_normal((len(labels), WIDTH)), labels, groups)


def split() -> list[set[str]]:
    return [{f"g{number}", f"g{number + 1}"} for number in range(0, GROUPS, 2)]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_notices_labels_that_lie_far_from_others(way: str) -> None:
    other = drawn(0.0)
    (noticed,) = notice(drawn(8.0), other, split(), {way: WAYS[way]}).values()
    assert noticed.area > 0.75, noticed


def test_where_labels_cannot_be_told_apart_nothing_is_noticed() -> None:
    for way, noticed in notice(drawn(0.0), drawn(0.0), split()).items():
        assert noticed.area == pytest.approx(0.5, abs=0.1) and noticed.rejected < 0.2, way


def test_the_area_counts_pairs_and_the_threshold_loses_one_known_clip_in_twenty() -> None:
    how_known = np.concatenate([np.arange(20.0), [-1.0, 0.5, 5.0, 5.0]])
    area, rejected = apart(how_known, np.arange(24) < 20)
    assert area == pytest.approx((20 + 19 + 14.5 + 14.5) / 80)
    assert rejected == 0.5  # the threshold lies between 0.5 and 1
