"""Somebody else's model rewritten as ours: uint8-valued RGB in, cut where it streams, operators that TFLite
has.

The result computes what the file's model computes on pixels that were scaled and ordered as its own training
did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.graphs.float_graphs import check_input, has_convlstm, keeps_frames
from convert.inputs.keras_file import settle
from edge_har.errors import ConversionError, MisuseError
from train.models.architectures import FEATURES
from train.models.families import CONVLSTM, LRCN
from train.tf import keras

L: Any = keras.layers
Floats = NDArray[np.float32]

WHOLE_CLIP = "clip"  # the kind of a model that cannot be cut for a stream
# Of pixels p: factor, offset; the model was trained on p x factor + offset.
INPUT_RANGES = {"0..1": (1 / 255, 0.0), "0..255": (1.0, 0.0), "-1..1": (1 / 127.5, -1.0)}
COLORS = ("rgb", "bgr")
INPUT_CHANNELS = (3, 1)
GREY_OF_RGB = (0.299, 0.587, 0.114)  # as OpenCV and ITU-R BT.601; the sum is 1, so an offset passes through
SAME_LIMIT = 1e-4  # of a probability, between the file's model and ours
SUM_LIMIT = 1e-3
CHECKED_CLIPS = 2

# Nothing at inference.
IDENTITIES = (
    L.ActivityRegularization,
    L.AlphaDropout,
    L.Dropout,
    L.GaussianDropout,
    L.GaussianNoise,
    L.RandomBrightness,
    L.RandomContrast,
    L.RandomFlip,
    L.RandomRotation,
    L.RandomTranslation,
    L.RandomZoom,
    L.SpatialDropout1D,
    L.SpatialDropout2D,
    L.SpatialDropout3D,
)
# One frame's result from one frame, whether or not it is inside a TimeDistributed.
PER_FRAME = (
    L.Activation,
    L.BatchNormalization,
    L.Conv2D,
    L.Dense,
    L.DepthwiseConv2D,
    L.ELU,
    L.LayerNormalization,
    L.LeakyReLU,
    L.Normalization,
    L.ReLU,
    L.SeparableConv2D,
    L.Softmax,
)
MERGES = (L.Add, L.Average, L.Concatenate, L.Maximum, L.Minimum, L.Multiply, L.Subtract)
# Every channel for itself, so that colours may be ordered after them as well as before.
CHANNEL_BY_CHANNEL = (L.Activation, L.AveragePooling2D, L.MaxPooling2D, L.ReLU, L.ZeroPadding2D)
CLIP_POOLS = {L.MaxPooling3D: L.MaxPooling2D, L.AveragePooling3D: L.AveragePooling2D}
GLOBAL_POOLS: dict[Any, tuple[Any, Any]] = {
    L.GlobalAveragePooling3D: (L.GlobalAveragePooling2D, L.GlobalAveragePooling1D),
    L.GlobalMaxPooling3D: (L.GlobalMaxPooling2D, L.GlobalMaxPooling1D),
}
RECURRENT = (L.LSTM, L.GRU, L.SimpleRNN)
TAKES_CHANNELS = (L.Conv2D, L.Conv3D, L.ConvLSTM2D)


@dataclass(frozen=True)
class PixelsAs:
    """How the file's model wants its pixels. input_range: one of INPUT_RANGES. color: one of COLORS; of no
    matter to a model of one channel, which gets grey. Raises MisuseError.
    """

    input_range: str
    color: str = "rgb"

    def __post_init__(self) -> None:
        if self.input_range not in INPUT_RANGES:
            raise MisuseError(
                f"input range must be one of {', '.join(INPUT_RANGES)}, got {self.input_range!r}"
            )
        if self.color not in COLORS:
            raise MisuseError(f"color must be one of {', '.join(COLORS)}, got {self.color!r}")

    def mixing(self, channels: int) -> Floats:
        """What each of the model's channels takes of red, green and blue: float32 [3, channels]."""
        if channels == 1:
            return np.array(GREY_OF_RGB, np.float32)[:, np.newaxis]
        order = np.eye(3, dtype=np.float32)
        return order[::-1] if self.color == "bgr" else order

    def applied(self, pixels: NDArray[Any], channels: int) -> Floats:
        """What the file's model is fed for uint8 RGB [..., 3]: float32 [..., channels]."""
        factor, offset = INPUT_RANGES[self.input_range]
        return np.asarray((pixels.astype(np.float32) @ self.mixing(channels)) * factor + offset, np.float32)


