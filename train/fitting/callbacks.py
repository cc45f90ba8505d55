"""Callbacks of `Model.fit`: the averaged weights, their validation, and what Keras' own callbacks forget on a
resume.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_har.errors import DataError
from train import runs
from train.fitting.evaluate import Predictions, measures
from train.tf import keras, tf

AVERAGE_START_STEPS = (
    9.0  # early means look back over a fraction of the steps done: first weights do not linger
)
MONITORED = "monitored"  # in the logs: what early stopping and the choice of the best epoch minimise
# What EarlyStopping knows of the epochs done; Keras sets it back at the start of every `fit`.
EARLY_STOPPING_STATE = ("wait", "best", "best_epoch", "stopped_epoch")
BACKUP = "backup"  # in the folder of checkpoints: BackupAndRestore's own
BEST_WEIGHTS = "best-{epoch:05d}.weights.h5"  # beside it, by ModelCheckpoint
PROGRESS_KEY = "model/resumable/progress/.ATTRIBUTES/VARIABLE_VALUE"  # of `Progress` in a backup

Report = Callable[[str], None]
Row = dict[str, float]


class WeightAverage(keras.callbacks.Callback):  # type: ignore[misc]
    """After every step, keep the running mean of the model's weights in `averaged`, a model of the same
    layers.

    Running statistics of batch normalisation are averaged too: they jump most, and the optimizer's own
    average leaves them out.
    """

    def __init__(self, averaged: Any, momentum: float) -> None:
        super().__init__()
        self._averaged, self._momentum = averaged, momentum
        self._update: Callable[[], None] = lambda: None

    def set_model(self, model: Any) -> None:
        """Follow the variables of `model`."""
        super().set_model(model)
        pairs = list(zip(self._averaged.variables, model.variables, strict=True))

        def update() -> None:
            done = tf.cast(model.optimizer.iterations, tf.float32)
            momentum = tf.minimum(self._momentum, done / (done + AVERAGE_START_STEPS))
            for mean, variable in pairs:
                mean.assign(momentum * mean + (1 - momentum) * variable)

        self._update = tf.function(update)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """One step further."""
        self._update()


class HeldOutClips(keras.callbacks.Callback):  # type: ignore[misc]
    """After every epoch, put the validation figures into the logs, for the callbacks that follow in the list.

    predict: the figures' predictions, of the averaged weights. monitor: one of runs.MONITORS.
    """

    def __init__(self, predict: Callable[[], Predictions], monitor: str) -> None:
        super().__init__()
        self._predict, self._monitor = predict, monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate."""
        predictions = self._predict()
        figures = measures(predictions, [str(i) for i in range(predictions.clips.shape[1])])
        if logs is not None:
            logs |= {
                "validation_loss": figures["window_loss"],
                "validation_window_accuracy": figures["window_accuracy"],
                "validation_clip_accuracy": figures["clip_accuracy"],
                MONITORED: monitored_value(self._monitor, figures),
            }


def monitored_value(monitor: str, figures: dict[str, Any]) -> float:
    """What is minimised, as one number: the loss; or for `accuracy` the wrong windows, and where equal the
    loss.
    """
    loss = float(figures["window_loss"])
    if monitor != "accuracy":
        return loss
    wrong = figures["windows"] - round(figures["window_accuracy"] * figures["windows"])
    return float(wrong + loss / (1 + loss))


class AveragedCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """ModelCheckpoint of the averaged weights, in place of those that are being trained.

    Each best epoch has its own file, so that a backup made before it still finds the file that it knows.
    """

    def __init__(self, averaged: Any, folder: Path) -> None:
        self._averaged, self._folder = averaged, folder
        super().__init__(
            str(folder / BEST_WEIGHTS),
            monitor=MONITORED,
            mode="min",
            save_best_only=True,
            save_weights_only=True,
        )

    def set_model(self, model: Any) -> None:
        """Save `averaged`, whichever model is fitted."""
        super().set_model(self._averaged)

    def load_best(self, epoch: int) -> None:
        """Give the averaged model the weights of a best epoch, counted from 0. Raises DataError when they are
        lost.
        """
        path = self._folder / BEST_WEIGHTS.format(epoch=epoch + 1)
        try:
            self._averaged.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path}: damaged ({error}); remove {self._folder} to train from the start"
            ) from error

    def remove_all_but(self, epoch: int) -> None:
        """Remove the weights of epochs that are no longer the best."""
        for path in self._folder.glob(BEST_WEIGHTS.replace("{epoch:05d}", "*")):
            if path.name != BEST_WEIGHTS.format(epoch=epoch + 1):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Progress:
    """What a backup holds besides variables. history: a row per epoch; early_stopping: its counts."""

    history: list[Row] = field(default_factory=list)
    early_stopping: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path) -> Progress:
        """The progress of a folder of checkpoints; none where nothing is saved. Raises DataError when it is
        damaged.
        """
        backups = folder / BACKUP / "chief"
        if not (backups / "checkpoint").exists():
            return Progress()
        try:
            path = tf.train.latest_checkpoint(str(backups))
            if path is None:
                raise ValueError("its files are gone")
            stored = tf.train.load_checkpoint(path)
            # All of it is read once: a damaged part is found here and not in the middle of `fit`.
            tensors = {name: stored.get_tensor(name) for name in stored.get_variable_to_shape_map()}
            return Progress(**json.loads(tensors[PROGRESS_KEY]))
        except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise DataError(f"{folder}: damaged ({reason}); remove it to train from the start") from error


