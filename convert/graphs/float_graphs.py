"""Exact float inference graphs of a Keras model.

They are the whole clip, a step per tick, a head over the step's features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.graphs.convlstm import Cell, WeightsOf, cell_of, stored_weights
from edge_har.errors import ConversionError
from train.models.architectures import FEATURES, fold_batch_norm, split_stream
from train.tf import keras, tf

L: Any = keras.layers
Floats = NDArray[np.float32]
Tensors = dict[str, Any]

BY_FRAME = (L.ConvLSTM2D, L.TimeDistributed, L.Rescaling, L.Activation, L.ReLU)  # of a model with states
WITH_KERNEL = (L.Conv2D, L.Conv1D, L.Dense)
# Twice the input, twice the output.
SCALE_PASSES = (
    L.Add,
    L.AveragePooling2D,
    L.Concatenate,
    L.Cropping3D,
    L.Dropout,
    L.Flatten,
    L.MaxPooling2D,
    L.Reshape,
    L.Subtract,
)


@dataclass(frozen=True)
class FloatGraph:
    """A function on named tensors of fixed shape.

    inputs: role to shape. function: keyword tensors by role -> tensors by role. tracked: Keras models whose
    variables the function reads.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    function: Callable[..., Tensors]
    tracked: tuple[Any, ...] = ()

    def save(self, folder: Path) -> None:
        """Write it as a SavedModel with one signature of fixed shapes."""
        module = tf.Module()
        module.variables_read = [variable for model in self.tracked for variable in model.weights]
        specs = [tf.TensorSpec(shape, tf.float32, name=role) for role, shape in self.inputs.items()]
        roles = list(self.inputs)

        @tf.function(input_signature=specs, autograph=False)
        def call(*tensors: Any) -> Tensors:
            return self.function(**dict(zip(roles, tensors, strict=True)))

        tf.saved_model.save(module, str(folder), signatures=call.get_concrete_function())

    def run(self, **inputs: NDArray[Any]) -> dict[str, Floats]:
        """Compute it in TensorFlow: arrays by role in and out, float32."""
        made = self.function(**{role: tf.constant(x, tf.float32) for role, x in inputs.items()})
        return {role: tensor.numpy() for role, tensor in made.items()}


@dataclass(frozen=True)
class FloatGraphs:
    """What a bundle's graphs are made from; batch 1, fixed shapes.

    clip [1, N, H, W, 3] -> scores [1, labels]. step: frames [1, K, H, W, 3] and states -> feature [1, F] and
    new states. head: features [1, N - K + 1, F] -> scores [1, labels]. A model that does not stream has
    neither. has_cells: they hold ConvLSTM cells, stepped or unrolled over the clip.
    """

    clip: FloatGraph
    step: FloatGraph | None = None
    head: FloatGraph | None = None
    frames_per_step: int = 1
    has_cells: bool = False

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the step's states by role; empty for a stateless step."""
        inputs = self.step.inputs if self.step is not None else {}
        return {role: shape for role, shape in inputs.items() if role.startswith("state_")}

    @property
    def parts(self) -> dict[str, FloatGraph]:
        """The graphs that there are: `clip`, and `step` and `head` of a model that streams."""
        named = {"clip": self.clip, "step": self.step, "head": self.head}
        return {part: graph for part, graph in named.items() if graph is not None}


def check_input(model: Any, channels: Sequence[int] = (3,)) -> tuple[int, int, int, int]:
    """The model's (N, H, W, channels); raises ConversionError, in one line, for an input that no bundle can
    feed.

    channels: how many it may have.
    """
    expected = (
        f"expected [None or 1, frames, height, width, {' or '.join(map(str, channels))}] with fixed frames, "
        "height "
        "and width"
    )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConversionError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; expected one of each"
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 5:
        raise ConversionError(f"the model's input has rank {len(shape)}, shape {list(shape)}: {expected}")
    if shape[0] not in (None, 1):
        raise ConversionError(f"the model's batch is fixed at {shape[0]}, shape {list(shape)}: {expected}")
    if None in shape[1:] or shape[4] not in channels:
        raise ConversionError(f"the model's input is {list(shape)}: {expected}")
    output = tuple(model.outputs[0].shape)
    if len(output) != 2 or output[1] is None or output[1] < 2:
        raise ConversionError(
            f"the model's output is {list(output)}; expected [batch, labels]: a probability for each of 2 "
            "labels or more"
        )
    return shape[1], shape[2], shape[3], shape[4]


