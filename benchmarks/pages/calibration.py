"""docs/figures/calibration.md: what int8 loses with ranges from nothing, from noise,
and from more and more real clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.cache import keep
from benchmarks.experiments.code import package_sha256
from benchmarks.experiments.conversions import entries_of
from benchmarks.experiments.entries import PARTS, SETS
from benchmarks.experiments.folds import (
    CACHE,
    LOG,
    RUN,
    Experiment,
    Folds,
    Say,
    describe,
    prepare_split,
    run_fold,
)
from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table
from convert.inputs.clips import Calibration, ClipParts, all_windows, choose_calibration, clip_parts_of_run
from convert.tflite.build import GraphBuilder
from convert.verify.comparison import Reference, compare
from convert.verify.figures import figures
from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract
from train.runs import Run, load_run

SCHEMA = 1
NONE, NOISE, ALL = "none", "random noise", "all"
CHOICES = (NONE, NOISE, "8", "64", ALL)
NOISE_WINDOWS = 64
ENTRIES = tuple(entries_of(SETS[0], converted=False))  # trained for the parity table too

INTRODUCTION = (
    "An int8 graph needs the range of every tensor, which it takes from calibration clips. Here each model, "
    "trained "
    "on some of the people, is made int8 throughout with different ones, and compared with its own float "
    "Keras form on "
    "every window of the others. *None*: nothing is known of activations, so that weights alone become int8 "
    "and activations stay float. *Random noise*: 64 windows of uniform noise. *8*, *64*, *all*: real clips "
    "of the "
    "training people, by label in turns; all: their clips' every window, one beside the next. An all-black "
    "and an "
    "all-white clip come with each choice for a model without states; a ConvLSTM's pixels and gates have "
    "prescribed ranges, its "
    "states are those of float rollouts."
)
NOTES = (
    "*agree*: share of windows on which int8 gives the float model's label, whole clip and stream. *largest "
    "error*: of a "
    "probability of the stream. The gate asks for 0.98 of a model without states and 0.97 of one with them."
)


@dataclass(frozen=True)
class CalibrationRow:
    """One choice of calibration for one model. windows: calibrated on; compared: held-out windows."""

    model: str
    choice: str
    windows: int
    compared: int
    stream: float
    whole: float
    mean_error: float
    max_error: float


@dataclass(frozen=True)
class Calibrations:
    """Everything that the page reports. index_sha256: of the clips."""

    rows: tuple[CalibrationRow, ...]
    index_sha256: str


def calibration_of(choice: str, material: ClipParts, contract: TemporalContract) -> Calibration | None:
    """The windows of a choice: None for `none`, else noise, a number of real windows, or all.

    Raises MisuseError for another choice.
    """
    if choice == NONE:
        return None
    if choice == NOISE:
        shape = (NOISE_WINDOWS, contract.frames, *material.training[0].frames().shape[1:])
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        return Calibration(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())
    if choice == ALL:
        return all_windows(material, contract)
    if not choice.isdecimal() or int(choice) < 1:
        raise MisuseError(f"calibration must be one of {', '.join(CHOICES)} or a number, got {choice!r}")
    return choose_calibration(material, contract, windows=int(choice))


def measure_calibration(
    run: Run, choice: str, *, log: Path, cache: Path | None = None, say: Say
) -> dict[str, Any]:
    """Agreement of a RUN's int8 form, calibrated by `choice`, on the clips that it held out."""
    material = clip_parts_of_run(run, None, cache, say)
    held_out = [*material.validation, *material.test]
    if not held_out:
        raise MisuseError(
            f"{run.folder}: no clips were held out of this training: there is nothing to compare on"
        )
    contract, model = run.config.contract, run.model()
    calibration = calibration_of(choice, material, contract)
    built = GraphBuilder(
        model,
        kind=run.config.model,
        labels=run.labels,
        frame=run.config.frame_spec,
        temporal=contract,
        calibration=choose_calibration(material, contract, windows=8).pixels
        if calibration is None
        else calibration.pixels,
        log=log,
    ).forced("int8-weights" if calibration is None else "int8")
    bundle = built.bundle()
    reference = Reference(model, held_out, run.labels, contract, groups_known=run.groups_known)
    compared = compare(reference, bundle)
    compared_figures = figures(compared)
    return {
        "windows": 0 if calibration is None else len(calibration.pixels),
        "calibration_sha256": None if calibration is None else calibration.sha256,
        "compared": compared_figures["windows"],
        "stream": compared_figures["agreement"]["share"],
        "whole": compared_figures["agreement_whole_clip"]["share"],
        **compared_figures["probability_error"],
    }


