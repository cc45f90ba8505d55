"""Magnitude pruning of a whole model, fine-tuned on the batches it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_har.errors import MisuseError
from train.batches import targets
from train.merged import MergedConvLSTM2D
from train.tf import keras

import tensorflow_model_optimization as tfmot  # isort: skip  # after train.tf, which chooses Keras 2

L = keras.layers
STEPS = 200
RAMP_SHARE = 0.6  # of the steps in which sparsity rises; in the rest the model settles
RAMP_UPDATES = 30
RATE_SHARE = 0.25  # of the training's learning rate
LAST_RATE_SHARE = 0.02
REPORTS = 4

Report = Callable[[str], None]


class PrunableTimeDistributed(L.TimeDistributed, tfmot.sparsity.keras.PrunableLayer):  # type: ignore[misc]
    """A layer per frame whose kernel is pruned."""

    def get_prunable_weights(self) -> list[Any]:
        """The inner kernel."""
        return [self.layer.kernel]


class PrunableConvLSTM2D(MergedConvLSTM2D, tfmot.sparsity.keras.PrunableLayer):  # type: ignore[misc]
    """A ConvLSTM2D whose input and recurrent kernels are pruned."""

    def get_prunable_weights(self) -> list[Any]:
        """Kernel and recurrent kernel of the cell."""
        return [self.cell.kernel, self.cell.recurrent_kernel]


def prune(
    model: Any,
    share: float,
    batches: Any,
    *,
    steps: int = STEPS,
    learning_rate: float,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
    report: Report,
) -> Any:
    """A copy of `model` with `share` of every kernel's weights at zero, fine-tuned for `steps` batches.

    batches: tf.data.Dataset of `steps` (clips float32, labels int32). learning_rate: of the training; a share of it
    is used. Raises MisuseError for a share outside 0 to below 1.
    """
    if not 0 <= share < 1:
        raise MisuseError(f"the pruned share must be 0 or more and below 1, got {share}")
    if steps < 1:
        raise MisuseError(f"pruning needs 1 step of fine-tuning or more, got {steps}")
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=share,
        begin_step=0,
        end_step=max(1, int(RAMP_SHARE * steps)),
        frequency=max(1, int(RAMP_SHARE * steps / RAMP_UPDATES)),
    )
    keras.utils.set_random_seed(0)
    pruned = keras.models.clone_model(model, clone_function=lambda layer: _prunable(layer, schedule))
    for target, layer in zip(pruned.layers, model.layers, strict=True):
        _inner(target).set_weights(layer.get_weights())
    rate = keras.optimizers.schedules.CosineDecay(learning_rate * RATE_SHARE, steps, alpha=LAST_RATE_SHARE)
    pruned.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
        metrics=["accuracy"],
    )
    classes = int(model.output_shape[-1])
    pruned.fit(
        batches.map(lambda clips, labels: (clips, targets(labels, classes))),
        epochs=1,
        steps_per_epoch=steps,
        class_weight=None if class_weights is None else dict(enumerate(class_weights)),
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep(), _progress(steps, report)],
        verbose=0,
    )
    result = keras.models.clone_model(model)
    for target, layer in zip(result.layers, pruned.layers, strict=True):
        for weight, mask, _ in getattr(
            layer, "pruning_vars", ()
        ):  # the last update may have moved a pruned weight
            weight.assign(weight * mask)
        target.set_weights(_inner(layer).get_weights())
    return result


def zero_share(model: Any) -> float:
    """Share of zeros among all kernels of a Keras model, 0 to 1."""
    kernels = [w for layer in model.layers for w in layer.get_weights() if w.ndim > 1]
    return float(sum((w == 0).sum() for w in kernels) / sum(w.size for w in kernels))


def _prunable(layer: Any, schedule: Any) -> Any:
    copy = layer.__class__.from_config(layer.get_config())
    if isinstance(layer, L.TimeDistributed):
        if not isinstance(layer.layer, (L.Conv2D, L.Dense)):
            return copy
        copy = PrunableTimeDistributed.from_config(layer.get_config())
    elif isinstance(layer, L.ConvLSTM2D):
        copy = PrunableConvLSTM2D.from_config(layer.get_config())
    elif not isinstance(layer, (L.Conv1D, L.Conv2D, L.Dense, L.LSTM)):
        return copy
    return tfmot.sparsity.keras.prune_low_magnitude(copy, pruning_schedule=schedule)


def _inner(layer: Any) -> Any:
    return layer.layer if hasattr(layer, "pruning_vars") else layer


def _progress(steps: int, report: Report) -> Any:
    every = max(1, steps // REPORTS)

    def say(step: int, logs: dict[str, float]) -> None:
        if (step + 1) % every == 0:
            report(
                f"pruning step {step + 1}/{steps} loss {np.float64(logs['loss']):.3f} "
                f"accuracy {np.float64(logs['accuracy']):.3f}"
            )

    return keras.callbacks.LambdaCallback(on_batch_end=say)
