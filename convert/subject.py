"""What is converted, wherever it came from: the model, what it promises, and the clips that it may be judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.graphs import check_input
from convert.material import Material, Report, material_of_run
from edge_har.cadence import TemporalContract
from edge_har.errors import ConversionError
from edge_har.preprocess import FrameSpec
from train.runs import MODEL, Run, load_run
from train.tf import keras


@dataclass(frozen=True)
class Subject:
    """A model and all that its conversion needs to know.

    model: Keras, uint8-valued RGB [batch, N, H, W, 3] (any numeric dtype) -> probabilities [batch, labels]. labels: in
    the order of the outputs. labelled: the material's clips carry true labels, so that accuracy can be measured.
    groups_known: their groups are persons or source videos, not each clip its own. provenance: facts for the manifest,
    the same on every machine. command: how a user would ask for this, without the options that are recorded apart.
    run: the training, where it is known; whatever fine-tunes (pruning, shrinking, quantisation-aware training) needs it.
    """

    model: Any
    kind: str
    labels: tuple[str, ...]
    frame: FrameSpec
    temporal: TemporalContract
    material: Material
    labelled: bool
    groups_known: bool
    provenance: Mapping[str, Any]
    command: str
    run: Run | None = None

    @property
    def synthetic_share(self) -> float:
        """The share of drawn clips that the model was trained on."""
        return self.run.config.synthetic_share if self.run else 0.0


def subject_of_run(run_dir: Path, data: Path | None, cache: Path | None, report: Report) -> Subject:
    """The model of a finished RUN with its clips. Raises ConversionError or DataError, in one line."""
    run = load_run(run_dir)
    model = load_model(run)
    return Subject(
        model=model,
        kind=run.config.model,
        labels=run.labels,
        frame=run.config.frame_spec,
        temporal=run.config.contract,
        material=material_of_run(run, data, cache, report),
        labelled=True,
        groups_known=run.groups_known,
        provenance={
            "index_sha256": run.index_sha256,
            "model_sha256": run.metrics["model_sha256"],
            "seed": run.config.seed,
            "trained_on": list(run.metrics["trained_on"]["groups"]),
            "synthetic_share": run.config.synthetic_share,
        },
        command="edge-har convert RUN --out NAME.ehar",
        run=run,
    )


def load_model(run: Run) -> Any:
    """The RUN's Keras model. Raises ConversionError for an input that no bundle can feed, else DataError."""
    check_keras_file(run.folder / MODEL)
    return run.model()


def check_keras_file(path: Path) -> None:
    """Raises ConversionError, in one line, where a `.keras` file cannot be read or its input cannot be fed."""
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ConversionError(f"{path}: not a Keras model that can be read: {first_line}") from error
    try:
        check_input(model)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
