"""The linear baseline learns motion, not position, and never sees the held-out group."""

from __future__ import annotations

import numpy as np

from benchmarks.measure.baseline import leave_one_group_out, motion_features
from tests.helpers.videos import LABELS, moving_square

SIZE_WH = (64, 64)


def test_motions_of_unseen_groups_are_told_apart() -> None:
    features, labels, groups = [], [], []
    for group in range(5):
        for motion, label in enumerate(LABELS):
            clip = moving_square(motion, 40, rate_hz=12.5, size_wh=SIZE_WH, seed=group)
            features.append(motion_features(clip))
            labels.append(label)
            groups.append(f"g{group}")
    predicted = leave_one_group_out(features, labels, groups)
    assert np.mean([one == label for one, label in zip(predicted, labels, strict=True)]) >= 0.7


def test_a_shifted_motion_has_the_same_picture() -> None:
    clip = np.zeros((6, 64, 64, 3), np.uint8)
    for tick in range(6):
        clip[tick, 20 : 24 + 2 * tick, 20:28] = 200
    grid = motion_features(clip)[:64]
    shifted = motion_features(np.roll(clip, (6, 9), (1, 2)))[:64]
    assert np.allclose(grid, shifted, atol=0.05)


def test_a_still_clip_has_finite_features() -> None:
    assert np.isfinite(motion_features(np.full((5, 64, 64, 3), 90, np.uint8))).all()


def test_what_is_known_of_the_left_out_group_does_not_count() -> None:
    random = np.random.default_rng(0)
    labels = ["a", "b"] * 6
    groups = ["g1"] * 4 + ["g2"] * 4 + ["g3"] * 4
    features = [np.r_[1.0 if label == "a" else -1.0, random.normal(size=3)] for label in labels]
    predicted = leave_one_group_out(features, labels, groups)
    flipped = ["b" if label == "a" else "a" for label in labels[:4]] + labels[4:]
    assert leave_one_group_out(features, flipped, groups)[:4] == predicted[:4]
    assert predicted == labels
