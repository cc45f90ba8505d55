"""Pretrained encoders of single pictures: where their weights come from, and their layers as an LRCN takes
them.

Their normalisations are folded into the convolutions before them, and the pictures' offset into the first
convolution, so that uint8 pixels need no arithmetic of their own; around the picture they see black. Kernels
are rounded to int8's steps when they are loaded, and biases take up what that moves on average.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_har.errors import DataError
from train.models.families import (
    BOTH,
    DIFFERENCE,
    ENCODER_NAMES,
    GREY3,
    MOBILENET_V1_025,
    PUBLISHED,
    RGB,
    Design,
)
from train.tf import keras

L = keras.layers
FOLDER_VARIABLE = "EDGE_HAR_ENCODERS"
WEIGHTS_PX = 224  # of the pictures that Keras' own weights were trained on; convolutions take any size
PRETRAINED_PIXELS = (0.0, 127.5)  # pixels become 0..2; the offset of -1 is in the first convolution
LUMA = (0.299, 0.587, 0.114)
CONVOLUTIONS = (L.Conv2D, L.DepthwiseConv2D)
INT8_LARGEST = 127  # a kernel is symmetric about zero
RELU_LARGEST = 6.0  # of the ReLUs in these encoders
PREFIXES = {RGB: "enc_", GREY3: "enc_", DIFFERENCE: "change_"}  # of the names of an encoder's layers


@dataclass(frozen=True)
class Encoder:
    """What is known of a pretrained encoder. application: its function in keras.applications, called with
    alpha. sha256: over the bytes of its float32 arrays in Keras' order, without the classifier; None where it
    has not been at hand.
    """

    application: str
    alpha: float
    sha256: str | None = None


ENCODERS = {
    MOBILENET_V1_025: Encoder(
        "MobileNet", 0.25, "bc1512519fe1802d8ffa90b80acd0969b26e9dda42f96f4c34dc1947c5a13185"
    ),
    "mobilenet_v1_0.5": Encoder("MobileNet", 0.5),
    "mobilenet_v2_0.35": Encoder("MobileNetV2", 0.35),
}
assert {PUBLISHED, *ENCODERS} == set(ENCODER_NAMES)


def build_encoder(name: str, size: int, pictures: Any, inputs: str, last: str) -> Any:
    """Features [batch, ticks, width] of pictures [batch, ticks, size, size, channels], pixels scaled to 0..2.

    inputs: what the pictures are. Differences give the mean over the whole picture; others the means of its
    quarters, which say where something is. last: name of the layer that gives them. The weights are random.
    """
    prefix = PREFIXES[inputs]
    layers = _application(name, size).layers
    tensors = {layers[0].name: pictures}
    for layer in layers[1:]:
        sources = [tensors[source.name] for source in _sources(layer)]
        tensors[layer.name] = _copied(layer, sources, prefix)
    seen = tensors[layers[-1].name]
    if inputs == DIFFERENCE:
        return L.TimeDistributed(L.GlobalAveragePooling2D(), name=last)(seen)
    side = int(seen.shape[2])
    # Where the side is odd, quarters share the row and the column in the middle.
    quarters = L.AveragePooling2D(math.ceil(side / 2), side // 2)
    pooled = L.TimeDistributed(quarters, name=f"{prefix}quarters")(seen)
    return L.TimeDistributed(L.Flatten(), name=last)(pooled)


def load_weights(model: Any, design: Design, path: Path | None = None) -> str:
    """Set the weights of the encoder in `model`, an LRCN of this design; returns their sha256.

    path: a file of weights; default NAME_SIZE.h5 in $EDGE_HAR_ENCODERS, else Keras' own download. Raises
    DataError, one line, where there are none or they are others than expected.
    """
    app = _application(design.encoder, WEIGHTS_PX)
    found = path or _in_folder(design.encoder)
    _load(app, design.encoder, found)
    digest = arrays_sha256(app.get_weights())
    expected = ENCODERS[design.encoder].sha256
    if expected not in (None, digest):
        raise DataError(
            f"{found or 'the download'}: not the weights of {design.encoder}: its arrays have sha256 "
            f"{digest[:12]}, expected {str(expected)[:12]}"
        )
    first, *others = (layer for layer in app.layers if isinstance(layer, CONVOLUTIONS))
    means = _means(app)
    for inputs in (RGB, DIFFERENCE) if design.inputs == BOTH else (design.inputs,):
        prefix = PREFIXES[inputs]
        model.get_layer(prefix + first.name).set_weights(_for_inputs(_folded(first), inputs))
        for layer in others:
            (source,) = _sources(layer)
            model.get_layer(prefix + layer.name).set_weights(_rounded(layer, means[source.name]))
    return digest


def arrays_sha256(arrays: Sequence[Any]) -> str:
    """Hash over the bytes of float32 arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def _application(name: str, size: int, *, include_top: bool = False, weights: str | None = None) -> Any:
    shape = (size, size, 3)
    return _function(name)(
        input_shape=shape, alpha=ENCODERS[name].alpha, include_top=include_top, weights=weights
    )


def _function(name: str) -> Any:
    return getattr(keras.applications, ENCODERS[name].application)


