"""Train one model into a RUN folder: early stopping on held-out groups, resumable after every epoch."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError
from edge_har.system.files import replaced_file
from train import runs
from train.data.augment import Amounts, Mirror, decide_mirror
from train.data.batches import CachedClip, WindowPlan, cache_clips, cache_folder, targets, training_batches
from train.data.index import Dataset, write_index
from train.data.sampling import BACKGROUND
from train.data.splits import PARTS, Split, splits_to_json
from train.fitting.evaluate import draw_confusion, keras_predict, measures, predict_clips
from train.fitting.synthetic_clips import cache_synthetic, synthetic_identity
from train.models.architectures import UNIT, build
from train.models.fused_convlstm import training_twin
from train.runs import TrainConfig
from train.tf import GPUS, keras, tf

RECIPE = 2  # counts up where training changes in a way that neither settings nor architecture say
LAST_RATE_SHARE = 0.02  # the learning rate falls along a cosine to this share of the first
LOW_CONTRAST = 20.0  # standard deviation of pixels, 0 to 255: common clips have 35 to 65
AVERAGE_START_STEPS = 9.0  # early means look back over a share of the steps done: first weights do not linger
VALIDATIONS_PER_WINDOW = 4  # while epochs are compared, windows overlap less than in use: it is much cheaper

Report = Callable[[str], None]


def train_run(
    config: TrainConfig,
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    split: Split | None = None,
    cache: Path | None = None,
    report: Report | None = None,
) -> runs.Run:
    """Train `config` on a data set and leave a finished RUN at `out`; a finished one is returned as it is.

    split: trains on its `train`, stops early on `validation` (unless config.validate is False: then it trains on
    both for all epochs), and reads `test` once at the end. None: trains on all groups for all epochs. An interrupted
    training goes on from its last whole epoch when called again. cache: where decoded clips are kept. report: takes
    lines for people; default stderr.

    Raises DataError or MisuseError, each one line.
    """
    folder, say = Path(out), report or _to_stderr
    mirror = decide_mirror(config.mirror, dataset.labels)
    finished = runs.start_run(folder, identity(config, dataset), _split_json(config, dataset, split))
    if finished:
        say(f"{folder} is finished already")
        return runs.load_run(folder)
    write_index(dataset, folder / runs.INDEX)
    say(mirror.note)
    say(f"training on {len(GPUS)} GPU{'s' * (len(GPUS) > 1)}" if GPUS else "training on the CPU")
    clips = _cached_parts(config, dataset, split, cache or cache_folder(), say)
    training = _Training(config, clips, dataset.labels, mirror, folder)
    if training.low_contrast:
        say("the clips show little contrast: if nothing is learnt, --standardise helps")
    training.resume(say)
    try:
        training.run(say)
    except KeyboardInterrupt:
        say(f"interrupted after epoch {training.epoch}; the same command goes on from there")
        raise
    except tf.errors.OpError as error:  # a GPU's memory is full, a cached clip is gone
        first_line = error.message.strip().partition("\n")[0]
        raise DataError(f"training stopped after epoch {training.epoch}: {first_line}") from error
    _finish(training, clips, dataset, folder)
    return runs.load_run(folder)


@dataclass(frozen=True)
class _Clips:
    """The clips of each use, all in the cache. validation and test may be empty."""

    train: Sequence[CachedClip]
    validation: Sequence[CachedClip]
    test: Sequence[CachedClip]
    synthetic: Sequence[CachedClip]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def identity(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """What a training is made of, as config.json holds it: two with the same identity and split train the same.

    Raises what `decide_mirror` and `synthetic_identity` raise.
    """
    mirror = decide_mirror(config.mirror, dataset.labels)
    return {
        "schema": runs.SCHEMA,
        "recipe": RECIPE,
        "architecture_sha256": _architecture(config, len(dataset.labels)),
        "augment": asdict(Amounts().scaled(config.augmentation)),
        "settings": runs.settings_json(config),
        "labels": list(dataset.labels),
        "index_sha256": dataset.sha256,
        "groups": "known" if dataset.groups_known else "unknown",
        "frame": config.frame_spec.to_json(),
        "temporal": config.contract.to_json(),
        "mirror": {"target": list(mirror.target), "note": mirror.note},
        "synthetic": synthetic_identity(config, dataset.labels),
    }


def _architecture(config: TrainConfig, classes: int) -> str:
    """Hash of the layers and their settings, without the names that Keras numbers by itself."""

    def nameless(said: Any) -> Any:
        if isinstance(said, dict):
            return {key: nameless(value) for key, value in said.items() if key != "name"}
        return [nameless(value) for value in said] if isinstance(said, (list, tuple)) else said

    layers = build(config.model, config.frames, config.size, classes).get_config()
    return hashlib.sha256(json.dumps(nameless(layers), sort_keys=True, default=str).encode()).hexdigest()


def _split_json(config: TrainConfig, dataset: Dataset, split: Split | None) -> dict[str, Any]:
    """The split used, in the form of a split file; training on everything has no validation and no test."""
    if split is not None:
        return splits_to_json(dataset, [split], seed=config.seed)
    everything = {part: list(dataset.groups) if part == "train" else [] for part in PARTS}
    known = "known" if dataset.groups_known else "unknown"
    return {"schema": 1, "index_sha256": dataset.sha256, "groups": known, "parts": everything}


def _cached_parts(
    config: TrainConfig, dataset: Dataset, split: Split | None, cache: Path, say: Report
) -> _Clips:
    def decoded(done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            say(f"decoded {done} of {total} clips")

    cached = cache_clips(dataset.clips, dataset.labels, config.frame_spec, cache, decoded)
    synthetic = cache_synthetic(config, dataset.labels, cache, decoded)
    if split is None:
        return _Clips(cached, [], [], synthetic)
    train, validation, test = (
        [clip for clip in cached if clip.group in set(split.groups(part))] for part in PARTS
    )
    if not config.validate:
        train, validation = train + validation, []
    missing = set(range(len(dataset.labels))) - {clip.label for clip in train}
    if missing:
        raise DataError(f"label {dataset.labels[min(missing)]} has no clip in the split's training part")
    return _Clips(train, validation, test, synthetic)


def class_weights(labels: Sequence[int], classes: int) -> NDArray[np.float32]:
    """Weights that let every class count alike, 1 on average over the clips: float32 [classes]."""
    counts = np.bincount(np.asarray(labels), minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def pixel_statistics(clips: Sequence[CachedClip]) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of clips, 0 to 255, each clip counting alike; a deviation of 1 or more."""
    frames = (clip.frames() for clip in clips)
    moments = np.mean(
        [[f.mean(dtype=np.float64), np.square(f, dtype=np.float64).mean()] for f in frames], axis=0
    )
    mean, square = moments.tolist()
    return mean, max(1.0, float(np.sqrt(max(0.0, square - mean * mean))))


