"""A ConvLSTM in integers throughout: graphs that carry the range of every tensor, so that nothing is left to
float.

The graphs compute in float what the int8 file computes, rounding included (fake quantisation), and the
converter takes their ranges as they are. One range serves a state going in and coming out: it is fed back as
bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from convert.graphs.convlstm import Cell, stored_weights
from convert.graphs.float_graphs import (
    FloatGraph,
    FloatGraphs,
    StatefulParts,
    Tensors,
    check_input,
    stateful_parts,
)
from convert.precisions import INT8, INT8_CELLS16
from edge_har.errors import ConversionError
from edge_har.model.preprocess import Pixels
from train.tf import keras, tf

L = keras.layers
SMALLEST = 1e-6  # of a range's ends: a tensor that is always zero has a scale too
PIXELS = (0.0, 255.0)
GATE = (0.0, 1.0)  # its ends saturate: what the bounds of int8 cut off is what a hard sigmoid cuts off
SIGMOID = (0.0, 255 / 256)  # the scale that TFLite prescribes for the outputs of LOGISTIC and SOFTMAX
UNIT = (
    -1.0,
    127 / 128,
)  # the scale that TFLite prescribes for the output of TANH; h and centred pixels share it
CANDIDATE = "/candidate"  # how the names of these ranges end
LARGEST_CANDIDATE = 2.5  # its tanh is .987: finer steps are worth more than what lies beyond
LARGEST_CELL = 3.0  # in 8 bits; in 16 it has its whole range
CELL, LOGITS, SOFTMAX = "/c", "/logits", "/softmax"
WIDENED = (CELL, "/entered", "/shown", "/tanh", LOGITS, SOFTMAX)  # what INT8_CELLS16 holds in 16 bits
CENTRE = 128.0  # the pixel value that becomes zero
CALIBRATED_AT_ONCE = 16
SAME_SCALE = (
    L.AveragePooling2D,
    L.Flatten,
    L.MaxPooling2D,
    L.Reshape,
)  # their output needs no range of its own
ACTIVATIONS = {"linear": None, "relu": None, "sigmoid": SIGMOID, "softmax": SIGMOID, "tanh": UNIT}

Bounds = tuple[float, float]
Ranges = Mapping[str, Bounds]


class Quantiser(Protocol):
    """What happens to tensors between the operators of an integer graph."""

    def tensor(self, name: str, x: Any, bounds: Bounds | None = None) -> Any:
        """Hold `x` within `bounds`; without them, within the range calibrated for `name`."""

    def kernel(self, values: Any, *, per_channel: bool = True) -> Any:
        """Weights [..., outputs] as they are stored: one scale for each output, or one for all."""


@dataclass
class RangeObserver:
    """Computes in float and remembers the range of each tensor without prescribed bounds.

    Zero is always in it.
    """

    ranges: dict[str, Bounds] = field(default_factory=dict)

    def tensor(self, name: str, x: Any, bounds: Bounds | None = None) -> Any:
        """`x`; a gate cut off at its bounds, as integers cut it off."""
        if bounds is None:
            low, high = self.ranges.get(name, (-SMALLEST, SMALLEST))
            low, high = min(low, float(tf.reduce_min(x))), max(high, float(tf.reduce_max(x)))
            if name.endswith(CANDIDATE):
                low, high = _symmetric(max(low, -LARGEST_CANDIDATE), min(high, LARGEST_CANDIDATE))
            self.ranges[name] = low, high
        return tf.clip_by_value(x, *GATE) if bounds == GATE else x

    def kernel(self, values: Any, *, per_channel: bool = True) -> Any:
        """The weights unchanged."""
        return values


def _symmetric(low: float, high: float, bits: int = 8) -> Bounds:
    """The range around zero that holds another one; its zero is the integer 0."""
    steps = 2 ** (bits - 1)
    largest = max(-low, high * steps / (steps - 1))
    return -largest, largest * (steps - 1) / steps


@dataclass(frozen=True)
class FakeQuantiser:
    """Rounds to what integers can hold; gradients pass through as if it did not round.

    cell_bits: 16 foretells INT8_CELLS16, whose graphs are converted with 8 and then widened (see
    widen_cells).
    """

    ranges: Ranges
    cell_bits: int = 8

    def tensor(self, name: str, x: Any, bounds: Bounds | None = None) -> Any:
        """`x` on the steps of its range."""
        low, high = bounds or self.ranges[name]
        bits = self.cell_bits if name.endswith(WIDENED) else 8
        if bits > 8:  # prescribed bounds are those of tanh and softmax, whole there
            low, high = _symmetric(*((-1.0, 1.0) if bounds else (low, high)), bits)
        return tf.quantization.fake_quant_with_min_max_args(x, low, high, num_bits=bits)

    def kernel(self, values: Any, *, per_channel: bool = True) -> Any:
        """Weights on 255 steps symmetric about zero, the largest at the end."""
        axes = tuple(range(len(values.shape) - 1)) if per_channel else None
        if isinstance(values, np.ndarray):
            largest = np.maximum(np.abs(values).max(axis=axes), SMALLEST).astype(np.float32)
        else:
            largest = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(values), axis=axes), SMALLEST))
        if per_channel:
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(
                values, -largest, largest, narrow_range=True
            )
        return tf.quantization.fake_quant_with_min_max_vars(values, -largest, largest, narrow_range=True)


@dataclass(frozen=True)
class IntegerForm:
    """One tick of a ConvLSTM's body and the head over a window's features, under any quantiser.

    parts: of the model. top_weights: of each of its top layers. Both hold arrays, or tensors where they are
    trained.
    """

    parts: StatefulParts
    top_weights: Sequence[Sequence[Any]]

    def tick(self, frames: Any, states: Tensors, quantiser: Quantiser) -> tuple[Any, Tensors]:
        """frames [n, H, W, 3], 0..255, states by role -> feature [n, F], new states."""
        x = quantiser.tensor("frames", frames, PIXELS)
        held: Bounds | None = PIXELS
        new: Tensors = {}
        for number, part in enumerate(self.parts.body):
            if isinstance(part, Cell):
                roles = f"state_{len(new)}", f"state_{len(new) + 1}"
                state_h = quantiser.tensor(f"{part.name}/h", states[roles[0]], UNIT)
                state_c = quantiser.tensor(part.name + CELL, states[roles[1]])
                x, state_c = _cell_step(part, x, held, state_h, state_c, quantiser)
                new |= {roles[0]: x, roles[1]: state_c}
                held = UNIT
            else:
                x = part(x)
                if not isinstance(part, SAME_SCALE):
                    x, held = quantiser.tensor(f"part_{number}", x), None
        return tf.reshape(x, (-1, int(np.prod(self.parts.feature_shape)))), new

    def head(self, features: Any, quantiser: Quantiser) -> Any:
        """features [n, N, F] -> scores [n, labels]."""
        x = tf.reshape(features, (-1, self.parts.clip_shape[0], *self.parts.feature_shape))
        for number, (layer, weights) in enumerate(zip(self.parts.top, self.top_weights, strict=True)):
            x = _top_layer(layer, weights, x, f"top_{number}", quantiser)
        return x

    def clip(self, clips: Any, quantiser: Quantiser) -> Any:
        """clips [n, N, H, W, 3], 0..255 -> scores [n, labels], tick by tick from zero states."""
        return self.head(tf.stack(self.features(clips, quantiser), axis=1), quantiser)

    def features(self, clips: Any, quantiser: Quantiser) -> list[Any]:
        """The feature [n, F] of each of the N ticks."""
        ticks = tf.unstack(clips, num=self.parts.clip_shape[0], axis=1)
        count = tf.shape(clips)[0] if clips.shape[0] is None else clips.shape[0]
        states = {role: tf.zeros((count, *shape[1:])) for role, shape in self.parts.states.items()}
        made = []
        for frames in ticks:
            feature, states = self.tick(frames, states, quantiser)
            made.append(feature)
        return made


def _cell_step(
    cell: Cell, x: Any, held: Bounds | None, h: Any, c: Any, quantiser: Quantiser
) -> tuple[Any, Any]:
    """New (h, c), each [n, h', w', F], of the same range as those before.

    Gates and candidate are made apart.
    """
    bounds = GATE if cell.hard else None
    mix = _joined(cell, x, held, h, quantiser) if _joins(cell, held) else _added(cell, x, h, quantiser)
    gates = mix("gates", _columns(cell, 0, 1, 3), bounds)
    if not cell.hard:
        gates = quantiser.tensor(f"{cell.name}/sigmoid", tf.sigmoid(gates), SIGMOID)
    gate_i, gate_f, gate_o = tf.split(gates, 3, axis=-1)
    candidate = quantiser.tensor(
        f"{cell.name}/tanh", tf.tanh(mix(CANDIDATE[1:], _columns(cell, 2), None)), UNIT
    )
    kept = quantiser.tensor(cell.name + CELL, gate_f * c)
    entered = quantiser.tensor(f"{cell.name}/entered", gate_i * candidate, UNIT)
    new_c = quantiser.tensor(cell.name + CELL, kept + entered)
    shown = quantiser.tensor(f"{cell.name}/shown", tf.tanh(new_c), UNIT)
    return quantiser.tensor(f"{cell.name}/h", gate_o * shown, UNIT), new_c


def _columns(cell: Cell, *positions: int) -> Any:
    """Which of 4F outputs are at these positions of Keras' order i, f, c, o."""
    return np.concatenate([np.arange(cell.filters) + position * cell.filters for position in positions])


