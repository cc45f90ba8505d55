"""ConvLSTM2D rebuilt from its weights as plain convolutions, which a stream can feed step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import ConversionError
from train.tf import tf

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One ConvLSTM2D layer's inference: gates i, f, o and candidate c from an input and a recurrent
    convolution.

    kernel [k, k, channels, 4F], recurrent [r, r, F, 4F], bias [4F] in Keras' order i, f, c, o. Where `hard`
    is set the gates' slope and offset (.2 x + .5) are already inside the weights, and a gate is a clip to
    0..1.
    """

    name: str
    kernel: Weights
    recurrent: Weights
    bias: Weights
    hard: bool
    strides: tuple[int, int]
    padding: str

    @property
    def filters(self) -> int:
        """Channels of the states."""
        return int(self.recurrent.shape[2])

    def of_scaled(self, scale: float, offset: float) -> Cell:
        """The cell that computes from x what this one does from `scale` x + `offset`.

        Padded only where that is 0.
        """
        total = (
            self.kernel.sum if isinstance(self.kernel, np.ndarray) else partial(tf.reduce_sum, self.kernel)
        )(axis=(0, 1, 2))
        return replace(
            self, kernel=self.kernel * np.float32(scale), bias=self.bias + np.float32(offset) * total
        )

    def project(self, frames: Any) -> Any:
        """The input's part of gates and candidate: [frames, h, w, channels] -> [frames, h', w', 4F]."""
        return tf.nn.bias_add(tf.nn.conv2d(frames, self.kernel, self.strides, self.padding), self.bias)

    def step(self, projected: Any, state_h: Any, state_c: Any) -> tuple[Any, Any]:
        """New (h, c), each [1, h', w', F], from `project`'s result for one frame and the states before it."""
        mixed = projected + tf.nn.conv2d(state_h, self.recurrent, 1, "SAME")
        gate_i, gate_f, candidate, gate_o = tf.split(mixed, 4, axis=-1)
        new_c = self._gate(gate_f) * state_c + self._gate(gate_i) * tf.tanh(candidate)
        return self._gate(gate_o) * tf.tanh(new_c), new_c

    def _gate(self, x: Any) -> Any:
        return tf.minimum(tf.nn.relu(x), 1.0) if self.hard else tf.sigmoid(x)


WeightsOf = Callable[
    [Any], Sequence[Any]
]  # a layer's weights in Keras' order: arrays, or tensors to train through


def stored_weights(layer: Any) -> list[Any]:
    """A layer's weights as arrays of their own."""
    return [weights.copy() for weights in layer.get_weights()]


def cell_of(layer: Any, weights_of: WeightsOf = stored_weights) -> Cell:
    """The cell of a trained ConvLSTM2D layer.

    Raises ConversionError for a variant that is not rebuilt here.
    """
    config = layer.get_config()
    gates = config["recurrent_activation"]
    expected = {
        "activation": "tanh",
        "go_backwards": False,
        "stateful": False,
        "data_format": "channels_last",
        "dilation_rate": (1, 1),
        "use_bias": True,
    }
    for key, value in expected.items():
        got = tuple(config[key]) if isinstance(config[key], list) else config[key]
        if got != value:
            raise ConversionError(f"layer {layer.name!r} has {key}={got!r}; only {value!r} can be converted")
    if gates not in ("hard_sigmoid", "sigmoid"):
        raise ConversionError(
            f"layer {layer.name!r} has the gates {gates!r}; expected hard_sigmoid or sigmoid"
        )
    kernel, recurrent, bias = weights_of(layer)
    if gates == "hard_sigmoid":
        filters = recurrent.shape[2]
        slope = np.repeat(np.array([0.2, 0.2, 1.0, 0.2], np.float32), filters)
        offset = np.repeat(np.array([0.5, 0.5, 0.0, 0.5], np.float32), filters)
        kernel, recurrent, bias = kernel * slope, recurrent * slope, bias * slope + offset
    return Cell(
        layer.name,
        kernel,
        recurrent,
        bias,
        hard=gates == "hard_sigmoid",
        strides=tuple(config["strides"]),
        padding=config["padding"].upper(),
    )
