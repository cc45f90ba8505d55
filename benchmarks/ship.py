"""The shipped model: trained on all groups but those of a test part for the folds' median best epoch, its
parity and rejection measured on that part, packed with the folds' figures.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.experiments.cache import keep
from benchmarks.experiments.code import package_sha256
from benchmarks.experiments.controls import HAND_MADE
from benchmarks.experiments.entries import MOTION, SMOOTHING
from benchmarks.experiments.evaluation import (
    Fraction,
    Row,
    SetAccuracy,
    SetPlan,
    float_form,
    measure_sets,
    stream_form,
)
from benchmarks.experiments.folds import (
    BUNDLE,
    CACHE,
    LOG,
    RUN,
    SCHEMA,
    Say,
    describe,
    measure_drawn,
    prepare_split,
    slow_source,
)
from benchmarks.measure.clips import Figures
from benchmarks.measure.commands import edge_har
from edge_har.errors import ConversionError
from edge_har.model.bundle import open_bundle, write_bundle
from edge_har.model.manifest import SLOW_SOURCE
from train.intervals import wilson_interval

NAME = "weizmann-motion"
FOLDS = 3
PROTOCOL = f"{FOLDS} folds by groups"
PARTS = "60,20,20"  # percent of the clips; all but the last train the shipped model
# Fitted on people filmed in one place, threshold and familiarity would lose other places and drawn people.
REJECTS = ("--reject", "0.5", "--no-familiarity")
MAX_BYTES = 1_000_000
DRAWN_RECALL = 0.9  # of the built-in source's clips, which the demo shows
FIGURES = "figures.json"
WEIGHTS_TERMS = (
    "research use; trained on research data (the Weizmann clips and clips of edge_har's own drawn person): "
    "cite "
    "L. Gorelick, M. Blank, E. Shechtman, M. Irani, R. Basri, 'Actions as Space-Time Shapes', IEEE "
    "Transactions on "
    "Pattern Analysis and Machine Intelligence 29(12), 2007. These terms are not those of the code"
)
DATA_TERMS = (
    "Weizmann 'Actions as Space-Time Shapes' (Gorelick et al.), research use, to be cited, not to be "
    "redistributed: no "
    "clip of it is in this bundle. The golden clips show edge_har's own drawn person and fall under the "
    "code's licence"
)


def ship(
    clips: Path, out: Path, *, release: int | None = None, say: Say, jobs: int, cache: Path = CACHE
) -> str:
    """Write the shipped model to `out` and return its digest; folds that the cache lacks are made first.

    release: default, where it is made again, 1 more than that of the bundle at `out`.

    Raises ConversionError when it is too large or does not recognise the built-in source;
    `out` is then not written.
    """
    plan = SetPlan(clips, (Row(MOTION),), count=FOLDS, controls=(HAND_MADE,))
    (accuracy,) = measure_sets([plan], say=say, jobs=jobs, cache=cache)
    results = accuracy.of(MOTION)
    epochs = round(median(result.best_epoch for result in results))
    report = figures_json(accuracy)
    split = prepare_split(clips, PARTS, cache, say)
    made_of = {
        "schema": SCHEMA,
        "work": "ship",
        "identity": describe(MOTION, accuracy.folds, cache),
        "epochs": epochs,
        "split": split.split(0),
        "code": package_sha256(),
        "figures": report,
        "terms": [WEIGHTS_TERMS, DATA_TERMS],
        "release": release,
    }

    def make(folder: Path) -> dict[str, Any]:
        say(f"training on all groups but {', '.join(split.split(0)['test'])} for {epochs} epochs")
        (folder / FIGURES).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        run = folder / RUN
        options: list[str | Path] = [
            "--data",
            split.index,
            *split.options(0),
            "--model",
            MOTION.model,
            *MOTION.options,
            "--epochs",
            str(epochs),
            "--no-validation",
        ]
        edge_har("train", *options, "--out", run, log=folder / LOG)
        say("converting")
        terms: list[str | Path] = [
            "--weights-terms",
            WEIGHTS_TERMS,
            "--data-terms",
            DATA_TERMS,
            "--figures",
            folder / FIGURES,
        ]
        number = release or (open_bundle(out).manifest.release + 1 if out.exists() else 1)
        names = ["--name", NAME, "--release", str(number)]
        edge_har("convert", run, "--out", folder / BUNDLE, *REJECTS, *names, *terms, log=folder / LOG)
        return {"drawn": check_shippable(folder / BUNDLE).to_json()}

    folder, made = keep(cache, made_of, make)
    drawn = Figures.from_json(made["drawn"])
    say(
        f"it recognises {drawn.right} of {drawn.clips} clips of the synthetic person that it was not trained "
        "on"
    )
    converted = open_bundle(folder / BUNDLE)
    return write_bundle(out, replace(converted.manifest, smoothing=SMOOTHING), converted.contents)


def check_shippable(path: Path) -> Figures:
    """How a finished bundle recognises the built-in source; raises ConversionError when it may not ship."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ConversionError(f"the shipped model must be at most {MAX_BYTES} bytes, got {size}")
    drawn = measure_drawn(path)
    if drawn is None or drawn.accuracy < DRAWN_RECALL:
        got = "other labels" if drawn is None else f"{drawn.accuracy:.3f} of its clips"
        raise ConversionError(
            f"the shipped model must recognise {DRAWN_RECALL} of the synthetic person's clips, got {got}"
        )
    return drawn


def figures_json(accuracy: SetAccuracy) -> dict[str, Any]:
    """What the manifest says: measured on held-out people,
    by models trained as the shipped one but without them.
    """
    results = accuracy.of(MOTION)
    floats = [result.float_figures for result in results]
    streams = [result.stream for result in results if result.stream is not None]
    gates = [result.gate for result in results if result.gate is not None]
    windows = sum(gate.windows for gate in gates)
    metrics: dict[str, Any] = {
        "left_out_float": _form(accuracy.fraction(results, float_form), Figures.total(floats)),
        "left_out_stream": _form(accuracy.fraction(results, stream_form), Figures.total(streams)),
        "left_out_parity": {
            "windows": windows,
            "agreement": _rounded(sum(gate.agreement * gate.windows for gate in gates) / windows),
            "folds_refused": sum(gate.failed is not None for gate in gates),
        },
        "linear_motion_baseline": {"clip_accuracy": _rounded(accuracy.control(HAND_MADE).share)},
    }
    slow = slow_source(results)
    if slow is not None:
        metrics[SLOW_SOURCE] = slow
    drawn = [result.drawn for result in results if result.drawn is not None]
    if drawn:
        total = Figures.total(drawn)
        low, high = wilson_interval(total.right, total.clips)
        metrics["drawn_person_unseen_seeds"] = {
            "clips": total.clips,
            "recall": _rounded(total.accuracy),
            "interval_clips": [_rounded(low), _rounded(high)],
        }
    return {"protocol": PROTOCOL, "metrics": metrics}


def _form(share: Fraction | None, total: Figures) -> dict[str, Any]:
    assert share is not None  # every fold is converted
    return {
        "clips": share.count,
        "clip_accuracy": _rounded(share.share),
        "interval_clips": [_rounded(bound) for bound in share.by_clips],
        "interval_people": [_rounded(bound) for bound in share.by_groups],
        "windows": total.windows,
        "window_accuracy": _rounded(total.window_accuracy),
    }


def _rounded(value: float) -> float:
    return round(value, 6)
