"""The one way to fit a model leaves no thread behind, however it ends."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from train.tf import fit_model, keras, tf

from tensorflow.python.data.ops.iterator_ops import OwnedIterator  # isort: skip


def iterators() -> int:
    return sum(isinstance(thing, OwnedIterator) for thing in gc.get_objects())


def test_no_iterator_outlives_a_fit_that_was_interrupted() -> None:
    def load(step: Any) -> tuple[Any, Any]:
        made = tf.numpy_function(lambda step: np.full((2, 1), step, np.float32), [step], tf.float32)
        return tf.ensure_shape(made, (2, 1)), tf.ensure_shape(made, (2, 1))

    def interrupt(step: int, logs: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    batches = tf.data.Dataset.range(100).map(load, num_parallel_calls=2).prefetch(2)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    model.compile("sgd", "mse")
    gc.collect()
    before = iterators()
    with pytest.raises(KeyboardInterrupt) as interrupted:
        callback = keras.callbacks.LambdaCallback(on_batch_end=interrupt)
        fit_model(model, batches, callbacks=[callback], verbose=0)
    assert interrupted.traceback  # it still says where it was
    assert iterators() == before
