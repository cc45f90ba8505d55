"""The Keras models: two published architectures and the variant that ships; each splits into a stream's
parts.

Every model takes uint8-valued RGB [batch, frames, size, size, 3] (any numeric dtype) and gives probabilities
[batch, classes]; the scaling of pixels is its first layer. Layers are plain Keras, without custom objects or
Lambdas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_har.errors import MisuseError
from train.models.encoders import PRETRAINED_PIXELS, build_encoder
from train.models.families import (
    BOTH,
    CONVLSTM,
    CONVOLUTION,
    DIFFERENCE,
    FAMILIES,
    GREY3,
    GRU,
    LRCN,
    LSTM,
    MOTION,
    RGB,
    STATISTICS,
    Design,
)
from train.tf import keras

L = keras.layers
UNIT = (0.0, 255.0)  # pixels as 0..1
FEATURES = "features"  # the layer whose output, one row per tick, the head reads
APPEARANCE = "appearance"  # of an encoder beside a motion branch: what is joined to that branch's features
STATISTICS_FLAT = "statistics"  # of a head: all of a window's statistics
STATISTICS_NORM = "scores_norm"  # of the statistics, before the layer that makes scores of them
MOTION_SMALL = "motion_small"  # of a motion branch: differences of frames, made MOTION_PX a side
MOTION_PX = 32
MOTION_FEATURES = 64
PUBLISHED_DESIGN = Design()
STATISTICS_DECAY = 0.06  # of the weights of scores: there are thousands of statistics, and few clips
STATISTICS_VARIANCE = 0.001  # added to each statistic's: what hardly varies is mostly rounding
NORM_MOMENTUM = 0.9  # of the running means: training here is a few hundred steps, not tens of thousands


@dataclass(frozen=True)
class StreamParts:
    """A stateless stream: `encoder` [batch, frames_per_step, size, size, 3] -> [batch, width], `head`
    [batch, frames - frames_per_step + 1, width] -> [batch, classes]. Weights are shared with the whole model.
    """

    encoder: Any
    head: Any
    frames_per_step: int


def build_lrcn(
    frames: int = 20,
    size: int = 64,
    classes: int = 4,
    pixels: tuple[float, float] = UNIT,
    design: Design = PUBLISHED_DESIGN,
) -> Any:
    """An encoder per frame, then a head over the frames. By default the published LRCN: four convolutions and
    an LSTM, 73,060 parameters.

    A pretrained encoder has random weights until `encoders.load_weights` sets them, and its own scaling of
    pixels. Raises MisuseError for sizes the architecture cannot take.
    """
    _check_sizes(LRCN, frames, size, classes)
    design.check(LRCN, size)
    if frames <= design.frames_per_step:
        raise MisuseError(f"this design needs more than {design.frames_per_step} frames, got {frames}")
    inputs = L.Input((frames, size, size, 3), name="clip")
    x = _scaling(PRETRAINED_PIXELS if design.pretrained else pixels)(inputs)
    features = APPEARANCE if design.motion_branch else FEATURES
    seen = _encoded(x, size, design, features) if design.pretrained else _four(_seen(x, design), features)
    if design.motion_branch:
        seen = L.Concatenate(name=FEATURES)([seen, _motion_branch(x, size, design)])
    x = _HEADS[design.head](seen)
    # There are more statistics than clips: random first weights would stay in directions that no training
    # clip has, and speak for them on others.
    learnt = {"kernel_regularizer": keras.regularizers.L2(STATISTICS_DECAY), "kernel_initializer": "zeros"}
    of_head = learnt if design.head == STATISTICS else {}
    outputs = L.Dense(classes, activation="softmax", name="scores", **of_head)(x)
    return keras.Model(inputs, outputs, name=LRCN)


def _four(x: Any, name: str) -> Any:
    """The published encoder."""
    for number, (filters, pool) in enumerate(((16, 4), (32, 4), (64, 2), (64, 2)), 1):
        x = _per_frame(L.Conv2D(filters, 3, padding="same", activation="relu"), f"conv_{number}")(x)
        x = _per_frame(L.MaxPooling2D(pool), f"pool_{number}")(x)
        if number < 4:
            x = _per_frame(L.Dropout(0.25), f"drop_{number}")(x)
    return _per_frame(L.Flatten(), name)(x)


def _encoded(x: Any, size: int, design: Design, name: str) -> Any:
    """Features of a pretrained encoder: [batch, ticks, width] of scaled frames."""
    if design.inputs != BOTH:
        return build_encoder(design.encoder, size, _seen(x, design), design.inputs, name)
    each = [replace(design, inputs=inputs) for inputs in (RGB, DIFFERENCE)]
    back = design.frames_per_step - 1
    made = [build_encoder(one.encoder, size, _seen(x, one, back), one.inputs, one.inputs) for one in each]
    return L.Concatenate(name=name)(made)


def _seen(x: Any, design: Design, back: int | None = None) -> Any:
    """What the encoder sees in each tick: [batch, ticks, size, size, channels] of scaled frames. back: how
    many frames before a tick are in the clip.
    """
    back = design.frames_per_step - 1 if back is None else back
    if design.inputs == GREY3:
        grey = [_frames(x, back - age, age, f"grey_{age}") for age in (2, 1, 0)]
        return L.Concatenate(name="grey")(grey)  # made grey by the kernel of the first convolution
    if design.inputs == DIFFERENCE:
        return _difference(x, back, "change")
    return _frames(x, back, 0, "newest") if back else x


def _frames(x: Any, first: int, last: int, name: str) -> Any:
    return L.Cropping3D(((first, last), (0, 0), (0, 0)), name=name)(x)


def _difference(x: Any, back: int, name: str) -> Any:
    """Of each tick's frame and the one before it. back: how many frames before a tick are in the clip."""
    later, earlier = _frames(x, back, 0, f"{name}_later"), _frames(x, back - 1, 1, f"{name}_earlier")
    return L.Subtract(name=f"{name}_difference")([later, earlier])


