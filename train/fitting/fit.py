"""Train one model into a RUN folder: early stopping on held-out groups, resumable after every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.cli.progress import progress, to_stderr
from edge_har.errors import DataError, MisuseError
from edge_har.system.files import replaced_file
from train import runs
from train.data.augment import Mirror, amounts_of, decide_mirror
from train.data.batches import CachedClip, WindowPlan, cache_clips, cache_folder, targets, training_batches
from train.data.index import Dataset, write_index
from train.data.sampling import BACKGROUND
from train.data.splits import PARTS, Split, splits_to_json
from train.fitting.advice import Advice, advise
from train.fitting.budget import RESTARTS, Budget, budget_line, budget_of, training_windows
from train.fitting.callbacks import (
    BACKUP,
    MONITORED,
    AveragedCheckpoint,
    EpochReport,
    HeldOutClips,
    Progress,
    Report,
    ResumableState,
    Row,
    TrainingEnd,
    WeightAverage,
)
from train.fitting.distillation import check_teacher, taught, teach
from train.fitting.evaluate import (
    Predict,
    Predictions,
    keras_predict,
    measures,
    other_measures,
    predict_clips,
)
from train.fitting.pictures import draw_confusion, draw_curves
from train.fitting.pretrained import FrozenEncoder, fine_tune
from train.fitting.synthetic_clips import cache_synthetic, synthetic_identity
from train.models.architectures import UNIT, build
from train.models.fused_convlstm import training_twin
from train.runs import TrainConfig
from train.tf import GPUS, fit_model, keras, tf

RECIPE = 3  # counts up where training changes in a way that neither settings nor architecture say
SEEDS_APART = 1_000_003  # of the weights of a training that is started again
LAST_RATE_FRACTION = 0.02  # of the first learning rate: what it falls to along a cosine
LOW_CONTRAST = 20.0  # standard deviation of pixels, 0 to 255: common clips have 35 to 65
VALIDATIONS_PER_WINDOW = 4  # while epochs are compared, windows overlap less than in use: it is much cheaper


def train_run(
    config: TrainConfig,
    dataset: Dataset,
    out: str | os.PathLike[str],
    *,
    split: Split | None = None,
    cache: Path | None = None,
    report: Report | None = None,
    tensorboard: Path | None = None,
    encoder_weights: Path | None = None,
    teacher: runs.Run | None = None,
) -> runs.Run:
    """Train `config` on a data set and leave a finished RUN at `out`; a finished one is returned as it is.

    split: trains on its `train`, stops early on `validation` (unless config.validate is False: then it trains
    on both for all epochs; with config.refit it trains on both once validation has served), and reads `test`
    once at the end. None: trains on all groups for all epochs. An
    interrupted training goes on from its last whole epoch when called again. cache: where decoded clips are
    kept. report: takes lines for people; default stderr. tensorboard: a folder for TensorBoard's logs.
    encoder_weights: the file of a pretrained encoder's, see `encoders.load_weights`; the teacher's, where
    there is one. teacher: the RUN that `config.teacher` means.

    Raises DataError or MisuseError, each one line.
    """
    folder, report = Path(out), report or to_stderr
    if tensorboard is not None and find_spec("tensorboard") is None:
        raise MisuseError(
            "--tensorboard needs the package tensorboard; install it with 'pip install tensorboard'"
        )
    if teacher is not None:
        check_teacher(teacher, config, dataset, split)
    elif config.teacher is not None:
        raise MisuseError("these settings have a teacher: name its RUN")
    mirror = decide_mirror(config.mirror, dataset.labels)
    finished = runs.start_run(folder, identity(config, dataset), _split_json(config, dataset, split))
    if finished:
        report(f"{folder} is finished already")
        return runs.load_run(folder)
    write_index(dataset, folder / runs.INDEX)
    report(mirror.note)
    report(f"training on {len(GPUS)} GPU{'s' * (len(GPUS) > 1)}" if GPUS else "training on the CPU")
    cache = cache or cache_folder()
    clips = _cached_parts(config, dataset, split, cache, report)
    budget = budget_for(config, clips.train, bool(clips.validation))
    frozen, seen = None, clips
    if config.design.pretrained:
        budget = replace(budget, watched_epochs=0)  # on such features no head stays at chance
        frozen = FrozenEncoder(config, len(dataset.labels), encoder_weights)
        seen = _features(frozen, clips, mirror, report)
        frozen.normalise(seen.train, seen.other["train"])
    report(budget_line(budget))
    teaching = None
    if teacher is not None:
        teaching = teach(teacher, dataset, clips.train, cache, encoder_weights, report)
    training = _Training(
        config, seen, dataset.labels, mirror, folder, budget, frozen=frozen, teaching=teaching
    )
    if training.low_contrast:
        report("the clips show little contrast: if nothing is learnt, --standardise helps")
    try:
        training.run(report, tensorboard)
        while training.at_chance:
            training = training.started_again(report)
            training.run(report, tensorboard)
        if config.fine_tune:
            training.fine_tune(clips, report)
        before = training
        if config.refit and clips.validation:
            both = clips.with_validation_trained()
            frozen = FrozenEncoder(config, len(dataset.labels), encoder_weights)
            seen_both = _features(frozen, both, mirror, report)
            frozen.normalise(seen_both.train, seen_both.other["train"])
            report(f"training again on {len(both.train)} clips, with those of validation")
            windows = training_windows(both.train, config.contract)
            training = _Training(
                config,
                seen_both,
                dataset.labels,
                mirror,
                folder / runs.CHECKPOINT / runs.REFIT,
                budget.refit(windows, before.best_epoch),
                frozen=frozen,
            )
            training.run(report)
    except KeyboardInterrupt:
        report(f"interrupted after epoch {training.epoch}; the same command goes on from there")
        raise
    except tf.errors.OpError as error:  # a GPU's memory is full, a cached clip is gone, a disk is full
        raise DataError(f"training stopped after epoch {training.epoch}: {_reason(error)}") from error
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(f"training stopped after epoch {training.epoch}: {reason}") from error
    by_rows = frozen is not None and not config.fine_tune
    _finish(training, before, clips, seen if by_rows else clips, dataset, folder)
    return runs.load_run(folder)


def _features(frozen: FrozenEncoder, clips: _Clips, mirror: Mirror, report: Report) -> _Clips:
    """The same clips as their features."""
    return replace(
        clips,
        train=frozen.clips(clips.train, mirror, report),
        validation=frozen.plain(clips.validation),
        test=frozen.plain(clips.test),
        other={
            "train": frozen.clips(clips.other["train"], mirror, report),
            **{part: frozen.plain(clips.other[part]) for part in PARTS[1:]},
        },
    )


@dataclass(frozen=True)
class _Clips:
    """The clips of each use, all in the cache. validation and test may be empty. other: by part, the clips in
    which none of the labels happens."""

    train: Sequence[CachedClip]
    validation: Sequence[CachedClip]
    test: Sequence[CachedClip]
    synthetic: Sequence[CachedClip]
    other: Mapping[str, Sequence[CachedClip]] = field(default_factory=lambda: dict.fromkeys(PARTS, ()))

    def with_validation_trained(self) -> _Clips:
        """The same with nothing held out but the test part."""
        other = {**self.other, "train": [*self.other["train"], *self.other["validation"]], "validation": ()}
        return replace(self, train=[*self.train, *self.validation], validation=(), other=other)


def identity(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """What a training is made of, as config.json holds it: two with the same identity and split train the
    same.

    Raises what `decide_mirror` and `synthetic_identity` raise.
    """
    mirror = decide_mirror(config.mirror, dataset.labels)
    return {
        "schema": runs.SCHEMA,
        "recipe": RECIPE,
        "architecture_sha256": _architecture(config, len(dataset.labels)),
        "augment": asdict(amounts_of(config.augmentation, config.frame_spec)),
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

    def nameless(config: Any) -> Any:
        if isinstance(config, dict):
            return {key: nameless(value) for key, value in config.items() if key != "name"}
        return [nameless(value) for value in config] if isinstance(config, (list, tuple)) else config

    layers = build(config.model, config.frames, config.size, classes, UNIT, config.design).get_config()
    return hashlib.sha256(json.dumps(nameless(layers), sort_keys=True, default=str).encode()).hexdigest()


def _split_json(config: TrainConfig, dataset: Dataset, split: Split | None) -> dict[str, Any]:
    """The split used, in the form of a split file; training on everything has no validation and no test."""
    if split is not None:
        return splits_to_json(dataset, [split], seed=config.seed)
    everything = {part: list(dataset.groups) if part == "train" else [] for part in PARTS}
    known = "known" if dataset.groups_known else "unknown"
    return {"schema": 1, "index_sha256": dataset.sha256, "groups": known, "parts": everything}


def _cached_parts(
    config: TrainConfig, dataset: Dataset, split: Split | None, cache: Path, report: Report
) -> _Clips:
    with progress("decoding clips", report) as decoded:
        every = cache_clips(dataset.clips, dataset.labels, config.frame_spec, cache, decoded)
    with progress("drawing clips", report) as drawn:
        synthetic = cache_synthetic(config, dataset.labels, cache, drawn)
    cached = [clip for clip in every if clip.label != BACKGROUND]
    unlabelled = [clip for clip in every if clip.label == BACKGROUND]
    if split is None:
        return _Clips(cached, [], [], synthetic, {**dict.fromkeys(PARTS, ()), "train": unlabelled})
    parts = {part: set(split.groups(part)) for part in PARTS}
    if not config.validate:
        parts = {"train": parts["train"] | parts["validation"], "validation": set(), "test": parts["test"]}
    train, validation, test = ([clip for clip in cached if clip.group in groups] for groups in parts.values())
    other = {part: [clip for clip in unlabelled if clip.group in groups] for part, groups in parts.items()}
    missing = set(range(len(dataset.labels))) - {clip.label for clip in train}
    if missing:
        raise DataError(f"label {dataset.labels[min(missing)]} has no clip in the split's training part")
    return _Clips(train, validation, test, synthetic, other)


def class_weights(labels: Sequence[int], classes: int) -> NDArray[np.float32]:
    """Weights that let every class count alike, 1 on average over the clips: float32 [classes]."""
    counts = np.bincount(np.asarray(labels), minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def pixel_statistics(clips: Sequence[CachedClip]) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of clips, 0 to 255, each clip counting alike;
    a deviation of 1 or more."""
    frames = (clip.frames() for clip in clips)
    moments = np.mean(
        [[f.mean(dtype=np.float64), np.square(f, dtype=np.float64).mean()] for f in frames], axis=0
    )
    mean, square = moments.tolist()
    return mean, max(1.0, float(np.sqrt(max(0.0, square - mean * mean))))


