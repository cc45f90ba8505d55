"""What is converted, wherever it came from.

That is the model, its settings, and the clips that calibrate and judge it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convert.graphs.float_graphs import check_input
from convert.inputs.canonical import COLORS, INPUT_CHANNELS, INPUT_RANGES, PixelsAs, canonical
from convert.inputs.clips import ClipParts, Report, check_clips_folder, clip_parts_of_run, held_out_clips
from convert.inputs.keras_file import first_line, read_model
from edge_har.errors import ConversionError, MisuseError
from edge_har.model.cadence import INTERVAL_MS, TemporalContract
from edge_har.model.labels import check_labels
from edge_har.model.preprocess import FrameSpec
from edge_har.model.values import check_range
from train.models.families import CONVLSTM, FAMILIES
from train.runs import MODEL, MODEL_SHA256, REFIT, Run, TrainConfig, default_config, load_run
from train.tf import keras


@dataclass(frozen=True)
class SourceModel:
    """A model and all that its conversion needs to know.

    model: Keras, uint8-valued RGB [batch, N, H, W, 3] (any numeric dtype) -> probabilities [batch, labels].
    labels: in the order of the outputs. labelled: the clips carry true labels, so that accuracy can be
    measured. groups_known: their groups are persons or source videos, not each clip its own. provenance:
    facts for the manifest, the same on every machine. command: how a user would request this, without the
    options that are recorded apart. training: how to fine-tune on the clips (pruning, shrinking,
    quantisation-aware training); None where it cannot be. run: the training itself, where it is known.
    before_refit: where the model was finally trained on the validation clips too, the one before.
    """

    model: Any
    kind: str
    labels: tuple[str, ...]
    frame: FrameSpec
    temporal: TemporalContract
    clip_parts: ClipParts
    labelled: bool
    groups_known: bool
    provenance: Mapping[str, Any]
    command: str
    training: TrainConfig | None = None
    run: Run | None = None
    before_refit: Any | None = None

    def without_refit(self) -> SourceModel:
        """The model that has not seen the validation clips: training it further needs some held out."""
        if self.before_refit is None or self.run is None:
            return self
        refit = self.run.metrics[REFIT]
        facts = {
            "model_sha256": refit[MODEL_SHA256],
            "trained_on": list(self.run.metrics["trained_on"]["groups"]),
        }
        return replace(
            self, model=self.before_refit, before_refit=None, provenance={**self.provenance, **facts}
        )

    @property
    def synthetic_fraction(self) -> float:
        """The fraction of synthetic clips that the model was trained on."""
        return self.training.synthetic_share if self.training else 0.0


@dataclass(frozen=True)
class FileFacts:
    """What a model file does not hold; None: not given. Raises MisuseError for values outside their limits.

    labels: in the order of the outputs. input_range, color: what the model was trained on, see
    `convert.inputs.canonical.PixelsAs`. calibration: a folder of clips, in a folder per label or not. fit,
    interpolation: how its frames were brought to the model's size.
    """

    labels: tuple[str, ...] | None = None
    input_range: str | None = None
    color: str | None = None
    interval_ms: float | None = None
    calibration: Path | None = None
    fit: str = "stretch"
    # The default of cv2.resize.
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        if self.labels is not None:
            check_labels(self.labels, MisuseError)
        if self.interval_ms is not None:
            check_range("interval_ms", self.interval_ms, *INTERVAL_MS, MisuseError)

    def missing(self, channels: int) -> list[str]:
        """The options that have to be given."""
        needed = {
            "--labels A,B,...": self.labels,
            f"--input-range {'|'.join(INPUT_RANGES)}": self.input_range,
            f"--color {'|'.join(COLORS)}": self.color if channels != 1 else COLORS[0],
            "--interval-ms MS": self.interval_ms,
            "--calibration DIR": self.calibration,
        }
        return [option for option, value in needed.items() if value is None]


def source_model_of_file(path: Path, facts: FileFacts, cache: Path | None, report: Report) -> SourceModel:
    """The model of a Keras 2 file with the clips of `facts.calibration`. Nothing in the file is executed.

    Raises MisuseError naming the facts that are missing or do not fit, else ConversionError or DataError.
    """
    if facts.calibration is not None:
        check_clips_folder(facts.calibration)
    model = read_model(path)
    try:
        frames, height, width, channels = check_input(model, INPUT_CHANNELS)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
    missing = facts.missing(channels)
    if missing:
        raise MisuseError(f"{path}: a model file does not hold everything: give {', '.join(missing)}")
    assert facts.labels and facts.input_range and facts.interval_ms and facts.calibration
    outputs = int(model.output_shape[-1])
    if outputs != len(facts.labels):
        raise MisuseError(f"{path}: the model has {outputs} outputs, --labels names {len(facts.labels)}")
    pixels = PixelsAs(facts.input_range, facts.color or COLORS[0])
    try:
        ours = canonical(model, pixels)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
    # What Keras raises for a layer that cannot be made so.
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise ConversionError(f"{path}: the model cannot be rewritten: {first_line(error)}") from error
    frame = FrameSpec((width, height), facts.fit, facts.interpolation)  # type: ignore[arg-type]
    tuned = default_config(
        ours.kind if ours.kind in FAMILIES else CONVLSTM, frames=frames, interval_ms=facts.interval_ms
    )
    held_out = held_out_clips(facts.calibration, facts.labels, frame, cache, report)
    color = f" --color {pixels.color}" if channels != 1 else ""
    return SourceModel(
        model=ours.model,
        kind=ours.kind,
        labels=facts.labels,
        frame=frame,
        temporal=tuned.contract,
        clip_parts=held_out.clip_parts,
        labelled=held_out.labelled,
        groups_known=held_out.groups_known,
        provenance={
            "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "index_sha256": held_out.index_sha256,
            "input_range": pixels.input_range,
            "color": pixels.color,
        },
        command=(
            f"edge-har convert MODEL{path.suffix} --out NAME.ehar --labels {','.join(facts.labels)} "
            f"--input-range {pixels.input_range}{color} --interval-ms {facts.interval_ms:g} --calibration DIR"
        ),
        training=tuned if held_out.labelled and ours.kind in FAMILIES else None,
    )


def source_model_of_run(run_dir: Path, data: Path | None, cache: Path | None, report: Report) -> SourceModel:
    """The model of a finished RUN with its clips. Raises ConversionError or DataError, in one line."""
    run = load_run(run_dir)
    if run.config.contract.sampling == "spread":
        raise ConversionError(
            f"{run_dir}: trained on frames spread over whole clips, which a live stream does not have; train "
            "again without --recipe notebook"
        )
    model = load_model(run)
    return SourceModel(
        model=model,
        kind=run.config.model,
        labels=run.labels,
        frame=run.config.frame_spec,
        temporal=run.config.contract,
        clip_parts=clip_parts_of_run(run, data, cache, report),
        labelled=True,
        groups_known=run.groups_known,
        provenance={
            "index_sha256": run.index_sha256,
            "model_sha256": run.metrics["model_sha256"],
            "seed": run.config.seed,
            "trained_on": sorted(run.learned_groups),
            "synthetic_share": run.config.synthetic_share,
        },
        command="edge-har convert RUN --out NAME.ehar",
        training=run.config,
        run=run,
        before_refit=run.before_refit(),
    )


def load_model(run: Run) -> Any:
    """The RUN's Keras model. Raises ConversionError for an input that no bundle can feed, else DataError."""
    check_keras_file(run.folder / MODEL)
    return run.model()


def check_keras_file(path: Path) -> None:
    """Raises ConversionError, in one line, for a `.keras` file that cannot be read or fed."""
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConversionError(f"{path}: not a Keras model that can be read: {first_line(error)}") from error
    try:
        check_input(model)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
