"""Filters and units removed from a whole model, the least useful first: a smaller plain model of the same
kind.

Every channel of every tensor carries the number of the unit that made it, through pooling, flattening and
merging; so the weights that make a unit, and all that read it, are cut alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.compress.finetune import FineTuning, Report, fine_tuned
from edge_har.errors import ConversionError, MisuseError
from train.data.batches import targets
from train.models.fused_convlstm import training_twin
from train.tf import keras, tf

L = keras.layers
MOST_SHRUNK = 0.75
IMPORTANCE_BATCHES = 16
# The number of all units that stay: the model's input and output, and what an unknown layer reads or makes.
FIXED = 0

# Layers that make units and have a kernel [..., inputs, gates x units], a recurrent one has [..., units,
# gates x units].
PLAIN = (L.Conv1D, L.Conv2D, L.Dense)
RECURRENT = (L.ConvLSTM2D, L.GRU, L.LSTM, L.SimpleRNN)
CHANNELWISE = (
    *(L.Activation, L.Dropout, L.ELU, L.LeakyReLU, L.ReLU, L.Rescaling),
    *(L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D),
    *(L.AveragePooling1D, L.AveragePooling2D, L.AveragePooling3D),
    *(L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D),
    *(L.GlobalAveragePooling1D, L.GlobalAveragePooling2D, L.GlobalAveragePooling3D),
    *(L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.GlobalMaxPooling3D),
    *(L.Cropping1D, L.Cropping2D, L.Cropping3D, L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D),
)
ELEMENTWISE = (L.Add, L.Average, L.Maximum, L.Minimum, L.Multiply, L.Subtract)

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Units:
    """Who makes and who reads each unit of a model, by layer name: its number for each channel.

    normalised: of layers with a weight per channel (batch normalisation).
    """

    made: dict[str, Ids] = field(default_factory=dict)
    read: dict[str, Ids] = field(default_factory=dict)
    normalised: dict[str, Ids] = field(default_factory=dict)
    _same_as: list[int] = field(default_factory=lambda: [FIXED])

    @property
    def count(self) -> int:
        """Numbers given so far; the fixed one included."""
        return len(self._same_as)

    def new(self, count: int) -> Ids:
        """Numbers of `count` units that may go."""
        ids = np.arange(self.count, self.count + count)
        self._same_as.extend(ids.tolist())
        return ids

    def tie(self, channels: Sequence[Ids]) -> Ids:
        """Channels that are added up go or stay together; fixed where they do not match one by one."""
        first, *others = channels
        if any(len(ids) != len(first) for ids in others):
            for ids in channels:
                self.fix(ids)
            return np.full(max(map(len, channels)), FIXED)
        for ids in others:
            for one, other in zip(first.tolist(), ids.tolist(), strict=True):
                kept, tied = sorted((self._root(one), self._root(other)))  # the fixed one is the smallest
                self._same_as[tied] = kept
        return first

    def fix(self, channels: Ids) -> None:
        """These stay."""
        for root in self.roots(channels):
            self._same_as[root] = FIXED

    def roots(self, channels: Ids) -> Ids:
        """One number for all that are tied; FIXED for what stays."""
        return np.array([self._root(unit) for unit in channels.tolist()], np.int64)

    def _root(self, unit: int) -> int:
        while self._same_as[unit] != unit:
            unit = self._same_as[unit]
        return unit


def shrink(model: Any, fraction: float, tuning: FineTuning, *, report: Report) -> Any:
    """A smaller copy of `model`, up to `fraction` of every layer's filters or units removed, fine-tuned.

    Raises MisuseError for a fraction outside 0..MOST_SHRUNK, ConversionError for a model that cannot lose any
    unit.
    """
    if not 0 <= fraction <= MOST_SHRUNK:
        raise MisuseError(f"the removed fraction must be 0 to {MOST_SHRUNK}, got {fraction}")
    units = trace_units(model)
    smaller = without(model, units, least_important(units, importance(model, units, tuning), fraction))
    report(f"shrunk from {model.count_params()} to {smaller.count_params()} parameters")
    return fine_tuned(smaller, tuning, report=report)


def trace_units(model: Any) -> Units:
    """Number the units of a model, and see what becomes of them in every layer.

    A layer of a kind that is not known here keeps its width and all that it reads. Raises ConversionError for
    a layer that is used more than once.
    """
    clone = keras.models.clone_model(model)  # its layers are used by nothing else
    graph = keras.Model(clone.inputs, clone.outputs)
    units = Units()
    channels: dict[int, Ids] = {}
    for layer in graph.layers:
        if len(layer.inbound_nodes) > 1:
            raise ConversionError(f"layer {layer.name!r} is used more than once: the model cannot be shrunk")
        sources = [channels[id(tensor)] for tensor in tf.nest.flatten(layer.input) if id(tensor) in channels]
        widths = [int(tensor.shape[-1]) for tensor in tf.nest.flatten(layer.output)]
        for tensor, ids in zip(
            tf.nest.flatten(layer.output), _through(layer, sources, widths, units), strict=True
        ):
            channels[id(tensor)] = ids
    for tensor in graph.outputs:
        units.fix(channels[id(tensor)])
    return units


def _through(layer: Any, sources: list[Ids], widths: list[int], units: Units) -> list[Ids]:
    """The unit behind each channel of the layer's outputs, from those of its inputs."""
    inner = _inner(layer)
    last = getattr(inner, "data_format", "channels_last") == "channels_last"
    if last and len(sources) == len(widths) == 1:
        (source,), (width,) = sources, widths
        if type(inner) in (*PLAIN, *RECURRENT) and getattr(inner, "groups", 1) == 1:
            units.read[layer.name], units.made[layer.name] = source, units.new(width)
            return [units.made[layer.name]]
        if type(inner) is L.Flatten:
            return [np.tile(source, width // len(source))]
        if type(inner) in CHANNELWISE:
            return [source]
        if type(inner) is L.BatchNormalization and list(inner.axis) == [inner.input_spec.ndim - 1]:
            units.normalised[layer.name] = source
            return [source]
    if last and type(inner) is L.Concatenate and inner.axis in (-1, len(inner.output_shape) - 1):
        return [np.concatenate(sources)]
    if last and type(inner) in (*ELEMENTWISE, L.Concatenate):
        return [units.tie(sources)]
    for source in sources:
        units.fix(source)
    return [np.full(width, FIXED) for width in widths]


def importance(model: Any, units: Units, tuning: FineTuning) -> Floats:
    """How much the loss changes, to first order, when a unit is removed: float64 by its number (of its root).

    That is the sum of weight x gradient over all weights that read the unit: equal to activation x gradient
    at the point where it is read, whatever normalises or pools it before. The mean of its size over training
    batches.
    """
    twin = training_twin(model)
    classes = int(model.output_shape[-1])
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=tuning.label_smoothing)
    readers = []
    for name, ids in units.read.items():
        layer = _inner(twin.get_layer(name))
        readers.append((ids, layer.trainable_weights[0]))
        if isinstance(layer, RECURRENT):
            readers.append((units.made[name], layer.trainable_weights[1]))
    kernels = [kernel for _, kernel in readers]

    @tf.function
    def contributions(clips: Any, labels: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            value = loss(targets(labels, classes), twin(clips, training=False))
        pairs = zip(kernels, tape.gradient(value, kernels), strict=True)
        return [_by_input(kernel * gradient) for kernel, gradient in pairs]

    total = np.zeros(units.count)
    for clips, labels in tuning.batches.take(min(tuning.steps, IMPORTANCE_BATCHES)):
        change = np.zeros(units.count)
        for (ids, _), values in zip(readers, contributions(clips, labels), strict=True):
            np.add.at(change, units.roots(ids), values.numpy())
        total += np.abs(change)
    return total


def least_important(units: Units, importance: Floats, fraction: float) -> Ids:
    """The numbers (roots) of the units to remove.

    They are of each layer the least important, `fraction` of them or one less.
    """
    kept: set[int] = {FIXED}
    for ids in units.made.values():
        roots = units.roots(ids)
        free = np.unique(roots[roots != FIXED])
        ranked = free[np.argsort(-importance[free], kind="stable")]
        kept |= set(ranked[: max(0, len(free) - int(fraction * len(ids)))].tolist())
    every = np.unique(
        np.concatenate([units.roots(ids) for ids in units.made.values()] or [np.array([FIXED])])
    )
    removed = np.setdiff1d(every, list(kept))
    if fraction and not len(removed):
        raise ConversionError(f"no layer of the model can lose {fraction:.0%} of its filters or units")
    return removed


def without(model: Any, units: Units, removed: Ids) -> Any:
    """A copy of `model` that lacks the units `removed` (roots), its other weights the same."""

    def left(channels: dict[str, Ids]) -> dict[str, Ids]:
        return {name: np.flatnonzero(~np.isin(units.roots(ids), removed)) for name, ids in channels.items()}

    made, read, normalised = left(units.made), left(units.read), left(units.normalised)
    config = model.get_config()
    for layer in config["layers"]:
        name, inner = layer["config"]["name"], layer["config"].get("layer", layer)["config"]
        if name in made:
            inner["filters" if "filters" in inner else "units"] = len(made[name])
    smaller = model.__class__.from_config(config)
    for layer in smaller.layers:
        weights = model.get_layer(layer.name).get_weights()
        if layer.name in made:
            gates = weights[0].shape[-1] // len(units.made[layer.name])
            recurrent = isinstance(_inner(layer), RECURRENT)
            weights = _cut(weights, read[layer.name], made[layer.name], gates, recurrent)
        elif layer.name in normalised:
            weights = [weight[normalised[layer.name]] for weight in weights]
        layer.set_weights(weights)
    return smaller


def _cut(weights: list[Any], read: Ids, made: Ids, gates: int, recurrent: bool) -> list[Any]:
    """The weights of a layer, with the inputs `read` and the units `made` alone, kernels first."""
    width = weights[0].shape[-1] // gates
    columns = np.concatenate([made + gate * width for gate in range(gates)])
    inputs = [read, made][: 1 + recurrent]
    kernels = [np.take(kernel, ids, axis=-2) for kernel, ids in zip(weights, inputs, strict=False)]
    return [weight[..., columns] for weight in (*kernels, *weights[len(kernels) :])]


def _by_input(values: Any) -> Any:
    """Sums over all axes of [..., inputs, outputs] but the inputs'."""
    axes = [axis for axis in range(len(values.shape)) if axis != len(values.shape) - 2]
    return tf.reduce_sum(values, axes)


def _inner(layer: Any) -> Any:
    return layer.layer if isinstance(layer, L.TimeDistributed) else layer