@dataclass(frozen=True)
class Canonical:
    """model: uint8-valued RGB [batch, N, H, W, 3] -> probabilities. kind: LRCN, CONVLSTM or WHOLE_CLIP."""

    model: Any
    kind: str


def canonical(model: Any, pixels: PixelsAs) -> Canonical:
    """Rewrite a model that was read by convert.inputs.keras_file, and check that nothing changed.

    Raises ConversionError for an input or output that no bundle can have, or where the rewriting is not
    exact.
    """
    shape = check_input(model, INPUT_CHANNELS)
    try:
        made = _Rewriting(model, pixels, folded=True).run()
    except _NotFoldable:
        made = _Rewriting(model, pixels, folded=False).run()
    _check_same(model, made.model, pixels, shape)
    return made


def _check_same(model: Any, made: Any, pixels: PixelsAs, shape: tuple[int, int, int, int]) -> None:
    frames, height, width, channels = shape
    random = np.random.default_rng(0)
    for _ in range(CHECKED_CLIPS):
        clip = random.integers(0, 256, (1, frames, height, width, 3), np.uint8)
        expected = model(pixels.applied(clip, channels), training=False).numpy()
        if (expected < -SUM_LIMIT).any() or np.abs(expected.sum(axis=1) - 1).max() > SUM_LIMIT:
            raise ConversionError(
                "the model's outputs are not probabilities that sum to 1: expected a softmax at its end"
            )
        apart = float(np.abs(made(clip.astype(np.float32), training=False).numpy() - expected).max())
        if not apart <= SAME_LIMIT:
            raise ConversionError(
                f"the model rewritten differs from the file's by {apart:.2g}, more than {SAME_LIMIT:g}"
            )


class _NotFoldable(Exception):
    """Colours cannot move into the first kernels: a fixed convolution has to order them."""


