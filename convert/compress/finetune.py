"""A changed model learns on, on windows of its own training.

This serves pruning, shrinking, and the dense control of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convert.inputs.source_model import SourceModel
from edge_har.errors import MisuseError
from train.data.augment import amounts_of, decide_mirror
from train.data.batches import WindowPlan, targets, training_batches
from train.fitting.fit import ActiveAccuracy, class_weights
from train.models.fused_convlstm import training_twin
from train.tf import fit_model, keras

# Of the training's learning rate: at 0.25, 200 steps did not mend what pruning broke.
RATE_FRACTION = 0.5
LAST_RATE_FRACTION = 0.02
REPORTS = 4
STEPS = 200
MOST_PRUNED = 0.95

Report = Callable[[str], None]


@dataclass(frozen=True)
class FineTuning:
    """What a model learns on, and how: models that are compared get the same one.

    batches: tf.data.Dataset of `steps` (clips float32 [batch, frames, height, width, 3], labels int32
    [batch]), the same each time it is read. learning_rate, label_smoothing, class_weights, clip_norm: of the
    training; RATE_FRACTION of the first is used, and a clip_norm of 0 is none. Raises MisuseError.
    """

    batches: Any
    steps: int
    learning_rate: float
    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise MisuseError(f"fine-tuning needs 1 step or more, got {self.steps}")


def fine_tuning_of(source_model: SourceModel, steps: int) -> FineTuning:
    """How a RUN's model learns on, on windows of its own training.

    Raises MisuseError where the training is unknown.
    """
    if source_model.training is None:
        raise MisuseError(
            "pruning, shrinking and --qat fine-tune the model: they need --calibration DIR with a folder of "
            "clips per "
            "label, and a model that streams; else omit them"
        )
    config, clips = source_model.training, source_model.clip_parts.training
    sampling = replace(config.sampling, seed=config.seed + 1)  # other windows than the training's first steps
    plan = WindowPlan(clips, sampling, source_model.clip_parts.synthetic)
    mirror = decide_mirror(config.mirror, source_model.labels)
    amounts = amounts_of(config.augmentation, config.frame_spec)
    return FineTuning(
        training_batches(plan, 0, steps, mirror, amounts),
        steps,
        learning_rate=config.learning_rate,
        label_smoothing=config.label_smoothing,
        class_weights=class_weights([clip.label for clip in clips], len(source_model.labels)).tolist(),
        clip_norm=config.clip_norm,
    )


def fine_tuned(model: Any, tuning: FineTuning, *, report: Report) -> Any:
    """A copy of `model` that has learned on.

    Unchanged otherwise, it is the dense control of a pruned or shrunk model.
    """
    keras.utils.set_random_seed(0)
    twin = training_twin(model)
    fit(twin, tuning, report=report)
    result = keras.models.clone_model(model)
    result.set_weights(twin.get_weights())
    return result


def fit(model: Any, tuning: FineTuning, *, callbacks: Sequence[Any] = (), report: Report) -> None:
    """Fit `model` itself, its learning rate falling along a cosine. callbacks: Keras'."""
    rate = keras.optimizers.schedules.CosineDecay(
        tuning.learning_rate * RATE_FRACTION, tuning.steps, alpha=LAST_RATE_FRACTION
    )
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=tuning.clip_norm or None),
        keras.losses.CategoricalCrossentropy(label_smoothing=tuning.label_smoothing),
        metrics=[ActiveAccuracy(name="accuracy")],
    )
    classes = int(model.output_shape[-1])
    fit_model(
        model,
        tuning.batches.map(lambda clips, labels: (clips, targets(labels, classes))),
        epochs=1,
        steps_per_epoch=tuning.steps,
        class_weight=None if tuning.class_weights is None else dict(enumerate(tuning.class_weights)),
        callbacks=[*callbacks, _progress(tuning.steps, report)],
        verbose=0,
    )


def _progress(steps: int, report: Report) -> Any:
    every = max(1, steps // REPORTS)

    def say(step: int, logs: dict[str, float]) -> None:
        if (step + 1) % every == 0:
            report(
                f"fine-tuning step {step + 1}/{steps} loss {np.float64(logs['loss']):.3f} "
                f"accuracy {np.float64(logs['accuracy']):.3f}"
            )

    return keras.callbacks.LambdaCallback(on_batch_end=say)