def float_graphs(model: Any) -> FloatGraphs:
    """The exact inference graphs of a trained Keras model: ConvLSTM rebuilt as a step, others cut at their
    layer `features`; a model that has neither is a whole-clip graph alone.

    Raises ConversionError for an input shape or a layer that cannot be converted.
    """
    clip_shape = check_input(model)
    if has_convlstm(model):
        return _stateful(model, clip_shape) if keeps_frames(model) else _unrolled(model, clip_shape)
    if any(layer.name == FEATURES for layer in model.layers):
        return _stateless(model, clip_shape)
    return FloatGraphs(_whole_clip(model, clip_shape))


def has_convlstm(model: Any) -> bool:
    """Whether one of its layers is a ConvLSTM2D."""
    return any(isinstance(layer, L.ConvLSTM2D) for layer in model.layers)


def keeps_frames(model: Any) -> bool:
    """Whether a ConvLSTM model can be run step by step: frame by frame up to its last state."""
    chain = _chain(model)
    return all(isinstance(layer, BY_FRAME) for layer in chain[: _end_of_frames(chain)])


def _whole_clip(model: Any, clip_shape: tuple[int, int, int, int]) -> FloatGraph:
    return FloatGraph(
        "clip",
        {"clip": (1, *clip_shape)},
        lambda clip: {"scores": model(clip, training=False)},
        (model,),
    )


def _stateless(model: Any, clip_shape: tuple[int, int, int, int]) -> FloatGraphs:
    folded = fold_scale(fold_batch_norm(model))
    parts = split_stream(folded)
    frames, *frame_shape = clip_shape
    width = int(parts.encoder.output_shape[-1])
    steps = frames - parts.frames_per_step + 1
    return FloatGraphs(
        clip=_whole_clip(folded, clip_shape),
        step=FloatGraph(
            "step",
            {"frames": (1, parts.frames_per_step, *frame_shape)},
            lambda frames: {"feature": parts.encoder(frames, training=False)},
            (parts.encoder,),
        ),
        head=FloatGraph(
            "head",
            {"features": (1, steps, width)},
            lambda features: {"scores": parts.head(features, training=False)},
            (parts.head,),
        ),
        frames_per_step=parts.frames_per_step,
    )


def fold_scale(model: Any) -> Any:
    """A copy that computes the same, the scaling of pixels (first layer) moved into the kernels that it
    reaches.

    That saves a pass over the pixels in every step. Where something between them is not linear, `model`
    itself.
    """
    scaling = model.layers[1]
    if not isinstance(scaling, L.Rescaling) or scaling.offset != 0:
        return model
    reached, scaled = set(), {scaling.name}
    for layer in model.layers[2:]:
        sources = layer.inbound_nodes[0].inbound_layers
        names = {source.name for source in (sources if isinstance(sources, list) else [sources])}
        if not names & scaled:
            continue
        inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
        if isinstance(inner, WITH_KERNEL):
            reached.add(layer.name)
        elif names <= scaled and isinstance(inner, SCALE_PASSES):
            scaled.add(layer.name)
        else:
            return model
    config = model.get_config()
    for layer in config["layers"]:
        if layer["name"] == scaling.name:
            layer["config"]["scale"] = 1.0
    folded = keras.Model.from_config(config)
    for layer in folded.layers:
        weights = model.get_layer(layer.name).get_weights()
        if layer.name in reached:
            weights[0] = weights[0] * np.float32(scaling.scale)
        layer.set_weights(weights)
    return folded