class _Rewriting:
    """One pass over a model's layers that builds ours beside it.

    folded: colours and grey move into the first kernels (or _NotFoldable is raised); else a fixed 1x1
    convolution. Of the new tensors are kept: `_per_frame`, those computed frame by frame, and `_raw`, those
    whose channels are still the input's, in red, green, blue.
    """

    def __init__(self, model: Any, pixels: PixelsAs, *, folded: bool) -> None:
        self._model, self._pixels = model, pixels
        self._frames, *self._frame = check_input(model, INPUT_CHANNELS)
        self._mixing = pixels.mixing(self._frame[2])
        self._folded = folded and not np.array_equal(self._mixing, np.eye(3))
        self._weights: dict[str, list[Any]] = {}
        self._layers: dict[str, Any] = {}
        self._names: Counter[str] = Counter()
        self._per_frame: dict[int, Any] = {}
        self._raw: set[int] = set()
        self._called_by_name = False
        self._taken: list[Any] = []  # per-frame tensors that something over time reads

    def run(self) -> Canonical:
        clip = L.Input((self._frames, *self._frame[:2], 3), name="clip")
        inside, layers = _opened(self._model)
        factor, offset = INPUT_RANGES[self._pixels.input_range]
        while layers and isinstance(layers[0], L.Rescaling) and _is_number(layers[0].scale, layers[0].offset):
            own = layers.pop(0)
            factor, offset = factor * own.scale, offset * own.scale + own.offset
            inside = own.output
        x = clip
        self._per_frame[id(x)] = x
        if (factor, offset) != (1.0, 0.0):
            x = self._add(L.Rescaling(factor, offset), [x], [], over_time=False)
        if not self._folded and not np.array_equal(self._mixing, np.eye(3)):
            mix = L.TimeDistributed(L.Conv2D(self._frame[2], 1, use_bias=False))
            x = self._add(mix, [x], [self._mixing[np.newaxis, np.newaxis]], over_time=False)
        if self._folded:
            self._raw.add(id(x))
        tensors = {id(inside): x}
        scores = self._replayed(layers, tensors, self._model.outputs[0])
        return self._finished(clip, scores)

    def _replayed(self, layers: Sequence[Any], tensors: dict[int, Any], output: Any) -> Any:
        for layer in layers:
            for node in layer.inbound_nodes:
                given = node.keras_inputs
                if all(id(tensor) in tensors for tensor in given):
                    break
            else:
                raise ConversionError(f"layer {layer.name!r} is not fed by the model's input")
            sources = [tensors[id(tensor)] for tensor in given]
            if isinstance(layer, keras.Model):
                inside, inner = _opened(layer)
                made = self._replayed(inner, {id(inside): sources[0]}, layer.outputs[0])
            else:
                made = self._rewritten(layer, sources, node)
            tensors[id(node.outputs)] = made
        return tensors[id(output)]

    def _rewritten(self, layer: Any, sources: list[Any], node: Any) -> Any:
        x = sources[0]
        inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
        if isinstance(inner, IDENTITIES) or (isinstance(inner, L.Activation) and _is_linear(inner)):
            return x
        if isinstance(layer, L.Bidirectional) and not isinstance(layer.forward_layer, RECURRENT):
            raise ConversionError(
                f"layer {layer.name!r} is a Bidirectional {type(layer.forward_layer).__name__}; only LSTM, "
                "GRU and "
                "SimpleRNN can be converted so"
            )
        if isinstance(layer, L.TimeDistributed) and isinstance(inner, keras.Sequential):
            for part in inner.layers:
                x = self._rewritten(L.TimeDistributed(part), [x], None)
            return x
        if isinstance(layer, L.TimeDistributed):
            return self._timed(inner, x)
        if isinstance(layer, tuple(CLIP_POOLS)):
            return self._pooled(layer, x)
        if self._is_per_frame(x) and len(x.shape) == 5:
            if isinstance(layer, L.Flatten):
                return self._copied(layer, [self._timed(L.Flatten(), x)], node=None)
            if type(layer) in GLOBAL_POOLS and not layer.keepdims:
                per_frame, over_time = GLOBAL_POOLS[type(layer)]
                return self._add(over_time(), [self._timed(per_frame(), x)], [])
            if isinstance(layer, L.Reshape) and layer.target_shape in (
                (self._frames, -1),
                (self._frames, int(np.prod(x.shape[2:]))),
            ):
                return self._timed(L.Flatten(), x)
        by_frame = self._is_per_frame(x) or len(x.shape) == 5
        if by_frame and isinstance(layer, PER_FRAME) and _on_channels(layer, len(x.shape)):
            return self._timed(layer, x)
        if (
            isinstance(layer, MERGES)
            and all(map(self._is_per_frame, sources))
            and _on_last(layer, len(x.shape))
        ):
            return self._copied(layer, sources, node=None, over_time=False)
        return self._copied(layer, sources, node)

    def _timed(self, inner: Any, x: Any) -> Any:
        """A layer applied to every frame; over features (rank 3, after a layer over time) as it is."""
        if not self._is_per_frame(x) and len(x.shape) == 3:
            if isinstance(inner, L.Flatten):
                return x
            if isinstance(inner, PER_FRAME):
                return self._add(_again(inner), [x], _weights(inner))
        if type(inner) in (L.Conv2D, L.Dense):
            return self._convolved(inner, x)
        timed = L.TimeDistributed(_again(inner))
        over_time = not self._is_per_frame(x)
        normed = self._producer(x) if isinstance(inner, L.BatchNormalization) else None
        if normed is not None and _folds_norm(self._layers[normed]):
            return self._add(timed, [x], _weights(inner), over_time=over_time, name=f"{normed}_bn")
        made = self._add(timed, [x], _weights(inner), over_time=over_time)
        if id(x) in self._raw:
            self._keep_raw(inner, made)
        return made

    def _convolved(self, inner: Any, x: Any) -> Any:
        """A convolution or dense layer per frame, with a bias that a normalisation can move into."""
        config = inner.get_config()
        weights = _weights(inner)
        if not config["use_bias"]:
            config["use_bias"] = True
            weights = [*weights, np.zeros(weights[0].shape[-1], np.float32)]
        again = type(inner).from_config(_for_inference(config))
        if id(x) in self._raw:
            weights = self._recoloured(inner, weights)
        return self._add(L.TimeDistributed(again), [x], weights, over_time=not self._is_per_frame(x))

    def _recoloured(self, layer: Any, weights: list[Any]) -> list[Any]:
        """The weights for red, green, blue instead of the file's channels."""
        if type(layer) not in TAKES_CHANNELS or getattr(layer, "groups", 1) != 1:
            raise _NotFoldable
        return [np.einsum("rc,...cf->...rf", self._mixing, weights[0]), *weights[1:]]

    def _keep_raw(self, inner: Any, made: Any) -> None:
        linear = isinstance(inner, (L.AveragePooling2D, L.ZeroPadding2D))
        if not isinstance(inner, CHANNEL_BY_CHANNEL) or (self._frame[2] == 1 and not linear):
            raise _NotFoldable
        self._raw.add(id(made))

    def _pooled(self, layer: Any, x: Any) -> Any:
        """A 3-D pool, which TFLite lacks, as a 2-D pool per frame and one over time.

        That is exact, as both separate.
        """
        pool = CLIP_POOLS[type(layer)]
        (time, *size), (time_stride, *stride) = layer.pool_size, layer.strides
        if tuple(size) != (1, 1) or tuple(stride) != (1, 1):
            x = self._timed(pool(tuple(size), tuple(stride), layer.padding), x)
        if (time, time_stride) == (1, 1):
            return x
        if id(x) in self._raw:
            raise _NotFoldable
        frames, height, width, channels = (int(n) for n in x.shape[1:])
        x = self._add(L.Reshape((frames, height * width, channels)), [x], [])
        x = self._add(pool((time, 1), (time_stride, 1), layer.padding), [x], [])
        return self._add(L.Reshape((-1, height, width, channels)), [x], [])

    def _copied(self, layer: Any, sources: list[Any], node: Any, *, over_time: bool = True) -> Any:
        weights = _weights(layer)
        if any(id(x) in self._raw for x in sources):
            weights = self._recoloured(layer, weights)
        named = {} if node is None else {k: v for k, v in node.call_kwargs.items() if k != "training"}
        if named or (node is not None and len(node.call_args) > 1):
            return self._called(layer, sources, node)
        return self._add(_again(layer), sources, weights, over_time=over_time)

    def _called(self, layer: Any, sources: list[Any], node: Any) -> Any:
        """A layer that is given tensors by name, such as attention: called as the file calls it."""
        replaced = {id(old): new for old, new in zip(node.keras_inputs, sources, strict=True)}

        def ours(value: Any) -> Any:
            return replaced.get(id(value), value)

        args = [[ours(v) for v in a] if isinstance(a, (list, tuple)) else ours(a) for a in node.call_args]
        named = {key: ours(value) for key, value in node.call_kwargs.items() if key != "training"}
        self._called_by_name = True
        again = _again(layer, self._new_name(type(layer).__name__))
        self._weights[again.name] = _weights(layer)
        self._taken += [x for x in sources if self._is_per_frame(x)]
        return again(*args, **named)

    def _add(
        self,
        layer: Any,
        sources: list[Any],
        weights: list[Any],
        *,
        over_time: bool = True,
        name: str | None = None,
    ) -> Any:
        inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
        layer._name = name or self._new_name(type(inner).__name__)
        made = layer(sources[0] if len(sources) == 1 else sources)
        self._weights[layer.name], self._layers[layer.name] = weights, layer
        if over_time:
            self._taken += [x for x in sources if self._is_per_frame(x)]
        else:
            self._per_frame[id(made)] = made
        return made

    def _new_name(self, kind: str) -> str:
        self._names[kind] += 1
        return f"{kind.lower()}_{self._names[kind]}"

    def _is_per_frame(self, x: Any) -> bool:
        return id(x) in self._per_frame

    def _producer(self, x: Any) -> str | None:
        layer = x.node.layer
        return layer.name if layer.name in self._layers else None

    def _finished(self, clip: Any, scores: Any) -> Canonical:
        cuts = {id(x): x for x in self._taken}
        cut = next(iter(cuts.values())) if len(cuts) == 1 else None
        streams = cut is not None and len(cut.shape) == 3 and not self._called_by_name
        if cut is not None and streams:
            layer = cut.node.layer
            self._weights[FEATURES] = self._weights.pop(layer.name)
            layer._name = FEATURES
        model = keras.Model(clip, scores, name="model")
        for layer in model.layers:
            if self._weights.get(layer.name):
                layer.set_weights(self._weights[layer.name])
        if has_convlstm(model):
            return Canonical(model, CONVLSTM if keeps_frames(model) else WHOLE_CLIP)
        return Canonical(model, LRCN if streams else WHOLE_CLIP)


