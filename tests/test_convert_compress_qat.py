"""Quantisation-aware training rounds as int8 does, learns through it, and gives the plain model back."""

from typing import Any

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.compress.finetune import FineTuning
from convert.compress.qat import qat, quantised_call
from convert.graphs.integer_graphs import FakeQuantiser, RangeObserver, calibrate, integer_form
from train.models.architectures import build, fold_batch_norm
from train.tf import keras, tf

SIZES = {"lrcn": 64, "motion": 32, "convlstm": 32}
FRAMES = 4
STEPS = 6


def batches(size: int) -> Any:
    """Bright clips and dark ones."""
    random = np.random.default_rng(0)
    labels = np.arange(STEPS * 8) % 2
    clips = (
        random.integers(0, 80, (len(labels), FRAMES, size, size, 3)) + labels[:, None, None, None, None] * 150
    )
    return tf.data.Dataset.from_tensor_slices((clips.astype(np.float32), labels.astype(np.int32))).batch(8)


def windows(size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (4, FRAMES, size, size, 3), np.uint8)


def stirred(kind: str) -> Any:
    """A model whose running statistics are not those of a fresh one,
    a third of its kernels' weights at zero.
    """
    keras.utils.set_random_seed(3)
    model = build(kind, FRAMES, SIZES[kind], 2)
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights(
            [
                w * (random.random(w.shape) > 1 / 3) if w.ndim > 1 else w + random.uniform(0.01, 0.1, w.shape)
                for w in layer.get_weights()
            ]
        )
    return model


@pytest.mark.parametrize("kind", ["lrcn", "motion", "convlstm"])
def test_it_learns_and_keeps_zeros(kind: str) -> None:
    model, record = stirred(kind), []
    before = [w.copy() for w in model.get_weights()]
    made = qat(
        model,
        FineTuning(batches(SIZES[kind]), STEPS, 1e-2, class_weights=[1.0, 1.0]),
        calibration=windows(SIZES[kind]),
        report=record.append,
    )
    assert [type(layer) for layer in made.layers] == [type(layer) for layer in model.layers]
    for old, kept, new in zip(before, model.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(old, kept, err_msg="the model given is left as it was")
        assert old.shape == new.shape
        if old.ndim > 1:
            np.testing.assert_array_equal(new[old == 0], 0)
    folded, trained = fold_batch_norm(model), fold_batch_norm(made)
    for old, new in zip(folded.trainable_variables, trained.trainable_variables, strict=True):
        assert not np.array_equal(old, new), f"{old.name} did not learn"
    assert (record and record[-1].startswith(f"qat step {STEPS - STEPS % 4 or STEPS}/")) or len(record) >= 4


@pytest.mark.parametrize("kind", ["lrcn", "motion"])
def test_without_rounding_it_computes_what_keras_computes(kind: str) -> None:
    model, clips = stirred(kind), windows(SIZES[kind])
    watch = RangeObserver()
    scores = quantised_call(fold_batch_norm(model), tf.cast(clips, tf.float32), watch, training=False)
    np.testing.assert_allclose(scores, model(clips).numpy(), atol=1e-5)
    rounded = quantised_call(
        fold_batch_norm(model), tf.cast(clips, tf.float32), FakeQuantiser(watch.ranges), training=False
    )
    assert 0 < np.abs(rounded - scores).max() < 0.1


def test_gradients_pass_the_rounding() -> None:
    model, clips = stirred("convlstm"), windows(32)
    quantiser = FakeQuantiser(calibrate(integer_form(model), clips))
    with tf.GradientTape() as tape:
        scores = integer_form(model, trainable=True).clip(tf.cast(clips, tf.float32), quantiser)
        loss = tf.reduce_sum(scores[:, 0])
    for gradient, variable in zip(
        tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True
    ):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.name