@dataclass(frozen=True)
class StatefulParts:
    """A ConvLSTM model cut for a stream; N frames of [H, W, 3] a clip.

    body: per frame, in order: a Cell, or a function on frames [n, h, w, channels]. top: the layers that make
    scores of all frames' features [n, N, *feature_shape]. state_shapes: [1, h, w, F] of h, and of c alike, by
    cell.
    """

    body: Sequence[Any]
    top: Sequence[Any]
    clip_shape: tuple[int, int, int, int]
    feature_shape: tuple[int, ...]
    state_shapes: Sequence[tuple[int, ...]]

    @property
    def cells(self) -> list[Cell]:
        """The body's cells, in order."""
        return [part for part in self.body if isinstance(part, Cell)]

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Shapes by role: `state_0` is the first cell's h, `state_1` its c, and so on."""
        return {
            f"state_{i}": shape for i, shape in enumerate(s for s in self.state_shapes for _ in ("h", "c"))
        }


def stateful_parts(
    model: Any, clip_shape: tuple[int, int, int, int], weights_of: WeightsOf = stored_weights
) -> StatefulParts:
    """Cut a ConvLSTM model; raises ConversionError for a layer that cannot be converted.

    weights_of: what the cells are made of.
    """
    chain = _chain(model)
    cut = _end_of_frames(chain)
    last = chain[cut - 1]
    last_only = isinstance(last, L.ConvLSTM2D) and not last.return_sequences
    body = _body(chain[:cut], weights_of)
    feature_shape = tuple(int(n) for n in last.output_shape[1 if last_only else 2 :])
    top = [LastFrame(), *chain[cut:]] if last_only else chain[cut:]
    return StatefulParts(body, top, clip_shape, feature_shape, _state_shapes(body, clip_shape[1:]))


class LastFrame(L.Layer):
    """What a layer without return_sequences leaves of all frames' features: [n, N, ...] -> [n, ...]."""

    def call(self, features: Any) -> Any:
        """The last frame's."""
        return features[:, -1]


def _stateful(model: Any, clip_shape: tuple[int, int, int, int]) -> FloatGraphs:
    parts = stateful_parts(model, clip_shape)
    body, top, feature_shape = parts.body, parts.top, parts.feature_shape
    cells, shapes, states = parts.cells, parts.state_shapes, parts.states
    frames, *frame_shape = clip_shape

    def step(frames: Any, **states: Any) -> Tensors:
        x = tf.reshape(frames, (1, *frame_shape))
        new: Tensors = {}
        for part in body:
            if isinstance(part, Cell):
                at = 2 * cells.index(part)
                x, c = part.step(part.project(x), states[f"state_{at}"], states[f"state_{at + 1}"])
                new |= {f"state_{at}": x, f"state_{at + 1}": c}
            else:
                x = part(x)
        return {"feature": tf.reshape(x, (1, -1)), **new}

    def head(features: Any) -> Tensors:
        x = tf.reshape(features, (1, frames, *feature_shape))
        for layer in top:
            x = layer(x, training=False)
        return {"scores": x}

    def clip(clip: Any) -> Tensors:
        x = tf.reshape(clip, (frames, *frame_shape))
        for part in body:
            x = _unroll(part, x, shapes[cells.index(part)]) if isinstance(part, Cell) else part(x)
        return head(x)

    return FloatGraphs(
        clip=FloatGraph("clip", {"clip": (1, *clip_shape)}, clip, (model,)),
        step=FloatGraph("step", {"frames": (1, 1, *frame_shape), **states}, step, (model,)),
        head=FloatGraph("head", {"features": (1, frames, int(np.prod(feature_shape)))}, head, (model,)),
        frames_per_step=1,
        has_cells=True,
    )


