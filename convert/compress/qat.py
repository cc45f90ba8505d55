"""Quantisation-aware fine-tuning: a model trained while its numbers are rounded as int8 will round them.

tfmot refuses LSTM, ConvLSTM2D and TimeDistributed, so the rounding is put between the operators here: of a
ConvLSTM in its all-integer form, of every other model layer by layer. The weights are the plain model's
throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convert.compress.finetune import LAST_RATE_FRACTION, RATE_FRACTION, REPORTS, FineTuning
from convert.graphs.integer_graphs import (
    FakeQuantiser,
    Quantiser,
    RangeObserver,
    calibrate,
    fitted,
    integer_form,
)
from edge_har.model.preprocess import Pixels
from train.data.batches import targets
from train.models.architectures import fold_batch_norm
from train.tf import keras, tf

L = keras.layers
CALIBRATED_AT_ONCE = 16
GATES = 4  # of an LSTM, each quantised by itself
# Their output holds the bytes of their input; pixels between 0 and 1 are still whole bytes.
PASSES = (
    L.AveragePooling2D,
    L.Cropping3D,
    L.Dropout,
    L.Flatten,
    L.InputLayer,
    L.MaxPooling2D,
    L.Rescaling,
    L.Reshape,
)

Forward = Callable[[Any], Any]  # clips float32 [n, N, H, W, 3] -> scores [n, labels]
Report = Callable[[str], None]


def qat(
    model: Any,
    tuning: FineTuning,
    *,
    calibration: Pixels,
    cell_bits: int = 16,
    report: Report,
) -> Any:
    """A copy of `model` fine-tuned under int8's rounding; weights that are zero stay zero.

    calibration: windows of training clips, uint8 [n, N, H, W, 3], that set the ranges. cell_bits: of a
    ConvLSTM's cell states, 16 or 8. Raises ConversionError for a ConvLSTM that cannot be made all-integer.
    """
    stateful = any(isinstance(layer, L.ConvLSTM2D) for layer in model.layers)
    trained = _copy(model) if stateful else fold_batch_norm(model)
    if stateful:
        forward = _integer_forward(trained, calibration, cell_bits)
    else:
        forward = _layerwise_forward(trained, calibration)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(
            tuning.learning_rate * RATE_FRACTION, tuning.steps, alpha=LAST_RATE_FRACTION
        ),
        global_clipnorm=tuning.clip_norm or None,
    )
    given = tuning.class_weights
    weights = np.ones(model.output_shape[-1]) if given is None else np.asarray(given)
    step = _train_step(trained, forward, optimizer, tuning.label_smoothing, weights.astype(np.float32))
    every = max(1, tuning.steps // REPORTS)
    for number, (clips, labels) in enumerate(tuning.batches.take(tuning.steps), start=1):
        loss, right = step(clips, labels)
        if number % every == 0:
            report(f"qat step {number}/{tuning.steps} loss {float(loss):.3f} accuracy {float(right):.3f}")
    return _with_weights(model, trained)


def _train_step(
    trained: Any, forward: Forward, optimizer: Any, label_smoothing: float, class_weights: Any
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """One step on one batch: returns the loss and the fraction of correct predictions."""
    variables = trained.trainable_variables
    optimizer.build(variables)
    masks = [tf.cast(v != 0, v.dtype) if len(v.shape) > 1 else None for v in variables]

    @tf.function(autograph=False)
    def step(clips: Any, labels: Any) -> tuple[Any, Any]:
        expected = targets(labels, len(class_weights))
        with tf.GradientTape() as tape:
            scores = forward(clips)
            losses = keras.losses.categorical_crossentropy(expected, scores, label_smoothing=label_smoothing)
            loss = tf.reduce_mean(tf.linalg.matvec(expected, class_weights) * losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for variable, mask in zip(variables, masks, strict=True):
            if mask is not None:
                variable.assign(variable * mask)
        right = tf.argmax(scores, axis=1, output_type=labels.dtype) == labels
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    return step


def _integer_forward(model: Any, calibration: Pixels, cell_bits: int) -> Forward:
    """A ConvLSTM's all-integer form, as it will be converted."""
    ranges = fitted(calibrate(integer_form(model), calibration), cell_bits)
    quantiser = FakeQuantiser(ranges, cell_bits)
    return lambda clips: integer_form(model, trainable=True).clip(clips, quantiser)