def _pixels_json(pixels: tuple[float, float]) -> dict[str, float]:
    return dict(zip(("mean", "deviation"), pixels, strict=True))


class ActiveAccuracy(keras.metrics.Mean):  # type: ignore[misc]
    """Window accuracy over the windows in which something is done: those whose target is not every label
    alike.
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch: targets and predictions, both float32 [batch, classes]."""
        correct = tf.argmax(y_pred, axis=1) == tf.argmax(y_true, axis=1)
        active = tf.reduce_max(y_true, axis=1) > tf.reduce_min(y_true, axis=1)
        return super().update_state(tf.cast(correct, tf.float32), tf.cast(active, tf.float32))


def budget_for(config: TrainConfig, clips: Sequence[CachedClip], validated: bool) -> Budget:
    """What a training on `clips` may take. validated: whether validation chooses its best epoch."""
    budget = budget_of(config, training_windows(clips, config.contract))
    return budget if validated and config.monitor != "none" else budget.unvalidated()


class _Training:
    """One training: its models, and where it is. Raises DataError when the folder's checkpoint is damaged.

    attempt: how often it was started again, each time with other weights; None goes on with the last attempt
    that the folder holds. teaching: what a teacher says of each training clip, float32 [clips, labels].
    """

    def __init__(
        self,
        config: TrainConfig,
        clips: _Clips,
        labels: Sequence[str],
        mirror: Mirror,
        folder: Path,
        budget: Budget,
        attempt: int | None = None,
        frozen: FrozenEncoder | None = None,
        teaching: NDArray[np.float32] | None = None,
    ) -> None:
        self.attempt = _last_attempt(folder) if attempt is None else attempt
        keras.utils.set_random_seed(config.seed + self.attempt * SEEDS_APART)
        self.config, self._clips, self._folder, self._mirror = config, clips, folder, mirror
        self.budget, self._labels = budget, labels
        self.frozen, self._teaching = frozen, teaching
        measured = UNIT if frozen else pixel_statistics(clips.train)
        self.low_contrast = measured[1] < LOW_CONTRAST and not config.standardise
        self.pixels = measured if config.standardise else UNIT
        self._weights = class_weights([clip.label for clip in clips.train], len(labels))
        if config.recipe == runs.NOTEBOOK:
            self._weights = np.ones_like(self._weights)
        if frozen is not None:
            self.whole, self.averaged = frozen.whole, frozen.behind
        else:
            self.whole = build(
                config.model, config.frames, config.size, len(labels), self.pixels, config.design
            )
            self.averaged = self.whole
        self.model = compiled(training_twin(self.averaged), config, budget)
        self._checkpoints = _checkpoints(folder, self.attempt)
        self._early_stopping: Any | None = None
        self._best: AveragedCheckpoint | None = None
        if clips.validation and config.monitor != "none":
            self._early_stopping = keras.callbacks.EarlyStopping(MONITORED, 0, budget.patience, mode="min")
            self._best = AveragedCheckpoint(self.averaged, self._checkpoints)
        self._saved = Progress.load(self._checkpoints)
        self._state = ResumableState(self._saved, self.averaged, self._early_stopping, self._best)

    @property
    def history(self) -> list[Row]:
        """A row of figures for each whole epoch done."""
        return self._state.history

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept, counted from 1: the last one, unless validation chooses."""
        return self.epoch if self._early_stopping is None else int(self._early_stopping.best_epoch) + 1

    @property
    def at_chance(self) -> bool:
        """Whether nothing was learnt so far, and other weights are to be tried."""
        losses = [row["loss"] for row in self.history]
        return self.attempt < RESTARTS and self.budget.at_chance(losses, len(self._labels))

    def advice(self, figures: Mapping[str, Any]) -> Advice:
        """What the finished training says for itself. figures: of the parts that were held out."""
        classes = len(self._labels)
        return advise(self.history, self.best_epoch, self.config, self.budget, figures, classes)

    def started_again(self, report: Report) -> _Training:
        """The same training with other weights. From now on the folder goes on with it."""
        report(
            f"after {self.epoch} epochs the training loss is {self.history[-1]['loss']:.3f}, as by chance: "
            f"starting again with other weights ({self.attempt + 1} of at most {RESTARTS} times)"
        )
        following = self.attempt + 1
        _checkpoints(self._folder, following).mkdir(parents=True, exist_ok=True)
        return _Training(
            self.config,
            self._clips,
            self._labels,
            self._mirror,
            self._folder,
            self.budget,
            following,
            teaching=self._teaching,
        )

    def run(self, report: Report, tensorboard: Path | None = None) -> None:
        """Train to the end, or until `at_chance`; at the end the averaged model holds the best weights."""
        first = self.epoch
        if first:
            report(f"going on after epoch {first}")
        over = self._ends(int(self._saved.early_stopping.get("wait", 0)))
        fit_model(
            self.model,
            self._batches(first),
            # Where the interrupted training was already over `fit` only restores it.
            epochs=first if over else self.budget.longest,
            initial_epoch=first,
            steps_per_epoch=self.budget.steps_per_epoch,
            callbacks=self._callbacks(report, tensorboard),
            verbose=0,
        )
        if self._best is not None and not self.at_chance:
            self._best.load_best(self.best_epoch - 1)
            report(f"best validation {self.config.monitor} after epoch {self.best_epoch}")

    def _ends(self, without_better: int) -> bool:
        return self.at_chance or self.budget.ends(self.epoch, without_better)

    def _callbacks(self, report: Report, tensorboard: Path | None) -> list[Any]:
        """In the order in which they run: each sees what those before it did to weights, logs and files."""
        made: list[Any] = [WeightAverage(self.averaged, self.config.average)]
        if self._clips.validation:
            made.append(HeldOutClips(self._validate, self.config.monitor))
        made += [callback for callback in (self._early_stopping, self._best) if callback is not None]
        if tensorboard is not None:
            made.append(keras.callbacks.TensorBoard(str(tensorboard)))
        backup = keras.callbacks.BackupAndRestore(str(self._checkpoints / BACKUP), delete_checkpoint=False)
        return [
            *made,
            self._state,
            backup,
            EpochReport(self.history, min(self.budget.epochs, self.budget.longest), self._folder, report),
            TrainingEnd(lambda: self._ends(self._early_stopping.wait if self._early_stopping else 0)),
        ]

    def _batches(self, epoch: int) -> Any:
        """All batches from an epoch to the last: one pipeline, which goes on loading between epochs."""
        config = self.config
        budget = self.budget
        first, last = (number * budget.steps_per_epoch for number in (epoch, budget.longest))
        weighted = weighted_targets(self._weights)
        if self.frozen is not None:
            rows = self.frozen.batches(self._clips.train, self._clips.other["train"], first, last)
            return rows.map(weighted)
        clips, mirror = self._clips.train, self._mirror
        if self._teaching is not None:
            by_row = taught(clips, mirror, self._teaching, config.teacher_share)
            clips, mirror = by_row.clips, by_row.mirror
            weighted = weighted_targets(self._weights[by_row.label_of], by_row.table)
        plan = WindowPlan(clips, config.sampling, self._clips.synthetic, self._clips.other["train"])
        amounts = amounts_of(config.augmentation, config.frame_spec)
        return training_batches(plan, first, last, mirror, amounts).map(weighted)

    def _validate(self) -> Predictions:
        contract = self.config.contract
        hop = max(contract.hop_ticks, contract.frames // VALIDATIONS_PER_WINDOW)
        return predict_clips(self._predict, self._clips.validation, contract, hop)

    @cached_property
    def _predict(self) -> Predict:
        return keras_predict(self.averaged) if self.frozen is None else self.frozen.predict(self.averaged)

    def predict(self, *, whole: bool) -> Predict:
        """The trained model on windows of pixels (`whole`), or of what it was trained on."""
        return keras_predict(self.whole) if whole else self._predict

    def fine_tune(self, clips: _Clips, report: Report) -> None:
        """Let a pretrained encoder learn too. clips: decoded."""
        weighted = weighted_targets(self._weights)
        kept = fine_tune(
            self.whole, self.config, clips.train, clips.validation, self._mirror, weighted, report
        )
        report(f"fine-tuning: the weights of epoch {kept} are kept" if kept else "fine-tuning did not help")


def compiled(model: Any, config: TrainConfig, budget: Budget) -> Any:
    """`model`, ready for `fit` as a training does it: Adam along a cosine with warm-up (a constant rate in
    the notebooks' recipe), cross-entropy, window accuracy.
    """
    model.compile(
        keras.optimizers.Adam(_rate(config, budget), global_clipnorm=config.clip_norm or None),
        keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        metrics=[ActiveAccuracy(name="accuracy")],
    )
    return model


def _rate(config: TrainConfig, budget: Budget) -> Any:
    """The learning rate of each step: a number, or Keras' schedule."""
    if config.recipe == runs.NOTEBOOK:
        return config.learning_rate
    warmup, falling = budget.warmup_steps, budget.steps - budget.warmup_steps
    if not warmup:
        first = config.learning_rate
        return keras.optimizers.schedules.CosineDecay(first, falling, alpha=LAST_RATE_FRACTION)
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate / warmup,
        falling,
        alpha=LAST_RATE_FRACTION,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )


