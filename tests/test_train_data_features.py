"""Clips of features: a row for each tick, computed once, of which windows are those of the frames."""

from pathlib import Path

import numpy as np
import pytest

from edge_har.model.cadence import TemporalContract
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.data.augment import NEVER, Amounts, Mirror
from train.data.batches import CachedClip, clip_windows, store
from train.data.features import FeatureSource, RowLayout, Variant, feature_clips
from train.tf import tf

PX, SMALL_PX = 8, 4
STILL = Amounts(*[0.0] * 7)


class Counted:
    """An encoder whose features are the mean colours of the frames it sees, oldest first."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self, frames: object) -> object:
        self.frames += int(frames.shape[0])
        return tf.reshape(tf.reduce_mean(frames, axis=(2, 3)), (frames.shape[0], -1))


def cached_clip(folder: Path, frames: int, rate_hz: float = 25.0) -> CachedClip:
    clip = CachedClip("clip.avi", 1, "g01", folder / "frames")
    pixels = np.random.default_rng(0).integers(0, 256, (frames, PX, PX, 3), np.uint8)
    store(clip, np.arange(frames) / rate_hz, pixels)
    return clip


def test_rows_hold_what_they_are_made_of() -> None:
    layout = RowLayout(5, SMALL_PX, 1)
    features = np.random.default_rng(1).uniform(0, 6, (7, 5)).astype(np.float32)
    small = np.random.default_rng(2).integers(0, 256, (7, SMALL_PX, SMALL_PX, 3), np.uint8)
    found, pictures = layout.tensors(tf.constant(layout.rows(features, small)))
    np.testing.assert_allclose(found.numpy(), features, rtol=1e-3)
    np.testing.assert_array_equal(pictures.numpy(), small)


@pytest.mark.parametrize(("frames", "rate_hz"), [(40, 25.0), (40, 10.0), (40, 30.0), (9, 25.0), (2, 10.0)])
def test_windows_of_rows_are_windows_of_frames(tmp_path: Path, frames: int, rate_hz: float) -> None:
    clip, encode = cached_clip(tmp_path, frames, rate_hz), Counted()
    contract = TemporalContract(6, 80.0, 1)
    layout = RowLayout(6, SMALL_PX, 2)
    (rows,) = feature_clips([clip], FeatureSource(encode, layout, ["means"]), contract)
    pixels = clip.frames().astype(np.float32)
    pairs = list(zip(clip_windows(clip, contract), clip_windows(rows, contract), strict=True))
    for of_frames, of_rows in pairs:
        features, small = layout.tensors(tf.constant(rows.frames()[of_rows]))
        newest = pixels[of_frames].mean(axis=(1, 2))
        np.testing.assert_allclose(features.numpy()[:, 3:], newest, rtol=1e-3)
        np.testing.assert_allclose(features.numpy()[1:, :3], newest[:-1], rtol=1e-3)
        pooled = pixels[of_frames].reshape(-1, SMALL_PX, 2, SMALL_PX, 2, 3).mean(axis=(2, 4))
        assert np.abs(small.numpy() - pooled).max() <= 0.5
    assert encode.frames == len(rows.times_s())


def test_features_are_computed_once(tmp_path: Path) -> None:
    clip, encode = cached_clip(tmp_path, 20), Counted()
    contract = TemporalContract(6, 80.0, 1)
    source = FeatureSource(encode, RowLayout(3, 0, 1), ["means"])
    first = feature_clips([clip], source, contract)
    seen = encode.frames
    assert feature_clips([clip], source, contract) == first and encode.frames == seen
    variant = Variant(1, Mirror((0, 1), ""), Amounts())
    (changed,) = feature_clips([clip], source, contract, variant)
    assert changed.stem != first[0].stem and encode.frames == 2 * seen
    feature_clips([clip], FeatureSource(encode, RowLayout(3, 0, 1), ["others"]), contract)
    assert encode.frames == 3 * seen


def test_odd_variants_mirror_where_labels_allow_it() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, PX, PX, 3), np.uint8)
    swapping = Mirror((1, 0, NEVER), "")
    mirrored = Variant(1, swapping, STILL)
    np.testing.assert_array_equal(mirrored.changed("clip", frames, 0), frames[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.changed("clip", frames, 2), frames)
    np.testing.assert_array_equal(Variant(2, swapping, STILL).changed("clip", frames, 0), frames)
    assert [mirrored.label(label) for label in range(3)] == [1, 0, 2]
    strong = Variant(2, swapping, Amounts())
    assert np.abs(strong.changed("clip", frames, 0).astype(int) - frames).mean() > 5
    np.testing.assert_array_equal(strong.changed("clip", frames, 0), strong.changed("clip", frames, 0))