def _in_folder(name: str) -> Path | None:
    """The file of weights in the folder that the environment names; None where it names none.

    Raises DataError where the folder has no such file.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / f"{name}_{WEIGHTS_PX}.h5"
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; {FOLDER_VARIABLE} names a folder with the weights of encoders"
        )
    return path


def _load(app: Any, name: str, path: Path | None) -> None:
    """Give `app`, without classifier, the weights of a file with or without one, or of Keras' download."""
    if path is None:
        try:
            loaded = _application(name, WEIGHTS_PX, weights="imagenet")
        except Exception as error:  # Keras raises a bare one for a failed download
            reason = str(error).strip().partition("\n")[0]
            raise DataError(
                f"the weights of {name} cannot be downloaded ({reason}); name a file with --encoder-weights, "
                f"or a folder with {name}_{WEIGHTS_PX}.h5 in {FOLDER_VARIABLE}"
            ) from error
        app.set_weights(loaded.get_weights())
        return
    reasons = []
    for include_top in (True, False):
        whole = _application(name, WEIGHTS_PX, include_top=include_top)
        try:
            whole.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reasons.append(str(error).strip().partition("\n")[0])
            continue
        app.set_weights(whole.get_weights()[: len(app.get_weights())])
        return
    raise DataError(f"{path}: not the weights of {name}: {reasons[-1]}")


def _copied(layer: Any, sources: list[Any], prefix: str) -> Any:
    """One layer of the application, per frame, applied; padding joins its convolution, a normalisation is
    left out.
    """
    if isinstance(layer, (L.ZeroPadding2D, L.BatchNormalization)):
        return sources[0]  # at even sides, the only ones here, 'same' pads alike
    if isinstance(layer, L.Add):
        return L.Add(name=prefix + layer.name)(sources)
    config = layer.get_config()
    if isinstance(layer, CONVOLUTIONS):
        config |= {"use_bias": True, "padding": "same"}
    return L.TimeDistributed(type(layer).from_config(config), name=prefix + layer.name)(sources[0])


def _folded(layer: Any) -> list[Any]:
    """Kernel and bias of a convolution with the normalisation after it folded in."""
    norm = layer.outbound_nodes[0].outbound_layer
    (kernel,) = layer.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    factor = gamma / np.sqrt(variance + norm.epsilon)
    by_output = factor[:, np.newaxis] if isinstance(layer, L.DepthwiseConv2D) else factor
    return [kernel * by_output, beta - mean * factor]


def _rounded(layer: Any, mean: Any) -> list[Any]:
    """Kernel and bias with the kernel on int8's steps. mean: of each of its inputs, which rounding scales:
    the bias takes up the difference. Without it the errors of 26 layers add up in the features of a MobileNet
    V1 .25 to .36 of their deviation, with it to .11 (96 px). After Nagel et al., arXiv 1906.04721, 4.2.
    """
    kernel, bias = _folded(layer)
    depthwise = isinstance(layer, L.DepthwiseConv2D)
    rounded = on_integers(kernel, (0, 1) if depthwise else (0, 1, 2))
    lost = (kernel - rounded).sum(axis=(0, 1))
    return [rounded, bias + (lost[:, 0] * mean if depthwise else mean @ lost)]


def _means(app: Any) -> dict[str, Any]:
    """The mean of each channel that a layer of the application gives, by the layer's name, on the pictures
    that it was trained on: its normalisations hold them.
    """
    means: dict[str, Any] = {}
    for layer in app.layers:
        sources = _sources(layer)
        if isinstance(layer, L.BatchNormalization):
            means[layer.name] = layer.beta.numpy()
        elif isinstance(layer, L.ReLU):
            gamma, beta = (array.numpy() for array in (sources[0].gamma, sources[0].beta))
            means[layer.name] = _mean_above(beta, gamma) - _mean_above(beta - RELU_LARGEST, gamma)
        elif isinstance(layer, (L.Add, L.ZeroPadding2D)):
            means[layer.name] = sum(means[source.name] for source in sources)
        else:  # a picture, and what no normalisation has seen yet: no convolution follows
            means[layer.name] = 0.0
    return means


def _mean_above(mean: Any, deviation: Any) -> Any:
    """The mean of max(x, 0) where x is normal with these."""
    deviation = np.maximum(np.abs(deviation), np.finfo(np.float32).tiny)
    at = mean / deviation
    below = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in at], np.float32)
    return mean * below + deviation * np.exp(-at * at / 2) / math.sqrt(2 * math.pi)


def _for_inputs(weights: Sequence[Any], inputs: str) -> list[Any]:
    """Kernel and bias of the first convolution, which expects -1..1, for what it sees here."""
    kernel, bias = weights
    if inputs == GREY3:  # red, green and blue of three frames, each made the grey of one channel
        kernel = np.concatenate(
            [kernel[:, :, [frame]] * np.float32(part) for frame in range(3) for part in LUMA], axis=2
        )
    kernel = on_integers(kernel, (0, 1, 2))
    if inputs == DIFFERENCE:  # -2..2, and 0 where nothing changed; most changes are small
        return [kernel, bias]
    return [kernel, bias - kernel.sum(axis=(0, 1, 2))]  # 0..2


def on_integers(kernel: Any, axes: tuple[int, ...]) -> Any:
    """A kernel rounded to the steps that int8 has for it, each output (over `axes`) with its own.

    An int8 graph then holds the very weights whose features the head has learnt from: rounding them later
    moves the features of these small encoders by a quarter of their deviation.
    """
    largest = np.abs(kernel).max(axis=axes, keepdims=True)
    step = np.maximum(largest, np.finfo(np.float32).tiny) / INT8_LARGEST
    return (np.rint(kernel / step) * step).astype(np.float32)


def _sources(layer: Any) -> list[Any]:
    sources = layer.inbound_nodes[0].inbound_layers
    return list(sources) if isinstance(sources, list) else [sources]
