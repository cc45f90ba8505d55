"""A frozen encoder of single pictures, MobileNet V1 .25, in Keras: with its pretrained weights, or random
ones as a control.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError
from edge_har.model.preprocess import Pixels

FOLDER_VARIABLE = "EDGE_HAR_ENCODERS"  # the folder of weights, as `edge-har train` reads it
FOLDER = "encoders"  # beside the folder of data sets
WEIGHTS = "mobilenet_v1_0.25_224.h5"  # convolutions take any size of picture
ALPHA = 0.25
HALF_LEVELS = 127.5  # pixels become -1..1
SEED = 0  # of random weights
FRAMES_AT_ONCE = 32

Floats = NDArray[np.float64]
Encode = Callable[[Pixels], Floats]  # uint8 [n, size, size, 3] RGB -> features [n, width]


def use_folder_of_weights(root: Path) -> Path | None:
    """Let this process and the commands it runs find the weights of encoders: in the folder that the
    environment names, else in FOLDER beside `root`, the folder of data sets. Returns the file of this
    encoder, or None.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    folder = (Path(named) if named else root.resolve().parent / FOLDER).resolve()
    if folder.is_dir():
        os.environ[FOLDER_VARIABLE] = str(folder)  # whole: commands run in another folder
    path = folder / WEIGHTS
    return path if path.is_file() else None


def frozen_encoder(size: int, weights: Path | None) -> Encode:
    """The encoder for pictures of `size` pixels a side. weights: None for random ones.

    Raises DataError for a file that is none of its weights.
    """
    from train.tf import keras, tf

    keras.utils.set_random_seed(SEED)
    network = keras.applications.MobileNet(
        input_shape=(size, size, 3), alpha=ALPHA, include_top=False, weights=None, pooling="avg"
    )
    if weights is not None:
        _load(network, weights)
    call = tf.function(
        lambda pictures: network(pictures, training=False),
        input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)],
    )

    def encode(frames: Pixels) -> Floats:
        parts = [frames[at : at + FRAMES_AT_ONCE] for at in range(0, len(frames), FRAMES_AT_ONCE)]
        made = [call(tf.constant(part / HALF_LEVELS - 1, tf.float32)).numpy() for part in parts]
        return np.concatenate(made).astype(np.float64)

    return encode


def _load(network: object, path: Path) -> None:
    """Weights by the names of layers, so that a file with a classifier serves too."""
    before = network.get_weights()  # type: ignore[attr-defined]
    try:
        network.load_weights(path, by_name=True)  # type: ignore[attr-defined]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: not the weights of an encoder: {str(error).partition(chr(10))[0]}"
        ) from error
    after = network.get_weights()  # type: ignore[attr-defined]
    if any(np.array_equal(one, other) for one, other in zip(before, after, strict=True)):
        raise DataError(f"{path}: not the weights of MobileNet V1 {ALPHA:g}: some of its layers are absent")
