"""TensorFlow and Keras 2, imported in the one order that works: everyone here takes them from this file."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import Any

from edge_har.system.stderr import quiet_stderr

if sys.modules.get("tensorflow") is not None and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise ImportError(
        "tensorflow was imported before train.tf; set TF_USE_LEGACY_KERAS=1 before its first import"
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tfmot and tf.keras follow it; Keras 3 models cannot be pruned
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with quiet_stderr():  # TensorFlow speaks of CPU features and absent GPUs
    import tensorflow as tf
    import tf_keras as keras

    GPUS = tf.config.list_physical_devices("GPU")
    for gpu in GPUS:  # before anything is computed; else TensorFlow takes all of a GPU's memory at once
        # A program that computes already has made its own choice.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)

__all__ = ["GPUS", "fit_model", "keras", "tf"]


def fit_model(model: Any, batches: Any, **options: Any) -> Any:
    """`model.fit(batches, **options)`, of which no thread is left, however it ends: Keras' history.

    An exception keeps the frames that it went through, and with them the iterator whose threads load batches
    in Python. A thread that still loads while the interpreter ends hangs or aborts the process: so those
    frames let go of what they hold, and the iterator waits for its threads when it goes.
    """
    try:
        return model.fit(batches, **options)
    except BaseException as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            with suppress(RuntimeError):  # this one, which still runs
                frame.clear()
                # Once TensorFlow has read them, they stay in this dictionary until it is read again.
                dict(frame.f_locals)
        raise