def _opened(model: Any) -> tuple[Any, list[Any]]:
    """A model's input tensor, and its layers in the order of computation."""
    layers = [layer for layer in model.layers if not isinstance(layer, L.InputLayer)]
    return model.inputs[0], layers


def _again(layer: Any, name: str | None = None) -> Any:
    """A fresh layer of the same settings, for inference."""
    if isinstance(layer, keras.Model):
        copy = keras.models.clone_model(layer)
        copy.set_weights(layer.get_weights())
        settle(copy)
        return copy
    config = _for_inference(layer.get_config()) | ({"name": name} if name else {})
    if isinstance(layer, RECURRENT):
        config |= _unrolled(layer)
    elif isinstance(layer, L.Bidirectional):
        for side in ("layer", "backward_layer"):
            if side in config:
                inner = layer.forward_layer if side == "layer" else layer.backward_layer
                config[side]["config"] |= {"dropout": 0.0, "recurrent_dropout": 0.0} | _unrolled(inner)
    elif isinstance(layer, L.BatchNormalization):
        config |= {"axis": -1, "scale": True, "center": True}
    elif isinstance(layer, L.LayerNormalization):
        config["axis"] = -1
    elif isinstance(layer, L.Normalization):
        values = {key: getattr(layer, key).numpy().ravel() for key in ("mean", "variance")}
        config |= {key: value if value.size > 1 else float(value[0]) for key, value in values.items()}
        config["axis"] = -1 if values["mean"].size > 1 else None
    return type(layer).from_config(config)