Mix = Callable[[str, Any, Bounds | None], Any]


def _joins(cell: Cell, held: Bounds | None) -> bool:
    """Whether one convolution can take input and state side by side: one scale, one kernel, one padding."""
    same_kernel = cell.kernel.shape[:2] == cell.recurrent.shape[:2] and tuple(cell.strides) == (1, 1)
    return same_kernel and (held == UNIT or (held == PIXELS and cell.padding == "VALID"))


def _joined(cell: Cell, x: Any, held: Bounds | None, h: Any, quantiser: Quantiser) -> Mix:
    """Sums of both convolutions, made in one: nothing is rounded before it is added."""
    kernel, bias = cell.kernel, cell.bias
    if held == PIXELS:
        x = quantiser.tensor("pixels", x / CENTRE, (0.0, PIXELS[1] / CENTRE))
        x = quantiser.tensor("centred", x - 1.0, UNIT)
        kernel = kernel * CENTRE
        bias = bias + (kernel.sum if isinstance(kernel, np.ndarray) else partial(tf.reduce_sum, kernel))(
            axis=(0, 1, 2)
        )
    if cell.padding == "VALID":
        around = [((side - 1) // 2, side // 2) for side in cell.recurrent.shape[:2]]
        h = tf.pad(h, [(0, 0), *around, (0, 0)])
    both = tf.concat([x, h], axis=-1)

    def mix(name: str, columns: Any, bounds: Bounds | None) -> Any:
        weights = quantiser.kernel(_beside(_take(kernel, columns), _take(cell.recurrent, columns)))
        x = tf.nn.conv2d(both, weights, 1, cell.padding) + _take(bias, columns)
        return quantiser.tensor(f"{cell.name}/{name}", x, bounds)

    return mix


def _added(cell: Cell, x: Any, h: Any, quantiser: Quantiser) -> Mix:
    """Sums of both convolutions, each rounded by itself."""

    def mix(name: str, columns: Any, bounds: Bounds | None) -> Any:
        kernel, recurrent = (
            quantiser.kernel(_take(weights, columns)) for weights in (cell.kernel, cell.recurrent)
        )
        seen = tf.nn.conv2d(x, kernel, cell.strides, cell.padding) + _take(cell.bias, columns)
        seen = quantiser.tensor(f"{cell.name}/{name}/seen", seen)
        past = quantiser.tensor(f"{cell.name}/{name}/past", tf.nn.conv2d(h, recurrent, 1, "SAME"))
        return quantiser.tensor(f"{cell.name}/{name}", seen + past, bounds)

    return mix


def _top_layer(layer: Any, weights: Sequence[Any], x: Any, name: str, quantiser: Quantiser) -> Any:
    if isinstance(layer, SAME_SCALE):
        return layer(x)
    activation = layer.activation
    last = activation is keras.activations.softmax
    if isinstance(layer, L.Dense):
        kernel, bias = weights
        x = tf.matmul(x, quantiser.kernel(kernel, per_channel=False)) + bias
        if activation is keras.activations.relu:
            return quantiser.tensor(name, activation(x))
        x = quantiser.tensor(name + LOGITS if last else name, x)
    bounds = ACTIVATIONS[keras.activations.serialize(activation)]
    made_of = name + SOFTMAX if last else f"{name}/activation"
    return x if bounds is None else quantiser.tensor(made_of, activation(x), bounds)


def _check_body(parts: Sequence[Any]) -> None:
    for part in parts:
        if not isinstance(part, (Cell, L.Rescaling, L.ReLU, L.Activation, *SAME_SCALE)):
            raise _no_integers(part)


def _check_top(layers: Sequence[Any]) -> None:
    for layer in layers:
        if isinstance(layer, SAME_SCALE):
            continue
        if not (isinstance(layer, L.Activation) or (isinstance(layer, L.Dense) and layer.use_bias)):
            raise _no_integers(layer)
        if keras.activations.serialize(layer.activation) not in ACTIVATIONS:
            raise _no_integers(layer)


def _no_integers(layer: Any) -> ConversionError:
    return ConversionError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be made all-integer")


def _take(values: Any, columns: Any) -> Any:
    return values[..., columns] if isinstance(values, np.ndarray) else tf.gather(values, columns, axis=-1)


def _beside(one: Any, other: Any) -> Any:
    """Two kernels [k, k, inputs, outputs] as one, over the inputs of both."""
    arrays = isinstance(one, np.ndarray)
    return np.concatenate([one, other], axis=2) if arrays else tf.concat([one, other], axis=2)


def integer_form(model: Any, *, trainable: bool = False) -> IntegerForm:
    """The all-integer form of a ConvLSTM; trainable: gradients reach the model's variables through it.

    Raises ConversionError for a layer that there are no integers for.
    """
    weights_of = _variables if trainable else stored_weights
    parts = stateful_parts(model, check_input(model), weights_of)
    _check_body(parts.body)
    _check_top(parts.top)
    return IntegerForm(parts, [weights_of(layer) for layer in parts.top])


def _variables(layer: Any) -> list[Any]:
    return [tf.convert_to_tensor(variable) for variable in layer.trainable_weights]


def calibrate(form: IntegerForm, clips: Pixels) -> dict[str, Bounds]:
    """The range of every tensor without prescribed bounds, over float rollouts of clips uint8 [n, N, H, W,
    3].

    Every tick of a rollout counts, the first with its zero states too.
    """
    watch = RangeObserver()
    for at in range(0, len(clips), CALIBRATED_AT_ONCE):
        form.clip(tf.cast(clips[at : at + CALIBRATED_AT_ONCE], tf.float32), watch)
    return watch.ranges


def integer_graphs(model: Any, calibration: Pixels) -> dict[str, FloatGraphs]:
    """A ConvLSTM's graphs for conversion to INT8 and INT8_CELLS16, by precision, without samples; they carry
    their ranges.

    calibration: windows of training clips, uint8 [n, N, H, W, 3]. Raises ConversionError for a layer that
    there are no integers for.
    """
    form = integer_form(model)
    ranges = calibrate(form, calibration)
    return {
        precision: ranged_graphs(form, fitted(ranges, bits))
        for precision, bits in ((INT8, 8), (INT8_CELLS16, 16))
    }


def fitted(ranges: Ranges, cell_bits: int) -> dict[str, Bounds]:
    """Ranges for cell states of so many bits.

    In 8 they end where tanh is nearly flat, for steps that still add up.
    """
    if cell_bits > 8:
        return dict(ranges)
    return {
        name: (max(low, -LARGEST_CELL), min(high, LARGEST_CELL)) if name.endswith(CELL) else (low, high)
        for name, (low, high) in ranges.items()
    }


def ranged_graphs(form: IntegerForm, ranges: Ranges) -> FloatGraphs:
    """The graphs of an all-integer form, every tensor held to its range.

    They compute in float what int8 will.
    """
    quantiser, parts = FakeQuantiser(ranges), form.parts
    frames, *frame_shape = parts.clip_shape
    width = int(np.prod(parts.feature_shape))

    def step(frames: Any, **states: Any) -> Tensors:
        feature, new = form.tick(tf.reshape(frames, (1, *frame_shape)), states, quantiser)
        return {"feature": feature, **new}

    return FloatGraphs(
        clip=FloatGraph(
            "clip", {"clip": (1, *parts.clip_shape)}, lambda clip: {"scores": form.clip(clip, quantiser)}
        ),
        step=FloatGraph("step", {"frames": (1, 1, *frame_shape), **parts.states}, step),
        head=FloatGraph(
            "head",
            {"features": (1, frames, width)},
            lambda features: {"scores": form.head(quantiser.tensor("features", features, UNIT), quantiser)},
        ),
        frames_per_step=1,
    )
