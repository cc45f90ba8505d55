"""Magnitude pruning of a whole model, fine-tuned on the batches it was trained with."""

from __future__ import annotations

from typing import Any

from convert.compress.finetune import MOST_PRUNED, FineTuning, Report, fit
from edge_har.errors import MisuseError
from train.models.fused_convlstm import MergedConvLSTM2D
from train.tf import keras

import tensorflow_model_optimization as tfmot  # isort: skip  # after train.tf, which chooses Keras 2

L: Any = keras.layers
RAMP_FRACTION = 0.6  # of the steps in which sparsity rises; in the rest the model settles
RAMP_UPDATES = 30

PER_FRAME = (L.Conv2D, L.Dense)
PLAIN = (L.Conv1D, L.Conv2D, L.Dense, L.GRU, L.LSTM, L.SeparableConv1D, L.SeparableConv2D, L.SimpleRNN)


class PrunableTimeDistributed(L.TimeDistributed, tfmot.sparsity.keras.PrunableLayer):
    """A layer per frame whose kernel is pruned."""

    def get_prunable_weights(self) -> list[Any]:
        """The inner kernel."""
        return [self.layer.kernel]


class PrunableConvLSTM2D(MergedConvLSTM2D, tfmot.sparsity.keras.PrunableLayer):
    """A ConvLSTM2D whose input and recurrent kernels are pruned."""

    def get_prunable_weights(self) -> list[Any]:
        """Kernel and recurrent kernel of the cell."""
        return [self.cell.kernel, self.cell.recurrent_kernel]


class PrunableBidirectional(L.Bidirectional, tfmot.sparsity.keras.PrunableLayer):
    """A recurrent layer run both ways, whose input and recurrent kernels are pruned."""

    def get_prunable_weights(self) -> list[Any]:
        """Kernel and recurrent kernel of each way's cell."""
        cells = [self.forward_layer.cell, self.backward_layer.cell]
        return [kernel for cell in cells for kernel in (cell.kernel, cell.recurrent_kernel)]


def prune(model: Any, fraction: float, tuning: FineTuning, *, report: Report) -> Any:
    """A copy of `model` with `fraction` of every kernel's weights at zero, fine-tuned while they are taken
    away.

    Layers of kinds that cannot be pruned keep their weights. Raises MisuseError for a fraction outside
    0..MOST_PRUNED.
    """
    if not 0 <= fraction <= MOST_PRUNED:
        raise MisuseError(f"the pruned fraction must be 0 to {MOST_PRUNED}, got {fraction}")
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=fraction,
        begin_step=0,
        end_step=max(1, int(RAMP_FRACTION * tuning.steps)),
        frequency=max(1, int(RAMP_FRACTION * tuning.steps / RAMP_UPDATES)),
    )
    keras.utils.set_random_seed(0)
    pruned = keras.models.clone_model(model, clone_function=lambda layer: _prunable(layer, schedule))
    for target, layer in zip(pruned.layers, model.layers, strict=True):
        _inner(target).set_weights(layer.get_weights())
    fit(pruned, tuning, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()], report=report)
    result = keras.models.clone_model(model)
    for target, layer in zip(result.layers, pruned.layers, strict=True):
        # The last update may have moved a pruned weight.
        for weight, mask, _ in getattr(layer, "pruning_vars", ()):
            weight.assign(weight * mask)
        target.set_weights(_inner(layer).get_weights())
    return result


def _prunable(layer: Any, schedule: Any) -> Any:
    copy = layer.__class__.from_config(layer.get_config())
    if isinstance(layer, L.TimeDistributed):
        if not isinstance(layer.layer, PER_FRAME):
            return copy
        copy = PrunableTimeDistributed.from_config(layer.get_config())
    elif isinstance(layer, L.ConvLSTM2D):
        copy = PrunableConvLSTM2D.from_config(layer.get_config())
    elif isinstance(layer, L.Bidirectional):
        copy = PrunableBidirectional.from_config(layer.get_config())
    elif not isinstance(layer, PLAIN):
        return copy
    return tfmot.sparsity.keras.prune_low_magnitude(copy, pruning_schedule=schedule)


def _inner(layer: Any) -> Any:
    return layer.layer if hasattr(layer, "pruning_vars") else layer
