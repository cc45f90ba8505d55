"""The Keras models: two published architectures and the variant that ships; each splits into a stream's
parts.

Every model takes uint8-valued RGB [batch, frames, size, size, 3] (any numeric dtype) and gives probabilities
[batch, classes]; the scaling of pixels is its first layer. Layers are plain Keras, without custom objects or
Lambdas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_har.errors import MisuseError
from train.models.families import CONVLSTM, FAMILIES, LRCN, MOTION
from train.tf import keras

L = keras.layers
UNIT = (0.0, 255.0)  # pixels as 0..1
FEATURES = "features"  # the layer whose output, one row per tick, the head reads
NORM_MOMENTUM = 0.9  # of the running means: training here is a few hundred steps, not tens of thousands


@dataclass(frozen=True)
class StreamParts:
    """A stateless stream: `encoder` [batch, frames_per_step, size, size, 3] -> [batch, width], `head`
    [batch, frames - frames_per_step + 1, width] -> [batch, classes]. Weights are shared with the whole model.
    """

    encoder: Any
    head: Any
    frames_per_step: int


def build_lrcn(frames: int = 20, size: int = 64, classes: int = 4, pixels: tuple[float, float] = UNIT) -> Any:
    """The published LRCN: four convolutions per frame, then an LSTM over the frames. 73,060 parameters by
    default.

    Raises MisuseError for sizes the architecture cannot take.
    """
    _check_sizes(LRCN, frames, size, classes)
    inputs = L.Input((frames, size, size, 3), name="clip")
    x = _scaling(pixels)(inputs)
    for number, (filters, pool) in enumerate(((16, 4), (32, 4), (64, 2), (64, 2)), 1):
        x = _per_frame(L.Conv2D(filters, 3, padding="same", activation="relu"), f"conv_{number}")(x)
        x = _per_frame(L.MaxPooling2D(pool), f"pool_{number}")(x)
        if number < 4:
            x = _per_frame(L.Dropout(0.25), f"drop_{number}")(x)
    x = _per_frame(L.Flatten(), FEATURES)(x)
    x = L.LSTM(32, activation="tanh", recurrent_activation="sigmoid", name="lstm")(x)
    outputs = L.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, outputs, name=LRCN)


def build_convlstm(
    frames: int = 20, size: int = 64, classes: int = 4, pixels: tuple[float, float] = UNIT
) -> Any:
    """The published ConvLSTM: four convolutional LSTMs, each followed by a 2x2 pool. 44,524 parameters by
    default.

    `hard_sigmoid` is what the publication's Keras took for the gates; it is written out because Keras 3
    differs. Raises MisuseError for sizes the architecture cannot take.
    """
    _check_sizes(CONVLSTM, frames, size, classes)
    inputs = L.Input((frames, size, size, 3), name="clip")
    x = _scaling(pixels)(inputs)
    for number, filters in enumerate((4, 8, 14, 16), 1):
        x = L.ConvLSTM2D(
            filters,
            3,
            activation="tanh",
            recurrent_activation="hard_sigmoid",
            recurrent_dropout=0.2,
            return_sequences=True,
            name=f"convlstm_{number}",
        )(x)
        x = _per_frame(L.MaxPooling2D(2, padding="same"), f"pool_{number}")(x)
        if number < 4:
            x = _per_frame(L.Dropout(0.2), f"drop_{number}")(x)
    x = L.Flatten(name="flatten")(x)
    outputs = L.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, outputs, name=CONVLSTM)


def build_motion(
    frames: int = 20, size: int = 64, classes: int = 4, pixels: tuple[float, float] = UNIT
) -> Any:
    """The variant that ships: differences of consecutive frames, convolutions with batch normalisation, and
    temporal convolutions pooled over the window.

    Raises MisuseError for sizes the architecture cannot take.
    """
    _check_sizes(MOTION, frames, size, classes)
    inputs = L.Input((frames, size, size, 3), name="clip")
    x = _scaling(pixels)(inputs)
    later = L.Cropping3D(((1, 0), (0, 0), (0, 0)), name="later")(x)
    earlier = L.Cropping3D(((0, 1), (0, 0), (0, 0)), name="earlier")(x)
    x = L.Subtract(name="difference")([later, earlier])
    for number, (filters, kernel, stride) in enumerate(((24, 5, 4), (48, 3, 2), (64, 3, 2)), 1):
        x = _per_frame(L.Conv2D(filters, kernel, strides=stride, padding="same"), f"conv_{number}")(x)
        x = _per_frame(L.BatchNormalization(momentum=NORM_MOMENTUM), f"conv_{number}_bn")(x)
        x = _per_frame(L.ReLU(), f"conv_{number}_relu")(x)
    x = _per_frame(L.Flatten(), "flatten")(x)
    x = _per_frame(L.Dropout(0.3), "drop_flat")(x)
    x = _per_frame(L.Dense(64), "embed")(x)
    x = _per_frame(L.BatchNormalization(momentum=NORM_MOMENTUM), "embed_bn")(x)
    x = _per_frame(L.ReLU(), FEATURES)(x)
    for number in (1, 2):
        x = L.Conv1D(64, 5, padding="same", name=f"time_{number}")(x)
        x = L.BatchNormalization(momentum=NORM_MOMENTUM, name=f"time_{number}_bn")(x)
        x = L.ReLU(name=f"time_{number}_relu")(x)
    average, largest = L.GlobalAveragePooling1D(name="average")(x), L.GlobalMaxPooling1D(name="largest")(x)
    x = L.Concatenate(name="pool_time")([average, largest])
    x = L.Dropout(0.3, name="drop_scores")(x)
    outputs = L.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, outputs, name=MOTION)


BUILDERS: dict[str, Callable[[int, int, int, tuple[float, float]], Any]] = {
    LRCN: build_lrcn,
    CONVLSTM: build_convlstm,
    MOTION: build_motion,
}


def build(kind: str, frames: int, size: int, classes: int, pixels: tuple[float, float] = UNIT) -> Any:
    """The model named `kind`; raises MisuseError for an unknown one.

    pixels: mean and standard deviation, 0 to 255, that its first layer takes to 0 and 1.
    """
    if kind not in BUILDERS:
        raise MisuseError(f"model must be one of {', '.join(BUILDERS)}, got {kind!r}")
    return BUILDERS[kind](frames, size, classes, pixels)


def _scaling(pixels: tuple[float, float]) -> Any:
    mean, deviation = pixels
    return L.Rescaling(1 / deviation, -mean / deviation if mean else 0.0, name="scale")


def split_stream(model: Any) -> StreamParts:
    """Cut a stateless model (lrcn, motion; trained, pruned or folded) at its features into encoder and head.

    The encoder's layers are unwrapped from TimeDistributed, so its graph is plain 2-D. Raises MisuseError for
    a model without a layer named `features`.
    """
    names = [layer.name for layer in model.layers]
    if FEATURES not in names:
        raise MisuseError(f"model {model.name!r} has no layer named {FEATURES!r} to split at")
    cut = names.index(FEATURES) + 1
    frames, height, width, channels = model.input_shape[1:]
    steps, features = model.get_layer(FEATURES).output_shape[1:]
    frames_per_step = frames - steps + 1
    step_input = L.Input((frames_per_step, height, width, channels), name="frames")
    encoder = keras.Model(
        step_input, _replay(model.layers[1:cut], model.layers[0], step_input), name="encoder"
    )
    head_input = L.Input((steps, features), name="features")
    head = keras.Model(
        head_input, _replay(model.layers[cut:], model.layers[cut - 1], head_input), name="head"
    )
    return StreamParts(encoder, head, frames_per_step)


def fold_batch_norm(model: Any) -> Any:
    """A copy of `model` that computes the same at inference, each batch normalisation folded into the
    convolution before it (`NAME_bn` after `NAME`) and dropped.
    """
    tensors = {model.layers[0].name: L.Input(model.input_shape[1:], name=model.layers[0].name)}
    inputs = tensors[model.layers[0].name]
    weights: dict[str, list[Any]] = {}
    for layer in model.layers[1:]:
        sources = [tensors[name] for name in _inbound(layer)]
        if layer.name.endswith("_bn"):
            weights[layer.name[: -len("_bn")]] = _folded(model.get_layer(layer.name[: -len("_bn")]), layer)
            tensors[layer.name] = sources[0]
            continue
        copy = layer.__class__.from_config(layer.get_config())
        tensors[layer.name] = copy(sources[0] if len(sources) == 1 else sources)
        weights[layer.name] = layer.get_weights()
    folded = keras.Model(inputs, tensors[model.layers[-1].name], name=model.name)
    for layer in folded.layers:
        layer.set_weights(weights.get(layer.name, []))
    return folded


def _folded(conv: Any, norm: Any) -> list[Any]:
    kernel, bias = conv.get_weights()
    gamma, beta, mean, variance = norm.get_weights()
    inner = norm.layer if isinstance(norm, L.TimeDistributed) else norm
    factor = gamma / (variance + inner.epsilon) ** 0.5
    return [kernel * factor, (bias - mean) * factor + beta]


def _replay(layers: Sequence[Any], start: Any, tensor: Any) -> Any:
    """Apply `layers` (in graph order, their weights shared) to `tensor`, in place of the output of `start`.

    Layers per frame are unwrapped: the single time step is reshaped away before the first of them.
    """
    tensors = {start.name: tensor}
    for layer in layers:
        sources = [tensors[name] for name in _inbound(layer)]
        if isinstance(layer, L.TimeDistributed):
            if len(sources[0].shape) == 5:
                sources = [L.Reshape(tuple(sources[0].shape[2:]), name="one_step")(sources[0])]
            layer.layer._name = layer.name  # the inner layer's own name ("conv2d_7") says nothing in a graph
            tensors[layer.name] = layer.layer(sources[0])
        else:
            tensors[layer.name] = layer(sources[0] if len(sources) == 1 else sources)
    return tensors[layers[-1].name]


def _inbound(layer: Any) -> list[str]:
    """Names of the layers whose outputs feed `layer` in the model it was built in (its first use)."""
    sources = layer.inbound_nodes[0].inbound_layers
    return [source.name for source in (sources if isinstance(sources, list) else [sources])]


def _per_frame(layer: Any, name: str) -> Any:
    return L.TimeDistributed(layer, name=name)


def _check_sizes(kind: str, frames: int, size: int, classes: int) -> None:
    smallest_px = FAMILIES[kind].smallest_px
    if size < smallest_px:
        raise MisuseError(f"{kind} needs frames of {smallest_px} pixels a side or more, got {size}")
    if frames < 2:
        raise MisuseError(f"a model needs 2 frames or more, got {frames}")
    if classes < 2:
        raise MisuseError(f"a model needs 2 labels or more, got {classes}")
