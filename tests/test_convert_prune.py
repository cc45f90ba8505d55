"""Pruning sets the asked share of every kernel to zero, on every kind of model whole, and keeps it learning."""

from typing import Any

import numpy as np
import pytest

from edge_har.errors import MisuseError
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.prune import prune, zero_share
from train.models import build
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


def pruned(kind: str, share: float) -> tuple[Any, Any]:
    keras.utils.set_random_seed(3)
    model = build(kind, FRAMES, SIZES[kind], 2)
    made = prune(
        model,
        share,
        batches(SIZES[kind]),
        steps=STEPS,
        learning_rate=1e-2,
        class_weights=[1.0, 1.0],
        report=lambda line: None,
    )
    return model, made


@pytest.mark.parametrize(("kind", "share"), [("lrcn", 0.5), ("motion", 0.8), ("convlstm", 0.5)])
def test_every_kernel_loses_its_share(kind: str, share: float) -> None:
    model, made = pruned(kind, share)
    assert zero_share(made) == pytest.approx(share, abs=0.01)
    for before, after in zip(model.layers, made.layers, strict=True):
        assert type(before) is type(after) and before.name == after.name
        for kernel in (w for w in after.get_weights() if w.ndim > 1):
            assert np.mean(kernel == 0) == pytest.approx(share, abs=0.03), after.name
    assert any(not np.array_equal(b, a) for b, a in zip(model.get_weights(), made.get_weights(), strict=True))
    assert zero_share(model) < 0.01, "the model given is left as it was"


@pytest.mark.parametrize(("share", "steps"), [(-0.1, 5), (1.0, 5), (0.5, 0)])
def test_what_cannot_be(share: float, steps: int) -> None:
    with pytest.raises(MisuseError):
        prune(
            build("motion", FRAMES, 32, 2),
            share,
            batches(32),
            steps=steps,
            learning_rate=1e-3,
            report=lambda line: None,
        )
