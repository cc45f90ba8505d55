"""docs/figures/accuracy.md: every model on people it never saw, float and int8 stream,
beside the linear motion baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.entries import CONVLSTM, LRCN, MOTION, MOTION_ALONE, SYNTHETIC_SHARE
from benchmarks.experiments.folds import CACHE, Experiment, FoldResult, Folds, Say, prepare_folds, run_folds
from benchmarks.measure import provenance
from benchmarks.measure.baseline import leave_one_group_out, motion_features
from benchmarks.measure.clips import Figures, HeldOut, clip_ticks
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import DataError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from train.intervals import Interval, group_interval, wilson_interval

ENTRIES = (MOTION, MOTION_ALONE, LRCN, CONVLSTM)

BASELINE_SPEC = FrameSpec((64, 64))
BASELINE_CONTRACT = TemporalContract(20, 80.0)
# Measured with the data set, by logistic regression with one group held out: see its own notes.
CONTROLS = {"border pixels only": 0.27, "single first frame": 0.39, "simple motion features": 0.86}
CONTROLS_SOURCE = "`CLIPS.md` beside the clips"

PROTOCOL = (
    "Each person is held out once: a model that never saw them, with one seed, predicts their clips. For the "
    "motion "
    "model the next person in order decides when training stops and the rest train; LRCN and ConvLSTM train "
    "on all the "
    "others for a fixed number of epochs. Calibration sees the training people alone."
)
NOTES = (
    "Intervals are 95 %: *clips* (Wilson) takes every clip as independent, *people* resamples whole people "
    "(a "
    "percentile bootstrap over few people): read the wider one. *Windows* are all windows that `classify` "
    "takes; a "
    "clip's prediction is the mean over its windows. *Agree* is the share of held-out windows, at every "
    "offset, on which "
    "the int8 stream gives the label of the float model. The ConvLSTM's int8 stream has int8 weights, "
    "integer "
    "convolutions and float states."
)
REFUSED_NOTE = (
    "The parity gate refused these folds, as it would refuse to ship them; their figures are the "
    "conversion's own, "
    "over windows at every offset:"
)
DRAWN_NOTE = (
    "The shipped model learns from clips of the built-in source too, so that it recognises the demo. On "
    "held-out real "
    "people (float Keras), with the same number of batches and everything else equal:"
)


@dataclass(frozen=True)
class Fraction:
    """A fraction of clips with both intervals. by_clips takes clips as independent,
    by_groups resamples whole groups.
    """

    right: int
    count: int
    by_clips: Interval
    by_groups: Interval

    @classmethod
    def of(cls, right: Sequence[bool], groups: Sequence[str]) -> Fraction:
        """From one prediction per clip."""
        return cls(
            sum(right), len(right), wilson_interval(sum(right), len(right)), group_interval(right, groups)
        )

    @property
    def share(self) -> float:
        """Right of count."""
        return self.right / self.count


@dataclass(frozen=True)
class Accuracy:
    """Everything that docs/figures/accuracy.md says, before it is words. baseline: over the same clips."""

    folds: Folds
    clips: tuple[HeldOut, ...]
    entries: tuple[Experiment, ...]
    results: tuple[FoldResult, ...]
    baseline: Fraction

    @property
    def labels(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    def of(self, entry: Experiment) -> list[FoldResult]:
        """The folds of one entry, by group."""
        return [result for result in self.results if result.entry == entry]

    def share(self, results: Sequence[FoldResult], parts: Sequence[Figures]) -> Fraction:
        """Over all folds of one form. Raises DataError where they are not all of the clips."""
        if sum(part.clips for part in parts) != len(self.clips):
            raise DataError("the folds were measured on other clips than the index lists")
        right = [index < part.right for part in parts for index in range(part.clips)]
        groups = [
            result.group for result, part in zip(results, parts, strict=True) for _ in range(part.clips)
        ]
        return Fraction.of(right, groups)


def measure_accuracy(
    clips: Path, *, say: Say, jobs: int, entries: Sequence[Experiment] = ENTRIES, cache: Path = CACHE
) -> Accuracy:
    """Run what is not in the cache yet; raises DataError for unfit clips, EdgeHarError where a fold fails."""
    folds = prepare_folds(clips, cache, say)
    held_out = tuple(folds.clips())
    say("the linear motion baseline")
    baseline = measure_baseline(held_out)
    results = run_folds(folds, entries, cache=cache, jobs=jobs, say=say)
    return Accuracy(folds, held_out, tuple(entries), tuple(results), baseline)


def measure_baseline(clips: Sequence[HeldOut]) -> Fraction:
    """Logistic regression on motion features, each group held out in turn."""
    features = [motion_features(clip_ticks(clip.path, BASELINE_SPEC, BASELINE_CONTRACT)) for clip in clips]
    labels, groups = [clip.label for clip in clips], [clip.group for clip in clips]
    predicted = leave_one_group_out(features, labels, groups)
    return Fraction.of([one == label for one, label in zip(predicted, labels, strict=True)], groups)


def page(accuracy: Accuracy, command: list[str]) -> str:
    """docs/figures/accuracy.md."""
    groups = accuracy.folds.groups
    made_at = [at for result in accuracy.results for at in result.made_at]
    lines = [
        "# Accuracy on people never seen",
        "",
        f"{len(accuracy.clips)} clips of {len(groups)} people, {len(accuracy.labels)} labels. {PROTOCOL}",
        "",
        *_overview(accuracy),
        "",
        NOTES,
        "",
        _controls(accuracy),
        "",
        "## By held-out person",
        "",
        *_by_group(accuracy),
        "",
        "Clips, and in brackets the share of windows.",
        "",
        *_refused(accuracy),
        *_confused(accuracy),
        *_drawn(accuracy),
        *provenance.section(command, accuracy.folds.sha256, made_at),
    ]
    return "\n".join(lines)


def _controls(accuracy: Accuracy) -> str:
    quoted = ", ".join(f"{name} {share:.2f}" for name, share in CONTROLS.items())
    return (
        f"Controls from {CONTROLS_SOURCE}, one person held out each time: {quoted}, chance "
        f"{1 / len(accuracy.labels):.2f}. The baseline of the table is a regression on motion features of "
        "our own "
        "(`benchmarks/measure/baseline.py`), measured on the same clips."
    )


def _overview(accuracy: Accuracy) -> list[str]:
    table = [["model", "form", "clips", "share", "95 % clips", "95 % people", "windows", "agree"]]
    table.append(["linear motion baseline", "float", *_share_cells(accuracy.baseline), "-", "-"])
    for entry in accuracy.entries:
        results = accuracy.of(entry)
        table.append([entry.name, "float Keras", *_figure_cells(accuracy, results, _floats(results)), "-"])
        if entry.converted:
            cells = _figure_cells(accuracy, results, _streams(results))
            table.append(["", "int8 stream", *cells, _agreement(results)])
    return markdown_table(table)


def _floats(results: Sequence[FoldResult]) -> list[Figures]:
    return [result.float_figures for result in results]


def _streams(results: Sequence[FoldResult]) -> list[Figures]:
    return [result.stream for result in results if result.stream is not None]


def _share_cells(share: Fraction) -> list[str]:
    return [
        f"{share.right}/{share.count}",
        f"{share.share:.3f}",
        *(f"{low:.2f} to {high:.2f}" for low, high in (share.by_clips, share.by_groups)),
    ]


def _figure_cells(accuracy: Accuracy, results: Sequence[FoldResult], parts: Sequence[Figures]) -> list[str]:
    return [*_share_cells(accuracy.share(results, parts)), f"{Figures.total(parts).window_accuracy:.3f}"]


def _agreement(results: Sequence[FoldResult]) -> str:
    gates = [result.gate for result in results if result.gate is not None]
    same = sum(gate.agreement * gate.windows for gate in gates)
    return f"{same / sum(gate.windows for gate in gates):.3f}"


def _refused(accuracy: Accuracy) -> list[str]:
    """Which folds the parity gate refused, each in its own words."""
    refused = [result for result in accuracy.results if result.gate is not None and result.gate.failed]
    if not refused:
        return ["The parity gate passed every fold.", ""]
    return [
        REFUSED_NOTE,
        "",
        *(
            f"- {result.entry.name} without {result.group}: {result.gate.failed}"
            for result in refused
            if result.gate
        ),
        "",
    ]


def _by_group(accuracy: Accuracy) -> list[str]:
    table = [["model", "form", *accuracy.folds.groups]]
    for entry in accuracy.entries:
        results = accuracy.of(entry)
        table.append([entry.name, "float Keras", *map(_cell, _floats(results))])
        if entry.converted:
            table.append(["", "int8 stream", *map(_cell, _streams(results))])
        table.append(["", "best epoch", *(str(result.best_epoch) for result in results)])
    return markdown_table(table)


def _cell(figures: Figures) -> str:
    return f"{figures.right}/{figures.clips} ({figures.window_accuracy:.2f})"


def _confused(accuracy: Accuracy) -> list[str]:
    """The confusion of the shipped model's form, and which clips it is about."""
    streams = {one.group: one.stream for one in accuracy.of(MOTION) if one.stream is not None}
    named = {group: stream for group, stream in streams.items() if len(stream.wrong) == stream.missed}
    clips = [clip for clip in accuracy.clips if clip.group in named]
    if not clips:
        return []
    wrong = [answer for stream in named.values() for answer in stream.wrong]
    table = [["truth \\ prediction", *accuracy.labels]]
    for label, row in zip(accuracy.labels, confusion(clips, wrong, accuracy.labels).tolist(), strict=True):
        table.append([label, *(str(count) if count else "" for count in row)])
    listed = "; ".join(f"`{answer['clip']}` as {answer['answer']}" for answer in wrong)
    return [
        f"## What the {MOTION.name} model confuses",
        "",
        (
            f"Its int8 stream, {len(clips)} clips of {len(named)} people, counted by truth (row) and "
            "prediction "
            "(column)."
        ),
        "",
        *markdown_table(table),
        "",
        f"Wrong: {listed or 'none'}.",
        "",
    ]