class ResumableState(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps what Keras' callbacks forget (EarlyStopping's counts, ModelCheckpoint's best, the history, the
    averaged weights) in what BackupAndRestore saves.

    In the list of callbacks it is behind EarlyStopping and ModelCheckpoint and before BackupAndRestore. The
    random numbers of dropout start again on a resume: TensorFlow keeps their state where no checkpoint
    reaches it.
    """

    def __init__(
        self,
        progress: Progress,
        averaged: Any,
        early_stopping: Any | None = None,
        best: AveragedCheckpoint | None = None,
    ) -> None:
        super().__init__()
        self.history = list(progress.history)
        self._progress, self._early_stopping, self._best = progress, early_stopping, best
        self._stored = tf.Variable("{}", dtype=tf.string, trainable=False)
        self._tracked = tf.train.Checkpoint(averaged=averaged, progress=self._stored)

    def set_model(self, model: Any) -> None:
        """Let every checkpoint of `model` hold this state."""
        super().set_model(model)
        model.resumable = self._tracked

    def on_train_begin(self, logs: Any = None) -> None:
        """Set Keras' callbacks to where the interrupted training was."""
        if self._early_stopping is not None:
            for name, value in self._progress.early_stopping.items():
                setattr(self._early_stopping, name, value)
        if self._best is not None and self._progress.early_stopping:
            self._best.best = self._progress.early_stopping["best"]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """The last epoch is backed up: weights that were the best before it are not needed any more."""
        if self._best is not None and self._early_stopping is not None and self.history:
            self._best.remove_all_but(self._early_stopping.best_epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch. Raises DataError when its loss is not a number."""
        figures = {name: float(value) for name, value in (logs or {}).items() if name != MONITORED}
        if not np.isfinite(figures["loss"]):
            raise DataError(f"training diverged in epoch {epoch + 1}; choose a lower --learning-rate")
        self.history.append({"epoch": epoch + 1, **figures})
        early = self._early_stopping
        state = {} if early is None else {name: getattr(early, name) for name in EARLY_STOPPING_STATE}
        self._stored.assign(json.dumps(asdict(Progress(self.history, state)), default=float))


class TrainingEnd(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training after the epoch that `ends` calls the last. In the list of callbacks it is behind
    ResumableState, whose history `ends` reads.
    """

    def __init__(self, ends: Callable[[], bool]) -> None:
        super().__init__()
        self._ends = ends

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look whether this was the last epoch."""
        if self._ends():
            self.model.stop_training = True


class EpochReport(keras.callbacks.Callback):  # type: ignore[misc]
    """After every epoch: history.csv written again, and one line for a person. In the list it is behind
    BackupAndRestore.

    history.csv is not CSVLogger's: that counts epochs from 0, adds a `val_` column to each, and repeats a row
    where a training was killed between its writing and the backup.
    """

    def __init__(self, history: list[Row], epochs: int, folder: Path, report: Report) -> None:
        super().__init__()
        self._history, self._epochs, self._folder, self._report = history, epochs, folder, report
        self._first, self._started_s = len(history), time.monotonic()

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the clock."""
        self._started_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write and report."""
        runs.write_history(self._folder, self._history)
        done = len(self._history)
        per_epoch_s = (time.monotonic() - self._started_s) / (done - self._first)
        epochs = max(self._epochs, done)  # it may go on past the planned ones
        self._report(progress_line(self._history[-1], epochs, per_epoch_s, per_epoch_s * (epochs - done)))


def progress_line(row: Row, epochs: int, per_epoch_s: float, left_s: float) -> str:
    """One epoch for a person: figures, pace and time left."""
    figures = f"loss {row['loss']:.3f} accuracy {row['accuracy']:.3f}"
    if "validation_loss" in row:
        figures += (
            f" | validation loss {row['validation_loss']:.3f} windows {row['validation_window_accuracy']:.3f}"
            f" clips {row['validation_clip_accuracy']:.3f}"
        )
    minutes, seconds = divmod(round(left_s), 60)
    pace = f"{per_epoch_s:.1f} s an epoch, {minutes}:{seconds:02d} left"
    return f"epoch {row['epoch']:.0f}/{epochs} {figures} | {pace}"
