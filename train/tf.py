"""TensorFlow and Keras 2, imported in the one order that works: everyone here takes them from this file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR_FD = 2


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what TensorFlow's native code writes about CPU features and absent GPUs, which no option turns
    off.
    """
    sys.stderr.flush()
    kept = os.dup(STDERR_FD)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STDERR_FD)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STDERR_FD)
        os.close(kept)
        os.close(nothing)


if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") != "1":
    raise ImportError(
        "tensorflow was imported before train.tf; set TF_USE_LEGACY_KERAS=1 before its first import"
    )
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tfmot and tf.keras follow it; Keras 3 models cannot be pruned
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with quiet():
    import tensorflow as tf
    import tf_keras as keras

    GPUS = tf.config.list_physical_devices("GPU")
    for gpu in GPUS:  # before anything is computed; else TensorFlow takes all of a GPU's memory at once
        # A program that computes already has made its own choice.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)

__all__ = ["GPUS", "keras", "quiet", "tf"]