def _pixels_json(pixels: tuple[float, float]) -> dict[str, float]:
    return dict(zip(("mean", "deviation"), pixels, strict=True))


class _Training:
    """The state of a training: models, optimizer, history, the best weights so far."""

    def __init__(
        self, config: TrainConfig, clips: _Clips, labels: Sequence[str], mirror: Mirror, folder: Path
    ) -> None:
        keras.utils.set_random_seed(config.seed)
        self.config, self.clips, self.folder, self.mirror = config, clips, folder, mirror
        measured = pixel_statistics(clips.train)
        self.low_contrast = measured[1] < LOW_CONTRAST and not config.standardise
        self.pixels = measured if config.standardise else UNIT
        self.averaged = build(config.model, config.frames, config.size, len(labels), self.pixels)
        self._model = training_twin(self.averaged)
        steps = config.steps_per_epoch * config.epochs
        rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps, alpha=LAST_RATE_SHARE)
        self._optimizer = keras.optimizers.Adam(rate, global_clipnorm=config.clip_norm or None)
        self._optimizer.build(self._model.trainable_variables)
        self._predict = keras_predict(self.averaged)
        weights = class_weights([clip.label for clip in clips.train], len(labels))
        self._step = tf.function(_train_step(config, self._model, self.averaged, self._optimizer, weights))
        self.history: list[dict[str, float]] = []
        self.best: list[NDArray[Any]] | None = None
        self.best_epoch = 0
        self.best_mark: list[float] = []  # what `monitor` minimises, at the best epoch

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def stopped(self) -> bool:
        """Whether training is over: all epochs done, or no better validation for `patience` epochs."""
        tired = self.best is not None and self.epoch - self.best_epoch >= self.config.patience
        return self.epoch >= self.config.epochs or tired

    def run(self, say: Report) -> None:
        """Train to the end; the averaged model holds the best weights then."""
        started, first = time.monotonic(), self.epoch
        batches = self._batches()
        while not self.stopped:
            row = self._one_epoch(batches)
            self._save()
            runs.write_history(self.folder, self.history)
            per_epoch_s = (time.monotonic() - started) / (self.epoch - first)
            left_s = per_epoch_s * (self.config.epochs - self.epoch)
            say(progress_line(row, self.config.epochs, per_epoch_s, left_s))
        if self.best is not None:
            self.averaged.set_weights(self.best)
            if self.config.monitor != "none":
                say(f"best validation {self.config.monitor} after epoch {self.best_epoch}")

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """All batches from here to the last epoch: one pipeline, which goes on loading between epochs."""
        config = self.config
        first, last = (epoch * config.steps_per_epoch for epoch in (self.epoch, config.epochs))
        if first == last:
            return iter(())
        plan = WindowPlan(self.clips.train, config.sampling, self.clips.synthetic)
        amounts = Amounts().scaled(config.augmentation)
        return iter(training_batches(plan, first, last, self.mirror, amounts))

    def _one_epoch(self, batches: Iterator[tuple[Any, Any]]) -> dict[str, float]:
        losses, right = [], []
        for pixels, labels in islice(batches, self.config.steps_per_epoch):
            loss, share = self._step(pixels, labels)
            losses.append(float(loss))
            right.append(float(share))
        row = {"epoch": self.epoch + 1, "loss": float(np.mean(losses)), "accuracy": float(np.mean(right))}
        if not np.isfinite(row["loss"]):
            raise DataError(f"training diverged in epoch {row['epoch']}; choose a lower --learning-rate")
        if self.clips.validation:
            row |= self._validate(row["epoch"])
        self.history.append(row)
        return row

    def _validate(self, epoch: float) -> dict[str, float]:
        contract = self.config.contract
        hop = max(contract.hop_ticks, contract.frames // VALIDATIONS_PER_WINDOW)
        predictions = predict_clips(self._predict, self.clips.validation, contract, hop)
        figures = measures(predictions, [str(i) for i in range(predictions.clips.shape[1])])
        marks = {
            "loss": [0.0, figures["window_loss"]],
            "accuracy": [1 - figures["window_accuracy"], figures["window_loss"]],
            "none": [-epoch],
        }
        mark = marks[self.config.monitor]
        if self.best is None or mark < self.best_mark:
            self.best, self.best_epoch, self.best_mark = self.averaged.get_weights(), int(epoch), mark
        return {
            "validation_loss": figures["window_loss"],
            "validation_window_accuracy": figures["window_accuracy"],
            "validation_clip_accuracy": figures["clip_accuracy"],
        }

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self.averaged.variables, *self._optimizer.variables]

    def _save(self) -> None:
        """Everything needed to go on after this epoch, in one file that is replaced whole."""
        arrays = {f"variable_{i}": variable.numpy() for i, variable in enumerate(self._variables())}
        arrays |= {f"best_{i}": array for i, array in enumerate(self.best or [])}
        said = {"history": self.history, "best_epoch": self.best_epoch, "best_mark": self.best_mark}
        path = self.folder / runs.CHECKPOINT
        try:
            with replaced_file(path) as partial, partial.open("wb") as file:
                np.savez(file, progress=np.array(json.dumps(said)), **arrays)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error

    def resume(self, say: Report) -> None:
        """Go on from the folder's checkpoint, where there is one. Raises DataError when it is damaged."""
        path = self.folder / runs.CHECKPOINT
        if not path.is_file():
            return
        try:
            with np.load(path) as stored:
                said = json.loads(str(stored["progress"]))
                for i, variable in enumerate(self._variables()):
                    variable.assign(stored[f"variable_{i}"])
                count = len(self.averaged.get_weights()) if said["best_epoch"] else 0
                best = [stored[f"best_{i}"] for i in range(count)]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(f"{path}: damaged ({error}); remove it to start this training anew") from error
        self.history, self.best = said["history"], best or None
        self.best_epoch, self.best_mark = said["best_epoch"], said["best_mark"]
        say(f"going on after epoch {self.epoch}")


