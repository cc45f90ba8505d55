"""The linear baseline learns motion, not position, and never sees the held-out group."""

from __future__ import annotations

import numpy as np

from benchmarks.measure.baseline import (
    FRAMES,
    RAW_PX,
    encoder_features,
    motion_features,
    predict_held_out,
    raw_features,
    spread_frames,
)
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
    predicted = predict_held_out(features, labels, groups, [{group} for group in sorted(set(groups))])
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
    predicted = predict_held_out(features, labels, groups, [{group} for group in sorted(set(groups))])
    flipped = ["b" if label == "a" else "a" for label in labels[:4]] + labels[4:]
    assert predict_held_out(features, flipped, groups, [{"g1"}])[:4] == predicted[:4]
    assert predicted == labels


def test_a_fold_may_hold_several_groups_out_and_a_clip_in_none_gets_no_label() -> None:
    labels, groups = ["a", "b"] * 4, ["g1", "g1", "g2", "g2", "g3", "g3", "g4", "g4"]
    features = [np.array([1.0 if label == "a" else -1.0]) for label in labels]
    predicted = predict_held_out(features, labels, groups, [{"g1", "g3"}])
    assert predicted == ["a", "b", None, None, "a", "b", None, None]


def test_frames_are_spread_over_the_whole_clip() -> None:
    ticks = np.arange(29, dtype=np.uint8).reshape(29, 1, 1, 1)
    assert spread_frames(ticks).ravel().tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert len(spread_frames(ticks[:3])) == FRAMES


def test_features_of_an_encoder_are_its_mean_and_deviation_over_time() -> None:
    ticks = np.zeros((FRAMES, 4, 4, 3), np.uint8)
    ticks[FRAMES // 2 :] = 10
    made = encoder_features(lambda frames: frames.reshape(len(frames), -1)[:, :2].astype(np.float64), ticks)
    assert made.tolist() == [5, 5, 5, 5]
    assert raw_features(ticks[-1]).shape == (RAW_PX**2,)
    assert raw_features(ticks[-1])[0] == 10 / 255