def _for_inference(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without dropout in cells, and without the shape of another position in a model."""
    kept = {key: value for key, value in config.items() if key not in ("batch_input_shape", "name")}
    return kept | {key: 0.0 for key in ("dropout", "recurrent_dropout") if key in kept}


def _weights(layer: Any) -> list[Any]:
    """The layer's weights as `_again` takes them.

    A normalisation of batches has all four; what brings its own, none.
    """
    if isinstance(layer, (keras.Model, L.Normalization)):
        return []
    if not isinstance(layer, L.BatchNormalization):
        return list(layer.get_weights())
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    gamma = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
    beta = layer.beta.numpy() if layer.center else np.zeros_like(mean)
    return [gamma, beta, mean, variance]


def _folds_norm(layer: Any) -> bool:
    """Whether a normalisation after this layer can move into its kernel."""
    inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
    plain = type(inner) in (L.Conv2D, L.Dense)
    return plain and _is_linear(inner) and len(layer.outbound_nodes) == 0


def _is_linear(layer: Any) -> bool:
    return bool(layer.activation is keras.activations.linear)


def _is_fused(layer: Any) -> bool:
    """Whether TFLite has this recurrent layer as one operator; others are unrolled over the window."""
    config = layer.get_config()
    return (
        isinstance(layer, L.LSTM)
        and (config["activation"], config["recurrent_activation"]) == ("tanh", "sigmoid")
        and config["use_bias"]
    )


def _unrolled(layer: Any) -> dict[str, Any]:
    """Settings of a recurrent layer for conversion. A product for each gate, not one that is split: the
    converter leaves some splits in float, depending on the ranges that it finds.
    """
    if _is_fused(layer):
        return {"unroll": False}
    gates = {"implementation": 1} if isinstance(layer, (L.GRU, L.LSTM)) else {}
    return {"unroll": True} | gates


def _is_number(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def _on_channels(layer: Any, rank: int) -> bool:
    """Whether a normalisation or softmax works along the last axis alone; other layers do."""
    axis = getattr(layer, "axis", -1)
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if rank == 3 and isinstance(layer, L.Conv2D):
        return False
    return axes in ([-1], [rank - 1])


def _on_last(layer: Any, rank: int) -> bool:
    return not isinstance(layer, L.Concatenate) or layer.axis in (-1, rank - 1)
