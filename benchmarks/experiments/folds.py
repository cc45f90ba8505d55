"""Hold groups out: train, convert and measure every fold, several at once, each kept by what it was made
of.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.cache import NOTHING_PUBLISHED, Published, keep, key_of, result_in
from benchmarks.experiments.code import package_sha256
from benchmarks.measure.clips import Figures, HeldOut, by_stream, clip_ticks, figures, indexed_clips
from benchmarks.measure.commands import ROOT, edge_har, interrupt_all, last_line
from benchmarks.measure.provenance import made_here
from edge_har.errors import DataError, EdgeHarError
from edge_har.model.bundle import open_bundle
from edge_har.model.manifest import SLOW_SOURCE
from edge_har.model.preprocess import prepare_frame
from edge_har.model.recognizer import TickRecognizer
from edge_har.sources.synthetic import render_clip
from edge_har.sources.synthetic_body import LABELS

SCHEMA = 1
CACHE = ROOT / ".cache" / "folds"
LOG = "log.txt"
RUN = "run"
BUNDLE = "stream.ehar"
REPORT = "stream.report.json"  # beside it, also where the gate refused it
UNSEEN_SEEDS = range(
    200, 204
)  # of the synthetic person; training begins at 1000, demo and golden clips lie below 100
DRAWN_TICKS = 30
STATUS_S = 60.0  # between two lines of progress while nothing ends

Say = Callable[[str], None]
Described = dict[tuple[Path, "Experiment"], Future[dict[str, Any]]]  # what a training is made of


@dataclass(frozen=True)
class Experiment:
    """A row of the accuracy table. options: of `edge-har train`, besides data, split, seed and destination.

    converted: the int8 stream is made and measured too. conversion: options of `edge-har convert`.
    """

    name: str
    model: str
    options: tuple[str, ...] = ()
    converted: bool = True
    conversion: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Folds:
    """A data set's index and its folds, or its one split, as `edge-har data` wrote them. groups: what each
    fold holds out, for a person to read. name: of the set; may be empty.
    """

    index: Path
    splits: Path
    sha256: str
    groups: tuple[str, ...]
    name: str = ""

    def split(self, fold: int) -> dict[str, list[str]]:
        """The groups of each part."""
        split = json.loads(self.splits.read_text())
        return dict(split["folds"][fold] if "folds" in split else split["parts"])

    def options(self, fold: int) -> list[str]:
        """The options of `edge-har train` for this split."""
        only = "folds" not in json.loads(self.splits.read_text())
        return ["--split", str(self.splits), *([] if only else ["--fold", str(fold)])]

    def held_out(self, fold: int) -> list[HeldOut]:
        """The clips of the groups that a fold holds out."""
        groups = set(self.split(fold)["test"])
        return [clip for clip in self.clips() if clip.group in groups]

    def clips(self) -> list[HeldOut]:
        """Every clip of the index."""
        return indexed_clips(self.index)


@dataclass(frozen=True)
class Task:
    """One experiment on one fold of a set."""

    folds: Folds
    entry: Experiment
    fold: int

    @property
    def kind(self) -> str:
        """What takes about as long, whatever the fold and the seed."""
        return f"{self.folds.name}: {self.entry.name}" if self.folds.name else self.entry.name

    @property
    def name(self) -> str:
        """For a person."""
        seed = f", seed {self.entry.seed}" if self.entry.seed else ""
        return f"{self.kind}{seed}, without {self.folds.groups[self.fold]}"


@dataclass(frozen=True)
class GateResult:
    """The parity gate on the held-out group. windows: at every offset. failed: why it refused, or None."""

    windows: int
    agreement: float
    failed: str | None


@dataclass(frozen=True)
class FoldResult:
    """One entry on the group it never saw. stream: None where it is not converted.

    gate: the parity figures of `convert`. drawn: the stream on the built-in source's clips of UNSEEN_SEEDS,
    where its labels are the model's. conversion: the folder of bundle and report.
    made_at: the commits of training and conversion. machines: where each was done.
    """

    entry: Experiment
    group: str
    folder: Path
    best_epoch: int
    float_figures: Figures
    stream: Figures | None
    gate: GateResult | None
    drawn: Figures | None
    conversion: Path | None
    made_at: tuple[str, ...]
    seconds: float
    machines: tuple[str, ...] = ()

    @property
    def bundle(self) -> Path | None:
        """The stream, where the gate let it through."""
        passed = self.conversion is not None and self.gate is not None and self.gate.failed is None
        return self.conversion / BUNDLE if self.conversion is not None and passed else None


@dataclass
class Work:
    """What remains to be done, and how long such work took: for the time left."""

    total: int
    jobs: int
    done: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def finished(self, kind: str, seconds: float) -> None:
        """Count a piece of work of this kind."""
        self.done += 1
        self.waiting.remove(kind)
        self.seconds.setdefault(kind, []).append(seconds)

    def left_s(self) -> float | None:
        """Seconds left by the means so far; None before anything was measured."""
        known = {kind: sum(values) / len(values) for kind, values in self.seconds.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        return sum(known.get(kind, usual) for kind in self.waiting) / min(
            self.jobs, max(1, len(self.waiting))
        )


def prepare_folds(clips: Path, cache: Path, say: Say, count: int | None = None) -> Folds:
    """Index `clips` and hold each group out once. count: of folds; default one for each group. Raises
    DataError where that cannot be.
    """
    name, kind = ("folds.json", "leave-one-group-out") if count is None else (f"folds-{count}.json", count)
    index, splits, written = _split(clips, cache, name, ["--folds", str(kind)], say)
    held_out = [fold["test"] for fold in written["folds"]]
    named = tuple(
        groups[0] if count is None else f"fold {number} of {len(held_out)}"
        for number, groups in enumerate(held_out, 1)
    )
    return Folds(index, splits, written["index_sha256"], named, clips.name)


def prepare_split(clips: Path, parts: str, cache: Path, say: Say) -> Folds:
    """Index `clips` and split them once, by groups. parts: percent that train, validate and test, as
    `edge-har data split` takes them. Raises DataError where that cannot be.
    """
    index, splits, written = _split(clips, cache, f"split-{parts}.json", ["--parts", parts], say)
    count = len(written["parts"]["test"])
    named = (f"{count} group{'s' * (count != 1)}",)
    return Folds(index, splits, written["index_sha256"], named, clips.name)


def _split(
    clips: Path, cache: Path, name: str, options: Sequence[str], say: Say
) -> tuple[Path, Path, dict[str, Any]]:
    """Index and split file of `clips`, and what the latter says."""
    folder = cache / "data" / hashlib.sha256(os.fsencode(clips.resolve())).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    index, splits, log = folder / "index.csv", folder / name, folder / LOG
    say(f"checking the clips of {clips}")
    edge_har("data", "index", clips.resolve(), "--out", index, log=log)
    edge_har("data", "split", index, *options, "--out", splits, log=log)
    written = json.loads(splits.read_text())
    if written["groups"] != "known":
        raise DataError(f"{clips}: leaving groups out needs clips whose groups are known")
    return index, splits, written


def run_folds(
    folds: Folds, entries: Sequence[Experiment], *, cache: Path = CACHE, jobs: int, threads: int = 1, say: Say
) -> list[FoldResult]:
    """Every fold of every entry, as `run_tasks` runs them."""
    tasks = [Task(folds, entry, fold) for fold in range(len(folds.groups)) for entry in entries]
    return run_tasks(tasks, cache=cache, jobs=jobs, threads=threads, say=say)


def run_tasks(
    tasks: Sequence[Task],
    *,
    cache: Path = CACHE,
    jobs: int,
    threads: int = 1,
    say: Say,
    published: Published = NOTHING_PUBLISHED,
    on_result: Callable[[FoldResult], None] | None = None,
) -> list[FoldResult]:
    """The result of each task; what is in the cache or published is not done again, what was interrupted goes
    on.

    jobs: tasks at once; threads: CPU threads of each. published: as `cache.keep` takes it; folders of such
    results do not exist. on_result: sees each result as it comes. Raises EdgeHarError with the first failure,
    after the tasks under way have ended.
    """
    cache.mkdir(parents=True, exist_ok=True)
    work = Work(len(tasks), jobs, waiting=[task.kind for task in tasks])
    results: dict[Task, FoldResult] = {}
    described: Described = {}
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[FoldResult], Task] = {}
        try:
            for task in tasks:
                key = (task.folds.index, task.entry)
                if key not in described:  # before its tasks in the pool's queue, so that none waits in vain
                    described[key] = pool.submit(describe, task.entry, task.folds, cache)
                job = pool.submit(_run_task, task, described[key], cache, threads, published)
                running[job] = task
            _follow(running, results, work, cache, described, say, on_result)
        except BaseException:
            waiting: list[Future[Any]] = [*described.values(), *running]
            for job in waiting:
                job.cancel()
            interrupt_all()
            raise
    return [results[task] for task in tasks]


def _run_task(
    task: Task, described: Future[dict[str, Any]], cache: Path, threads: int, published: Published
) -> FoldResult:
    try:
        made_of = described.result()
    except EdgeHarError as error:
        raise EdgeHarError(f"{task.name}: {error}") from error
    return run_fold(task.entry, task.folds, task.fold, made_of, cache, threads, published)


def _follow(
    running: dict[Future[FoldResult], Task],
    results: dict[Task, FoldResult],
    work: Work,
    cache: Path,
    described: Described,
    say: Say,
    on_result: Callable[[FoldResult], None] | None,
) -> None:
    reported_s = time.monotonic()
    while running:
        ended, _ = wait(running, STATUS_S, FIRST_COMPLETED)
        for job in ended:
            task = running.pop(job)
            results[task] = job.result()
            if on_result is not None:
                on_result(results[task])
            work.finished(task.kind, results[task].seconds)
            say(f"{task.name}: {fold_line(results[task])}; {_progress(work)}")
            reported_s = time.monotonic()
        if time.monotonic() - reported_s >= STATUS_S:
            for job, task in running.items():
                made_of = described[task.folds.index, task.entry]
                if job.running() and made_of.done():
                    training = training_of(made_of.result(), task.folds, task.fold)
                    say(f"{task.name}: {last_line(cache / key_of(training) / LOG) or 'starting'}")
            say(_progress(work))
            reported_s = time.monotonic()


def _progress(work: Work) -> str:
    left = work.left_s()
    return f"{work.done} of {work.total} folds" + (
        "" if left is None else f", about {left / 60:.0f} min left"
    )


def fold_line(result: FoldResult) -> str:
    """The figures of one fold for a person."""
    line = f"{result.float_figures.right}/{result.float_figures.clips} float"
    if result.stream is not None:
        line += f", {result.stream.right}/{result.stream.clips} stream"
    return line + f", {result.seconds:.0f} s"


def describe(entry: Experiment, folds: Folds, cache: Path) -> dict[str, Any]:
    """What a training of this entry is made of but for its split, as `edge-har train` describes it."""
    identity = edge_har(
        "train", *_train_options(entry, folds, cache / "unused"), "--describe", log=cache / LOG
    )
    return dict(json.loads(identity))


def _train_options(entry: Experiment, folds: Folds, out: Path) -> list[str]:
    seed = ["--seed", str(entry.seed)] if entry.seed else []
    return ["--data", str(folds.index), "--model", entry.model, "--out", str(out), *entry.options, *seed]


def training_of(made_of: Mapping[str, Any], folds: Folds, fold: int) -> dict[str, Any]:
    """Everything that a fold's training is made of: its key in the cache."""
    return {"schema": SCHEMA, "work": "train", "identity": dict(made_of), "split": folds.split(fold)}


