"""docs/figures/benchmark.md and its picture: what `edge-har benchmark` measured, in words and tables."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.experiments.comparison import (
    CALL,
    RESULT,
    TICK,
    ComparedModel,
    Measured,
    ModelComparison,
    compare,
    subject_of_run,
    subjects_of_folds,
)
from benchmarks.experiments.entries import ACCURACY_SETS, MIDDLE, PUBLISHED, SMALL, WINNER
from benchmarks.experiments.folds import CACHE, Say, Task, prepare_folds, run_tasks
from benchmarks.measure import provenance
from benchmarks.measure.frozen import use_folder_of_weights
from benchmarks.measure.keras_forms import use_cpu
from benchmarks.measure.latency import OnProgress
from benchmarks.pages.markdown import markdown_table
from benchmarks.pages.plot import draw
from edge_har.bench import machine
from train.intervals import wilson_interval

ENTRIES = (SMALL, MIDDLE, WINNER, *PUBLISHED)

INTRODUCTION = (
    "Every form answers for the same held-out clips; every latency comes from one run in which all forms "
    "take turns, so "
    "that ratios hold whatever else the machine did. Times are of one result, as called from Python, without "
    "camera and "
    "resizing (`edge-har bench` has those). They are of this machine; ratios carry over to others only "
    "roughly."
)
NOTES = (
    "*times predict*: how many times faster than Keras' `predict`, by medians. *kB*: what the form needs on "
    "disk. Accuracy "
    "is a clip's, the mean over its windows, with the 95 % Wilson interval; `model(x)` computes what "
    "`predict` does."
)
PRECISION_NOTES = {
    "int8": "Shipped in int8.",
    "int8-weights": "Shipped with int8 weights and integer convolutions, with float states between them.",
    "float16": "Shipped with float16 weights, computed in float32.",
}
TICK_NOTE = (
    "A stream with states keeps several banks, each of which runs at every tick, and answers each hop: *a "
    "result* is all "
    "ticks of a hop, *a tick* what one of them costs. In all that is as much work as the whole clip, spread "
    "evenly."
)


def compare_folds(
    clips: Path,
    out: Path,
    command: list[str],
    *,
    rounds: int,
    threads: int,
    jobs: int,
    say: Say,
    count: int | None = None,
    on_progress: OnProgress | None = None,
    cache: Path = CACHE,
) -> None:
    """Compare all models on held-out groups; folds that the cache lacks are trained first. count: how many
    folds; None: all.
    """
    use_cpu(threads)
    use_folder_of_weights(clips.parent)
    folds_of_set = {kind.name: kind.count for kind in ACCURACY_SETS}.get(clips.name)
    folds = prepare_folds(clips, cache, say, folds_of_set)
    measured = range(len(folds.groups))[:count]
    tasks = [Task(folds, entry, fold) for fold in measured for entry in ENTRIES]
    results = run_tasks(tasks, cache=cache, jobs=jobs, say=say)
    models = {
        entry.name: subjects_of_folds(folds, [one for one in results if one.entry == entry], cache, say)
        for entry in ENTRIES
    }
    clips_held_out = sum(len(folds.held_out(fold)) for fold in measured)
    protocol = (
        f"Accuracy: {len(measured)} of {len(folds.groups)} folds by groups, {clips_held_out} clips held out; "
        "[accuracy.md](accuracy.md) has more. Latency: the models of one of these folds."
    )
    compared = compare(models, rounds=rounds, threads=threads, say=say, on_progress=on_progress)
    write(out, compared, protocol, command, folds.sha256, threads)


def compare_runs(
    runs: Sequence[Path],
    out: Path,
    command: list[str],
    *,
    rounds: int,
    threads: int,
    say: Say,
    on_progress: OnProgress | None = None,
) -> None:
    """Compare a user's RUNs, each on the clips that it held out."""
    use_cpu(threads)
    with tempfile.TemporaryDirectory(prefix="edge-har-benchmark-") as folder:
        models: dict[str, list[ComparedModel]] = {}
        for number, run in enumerate(runs):
            work = Path(folder) / str(number)
            work.mkdir()
            models[run.name if run.name not in models else str(run)] = [subject_of_run(run, work, say)]
        compared = compare(models, rounds=rounds, threads=threads, say=say, on_progress=on_progress)
    hashes = sorted({json.loads((run / "config.json").read_text())["index_sha256"] for run in runs})
    protocol = "Accuracy: the test groups of each RUN's own split."
    write(out, compared, protocol, command, ", ".join(hashes), threads)


def write(
    out: Path,
    compared: Sequence[ModelComparison],
    protocol: str,
    command: list[str],
    index_sha256: str,
    threads: int,
) -> None:
    """Write the page at `out`, and its picture beside it."""
    picture, here, made_at = out.with_suffix(".png"), machine(), provenance.commit()
    note = (
        f"{here.cpu}, {here.cores} cores, {here.architecture}, {threads} thread{'s' * (threads > 1)}; "
        f"commit {made_at}"
    )
    draw(picture, compared, note)
    text = page(
        compared,
        picture.name,
        protocol,
        provenance.lines([*command, "--out", f"docs/figures/{out.name}"], index_sha256),
    )
    out.write_text(text, encoding="utf-8")


def page(compared: Sequence[ModelComparison], picture: str, protocol: str, made_by: Sequence[str]) -> str:
    """The page as Markdown."""
    lines = ["# Accuracy against latency", "", f"{INTRODUCTION} {protocol}", "", f"![]({picture})", ""]
    for model in compared:
        lines += [f"## {model.name}", "", *_table(model), ""]
        lines += [PRECISION_NOTES.get(model.precision, f"Shipped as {model.precision}."), ""]
    lines += [NOTES, ""]
    if any(model.hop_ticks > 1 for model in compared):
        lines += [TICK_NOTE, ""]
    return "\n".join([*lines, "## Made by", "", *made_by, ""])


def _table(model: ModelComparison) -> list[str]:
    rows = [["form", "p50 ms", "p95 ms", "p99 ms", "times predict", "kB", "clips", "accuracy", "windows"]]
    ticks = {RESULT: f" ({model.hop_ticks} tick{'s' * (model.hop_ticks > 1)})"}
    return markdown_table([*rows, *(_row(model, form, ticks) for form in model.forms)])


def _row(model: ModelComparison, form: Measured, ticks: Mapping[str, str]) -> list[str]:
    ratio = model.ratio(form) if form.form != TICK else None
    timing, figures = form.timing, form.figures
    times = (
        ["-"] * 3 if timing is None else [f"{ms:.3g}" for ms in (timing.p50_ms, timing.p95_ms, timing.p99_ms)]
    )
    row = [
        form.form + ticks.get(form.form, ""),
        *times,
        "-" if ratio is None else f"{ratio:.3g}",
        "-" if form.size_bytes is None else f"{form.size_bytes / 1000:.0f}",
    ]
    if figures is None:
        same = "as predict" if form.form == CALL else "-"
        return [*row, "-", same, "-"]
    low, high = wilson_interval(figures.right, figures.clips)
    accuracy = f"{figures.accuracy:.3f} ({low:.2f} to {high:.2f})"
    return [*row, f"{figures.right}/{figures.clips}", accuracy, f"{figures.window_accuracy:.3f}"]
