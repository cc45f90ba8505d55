"""A RUN folder: what a training leaves. It is finished when it holds metrics.json, which is written last."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edge_har.errors import DataError, MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.labels import check_labels
from edge_har.model.manifest import check_window
from edge_har.model.preprocess import FrameSpec
from edge_har.system.files import PathKind, is_utf8, path_kind
from train.data.files import write_text
from train.data.sampling import Sampling
from train.models.families import (
    FAMILIES,
    LSTM,
    NOTEBOOK_SETTINGS,
    PRETRAINED_SETTINGS,
    PUBLISHED,
    RGB,
    Design,
)

SCHEMA = 1
# Settings that earlier RUNs do not hold, and the value that they trained with.
ADDED = {
    "standardise": False,
    "encoder": PUBLISHED,
    "inputs": RGB,
    "head": LSTM,
    "motion_branch": False,
    "fine_tune": 0,
    "recipe": "default",
    "steps": 600,
    "outlier_share": 0.0,
    "other_share": 0.15,  # of clips that there were none of
    "teacher": None,
    "teacher_share": 0.5,
    "refit": False,
}
MONITORS = ("loss", "accuracy", "none")
NOTEBOOK = "notebook"
RECIPES = ("default", NOTEBOOK)
CONFIG = "config.json"
SPLIT = "split.json"
INDEX = "index.csv"  # which clips, by path: what `convert` reads again
HISTORY = "history.csv"
MODEL = "model.keras"
BEFORE_REFIT = "before_refit.keras"  # the model that has not seen the validation groups
REFIT = "refit"  # the key of it in metrics; a folder of its checkpoints
METRICS = "metrics.json"
MODEL_SHA256 = "model_sha256"  # the key of it in metrics
CONFUSION = "confusion.png"
CURVES = "curves.png"
CHECKPOINT = "checkpoint"  # a folder, there while the training is unfinished
OLD_CHECKPOINT = "checkpoint.npz"  # of trainings that versions before 2026-12 left unfinished


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training is made of, but its clips.

    encoder, inputs, head, motion_branch: see `Design`. fine_tune: epochs in which a pretrained encoder learns
    too, after its head has.

    epochs, patience, windows_per_epoch: None takes them from the number of training windows
    (`train.fitting.budget`). patience: epochs without a better validation result that end the training.
    clip_norm: longest gradient over all variables, so that one odd batch does not throw a recurrent model
    off; 0 for any. average: momentum of the running mean of the weights, which is what is validated and
    kept; 0 keeps the plain weights. augmentation: factor of all of train.augment's amounts. validate: False
    trains on the validation groups too, for all epochs. monitor: what chooses the best epoch on validation
    windows, `loss`, `accuracy` (where equal, loss), or `none`: the last, after all epochs; validation groups
    then serve later choices alone. standardise: the first layer takes the training clips' mean pixel and
    deviation to 0 and 1, in place of 0..255 to 0..1: what shows little contrast is hardly learnt otherwise.
    synthetic_share: part of each batch drawn from the synthetic person. still_share: part of each batch in
    which nothing is done, so that no label is sure of an empty or still scene. outlier_share: part of each
    batch that is turned, so that no label is sure of what it never saw. All three together below half.
    other_share: part of each batch from clips of OTHER, where there are any.
    teacher: SHA-256 of the model file of a RUN whose probabilities are a part, teacher_share, of the targets;
    None without. steps: batches that a small set needs. refit: whether, once validation has served, the
    head of a frozen encoder is trained again on training and validation groups, for as many epochs. recipe:
    `notebook` is that of the tutorial notebooks: frames spread over the whole clip, a constant learning rate,
    clips that count alike, no second start.
    Raises MisuseError.
    """

    model: str
    encoder: str = PUBLISHED
    inputs: str = RGB
    head: str = LSTM
    motion_branch: bool = False
    fine_tune: int = 0
    frames: int = 20
    interval_ms: float = 80.0
    hop_ticks: int = 1
    size: int = 64
    fit: str = "letterbox"
    interpolation: str = "area"
    epochs: int | None = None
    patience: int | None = None
    windows_per_epoch: int | None = None
    batch: int = 32
    learning_rate: float = 2e-3
    clip_norm: float = 0.0
    label_smoothing: float = 0.05
    average: float = 0.98
    jitter: float = 0.15
    short_share: float = 0.2
    mirror: str = "auto"
    augmentation: float = 1.0
    synthetic_share: float = 0.0
    still_share: float = 0.0
    outlier_share: float = 0.0
    other_share: float = 0.15
    monitor: str = "loss"
    standardise: bool = False
    validate: bool = True
    seed: int = 0
    steps: int = 600
    recipe: str = "default"
    teacher: str | None = None
    teacher_share: float = 0.5
    refit: bool = False

    def __post_init__(self) -> None:
        if self.model not in FAMILIES:
            raise MisuseError(f"model must be one of {', '.join(FAMILIES)}, got {self.model!r}")
        if self.monitor not in MONITORS:
            raise MisuseError(f"monitor must be one of {', '.join(MONITORS)}, got {self.monitor!r}")
        if self.recipe not in RECIPES:
            raise MisuseError(f"recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}")
        for name in ("epochs", "patience", "windows_per_epoch", "batch", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MisuseError(f"{name} must be 1 or more, got {value}")
        if not self.learning_rate > 0:
            raise MisuseError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not self.clip_norm >= 0:
            raise MisuseError(f"clip_norm must be 0 or more, got {self.clip_norm}")
        for name in ("label_smoothing", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise MisuseError(f"{name} must be 0 or more and below 1, got {getattr(self, name)}")
        if not self.augmentation >= 0:
            raise MisuseError(f"augmentation must be 0 or more, got {self.augmentation}")
        if self.seed < 0:
            raise MisuseError(f"seed must be 0 or more, got {self.seed}")
        self.design.check(self.model, self.size)
        if self.fine_tune < 0 or (self.fine_tune and not self.design.pretrained):
            raise MisuseError("--fine-tune is for a pretrained encoder: choose one with --encoder")
        if self.design.pretrained and self.standardise:
            raise MisuseError(f"{self.encoder} has its own scaling of pixels: omit --standardise")
        if self.design.pretrained and self.synthetic_share:
            raise MisuseError(f"{self.encoder} is trained on clips alone: omit --synthetic")
        if not 0 <= self.teacher_share <= 1:
            raise MisuseError(f"teacher_share must be from 0 to 1, got {self.teacher_share}")
        if self.teacher is not None and (self.design.pretrained or self.recipe == NOTEBOOK):
            raise MisuseError("--teacher is for models without a pretrained encoder, by the default recipe")
        if self.refit and (self.fine_tune or not self.design.pretrained):
            raise MisuseError("--refit is for a pretrained encoder that is not fine-tuned: omit it")
        if self.outlier_share and self.design.pretrained:
            raise MisuseError(
                "outliers are turned frames, and features of an encoder cannot be turned: omit them"
            )
        _ = self.sampling  # it checks itself
        check_window(self.frame_spec, self.contract, MisuseError)

    @property
    def design(self) -> Design:
        """What an LRCN is made of."""
        return Design(self.encoder, self.inputs, self.head, self.motion_branch)

    @property
    def frame_spec(self) -> FrameSpec:
        """The pixels this model is trained on."""
        return FrameSpec((self.size, self.size), self.fit, self.interpolation)  # type: ignore[arg-type]

    @property
    def contract(self) -> TemporalContract:
        """The cadence this model is trained on."""
        sampling: Literal["interval", "spread"] = "spread" if self.recipe == NOTEBOOK else "interval"
        return TemporalContract(self.frames, self.interval_ms, self.hop_ticks, sampling=sampling)

    @property
    def sampling(self) -> Sampling:
        """How this model's training windows are drawn."""
        return Sampling(
            self.contract,
            self.batch,
            self.seed,
            self.jitter,
            self.short_share,
            self.synthetic_share,
            self.still_share,
            self.outlier_share,
            self.other_share,
        )


def default_config(model: str, **changes: Any) -> TrainConfig:
    """The settings that suit the family `model`, or those of the recipe that `changes` names, with changes by
    name. Raises MisuseError for what cannot be.
    """
    family = FAMILIES.get(model)
    pretrained = changes.get("encoder", PUBLISHED) != PUBLISHED
    settings = dict(PRETRAINED_SETTINGS if pretrained else family.settings if family else {})
    if changes.get("recipe") == NOTEBOOK:
        if model not in NOTEBOOK_SETTINGS:
            raise MisuseError(
                f"the notebooks' recipe is for {' and '.join(NOTEBOOK_SETTINGS)}, not for {model!r}"
            )
        settings = dict(NOTEBOOK_SETTINGS[model])
    if changes.get("fine_tune"):
        settings["refit"] = False  # an encoder that learns too is not trained twice
    settings |= changes
    if family and family.results_per_window and "hop_ticks" not in settings:
        frames = settings.get("frames", TrainConfig.frames)
        longest = max(1, frames // family.results_per_window)
        settings["hop_ticks"] = max(hop for hop in range(1, longest + 1) if frames % hop == 0)
    return TrainConfig(model, **settings)


@dataclass(frozen=True)
class Run:
    """A finished training. labels: in the order of the model's outputs.
    split: the parts' groups as stored.
    """

    folder: Path
    config: TrainConfig
    labels: tuple[str, ...]
    groups_known: bool
    index_sha256: str
    split: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def learned_groups(self) -> set[str]:
        """The groups that the model was trained on, in the end."""
        refit = self.metrics.get(REFIT, {"groups": ()})
        return {*self.metrics["trained_on"]["groups"], *refit["groups"]}

    def model(self) -> Any:
        """The trained Keras model, built from its known architecture; nothing stored in the file is executed.

        Raises DataError when the weights are damaged or do not fit.
        """
        return self._built(self.folder / MODEL, self.metrics[MODEL_SHA256])

    def before_refit(self) -> Any | None:
        """The same, trained without the validation groups; None where the model itself is. Raises as `model`
        does.
        """
        refit = self.metrics.get(REFIT)
        return None if refit is None else self._built(self.folder / BEFORE_REFIT, refit[MODEL_SHA256])

    def _built(self, path: Path, sha256: str) -> Any:
        from train.models.architectures import UNIT, build
        from train.tf import keras

        if _sha256(path) != sha256:
            raise DataError(f"{path}: not the model this RUN was finished with; train again")
        loaded = keras.models.load_model(path, compile=False, safe_mode=True)
        pixels = self.metrics.get("pixels")
        known = (pixels["mean"], pixels["deviation"]) if pixels else UNIT
        config = self.config
        model = build(config.model, config.frames, config.size, len(self.labels), known, config.design)
        model.set_weights(loaded.get_weights())
        return model


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Open a finished RUN; raises DataError for anything else, an interrupted training included."""
    path = Path(folder)
    if path_kind(path, DataError) is not PathKind.FOLDER:
        raise DataError(f"{folder}: no such RUN folder; make it with 'edge-har train --out {folder}'")
    if path_kind(path / CONFIG, DataError) is not PathKind.FILE:
        raise DataError(f"{folder}: not a RUN: it has no {CONFIG}")
    if path_kind(path / METRICS, DataError) is not PathKind.FILE:
        raise DataError(f"{folder}: this training is not finished; the same 'edge-har train' goes on with it")
    config = read_json(path / CONFIG)
    try:
        labels = tuple(str(label) for label in config["labels"])
        check_labels(labels, DataError)
        return Run(
            path,
            config_from_json(config["settings"]),
            labels,
            config["groups"] == "known",
            config["index_sha256"],
            read_json(path / SPLIT),
            read_json(path / METRICS),
        )
    except (KeyError, TypeError, DataError) as error:
        raise DataError(f"{path / CONFIG}: not a RUN's configuration: {error}") from error


def config_from_json(settings: Mapping[str, Any]) -> TrainConfig:
    """A stored configuration; settings that a newer version added take their defaults."""
    known = {field.name for field in fields(TrainConfig)}
    return TrainConfig(**{key: value for key, value in settings.items() if key in known})


def start_run(folder: Path, identity: Mapping[str, Any], split: Mapping[str, Any]) -> bool:
    """Make the RUN folder, or find the same training begun there; returns whether it is finished already.

    identity: what the training is made of (`settings`, labels, hashes); it is compared. Raises MisuseError
    when the folder holds something else.
    """
    if path_kind(folder / CONFIG, MisuseError) is PathKind.FILE:
        before = dict(read_json(folder / CONFIG), split=read_json(folder / SPLIT))
        difference = first_difference(before, dict(identity, split=split))
        if difference:
            raise MisuseError(f"{folder}: holds another training ({difference}); choose another --out")
        finished = (folder / METRICS).is_file()
        if not finished and (folder / OLD_CHECKPOINT).is_file():
            raise MisuseError(
                f"{folder}: left unfinished by an older version, whose {OLD_CHECKPOINT} cannot be resumed; "
                f"remove that file to train from the start, or choose another --out"
            )
        return finished
    check_run_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be made: {error.strerror or error}") from error
    write_json(folder / SPLIT, split)
    write_json(folder / CONFIG, identity)
    return False


def check_run_folder(folder: Path) -> None:
    """Raises MisuseError for a folder that holds something else than a RUN, or cannot hold one."""
    if not is_utf8(os.path.abspath(folder)):
        raise MisuseError(f"{folder}: TensorFlow writes to no path that is not UTF-8; choose another --out")
    kind = path_kind(folder, MisuseError)
    if kind is PathKind.ABSENT or path_kind(folder / CONFIG, MisuseError) is PathKind.FILE:
        return
    if kind is not PathKind.FOLDER or {path.name for path in folder.iterdir()} - {SPLIT}:
        raise MisuseError(f"{folder}: exists and is not a RUN; choose another --out")


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> str | None:
    """The first key whose values differ, as `key: before, now`; None when there is none."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = first_difference(old, new, f"{where}{key}.")
            if inner:
                return inner
        elif old != new:
            return f"{where}{key}: {_short(old)} there, {_short(new)} here"
    return None


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per epoch, as csv."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(folder / HISTORY, text.getvalue())


def finish_run(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json, with the hashes of the models it belongs to: from now on the RUN is finished."""
    written = dict(metrics, model_sha256=_sha256(folder / MODEL))
    if REFIT in metrics:
        written[REFIT] = dict(metrics[REFIT], model_sha256=_sha256(folder / BEFORE_REFIT))
    write_json(folder / METRICS, written)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def settings_json(config: TrainConfig) -> dict[str, Any]:
    """A configuration as it is stored; settings that came later are written only where they are used, so
    that older trainings keep their identity."""
    return {key: value for key, value in asdict(config).items() if (key, value) not in ADDED.items()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people and programs, whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a RUN's files; raises DataError naming it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object")
    return content


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _short(value: Any, limit: int = 40) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."