def _train_step(
    config: TrainConfig, model: Any, averaged: Any, optimizer: Any, weights: NDArray[np.float32]
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """One step on one batch: returns the loss and the share of right answers, of the windows in which something is done.

    `averaged` follows `model`.
    """
    classes = len(weights)
    follows = list(
        zip(averaged.variables, model.variables, strict=True)
    )  # running statistics too: they jump most

    def step(pixels: Any, labels: Any) -> tuple[Any, Any]:
        acts = labels != BACKGROUND
        wanted = targets(labels, classes)
        weight = tf.where(acts, tf.gather(tf.constant(weights), tf.maximum(labels, 0)), 1.0)
        with tf.GradientTape() as tape:
            scores = model(pixels, training=True)
            losses = keras.losses.categorical_crossentropy(
                wanted, scores, label_smoothing=config.label_smoothing
            )
            loss = tf.reduce_mean(weight * losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        done = tf.cast(optimizer.iterations, tf.float32)
        momentum = tf.minimum(config.average, done / (done + AVERAGE_START_STEPS))
        for mean, variable in follows:
            mean.assign(momentum * mean + (1 - momentum) * variable)
        right = tf.argmax(scores, axis=1, output_type=tf.int32) == labels
        return loss, tf.reduce_sum(tf.cast(right & acts, tf.float32)) / tf.reduce_sum(
            tf.cast(acts, tf.float32)
        )

    return step


def progress_line(row: dict[str, float], epochs: int, per_epoch_s: float, left_s: float) -> str:
    """One epoch for a person: figures, pace and time left."""
    figures = f"loss {row['loss']:.3f} accuracy {row['accuracy']:.3f}"
    if "validation_loss" in row:
        figures += (
            f" | validation loss {row['validation_loss']:.3f} windows {row['validation_window_accuracy']:.3f}"
            f" clips {row['validation_clip_accuracy']:.3f}"
        )
    minutes, seconds = divmod(round(left_s), 60)
    return f"epoch {row['epoch']:.0f}/{epochs} {figures} | {per_epoch_s:.1f} s an epoch, {minutes}:{seconds:02d} left"


def _finish(training: _Training, clips: _Clips, dataset: Dataset, folder: Path) -> None:
    """Write the model, the figures of the parts that were held out, and last metrics.json."""
    runs.write_history(folder, training.history)
    try:
        with replaced_file(folder / runs.MODEL) as partial:
            training.averaged.save(partial)
    except OSError as error:
        raise DataError(f"{folder}: the model cannot be written: {error.strerror or error}") from error
    figures: dict[str, Any] = {}
    for part, held_out in (("validation", clips.validation), ("test", clips.test)):
        if held_out:
            predictions = predict_clips(keras_predict(training.averaged), held_out, training.config.contract)
            figures[part] = measures(predictions, dataset.labels, dataset.groups_known)
    shown = figures.get("test", figures.get("validation"))
    if shown is not None:
        draw_confusion(folder / runs.CONFUSION, shown["confusion"], dataset.labels)
    counts = Counter(clip.label for clip in clips.train)
    runs.finish_run(
        folder,
        {
            "schema": runs.SCHEMA,
            "parameters": training.averaged.count_params(),
            "epochs_run": training.epoch,
            "best_epoch": training.best_epoch or training.epoch,
            **({"pixels": _pixels_json(training.pixels)} if training.config.standardise else {}),
            "trained_on": {
                "groups": sorted({clip.group for clip in clips.train}),
                "clips": {label: counts[i] for i, label in enumerate(dataset.labels)},
            },
            "groups": "known" if dataset.groups_known else "unknown",
            "versions": {
                "tensorflow": tf.__version__,
                "tf_keras": keras.__version__,
                "numpy": np.__version__,
            },
            **figures,
        },
    )
