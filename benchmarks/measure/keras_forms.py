"""The float Keras model as users of TensorFlow would call it,
on the CPU and on as many threads as the other forms.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.clips import Classify, Scores, clip_windows
from edge_har.errors import DataError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import Pixels
from edge_har.system.stderr import quiet_stderr

Predict = Callable[[Pixels], Scores]  # windows, uint8 [n, frames, h, w, 3] -> probabilities [n, labels]


@cache
def use_cpu(threads: int) -> None:
    """Limit TensorFlow to the CPU and to `threads`; to be called before any model is loaded,
    with one number only.
    """
    tf, _ = _tensorflow()
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def load_keras(path: Path) -> Any:
    """A RUN's Keras model; nothing stored in the file is executed.
    Raises DataError when it cannot be read.
    """
    _, keras = _tensorflow()
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Keras model of a RUN: {error}") from error


def call(model: Any) -> Predict:
    """`model(x)`."""
    return lambda windows: model(windows, training=False).numpy()


def predict(model: Any) -> Predict:
    """`model.predict(x)`."""
    return lambda windows: np.asarray(model.predict(windows, verbose=0))


def answer(model: Any, contract: TemporalContract) -> Classify:
    """Probabilities of every window of a clip at once: for accuracy, not for latency."""
    run = predict(model)
    return lambda ticks: run(np.stack(clip_windows(ticks, contract)))


def _tensorflow() -> tuple[Any, Any]:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():  # what TensorFlow says of absent GPUs while it loads
        import tensorflow as tf
        import tf_keras as keras

        tf.config.list_physical_devices()
    return tf, keras