def _unrolled(model: Any, clip_shape: tuple[int, int, int, int]) -> FloatGraphs:
    """A ConvLSTM that cannot be stepped, since something between its layers mixes frames.

    Its graph computes the whole clip at once.
    """
    chain = _chain(model)
    cells = {layer.name: cell_of(layer) for layer in chain if isinstance(layer, L.ConvLSTM2D)}

    def clip(clip: Any) -> Tensors:
        x = clip
        for layer in chain:
            if layer.name in cells:
                height, width, filters = layer.output_shape[-3:]
                seen = _unroll(cells[layer.name], x[0], (1, height, width, filters))[tf.newaxis]
                x = seen if layer.return_sequences else seen[:, -1]
            else:
                x = layer(x, training=False)
        return {"scores": x}

    return FloatGraphs(FloatGraph("clip", {"clip": (1, *clip_shape)}, clip, (model,)), has_cells=True)


def _end_of_frames(chain: Sequence[Any]) -> int:
    """The index at which the layers that give one feature per frame end.

    It is after the last ConvLSTM2D and what is per frame after it.
    """
    cut = 1 + max(i for i, layer in enumerate(chain) if isinstance(layer, L.ConvLSTM2D))
    if chain[cut - 1].return_sequences:
        while cut < len(chain) and isinstance(chain[cut], L.TimeDistributed):
            cut += 1
    if cut == len(chain):
        raise ConversionError(
            f"layer {chain[-1].name!r} is the last: expected layers that give scores after it"
        )
    return cut


def _unroll(cell: Cell, frames: Any, state_shape: tuple[int, ...]) -> Any:
    h, c = tf.zeros(state_shape), tf.zeros(state_shape)
    seen = []
    for projected in tf.split(cell.project(frames), frames.shape[0], axis=0):
        h, c = cell.step(projected, h, c)
        seen.append(h)
    return tf.concat(seen, axis=0)


def _state_shapes(body: Sequence[Any], frame_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    x, shapes = tf.zeros((1, *frame_shape)), []
    for part in body:
        if isinstance(part, Cell):
            x = part.project(x)[..., : part.filters]
            shapes.append(tuple(int(n) for n in x.shape))
        else:
            x = part(x)
    return shapes


def _chain(model: Any) -> list[Any]:
    """The layers of a model without branches, without dropout.

    Raises ConversionError where it has branches.
    """
    for before, layer in zip(model.layers, model.layers[1:], strict=False):
        if layer.input is not before.output:
            raise ConversionError(
                f"layer {layer.name!r} does not follow {before.name!r}: a ConvLSTM must be one chain"
            )
    inner = (layer.layer if isinstance(layer, L.TimeDistributed) else layer for layer in model.layers)
    return [
        layer
        for layer, kind in zip(model.layers, inner, strict=True)
        if not isinstance(kind, (L.InputLayer, L.Dropout))
    ]


def _body(layers: Sequence[Any], weights_of: WeightsOf) -> list[Any]:
    """The layers of a step.

    The scaling of pixels moves into the first cell's weights where it feeds that directly.
    """
    parts = [_per_frame(layer, weights_of) for layer in layers]
    first = parts[0]
    if not (isinstance(first, L.Rescaling) and len(parts) > 1 and isinstance(parts[1], Cell)):
        return parts
    if first.offset == 0 or parts[1].padding == "VALID":  # padding is zeros, which an offset would move
        return [parts[1].of_scaled(first.scale, first.offset), *parts[2:]]
    return parts


def _per_frame(layer: Any, weights_of: WeightsOf) -> Any:
    """What the layer does to frames [n, h, w, channels]: a Cell or a function."""
    if isinstance(layer, L.ConvLSTM2D):
        return cell_of(layer, weights_of)
    if isinstance(layer, L.TimeDistributed):
        return layer.layer
    if isinstance(layer, BY_FRAME):
        return layer
    raise ConversionError(
        f"layer {layer.name!r} ({type(layer).__name__}) between ConvLSTM2D layers cannot be converted"
    )