def conversion_of(entry: Experiment, training: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a fold's conversion and measurement are made of: its key in the cache."""
    return {
        "schema": SCHEMA,
        "work": "convert",
        "training": key_of(training),
        "options": list(entry.conversion),
        "code": package_sha256(),
    }


def run_fold(
    entry: Experiment,
    folds: Folds,
    fold: int,
    made_of: Mapping[str, Any],
    cache: Path,
    threads: int,
    published: Published = NOTHING_PUBLISHED,
) -> FoldResult:
    """Train and, where the entry asks for it, convert and measure one fold;
    raises EdgeHarError saying which failed.

    A training that was published serves where its stream needs not be made: its RUN is elsewhere.
    """
    training = training_of(made_of, folds, fold)
    conversion_key = key_of(conversion_of(entry, training))
    has_stream = result_in(cache / conversion_key) is not None or conversion_key in published
    published_trainings = published if has_stream or not entry.converted else NOTHING_PUBLISHED

    def train(folder: Path) -> dict[str, Any]:
        options = [*_train_options(entry, folds, folder / RUN), *folds.options(fold)]
        edge_har("train", *options, log=folder / LOG, threads=threads)
        metrics = dict(json.loads((folder / RUN / "metrics.json").read_text()))
        return {name: metrics[name] for name in ("best_epoch", "test")} | made_here()

    try:
        folder, trained = keep(cache, training, train, published_trainings)
        conversion: Path | None = None
        converted: dict[str, Any] = {}
        if entry.converted:
            conversion, converted = _convert(
                entry, folder / RUN, folds.held_out(fold), training, cache, threads, published
            )
    except EdgeHarError as error:
        raise EdgeHarError(f"{entry.name} without {folds.groups[fold]}: {error}") from error
    return FoldResult(
        entry,
        folds.groups[fold],
        folder,
        trained["best_epoch"],
        float_figures(trained["test"]),
        _figures(converted.get("stream")),
        GateResult(**converted["gate"]) if converted else None,
        _figures(converted.get("drawn")),
        conversion,
        tuple(made["made_at"] for made in (trained, converted) if made),
        trained["seconds"] + converted.get("seconds", 0.0),
        tuple(made.get("machine", "unknown") for made in (trained, converted) if made),
    )


def _convert(
    entry: Experiment,
    run: Path,
    held_out: Sequence[HeldOut],
    training: Mapping[str, Any],
    cache: Path,
    threads: int,
    published: Published,
) -> tuple[Path, dict[str, Any]]:
    """The int8 stream of a fold's RUN, and its figures. Where the gate refuses it there is no bundle: the
    figures are then those of the conversion's own report, over windows at every offset.
    """

    def convert(folder: Path) -> dict[str, Any]:
        bundle, report = folder / BUNDLE, folder / REPORT
        report.unlink(missing_ok=True)
        failed = None
        try:
            edge_har(
                "convert",
                run,
                "--out",
                bundle,
                *entry.conversion,
                log=folder / LOG,
                threads=threads,
            )
        except EdgeHarError:
            failed = json.loads(report.read_text())["failed"] if report.is_file() else None
            if failed is None:
                raise
        parity = json.loads(report.read_text())["parity"]["test"]
        made = {
            "gate": {
                "windows": parity["windows"],
                "agreement": parity["agreement"]["share"],
                "failed": failed,
            },
            **made_here(),
        }
        if failed is not None:
            return made | {"stream": reported_figures(report, "stream").to_json()}
        drawn = measure_drawn(bundle)
        return made | {
            "stream": measure_stream(bundle, held_out).to_json(),
            "drawn": None if drawn is None else drawn.to_json(),
        }

    return keep(cache, conversion_of(entry, training), convert, published)


def measure_stream(bundle: Path, clips: Sequence[HeldOut]) -> Figures:
    """What a bundle's stream predicts on clips."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    decoded = [(clip, clip_ticks(clip.path, manifest.frame, manifest.temporal)) for clip in clips]
    return figures(by_stream(TickRecognizer(opened)), decoded, manifest.labels)


def measure_drawn(bundle: Path) -> Figures | None:
    """What a bundle's stream predicts on the built-in source, one clip of each unseen seed and label."""
    opened = open_bundle(bundle)
    manifest = opened.manifest
    if not set(manifest.labels) <= set(LABELS):
        return None
    rate_hz = 1000 / manifest.temporal.interval_ms
    clips = []
    for label in manifest.labels:
        for seed in UNSEEN_SEEDS:
            drawn = render_clip(label, seed, DRAWN_TICKS, rate_hz)
            ticks = np.stack([prepare_frame(frame, manifest.frame) for frame in drawn])
            clips.append((HeldOut(Path(), f"synthetic:{label}?seed={seed}", label, "drawn"), ticks))
    return figures(by_stream(TickRecognizer(opened)), clips, manifest.labels)


def reported_figures(report: Path, way: str) -> Figures:
    """What a conversion's report says of one way (`float`, `whole_clip`, `stream`) on the test clips, over
    windows at
    every offset: for folds that the gate refused. Which clips are wrong is not known.
    """
    parity = json.loads(report.read_text())["parity"]["test"]
    clips, windows, accuracy = parity["clips"], parity["windows"], parity["accuracy"][way]
    missed = round((1 - accuracy["clips"]["share"]) * clips)
    return Figures(clips, missed, (), windows, round(accuracy["windows"]["share"] * windows))


def slow_source(results: Sequence[FoldResult]) -> dict[str, Any] | None:
    """What a source costs that is slower than the model, over the windows of all folds, as a manifest says
    it; None where no fold was converted.
    """
    reports = [
        json.loads((result.conversion / REPORT).read_text())[SLOW_SOURCE]
        for result in results
        if result.conversion is not None
    ]
    if not reports:
        return None
    windows = [one["windows"] for one in reports]
    fractions = {
        ticks: round(
            float(np.average([one["window_accuracy"][ticks] for one in reports], weights=windows)), 6
        )
        for ticks in reports[0]["window_accuracy"]
    }
    return {"windows": sum(windows), "window_accuracy": fractions}


def _figures(values: dict[str, Any] | None) -> Figures | None:
    return None if values is None else Figures.from_json(values)


def float_figures(test: Mapping[str, Any]) -> Figures:
    """What a RUN's metrics say of its test clips."""
    windows_right = round(test["window_accuracy"] * test["windows"])
    return Figures(test["clips"], len(test["wrong"]), tuple(test["wrong"]), test["windows"], windows_right)