def _motion_branch(x: Any, size: int, design: Design) -> Any:
    """Features of the difference of two frames, made small: [batch, ticks, MOTION_FEATURES]."""
    x = _difference(x, design.frames_per_step - 1, "motion")
    x = _per_frame(L.AveragePooling2D(max(1, size // MOTION_PX)), MOTION_SMALL)(x)
    for number, (filters, kernel) in enumerate(((16, 5), (32, 3), (48, 3)), 1):
        name = f"motion_{number}"
        x = _per_frame(L.Conv2D(filters, kernel, strides=2, padding="same"), name)(x)
        x = _per_frame(L.BatchNormalization(momentum=NORM_MOMENTUM), f"{name}_bn")(x)
        x = _per_frame(L.ReLU(), f"{name}_relu")(x)
    x = _per_frame(L.Flatten(), "motion_flatten")(x)
    x = _per_frame(L.Dropout(0.3), "motion_drop")(x)
    x = _per_frame(L.Dense(MOTION_FEATURES), "motion_embed")(x)
    x = _per_frame(L.BatchNormalization(momentum=NORM_MOMENTUM), "motion_embed_bn")(x)
    return _per_frame(L.ReLU(), "motion_features")(x)


def _lstm(x: Any) -> Any:
    return L.LSTM(32, activation="tanh", recurrent_activation="sigmoid", name="lstm")(x)


def _gru(x: Any) -> Any:
    # Unrolled: TFLite has no operator for it, and integers need every step's ranges. A product for each gate
    # (implementation 1): where one is split, the converter leaves the split in float for half of all weights.
    return L.GRU(32, unroll=True, implementation=1, name="gru")(x)


def _convolution(x: Any) -> Any:
    return _convolutions_over_time(L.Dropout(0.3, name="drop_features")(x))


def _convolutions_over_time(x: Any) -> Any:
    """Two convolutions over time, their mean and largest value."""
    for number in (1, 2):
        x = L.Conv1D(64, 5, padding="same", name=f"time_{number}")(x)
        x = L.BatchNormalization(momentum=NORM_MOMENTUM, name=f"time_{number}_bn")(x)
        x = L.ReLU(name=f"time_{number}_relu")(x)
    average, largest = L.GlobalAveragePooling1D(name="average")(x), L.GlobalMaxPooling1D(name="largest")(x)
    x = L.Concatenate(name="pool_time")([average, largest])
    return L.Dropout(0.3, name="drop_scores")(x)


def _statistics(x: Any) -> Any:
    """Three means over time: of what is seen; of what lies above that mean, half the mean absolute deviation;
    and of rises from tick to tick, about half the mean absolute change, which tells quick from slow. None of
    them squares or takes roots, so they keep their precision in integers.
    """
    steps = int(x.shape[1])
    mean = L.AveragePooling1D(steps, name="mean")(x)
    above = L.ReLU(name="above")(L.Subtract(name="deviation")([x, mean]))
    spread = L.AveragePooling1D(steps, name="spread")(above)
    later, earlier = L.Cropping1D((1, 0), name="later_tick")(x), L.Cropping1D((0, 1), name="earlier_tick")(x)
    rises = L.ReLU(name="rises")(L.Subtract(name="tick_change")([later, earlier]))
    change = L.AveragePooling1D(steps - 1, name="change")(rises)
    x = L.Flatten(name=STATISTICS_FLAT)(L.Concatenate(name="mean_spread_change")([mean, spread, change]))
    x = L.BatchNormalization(
        momentum=NORM_MOMENTUM, epsilon=STATISTICS_VARIANCE, center=False, scale=False, name=STATISTICS_NORM
    )(x)
    return L.Dropout(0.5, name="drop_scores")(x)


_HEADS: dict[str, Callable[[Any], Any]] = {
    LSTM: _lstm,
    GRU: _gru,
    CONVOLUTION: _convolution,
    STATISTICS: _statistics,
}


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
    x = _convolutions_over_time(_per_frame(L.ReLU(), FEATURES)(x))
    outputs = L.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, outputs, name=MOTION)


BUILDERS: dict[str, Callable[..., Any]] = {
    LRCN: build_lrcn,
    CONVLSTM: build_convlstm,
    MOTION: build_motion,
}


def build(
    kind: str,
    frames: int,
    size: int,
    classes: int,
    pixels: tuple[float, float] = UNIT,
    design: Design = PUBLISHED_DESIGN,
) -> Any:
    """The model named `kind`; raises MisuseError for an unknown one, or a design that it cannot have.

    pixels: mean and standard deviation, 0 to 255, that its first layer takes to 0 and 1. design: of an LRCN.
    """
    if kind not in BUILDERS:
        raise MisuseError(f"model must be one of {', '.join(BUILDERS)}, got {kind!r}")
    design.check(kind, size)
    made_of = {"design": design} if kind == LRCN else {}
    return BUILDERS[kind](frames, size, classes, pixels, **made_of)


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
        step_input, _replay(model.layers[1:cut], {model.layers[0].name: step_input}), name="encoder"
    )
    head_input = L.Input((steps, features), name="features")
    head = keras.Model(head_input, _replay(model.layers[cut:], {FEATURES: head_input}), name="head")
    return StreamParts(encoder, head, frames_per_step)


def fold_batch_norm(model: Any) -> Any:
    """A copy of `model` that computes the same at inference, each batch normalisation folded into the
    convolution before it (`NAME_bn` after `NAME`), or into the dense layer behind it (`NAME_norm` before
    `NAME`), and dropped.
    """
    tensors = {model.layers[0].name: L.Input(model.input_shape[1:], name=model.layers[0].name)}
    inputs = tensors[model.layers[0].name]
    weights: dict[str, list[Any]] = {}
    for layer in model.layers[1:]:
        sources = [tensors[name] for name in _inbound(layer)]
        if layer.name.endswith(("_bn", "_norm")):
            tensors[layer.name] = sources[0]
            if layer.name.endswith("_bn"):
                name = layer.name[: -len("_bn")]
                weights[name] = _folded(model.get_layer(name), layer)
            continue
        copy = layer.__class__.from_config(layer.get_config())
        tensors[layer.name] = copy(sources[0] if len(sources) == 1 else sources)
        weights[layer.name] = layer.get_weights()
        if f"{layer.name}_norm" in tensors:
            weights[layer.name] = _folded_before(layer, model.get_layer(f"{layer.name}_norm"))
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


def appearance_of(model: Any, design: Design) -> Any:
    """What the encoder alone makes of a tick: [batch, frames_per_step, size, size, 3] -> [batch, width].

    Weights are shared with `model`, an LRCN of this design.
    """
    last = APPEARANCE if design.motion_branch else FEATURES
    step_input = L.Input((design.frames_per_step, *model.input_shape[2:]), name="frames")
    made = _replay(model.layers[1:], {model.layers[0].name: step_input}, last)
    return keras.Model(step_input, made, name="appearance")


def behind_encoder(model: Any, design: Design, last: str | None = None) -> Any:
    """The rest of an LRCN, which can be trained by itself: features of the encoder [batch, steps, width],
    and with a motion branch scaled differences [batch, steps, MOTION_PX, MOTION_PX, 3], -> probabilities.

    last: the name of the layer that it ends with, where not the model's. Weights are shared with `model`.
    """
    names = [APPEARANCE, MOTION_SMALL] if design.motion_branch else [FEATURES]
    inputs = {
        name: L.Input(model.get_layer(name).get_output_shape_at(0)[1:], name=f"{name}_in") for name in names
    }
    made = _replay(model.layers, inputs, last or model.layers[-1].name, unwrapped=False)
    return keras.Model(list(inputs.values()), made, name="behind_encoder")


def _folded_before(dense: Any, norm: Any) -> list[Any]:
    kernel, bias = dense.get_weights()
    mean, variance = norm.get_weights()
    kernel = kernel / ((variance + norm.epsilon) ** 0.5)[:, None]
    return [kernel, bias - mean @ kernel]


def _replay(
    layers: Sequence[Any], starts: Mapping[str, Any], last: str | None = None, *, unwrapped: bool = True
) -> Any:
    """Apply `layers` (in graph order, their weights shared) to tensors that stand for the outputs of layers.

    starts: those tensors by the layer's name; what does not come from them is passed over. last: the layer
    whose output is meant; default the last. unwrapped: layers per frame are taken out of TimeDistributed: the
    single time step is reshaped away before the first of them.
    """
    tensors = dict(starts)
    one_step: dict[str, Any] = {}
    last = last or layers[-1].name
    for layer in layers:
        if last in tensors:
            break
        if layer.name in starts or isinstance(layer, L.InputLayer):
            continue
        names = _inbound(layer)
        if not tensors.keys() >= set(names):
            continue
        sources = [tensors[name] for name in names]
        if unwrapped and isinstance(layer, L.TimeDistributed):
            if len(sources[0].shape) == 5:
                if names[0] not in one_step:
                    again = L.Reshape(tuple(sources[0].shape[2:]), name=f"{names[0]}_one_step")
                    one_step[names[0]] = again(sources[0])
                sources = [one_step[names[0]]]
            layer.layer._name = layer.name  # the inner layer's own name ("conv2d_7") says nothing in a graph
            tensors[layer.name] = layer.layer(sources[0])
        else:
            tensors[layer.name] = layer(sources[0] if len(sources) == 1 else sources)
    return tensors[last]


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