def _checkpoints(folder: Path, attempt: int) -> Path:
    """The folder of checkpoints of one attempt. That it exists says that the attempt was begun."""
    return folder / runs.CHECKPOINT / (f"attempt-{attempt}" if attempt else "")


def _last_attempt(folder: Path) -> int:
    return max(
        attempt for attempt in range(RESTARTS + 1) if not attempt or _checkpoints(folder, attempt).exists()
    )


def weighted_targets(
    weights: NDArray[np.float32], table: NDArray[np.float32] | None = None
) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    """A map from (clips, labels int32 [batch]) to what `fit` takes: clips, targets float32 [batch, classes],
    and the weight of each window float32 [batch]. weights: float32 [labels]; a window in which nothing is
    done weighs 1. table: the targets of each label, float32 [labels, classes]; default that label alone.
    """
    classes = len(weights) if table is None else table.shape[1]

    def weighted(clips: Any, labels: Any) -> tuple[Any, Any, Any]:
        by_label = tf.gather(tf.constant(weights), tf.maximum(labels, 0))
        return clips, targets(labels, classes, table), tf.where(labels != BACKGROUND, by_label, 1.0)

    return weighted


def _reason(error: Any) -> str:
    """The line of a TensorFlow error that names what happened, out of the graph's own traceback."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line]
    return (named or lines or [type(error).__name__])[-1 if named else 0]


def _finish(
    training: _Training, before: _Training, clips: _Clips, evaluated: _Clips, dataset: Dataset, folder: Path
) -> None:
    """Write the models, the figures of the parts that were held out, and last metrics.json.

    before: the training that had not seen the validation part; `training` itself where none had. evaluated:
    the clips of those figures, decoded as `clips` are, or their features.
    """
    refit = training is not before
    runs.write_history(folder, before.history)
    try:
        for made, name in ((training, runs.MODEL), *([(before, runs.BEFORE_REFIT)] if refit else [])):
            with replaced_file(folder / name) as partial:
                made.whole.save(partial)
    except OSError as error:
        raise DataError(f"{folder}: the model cannot be written: {error.strerror or error}") from error
    figures: dict[str, Any] = {}
    for part, held_out, by in (
        ("validation", evaluated.validation, before),
        ("test", evaluated.test, training),
    ):
        predict = by.predict(whole=evaluated is clips)
        if held_out:
            predictions = predict_clips(predict, held_out, by.config.contract)
            figures[part] = measures(predictions, dataset.labels, dataset.groups_known)
        if evaluated.other[part]:
            other = predict_clips(predict, evaluated.other[part], by.config.contract)
            figures.setdefault("other", {})[part] = other_measures(other)
    draw_curves(folder / runs.CURVES, before.history, before.best_epoch, len(dataset.labels))
    for part in ("test", "validation"):
        if part in figures:
            draw_confusion(folder / runs.CONFUSION, figures[part]["confusion"], dataset.labels, part)
            break
    counts = Counter(clip.label for clip in clips.train)
    runs.finish_run(
        folder,
        {
            "schema": runs.SCHEMA,
            "parameters": training.whole.count_params(),
            **({"encoder_sha256": training.frozen.weights_sha256} if training.frozen else {}),
            "epochs_run": before.epoch,
            "best_epoch": before.best_epoch,
            "budget": before.budget.to_json(),
            "restarts": before.attempt,
            "advice": before.advice(figures).to_json(),
            **({runs.REFIT: _refit_json(training, clips.validation)} if refit else {}),
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


def _refit_json(training: _Training, validation: Sequence[CachedClip]) -> dict[str, Any]:
    """What metrics.json holds of the training that saw the validation clips too."""
    return {
        "groups": sorted({clip.group for clip in validation}),
        "epochs": training.epoch,
        "budget": training.budget.to_json(),
    }
