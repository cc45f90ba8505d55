"""The windows of a reference, computed by every way of a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_har.errors import ConversionError, MisuseError
from tests.helpers.bundles import tiny_bundle
from tests.helpers.need import need_module
from tests.helpers.terminal import Terminal

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify import comparison as comparison_module
from convert.verify.comparison import (
    KERAS,
    STREAM,
    WAYS,
    WHOLE_CLIP,
    Reference,
    _columns,
    _windows,
    compare,
    repeat_frames,
    slow_source,
    stream_predict,
    stream_scores,
)
from edge_har.model.recognizer import TickRecognizer, WholeClip
from tests.helpers.comparisons import LABELS
from train.data.batches import CachedClip, store
from train.fitting.evaluate import Predict, keras_predict
from train.tf import keras


def test_no_clip_is_misuse() -> None:
    with pytest.raises(MisuseError, match="no clip"):
        Reference(None, [], LABELS, tiny_bundle().manifest.temporal)


def test_the_float_model_predicts_once_for_all_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what each bundle is compared with is what it predicts."""
    bundle, random = tiny_bundle(), np.random.default_rng(2)
    clips = [CachedClip(f"{i}.avi", i % 3, f"g{i}", tmp_path / str(i)) for i in range(4)]
    for clip in clips:
        store(clip, np.arange(9) * 0.08, random.integers(0, 256, (9, 8, 8, 3), np.uint8))
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((4, 8, 8, 3)), layers.Rescaling(0.1), layers.GlobalAveragePooling3D(), layers.Softmax()]
    )
    requested: list[int] = []

    def predict_of(model: Any) -> Predict:
        predict = keras_predict(model)
        return lambda windows: (requested.append(len(windows)), predict(windows))[1]

    monkeypatch.setattr(comparison_module, "keras_predict", predict_of)
    contract = replace(bundle.manifest.temporal, max_gap_ms=None)  # a manifest says what that means
    reference = Reference(model, clips, bundle.manifest.labels, contract)
    one, other = (compare(reference, bundle) for _ in range(2))
    assert sum(requested) == len(one.clip_of_window) == 24 and one.keras is other.keras
    expected = np.concatenate(
        [model(_windows(clips[int(name[0])].frames(), contract.frames)).numpy() for name in one.names]
    )
    np.testing.assert_allclose(one.keras, expected, atol=1e-6)
    np.testing.assert_allclose(one.stream, one.whole, atol=1e-5)
    np.testing.assert_array_equal(one.stream, other.stream)
    with pytest.raises(ConversionError, match="the bundle's windows are"):
        compare(replace(reference, contract=replace(contract, interval_ms=40.0)), bundle)

    # Of larger pictures each third window, by every way.
    monkeypatch.setattr(comparison_module, "MAX_PIXELS", 24 * 4 * 8 * 8 / 2.5)
    few = compare(Reference(model, clips, bundle.manifest.labels, contract), bundle)
    kept = np.tile(np.arange(6) % 3 == 0, 4)
    for way in ("keras", "whole", "stream"):
        np.testing.assert_allclose(getattr(few, way), getattr(one, way)[kept], atol=1e-6)
    for name in ("clip_of_window", "by_contract"):
        np.testing.assert_array_equal(getattr(few, name), getattr(one, name)[kept])


def test_each_way_through_the_clips_has_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, terminal = tiny_bundle(), Terminal()
    clip = CachedClip("0.avi", 0, "g0", tmp_path / "0")
    store(clip, np.arange(9) * 0.08, np.zeros((9, 8, 8, 3), np.uint8))
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    model = keras.Sequential(
        [keras.layers.Input((4, 8, 8, 3)), keras.layers.GlobalAveragePooling3D(), keras.layers.Softmax()]
    )
    contract = replace(bundle.manifest.temporal, max_gap_ms=None)
    compare(Reference(model, [clip], bundle.manifest.labels, contract), bundle)
    for way in (KERAS, WHOLE_CLIP, STREAM):
        assert f"{WAYS[way]}, clips" in terminal.getvalue()
    assert terminal.getvalue().count("100%") == 3


def test_scores_are_matched_by_label() -> None:
    assert _columns(("b", "a"), ("a", "b")) == [1, 0]
    with pytest.raises(ConversionError, match="the bundle has the labels a, b; the model's are a, c"):
        _columns(("a", "c"), ("a", "b"))


def test_a_stream_has_scores_for_every_window() -> None:
    bundle = tiny_bundle()
    frames = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
    whole = WholeClip(bundle)
    expected = np.stack([whole.clip(frames[at : at + 4]) for at in range(8)])
    np.testing.assert_allclose(stream_scores(TickRecognizer(bundle), frames), expected, atol=1e-6)
    windows = np.stack([frames[at : at + 4] for at in range(8)])
    np.testing.assert_allclose(stream_predict(bundle)(windows), expected, atol=1e-6)


def test_what_a_slow_source_costs_is_counted_on_windows_by_contract(tmp_path: Path) -> None:
    bundle, random = tiny_bundle(), np.random.default_rng(3)
    clips = [CachedClip(f"{i}.avi", i % 3, f"g{i}", tmp_path / str(i)) for i in range(4)]
    for clip in clips:
        store(clip, np.arange(12) * 0.08, random.integers(0, 256, (12, 8, 8, 3), np.uint8))
    contract = bundle.manifest.temporal
    reference = Reference(None, clips, bundle.manifest.labels, contract)
    record = slow_source(reference, bundle)
    assert record is not None and set(record["window_accuracy"]) == {"1", "2", "3"}
    whole = WholeClip(bundle)
    for repeats in (1, 2):
        right = [
            int(whole.clip(repeat_frames(clip.frames(), repeats)[at : at + contract.frames]).argmax())
            == clip.label
            for clip in clips
            for at in range(0, 12 - contract.frames + 1, contract.hop_ticks)
        ]
        assert record["windows"] == len(right)
        assert record["window_accuracy"][str(repeats)] == pytest.approx(np.mean(right), abs=1e-6)
    assert slow_source(replace(reference, held_out=False), bundle) is None


def test_a_frame_is_repeated_for_several_ticks() -> None:
    assert repeat_frames(np.arange(7), 3).tolist() == [0, 0, 0, 3, 3, 3, 6]