def _drawn(accuracy: Accuracy) -> list[str]:
    """With and without the synthetic person, on the same people;
    and how the synthetic person itself is recognised.
    """
    if not {MOTION, MOTION_ALONE} <= set(accuracy.entries):
        return []
    names = {
        MOTION: f"{float(SYNTHETIC_SHARE):.0%} synthetic person, the rest real clips",
        MOTION_ALONE: "real clips alone",
    }
    table = [["training batches", "clips", "share", "95 % clips", "95 % people", "windows"]]
    for entry, name in names.items():
        results = accuracy.of(entry)
        table.append([name, *_figure_cells(accuracy, results, _floats(results))])
    drawn = [result.drawn for result in accuracy.of(MOTION) if result.drawn is not None]
    lines = ["## What the synthetic person changes", "", DRAWN_NOTE, "", *markdown_table(table), ""]
    if not drawn:
        return lines
    total = Figures.total(drawn)
    low, high = wilson_interval(total.right, total.clips)
    share = f"{total.right}/{total.clips} clips ({total.accuracy:.3f}, 95 % {low:.2f} to {high:.2f})"
    summary = (
        f"The synthetic person itself, seeds never trained on, int8 stream: {share}, windows "
        f"{total.window_accuracy:.3f}."
    )
    return [*lines, summary, ""]


def confusion(
    clips: Sequence[HeldOut], wrong: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Clips by truth (row) and prediction (column), int64 [labels, labels];
    those not among `wrong` are right.
    """
    answers = {answer["clip"]: answer["answer"] for answer in wrong}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for clip in clips:
        counts[labels.index(clip.label), labels.index(answers.get(clip.name, clip.label))] += 1
    return counts