def _layerwise_forward(model: Any, calibration: Pixels) -> Forward:
    """A stateless model with the outputs of its layers rounded where the converter puts a range."""
    watch = RangeObserver()
    for at in range(0, len(calibration), CALIBRATED_AT_ONCE):
        clips = tf.cast(calibration[at : at + CALIBRATED_AT_ONCE], tf.float32)
        quantised_call(model, clips, watch, training=False)
    return lambda clips: quantised_call(model, clips, FakeQuantiser(watch.ranges), training=True)


def quantised_call(model: Any, clips: Any, quantiser: Quantiser, *, training: bool) -> Any:
    """What a model without batch normalisation computes, all kernels and tensors through `quantiser`."""
    tensors = {model.layers[0].name: clips}
    for layer in model.layers[1:]:
        sources = layer.inbound_nodes[0].inbound_layers
        sources = sources if isinstance(sources, list) else [sources]
        inputs = [tensors[source.name] for source in sources]
        tensors[layer.name] = _layer(layer, inputs if len(inputs) > 1 else inputs[0], quantiser, training)
    return tensors[model.layers[-1].name]


def _layer(layer: Any, x: Any, quantiser: Quantiser, training: bool) -> Any:
    inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
    if isinstance(inner, PASSES):
        return layer(x, training=training) if isinstance(inner, L.Dropout) else layer(x)
    if isinstance(inner, L.LSTM):
        return _lstm(inner, x, quantiser)
    if isinstance(inner, (L.Conv1D, L.Conv2D, L.Dense)):
        x = _per_frame(inner, x, quantiser) if inner is not layer else _with_kernel(inner, x, quantiser)
    else:
        x = layer(x)
    return x if _feeds_relu(layer) else quantiser.tensor(layer.name, x)


def _per_frame(layer: Any, x: Any, quantiser: Quantiser) -> Any:
    """`_with_kernel` on [n, N, ...], all frames at once."""
    made = _with_kernel(layer, tf.reshape(x, (-1, *x.shape[2:])), quantiser)
    return tf.reshape(made, (-1, x.shape[1], *made.shape[1:]))


def _with_kernel(layer: Any, x: Any, quantiser: Quantiser) -> Any:
    if isinstance(layer, L.Dense):
        x = tf.matmul(x, quantiser.kernel(tf.convert_to_tensor(layer.kernel), per_channel=False))
    else:
        x = layer.convolution_op(x, quantiser.kernel(tf.convert_to_tensor(layer.kernel)))
    return layer.activation(x + layer.bias if layer.use_bias else x)


def _feeds_relu(layer: Any) -> bool:
    """Whether a ReLU follows, which the converter makes one operator with it."""
    followers = [node.outbound_layer for node in layer.outbound_nodes]
    inner = [f.layer if isinstance(f, L.TimeDistributed) else f for f in followers]
    return len(inner) == 1 and isinstance(inner[0], L.ReLU)


def _lstm(layer: Any, x: Any, quantiser: Quantiser) -> Any:
    """As TFLite's fused LSTM: int8 inputs, kernels and outputs.

    Gates and cell state, of 16 bits there, are exact here.
    """
    cell = layer.cell
    kernel, recurrent = (
        tf.concat([quantiser.kernel(k, per_channel=False) for k in tf.split(weights, GATES, axis=1)], axis=1)
        for weights in (cell.kernel, cell.recurrent_kernel)
    )
    h = c = tf.zeros((tf.shape(x)[0], layer.units))
    seen = []
    for now in tf.unstack(x, axis=1):
        mixed = tf.matmul(now, kernel) + tf.matmul(h, recurrent) + cell.bias
        gate_i, gate_f, candidate, gate_o = tf.split(mixed, GATES, axis=-1)
        gate = cell.recurrent_activation
        c = gate(gate_f) * c + gate(gate_i) * cell.activation(candidate)
        h = quantiser.tensor(f"{layer.name}/h", gate(gate_o) * cell.activation(c))
        seen.append(h)
    return tf.stack(seen, axis=1) if layer.return_sequences else h


def _copy(model: Any) -> Any:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _with_weights(model: Any, trained: Any) -> Any:
    """`model`'s architecture with the weights of `trained`.

    A batch normalisation folded away there does nothing.
    """
    result = keras.models.clone_model(model)
    there = {layer.name: layer for layer in trained.layers}
    for layer in result.layers:
        if layer.name in there:
            layer.set_weights(there[layer.name].get_weights())
        else:
            inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma * 0 + 1, beta * 0, mean * 0, variance * 0 + 1 - inner.epsilon])
    return result
