"""Every form of a model beside the others: float Keras, float TFLite, and what `convert` ships, as a whole
clip and as a stream; one run for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.experiments.cache import keep
from benchmarks.experiments.code import package_sha256
from benchmarks.experiments.folds import (
    BUNDLE,
    LOG,
    REPORT,
    RUN,
    FoldResult,
    Folds,
    Say,
    float_figures,
    reported_figures,
)
from benchmarks.measure import keras_forms
from benchmarks.measure.clips import (
    Figures,
    HeldOut,
    by_stream,
    by_window,
    clip_ticks,
    clip_windows,
    figures,
    indexed_clips,
)
from benchmarks.measure.commands import edge_har
from benchmarks.measure.latency import Call, OnProgress, interleaved
from edge_har.bench import Timing
from edge_har.errors import DataError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import TickRecognizer, WholeClip

SCHEMA = 1
FLOAT_BUNDLE = "float.ehar"
KERAS_FILE = "model.keras"
PREDICT = "Keras predict"
CALL = "Keras model(x)"
FLOAT = "TFLite float, whole clip"
SHIPPED = "shipped, whole clip"
TICK = "shipped, stream, a tick"
RESULT = "shipped, stream, a result"
TIMED_CLIPS, TIMED_WINDOWS = 8, 8  # that calls take in turns, and of each clip

Value = TypeVar("Value")


@dataclass(frozen=True)
class ComparedModel:
    """A trained model in all its forms, and the clips it never saw. shipped: the bundle; None where the
    parity gate refused it; reported is then what the conversion measured, by form.
    """

    name: str
    run: Path
    float_bundle: Path
    shipped: Path | None
    held_out: tuple[HeldOut, ...]
    reported: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One form of one model. timing: of one result (TICK: of one tick, where a result takes several); None
    where it could not be measured.

    figures: on held-out clips; None for a form that computes what another one of the table does.
    """

    form: str
    timing: Timing | None
    size_bytes: int | None
    figures: Figures | None


@dataclass(frozen=True)
class ModelComparison:
    """All forms of one model. hop_ticks: how many ticks of its stream one result takes. precision: of the
    shipped forms, as their manifest says it.
    """

    name: str
    hop_ticks: int
    precision: str
    forms: tuple[Measured, ...]

    def ratio(self, form: Measured) -> float | None:
        """How many times longer Keras' predict takes than this form, by medians of the same run."""
        slow = next(one.timing for one in self.forms if one.form == PREDICT)
        return None if slow is None or form.timing is None else slow.p50_ms / form.timing.p50_ms


def subjects_of_folds(
    folds: Folds, results: Sequence[FoldResult], cache: Path, say: Say
) -> list[ComparedModel]:
    """The folds of one model as subjects; their float graphs are made now unless the cache has them."""
    made = []
    for fold, result in enumerate(results):
        run = result.folder / RUN
        metrics = json.loads((run / "metrics.json").read_text())
        made_of = {
            "schema": SCHEMA,
            "work": "float",
            "model": metrics["model_sha256"],
            "code": package_sha256(),
        }
        folder, _ = keep(cache, made_of, partial(_float, run=run, say=say))
        clips = tuple(folds.held_out(fold))
        reported = {}
        if result.bundle is None and result.conversion is not None:
            ways = {SHIPPED: "whole_clip", RESULT: "stream"}
            reported = {form: reported_figures(result.conversion / REPORT, way) for form, way in ways.items()}
        made.append(
            ComparedModel(result.entry.name, run, folder / FLOAT_BUNDLE, result.bundle, clips, reported)
        )
    return made


def subject_of_run(run: Path, folder: Path, say: Say) -> ComparedModel:
    """A user's own RUN, converted now into `folder`; raises DataError when it held no clips out."""
    split = _json(run / "split.json")["parts"]
    clips = tuple(clip for clip in indexed_clips(run / "index.csv") if clip.group in split["test"])
    if not clips or "test" not in _json(run / "metrics.json"):
        raise DataError(f"{run}: it was trained on every group: there are no held-out clips to measure it on")
    _float(folder, run, say)
    say(f"converting {run.name}")
    edge_har("convert", run.resolve(), "--out", folder / BUNDLE, log=folder / LOG)
    return ComparedModel(run.name, run, folder / FLOAT_BUNDLE, folder / BUNDLE, clips)


def _float(folder: Path, run: Path, say: Say) -> dict[str, Any]:
    say(f"converting {run.parent.name if run.name == RUN else run.name} to float TFLite")
    options = ["--precision", "float32"]
    edge_har("convert", run.resolve(), "--out", folder / FLOAT_BUNDLE, *options, log=folder / LOG)
    return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.parent}: not a finished RUN: {path.name} cannot be read") from error
    return dict(value)