def _rows(name: str, run_dir: Path, choices: Sequence[str], cache: Path, say: Say) -> list[CalibrationRow]:
    """Every choice for one RUN; what is in the cache is not made again."""
    run = load_run(run_dir)
    made = []
    for choice in choices:
        made_of = {
            "schema": SCHEMA,
            "work": "calibration",
            "model_sha256": run.metrics["model_sha256"],
            "index_sha256": run.index_sha256,
            "choice": choice,
            "code": package_sha256(),
        }

        def measure(folder: Path, choice: str = choice) -> dict[str, Any]:
            return measure_calibration(run, choice, log=folder / LOG, say=say)

        _, result = keep(cache, made_of, measure)
        row = CalibrationRow(
            name,
            choice,
            *(result[key] for key in ("windows", "compared", "stream", "whole", "mean_error", "max_error")),
        )
        made.append(row)
        say(f"{name}, {choice}: stream agrees on {row.stream:.3f}, at most {row.max_error:.3f} off")
    return made


def compare_calibrations(
    clips: Path | None,
    runs: Sequence[Path],
    *,
    say: Say,
    choices: Sequence[str] = CHOICES,
    entries: Sequence[Experiment] = ENTRIES,
    cache: Path = CACHE,
) -> Calibrations:
    """Rows for one split of `clips` with every entry, trained where the cache lacks it,
    or for the `runs` given.
    """
    if clips is None:
        rows = [row for run in runs for row in _rows(load_run(run).config.model, run, choices, cache, say)]
        return Calibrations(tuple(rows), ", ".join(sorted({load_run(run).index_sha256 for run in runs})))
    folds = prepare_split(clips, PARTS, cache, say)
    rows = [
        row
        for entry in entries
        for row in _rows(entry.name, _trained(entry, folds, cache, say), choices, cache, say)
    ]
    return Calibrations(tuple(rows), folds.sha256)


def _trained(entry: Experiment, folds: Folds, cache: Path, say: Say) -> Path:
    say(f"{entry.name} without {folds.groups[0]}")
    alone = Experiment(entry.name, entry.model, entry.options, converted=False)
    return run_fold(alone, folds, 0, describe(alone, folds, cache), cache, threads=1).folder / RUN


def page(measured: Calibrations, command: list[str]) -> str:
    """The page as Markdown."""
    head = [
        "model",
        "calibration",
        "windows",
        "agree, stream",
        "agree, whole clip",
        "mean error",
        "largest error",
    ]
    table = [
        [
            row.model,
            row.choice,
            str(row.windows),
            f"{row.stream:.3f}",
            f"{row.whole:.3f}",
            f"{row.mean_error:.4f}",
            f"{row.max_error:.3f}",
        ]
        for row in measured.rows
    ]
    compared = "; ".join(
        f"{model}: {count} windows" for model, count in sorted({(r.model, r.compared) for r in measured.rows})
    )
    lines = ["# What calibration is worth", "", INTRODUCTION, "", *markdown_table([head, *table]), "", NOTES]
    lines += ["", f"Compared on {compared}.", ""]
    return "\n".join([*lines, *provenance.section(command, measured.index_sha256)])
