"""Pruning sets the requested fraction of every kernel to zero, on every kind of model whole,
and keeps it learning.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_har.errors import MisuseError
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.compress.finetune import FineTuning, fine_tuned
from convert.compress.prune import prune
from tests.helpers.converted import zero_fraction
from train.models.architectures import build
from train.tf import keras, tf

L = keras.layers
FRAMES = 4
STEPS = 6


def tuning(shape: tuple[int, ...]) -> FineTuning:
    """Bright clips and dark ones."""
    random = np.random.default_rng(0)
    labels = np.arange(STEPS * 8) % 2
    clips = random.integers(0, 80, (len(labels), *shape)) + labels.reshape(-1, *[1] * len(shape)) * 150
    batches = tf.data.Dataset.from_tensor_slices((clips.astype(np.float32), labels.astype(np.int32))).batch(8)
    return FineTuning(batches, STEPS, learning_rate=1e-2, class_weights=[1.0, 1.0])


def recurrent() -> Any:
    """Heads of other people's models."""
    return keras.Sequential(
        [
            L.Input((FRAMES, 16, 16, 3)),
            L.TimeDistributed(L.Conv2D(8, 3, activation="relu"), name="conv"),
            L.TimeDistributed(L.GlobalAveragePooling2D(), name="pool"),
            L.GRU(12, return_sequences=True, name="gru"),
            L.Bidirectional(L.LSTM(12, return_sequences=True), name="both_ways"),
            L.SimpleRNN(12, name="rnn"),
            L.Dense(2, activation="softmax", name="scores"),
        ]
    )


MODELS: dict[str, Callable[[], Any]] = {
    "lrcn": lambda: build("lrcn", FRAMES, 64, 2),
    "motion": lambda: build("motion", FRAMES, 32, 2),
    "convlstm": lambda: build("convlstm", FRAMES, 32, 2),
    "recurrent": recurrent,
}


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("lrcn", 0.5),
        ("convlstm", 0.95),
        ("motion", 0.8),
        ("recurrent", 0.95),
    ],
)
def test_every_kernel_loses_its_share(kind: str, share: float) -> None:
    keras.utils.set_random_seed(3)
    model = MODELS[kind]()
    made = prune(model, share, tuning(model.input_shape[1:]), report=lambda line: None)
    assert zero_fraction(made) == pytest.approx(share, abs=0.01)
    for before, after in zip(model.layers, made.layers, strict=True):
        assert type(before) is type(after) and before.name == after.name
    for kernel in (weight.numpy() for weight in made.weights if "kernel" in weight.name):
        assert np.mean(kernel == 0) == pytest.approx(share, abs=max(0.02, 0.6 / kernel.size))
    assert any(not np.array_equal(b, a) for b, a in zip(model.get_weights(), made.get_weights(), strict=True))
    assert zero_fraction(model) < 0.01, "the model given is left as it was"


def test_the_control_learns_and_stays_dense() -> None:
    keras.utils.set_random_seed(3)
    model, record = recurrent(), list[str]()
    made = fine_tuned(model, tuning(model.input_shape[1:]), report=record.append)
    assert zero_fraction(made) < 0.01
    assert [type(layer) for layer in made.layers] == [type(layer) for layer in model.layers]
    for before, after in zip(
        model.get_layer("conv").get_weights(), made.get_layer("conv").get_weights(), strict=True
    ):
        assert not np.array_equal(before, after)
    assert record[-1].startswith(f"fine-tuning step {STEPS}/{STEPS} loss ")


@pytest.mark.parametrize("share", [-0.1, 0.96, 1.0])
def test_a_share_that_cannot_be(share: float) -> None:
    with pytest.raises(MisuseError, match=r"0 to 0\.95"):
        prune(recurrent(), share, tuning((FRAMES, 16, 16, 3)), report=lambda line: None)


def test_no_steps() -> None:
    with pytest.raises(MisuseError, match="1 step or more"):
        FineTuning(None, 0, learning_rate=1e-3)
