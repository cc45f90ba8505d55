"""Training behind a frozen encoder: its features are computed once, its head and motion branch learn from
them; then, where it is wanted, the encoder learns too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.data.augment import NEVER, Amounts, Mirror, amounts_of, augment
from train.data.batches import CachedClip, WindowPlan, training_batches
from train.data.features import FeaturePlan, FeatureSource, RowLayout, Rows, Variant, feature_clips
from train.fitting.evaluate import Predict, keras_predict, measures, predict_clips
from train.models.architectures import (
    MOTION_SMALL,
    STATISTICS_FLAT,
    STATISTICS_NORM,
    appearance_of,
    behind_encoder,
    build,
)
from train.models.encoders import PRETRAINED_PIXELS, arrays_sha256, load_weights
from train.models.families import STATISTICS
from train.runs import TrainConfig
from train.tf import fit_model, keras, tf

VARIANTS = 2  # changed copies of each training clip, beside the clip itself
# Standard deviation, in units of features (0..6): about what rounding in integers adds, alike in all frames
# of a window.
FEATURE_NOISE = 0.15
NORM_BATCHES = 32  # whose windows give the mean and variance of statistics
DECODED_AT_ONCE = 2  # batches
FINE_TUNE_RATE = 1e-4
FINE_TUNE_BATCH = 8  # windows: all frames of each go through the whole encoder
FINE_TUNE_PASSES = 2  # of each clip, in an epoch
PROGRESS_CLIPS = 50

Report = Callable[[str], None]


class FrozenEncoder:
    """An LRCN with a pretrained encoder. whole: all of it; behind: what learns, with the same weights.

    Raises what `encoders.load_weights` raises.
    """

    def __init__(self, config: TrainConfig, classes: int, weights: Path | None) -> None:
        keras.utils.set_random_seed(config.seed)
        design = config.design
        self._config = config
        self.whole = build(config.model, config.frames, config.size, classes, design=design)
        self.weights_sha256 = load_weights(self.whole, design, weights)
        self.behind = behind_encoder(self.whole, design)
        appearance = appearance_of(self.whole, design)
        shape = [None, *appearance.input_shape[1:]]
        small_px = 0
        if design.motion_branch:
            small_px = int(self.whole.get_layer(MOTION_SMALL).output_shape[2])
        self._layout = RowLayout(int(appearance.output_shape[-1]), small_px, design.frames_per_step)
        encode = tf.function(
            lambda frames: appearance(frames, training=False), input_signature=[tf.TensorSpec(shape)]
        )
        held = arrays_sha256(appearance.get_weights())
        made_of = [held, design.encoder, design.inputs, design.frames_per_step, small_px]
        self._source = FeatureSource(encode, self._layout, made_of)

    def clips(self, clips: Sequence[CachedClip], mirror: Mirror, report: Report) -> list[CachedClip]:
        """The features of training clips, as they are and changed."""
        amounts = amounts_of(self._config.augmentation, self._config.frame_spec)
        variants = [Variant(seed, mirror, amounts) for seed in range(1, VARIANTS + 1)]
        made = self.plain(clips, report)
        for number, variant in enumerate(variants, 2):
            progress = _progress(report, f"features, pass {number} of {VARIANTS + 1}")
            made += feature_clips(clips, self._source, self._config.contract, variant, progress)
        return made

    def plain(self, clips: Sequence[CachedClip], report: Report | None = None) -> list[CachedClip]:
        """The features of clips as they are."""
        progress = None if report is None else _progress(report, "features")
        return feature_clips(clips, self._source, self._config.contract, None, progress)

    def batches(self, clips: Sequence[CachedClip], other: Sequence[CachedClip], first: int, last: int) -> Any:
        """Batches of steps first .. last - 1, as `training_batches` gives those of pixels: (what `behind`
        takes, int32 labels [batch]).
        """
        config = self._config
        plan, layout = FeaturePlan(clips, config.sampling, other=other), self._layout
        # Mirror and shape are the clips' own: their features have them.
        amounts = replace(Amounts().scaled(config.augmentation), shapes=0.0)
        never = Mirror((NEVER,) * int(self.whole.output_shape[-1]), "")
        rows, _ = plan.batch(first)

        def draw(step: int) -> tuple[Rows, NDArray[np.int32]]:
            made, labels = plan.batch(step)
            if layout.small_px:
                small, _ = augment(layout.small(made), labels, (config.seed, step), never, amounts)
                made[..., -small[0, 0].size :] = small.reshape(*made.shape[:-1], -1)
            return made, labels

        def load(step: Any) -> tuple[Any, Any, Any]:
            made, labels = tf.numpy_function(draw, [step], (tf.uint8, tf.int32), stateful=False)
            return step, tf.ensure_shape(made, rows.shape), tf.ensure_shape(labels, rows.shape[:1])

        def change(step: Any, rows: Any, labels: Any) -> tuple[Any, Any]:
            features, small = layout.tensors(rows)
            seed = tf.stack([tf.constant(config.seed, tf.int64), step])
            drawn = (features.shape[0], 1, features.shape[-1])
            features += tf.random.stateless_normal(drawn, seed, stddev=FEATURE_NOISE)
            return self._inputs(features, small), labels

        steps = tf.data.Dataset.range(first, last)
        loaded = steps.map(load, num_parallel_calls=2, deterministic=True)
        return loaded.map(change, num_parallel_calls=1, deterministic=True).prefetch(DECODED_AT_ONCE)

    def normalise(self, clips: Sequence[CachedClip], other: Sequence[CachedClip]) -> None:
        """Set the normalisation of a head's statistics, once: their mean and variance over training windows.

        Batch by batch, as such layers learn, thousands of statistics of a few dozen windows are mostly
        noise.
        """
        if self._config.head != STATISTICS:
            return
        statistics = behind_encoder(self.whole, self._config.design, STATISTICS_FLAT)
        batches = self.batches(clips, other, 0, NORM_BATCHES)
        seen = np.concatenate([statistics(inputs, training=False) for inputs, _ in batches])
        norm = self.whole.get_layer(STATISTICS_NORM)
        norm.set_weights([seen.mean(axis=0), seen.var(axis=0)])
        norm.trainable = False

    def predict(self, behind: Any) -> Predict:
        """A model like `behind` as a function on windows of rows, uint8 [n, frames, bytes]."""

        def scores(rows: Any) -> Any:
            return behind(self._inputs(*self._layout.tensors(rows)), training=False)

        traced = tf.function(
            scores, input_signature=[tf.TensorSpec([None, self._config.frames, None], tf.uint8)]
        )
        return lambda rows: traced(tf.constant(rows)).numpy()

    def _inputs(self, features: Any, small: Any) -> Any:
        """What `behind` takes of the features and small frames of windows."""
        back = self._layout.frames_per_step - 1
        features = tf.ensure_shape(features, (None, self._config.frames, self._layout.width))[:, back:]
        if not self._layout.small_px:
            return features
        small = tf.cast(small, tf.float32) / PRETRAINED_PIXELS[1]
        return features, (small[:, 1:] - small[:, :-1])[:, back - 1 :]


def _progress(report: Report, what: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == total or done % PROGRESS_CLIPS == 0:
            report(f"{what}: {done} of {total} clips")

    return progress


def fine_tune(
    model: Any,
    config: TrainConfig,
    clips: Sequence[CachedClip],
    validation: Sequence[CachedClip],
    mirror: Mirror,
    batch_map: Callable[[Any, Any], Any],
    report: Report,
) -> int:
    """Let all of a trained model learn at a small rate for `config.fine_tune` epochs; returns the epoch whose
    weights are kept, 0 for those that it had.

    clips, validation: decoded. batch_map: makes targets and weights of labels. Running statistics of
    normalisations stay. Without validation clips the last epoch is kept.
    """
    for layer in model.layers:
        inner = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
        inner.trainable = layer.trainable = not isinstance(inner, keras.layers.BatchNormalization)
    steps = max(1, FINE_TUNE_PASSES * len(clips) // FINE_TUNE_BATCH)
    sampling = replace(config.sampling, batch=FINE_TUNE_BATCH, seed=config.seed + 1)
    amounts = amounts_of(config.augmentation, config.frame_spec)
    plan, total = WindowPlan(clips, sampling), steps * config.fine_tune
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(FINE_TUNE_RATE, total)),
        keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
    )

    def loss() -> float:
        if not validation:
            return 0.0
        hop = max(config.hop_ticks, config.frames // 2)
        predictions = predict_clips(keras_predict(model), validation, config.contract, hop)
        figures = measures(predictions, [str(i) for i in range(predictions.clips.shape[1])])
        return float(figures["window_loss"])

    best, kept, weights = loss(), 0, model.get_weights()
    for epoch in range(config.fine_tune):
        batches = training_batches(plan, epoch * steps, (epoch + 1) * steps, mirror, amounts).map(batch_map)
        history = fit_model(model, batches, verbose=0)
        after = loss()
        if after <= best:
            best, kept, weights = after, epoch + 1, model.get_weights()
        line = f"fine-tuning epoch {epoch + 1}/{config.fine_tune} loss {history.history['loss'][-1]:.3f}"
        report(line + (f" | validation loss {after:.3f}" if validation else ""))
    model.set_weights(weights)
    return kept