def compare(
    models: Mapping[str, Sequence[ComparedModel]],
    *,
    rounds: int,
    threads: int,
    say: Say,
    on_progress: OnProgress | None = None,
) -> list[ModelComparison]:
    """Accuracy of every form on all subjects' clips; latency of one subject of each model, all in one run.

    models: by name, each with its subjects (folds). Keras takes the threads that `keras_forms.use_cpu` gave
    it. Raises EdgeHarError where one cannot be read.
    """
    accuracy = {}
    for name, subjects in models.items():
        say(f"{name}: accuracy of every form on {sum(len(one.held_out) for one in subjects)} held-out clips")
        accuracy[name] = accuracy_of(subjects)
    timed = {
        name: next((one for one in subjects if one.shipped), subjects[0]) for name, subjects in models.items()
    }
    calls = {
        (name, form): call
        for name, subject in timed.items()
        for form, call in calls_of(subject, threads).items()
    }
    say(f"latency: {len(calls)} forms in turns, {rounds} rounds")
    timings = interleaved(
        {f"{name}\n{form}": call for (name, form), call in calls.items()}, rounds, on_progress
    )
    made = []
    for name, subject in timed.items():
        sizes = sizes_of(subject)
        forms = tuple(
            Measured(form, timings.get(f"{name}\n{form}"), sizes.get(form), accuracy[name].get(form))
            for form in (PREDICT, CALL, FLOAT, SHIPPED, TICK, RESULT)
            if f"{name}\n{form}" in timings or form in accuracy[name]
        )
        manifest = open_bundle(subject.shipped or subject.float_bundle).manifest
        made.append(ModelComparison(name, manifest.temporal.hop_ticks, manifest.precision, forms))
    return made


def accuracy_of(subjects: Sequence[ComparedModel]) -> dict[str, Figures]:
    """Figures of each form over the held-out clips of all subjects;
    a form that one of them lacks is absent.
    """
    found: dict[str, list[Figures]] = {}
    for subject in subjects:
        for form, figures_of_form in _accuracy(subject).items():
            found.setdefault(form, []).append(figures_of_form)
    return {form: Figures.total(parts) for form, parts in found.items() if len(parts) == len(subjects)}


def _accuracy(subject: ComparedModel) -> dict[str, Figures]:
    bundle = open_bundle(subject.float_bundle)
    manifest = bundle.manifest
    decoded = [(clip, clip_ticks(clip.path, manifest.frame, manifest.temporal)) for clip in subject.held_out]

    def whole(one: Bundle) -> Figures:
        return figures(by_window(manifest.temporal, WholeClip(one).clip), decoded, manifest.labels)

    found = {
        **subject.reported,
        PREDICT: float_figures(_json(subject.run / "metrics.json")["test"]),
        FLOAT: whole(bundle),
    }
    if subject.shipped is not None:
        shipped = open_bundle(subject.shipped)
        found |= {
            SHIPPED: whole(shipped),
            RESULT: figures(by_stream(TickRecognizer(shipped)), decoded, manifest.labels),
        }
    return found


def calls_of(subject: ComparedModel, threads: int) -> dict[str, Call]:
    """One call a form on the same windows of held-out clips, in turns;
    each makes one result (TICK: one tick).
    """
    bundle = open_bundle(subject.float_bundle)
    manifest = bundle.manifest
    timed = spread(subject.held_out, TIMED_CLIPS)
    ticks = [clip_ticks(clip.path, manifest.frame, manifest.temporal) for clip in timed]
    windows = [
        window for clip in ticks for window in spread(clip_windows(clip, manifest.temporal), TIMED_WINDOWS)
    ]
    model = keras_forms.load_keras(subject.run / KERAS_FILE)
    predict, call = keras_forms.predict(model), keras_forms.call(model)
    calls = {
        PREDICT: _in_turn(windows, lambda window: predict(window[np.newaxis])),
        CALL: _in_turn(windows, lambda window: call(window[np.newaxis])),
        FLOAT: _in_turn(windows, WholeClip(bundle, threads=threads).clip),
    }
    if subject.shipped is None:
        return calls
    shipped = open_bundle(subject.shipped)
    calls[SHIPPED] = _in_turn(windows, WholeClip(shipped, threads=threads).clip)
    frames, hop = np.concatenate(ticks), manifest.temporal.hop_ticks
    hops = [frames[at : at + hop] for at in range(0, len(frames) - hop + 1, hop)]
    recognizer = _warm(shipped, frames, threads)
    calls[RESULT] = _in_turn(hops, lambda some: [recognizer.tick(frame) for frame in some])
    if hop > 1:
        calls[TICK] = _in_turn(frames, _warm(shipped, frames, threads).tick)
    return calls


def spread(values: Sequence[Value], most: int) -> list[Value]:
    """At most so many of them, at even steps, from the first on."""
    return list(values[:: max(1, -(-len(values) // most))])


def _warm(bundle: Bundle, frames: Pixels, threads: int) -> TickRecognizer:
    """A recognizer in whose stream every window is under way."""
    recognizer = TickRecognizer(bundle, threads=threads)
    for number in range(2 * bundle.manifest.temporal.frames):
        recognizer.tick(frames[number % len(frames)])
    return recognizer


def _in_turn(inputs: Sequence[Pixels] | Pixels, run: Callable[[Pixels], object]) -> Call:
    turn = 0

    def call() -> None:
        nonlocal turn
        run(inputs[turn % len(inputs)])
        turn += 1

    return call


def sizes_of(subject: ComparedModel) -> dict[str, int]:
    """Bytes of what each form must have on disk: the Keras file, or its graphs."""
    sizes = {form: (subject.run / KERAS_FILE).stat().st_size for form in (PREDICT, CALL)}
    manifest = open_bundle(subject.float_bundle).manifest
    sizes[FLOAT] = manifest.files[manifest.graphs.clip][0]
    if subject.shipped is not None:
        manifest = open_bundle(subject.shipped).manifest
        sizes[SHIPPED] = manifest.files[manifest.graphs.clip][0]
        stream = sum(manifest.files[name][0] for name in manifest.graphs.of_stream)
        sizes |= {TICK: stream, RESULT: stream}
    return sizes
