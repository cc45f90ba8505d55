"""docs/figures/unknown.md: what models do with movements that they were never trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.experiments.cache import keep
from benchmarks.experiments.code import package_sha256
from benchmarks.experiments.folds import BUNDLE, CACHE, LOG, RUN, Say, prepare_folds
from benchmarks.experiments.novelty import SETS, Noticed, measure_noticed
from benchmarks.experiments.subset import index_of_labels
from benchmarks.measure import provenance
from benchmarks.measure.commands import edge_har, interrupt_all
from benchmarks.measure.frozen import use_folder_of_weights
from benchmarks.pages.markdown import markdown_table
from edge_har.classify import Classifier
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import Bundle, open_bundle, pack_bundle, read_bundle
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import UNKNOWN
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.pipeline.stream import Stream
from edge_har.sources.recordings import open_recording
from train.data.videos import FoundClip, find_clips
from train.intervals import wilson_interval

SCHEMA = 1
GOALS = (
    "Goals: a label starts in at most 10 % of clips of other movements and in at least 96 % of known ones; "
    "`classify` rejects at least 80 % of the former and at most 5 % of the latter."
)
INTRODUCTION = (
    "Each row is a model that never saw two labels of its set: `data split` (60/20/20, by groups), `train` "
    "and `convert` with their defaults, without clips of `_other`; then, as by `run --unknown`, each clip is "
    "a stream of its own. *Known* are the clips of the groups that test, *other* all clips of the two labels "
    "that were left out. An event called `unknown` does not count. *without* is the same bundle with neither "
    "reject threshold nor familiarity."
)
WAYS_NOTE = (
    "On mean and deviation over eight frames of MobileNet V1 .25 at 224 px with its pretrained weights, one "
    "row a clip; two labels left out at a time, folds by groups. *area*: the probability that a known clip "
    "looks more known than one of the labels left out (.5 is chance). *rejected*: fraction of the latter "
    "below the threshold that loses 5 % of the former, chosen on these very clips, as were the settings of "
    "the last row: more than a threshold fitted beforehand can reach. A stream starts an event where one "
    "moment of a clip looks known, so it rejects less."
)
FOLDS = {"ucf9": 5}  # of a set; others hold each group out


@dataclass(frozen=True)
class Trial:
    """One model of one set. left_out: labels that it never sees. seed: of the split and the training."""

    set: str
    name: str
    options: tuple[str, ...]
    left_out: tuple[str, str]
    seed: int
    conversion: tuple[str, ...] = ()


MOTION = ("--model", "motion")
LARGE_PICTURES = ("--preset", "l")
TRIALS = (
    Trial("weizmann_full", "motion", MOTION, ("Walk", "WaveTwoHands"), 0),
    Trial("weizmann_full", "motion", MOTION, ("Bend", "Run"), 1),
    Trial("weizmann_full", "motion", MOTION, ("Jump", "JumpingJack"), 2),
    Trial("ucf9", "motion", MOTION, ("Punch", "PlayingGuitar"), 0),
    Trial("ucf9", "l", LARGE_PICTURES, ("Punch", "PlayingGuitar"), 0),
    Trial("ucf9", "l", LARGE_PICTURES, ("Bowling", "PushUps"), 1),
)


@dataclass(frozen=True)
class Counts:
    """Clips of one kind. started: in which an event of a label starts; right: of their own label; rejected:
    by `classify`. plain: as `started`, without any rejection.
    """

    clips: int
    started: int
    right: int
    rejected: int
    plain: int

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            *(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True))
        )


@dataclass(frozen=True)
class Measured:
    """One trial. threshold: that `convert` fitted."""

    trial: Trial
    known: Counts
    other: Counts
    threshold: float
    index_sha256: str
    made_at: str


@dataclass(frozen=True)
class Unknown:
    """Everything that the page says. ways: by set and way; empty where no weights of an encoder were at hand.
    indices: of the clips that these were measured on, each a set and its hash.
    """

    trials: tuple[Measured, ...]
    ways: Mapping[str, Mapping[str, Noticed]] = field(default_factory=dict)
    indices: tuple[str, ...] = ()


def measure_unknown(clips: Path, *, say: Say, jobs: int, cache: Path = CACHE) -> Unknown:
    """Train, convert and measure what is not in the cache. clips: folder of the sets. Raises EdgeHarError
    with the first failure.
    """
    weights = use_folder_of_weights(clips)
    ways, indices = ({}, ()) if weights is None else _measured_ways(clips, weights, cache, say)
    return Unknown(_measured_trials(clips, say, jobs, cache), ways, indices)


def _measured_trials(clips: Path, say: Say, jobs: int, cache: Path) -> tuple[Measured, ...]:
    prepared = {trial: _prepared(trial, clips, cache, say) for trial in TRIALS}

    def run(trial: Trial) -> Measured:
        measured = _measured(trial, clips, *prepared[trial], cache)
        known, other = measured.known, measured.other
        say(
            f"{_name(trial)}: a label starts in {known.started} of {known.clips} known clips and "
            f"{other.started} of {other.clips} others"
        )
        return measured

    with ThreadPoolExecutor(jobs) as pool:
        try:
            return tuple(pool.map(run, TRIALS))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            interrupt_all()
            raise


def _measured_ways(
    clips: Path, weights: Path, cache: Path, say: Say
) -> tuple[Mapping[str, Mapping[str, Noticed]], tuple[str, ...]]:
    sets = [prepare_folds(clips / name, cache, say, FOLDS.get(name)) for name in SETS]
    indices = tuple(f"{folds.name} {folds.sha256[:12]}" for folds in sets)
    return measure_noticed(sets, weights=weights, cache=cache, say=say), indices


def _name(trial: Trial) -> str:
    return f"{trial.set}, {trial.name}, without {' and '.join(trial.left_out)}"


def _prepared(trial: Trial, clips: Path, cache: Path, say: Say) -> tuple[Path, Path]:
    """Index and split of the labels that a trial trains on."""
    labels = sorted({clip.label for clip in find_clips(clips / trial.set)} - set(trial.left_out))
    index, splits = index_of_labels(clips / trial.set, labels, [trial.seed], cache, say)
    return index, splits[trial.seed]


def _measured(trial: Trial, clips: Path, index: Path, split: Path, cache: Path) -> Measured:
    seed = ["--seed", str(trial.seed)]
    options: list[str | Path] = ["--data", index, "--split", split, *trial.options, *seed]
    described = edge_har("train", *options, "--out", cache / "unused", "--describe", log=cache / LOG)
    made_of = {
        "schema": SCHEMA,
        "work": "unknown",
        "identity": json.loads(described),
        "split": json.loads(split.read_text())["parts"],
        "left_out": list(trial.left_out),
        "code": package_sha256(),
    }

    def make(folder: Path) -> dict[str, Any]:
        edge_har("train", *options, "--out", folder / RUN, log=folder / LOG)
        conversion = [*trial.conversion, "--allow-drop"]
        edge_har("convert", folder / RUN, "--out", folder / BUNDLE, *conversion, log=folder / LOG)
        bundle = open_bundle(folder / BUNDLE)
        held = json.loads(split.read_text())["parts"]["test"]
        every = find_clips(clips / trial.set)
        known = [clip for clip in every if clip.group in held and clip.label not in trial.left_out]
        other = [clip for clip in every if clip.label in trial.left_out]
        return {
            "known": vars(count_events(bundle, known)),
            "other": vars(count_events(bundle, other)),
            "threshold": bundle.manifest.reject_threshold,
            "made_at": provenance.commit(),
        }

    try:
        _, made = keep(cache, made_of, make)
    except EdgeHarError as error:
        raise EdgeHarError(f"{_name(trial)}: {error}") from error
    written = json.loads(split.read_text())
    known, other = (Counts(**made[kind]) for kind in ("known", "other"))
    return Measured(trial, known, other, made["threshold"], written["index_sha256"], made["made_at"])


def count_events(bundle: Bundle, clips: Sequence[FoundClip]) -> Counts:
    """Run each clip as a stream of its own, and classify it. clips: of any labels."""
    classifier = Classifier(bundle)
    with_unknown, plain = RunOptions(unknown=True), without_rejection(bundle)
    counts = Counts(0, 0, 0, 0, 0)
    for clip in clips:
        started = set(labels_started(bundle, clip.path, with_unknown)) - {UNKNOWN}
        one = Counts(
            clips=1,
            started=bool(started),
            right=clip.label in started,
            rejected=classifier.file(str(clip.path)).rejected,
            plain=bool(labels_started(plain, clip.path, RunOptions())),
        )
        counts = counts.plus(one)
    return counts


def labels_started(bundle: Bundle, path: Path, options: RunOptions) -> list[str]:
    """The labels of the events that start in one recording, in their order."""
    manifest, recognizer = bundle.manifest, TickRecognizer(bundle)
    stream = Stream(path.name, bundle, options, event_ids(), recognizer=recognizer)
    with open_recording(path) as source:
        for ticks in ticks_of(source, Sampler(manifest.frame, manifest.temporal)):
            stream.recognise(ticks)
    stream.close()
    return [str(event.label) for event in stream.take_events() if event.type == "start"]


def without_rejection(bundle: Bundle) -> Bundle:
    """The same bundle with neither reject threshold nor familiarity."""
    manifest = bundle.manifest
    name = manifest.graphs.familiarity
    plain = replace(
        manifest,
        reject_threshold=None,
        graphs=replace(manifest.graphs, familiarity=None),
        tensors={file: tensors for file, tensors in manifest.tensors.items() if file != name},
    )
    contents = {file: bundle.read(file) for file in bundle.contents if file != name}
    return read_bundle(pack_bundle(plain, contents)[0])


def page(unknown: Unknown, command: list[str]) -> str:
    """The page as Markdown."""
    measured = unknown.trials
    head = [
        "set",
        "model",
        "never seen",
        "threshold",
        "known: a label starts",
        "its own",
        "rejected",
        "without",
        "other: a label starts",
        "rejected",
        "without",
    ]
    rows = [
        [
            one.trial.set,
            one.trial.name,
            ", ".join(one.trial.left_out),
            f"{one.threshold:.3f}",
            *_cells(one.known, known=True),
            *_cells(one.other, known=False),
        ]
        for one in measured
    ]
    lines = [
        "# Movements that a model never saw",
        "",
        INTRODUCTION,
        "",
        *markdown_table([head, *rows]),
        "",
        *(_sentence(name, [one for one in measured if one.trial.name == name]) for name in _names(measured)),
        "",
        GOALS,
        "",
        *_ways(unknown.ways),
    ]
    indices = {f"{one.trial.set} {one.index_sha256[:12]}" for one in measured}
    made_at = [one.made_at for one in measured]
    return "\n".join(
        [*lines, *provenance.section(command, ", ".join(sorted({*indices, *unknown.indices})), made_at)]
    )


def _ways(ways: Mapping[str, Mapping[str, Noticed]]) -> list[str]:
    """How well each notices what was not trained on."""
    if not ways:
        return []
    heads = [text for name in ways for text in (f"{name}: area", "rejected")]
    rows = [
        [way, *(f"{figure:.2f}" for of in ways.values() for figure in (of[way].area, of[way].rejected))]
        for way in next(iter(ways.values()))
    ]
    return ["## Ways to notice them", "", WAYS_NOTE, "", *markdown_table([["way", *heads], *rows]), ""]


def _names(measured: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(one.trial.name for one in measured))


def _cells(counts: Counts, *, known: bool) -> list[str]:
    own = [f"{counts.right}"] if known else []
    return [f"{counts.started}/{counts.clips}", *own, f"{counts.rejected}", f"{counts.plain}"]


def _sentence(name: str, of_model: Sequence[Measured]) -> str:
    known, other = of_model[0].known, of_model[0].other
    for one in of_model[1:]:
        known, other = known.plus(one.known), other.plus(one.other)
    parts = []
    for kind, counts in (("known", known), ("other", other)):
        for what, count in (("start a label", counts.started), ("are rejected", counts.rejected)):
            low, high = wilson_interval(count, counts.clips)
            share = count / counts.clips
            parts.append(f"{share:.2f} of {counts.clips} {kind} clips {what} ({low:.2f} to {high:.2f})")
    return f"- {name}: {'; '.join(parts)}."
