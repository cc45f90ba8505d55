"""docs/figures/compactness.md: what pruning, shrinking and training under rounding buy and cost,
beside a dense control.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.conversions import PRECISIONS, entries_of
from benchmarks.experiments.entries import PARTS, SETS, TRAINING, ClipSet
from benchmarks.experiments.folds import CACHE, REPORT, Experiment, FoldResult, Say, prepare_split, run_folds
from benchmarks.measure import provenance
from convert.verify.compactness import table

CHANGES = (("--prune", "0.5"), ("--prune", "0.8"), ("--shrink", "0.5"), ("--qat",))
MEASURED = "thermal"  # the set with the most held-out clips

INTRODUCTION = (
    "Each model was changed by `edge-har convert` with the options above its table and made integer as by "
    "default. "
    "*original*: the trained model, made integer without a change. *dense control*: the original, fine-tuned "
    "for as "
    "many steps as the changed one, so that more training is not taken for a merit of pruning. Accuracy is "
    "of the "
    "stream that devices run, on groups that nothing has seen, with 95 % intervals over groups; KiB are of "
    "the graphs "
    "that a device runs at each tick; times per tick are of one thread of one machine, to be compared with "
    "one "
    "another alone."
)


@dataclass(frozen=True)
class Section:
    """One conversion: its requested options, the rows of its report, why the gate refused it or None."""

    model: str
    requested: str
    report: dict[str, Any] | None
    failed: str | None


@dataclass(frozen=True)
class Compactness:
    """Everything that the page reports. index_sha256: of the clips;
    made_at: commits that trained and converted.
    """

    sections: tuple[Section, ...]
    index_sha256: str
    made_at: tuple[str, ...]


def measure_compactness(
    root: Path,
    *,
    say: Say,
    jobs: int,
    clips: ClipSet | None = None,
    changes: Sequence[tuple[str, ...]] = CHANGES,
    cache: Path = CACHE,
) -> Compactness:
    """A section per model and change.

    root: the folder of the sets. The trainings are those of the parity table. Raises DataError for unfit
    clips, EdgeHarError where a training or conversion fails.
    """
    clips = clips or next(one for one in SETS if one.name == MEASURED)
    folds = prepare_split(root / clips.name, PARTS, cache, say)
    run_folds(folds, entries_of(clips, converted=False), cache=cache, jobs=jobs, say=say)
    entries = [
        Experiment(
            f"{model} {' '.join(change)}",
            model.lower(),
            (*TRAINING, *clips.options),
            conversion=("--control", "--allow-drop", *change),
        )
        for model in PRECISIONS
        for change in changes
    ]
    results = run_folds(folds, entries, cache=cache, jobs=jobs, say=say)
    made_at = tuple(sorted({at for result in results for at in result.made_at}))
    return Compactness(tuple(section_of(result) for result in results), folds.sha256, made_at)


def section_of(result: FoldResult) -> Section:
    """A result with what its conversion's report says."""
    assert result.conversion is not None
    report = json.loads((result.conversion / REPORT).read_text())
    model, _, requested = result.entry.name.partition(" ")
    return Section(model, requested, report.get("compactness"), report["failed"])


def page(measured: Compactness, command: list[str]) -> str:
    """The page as Markdown."""
    lines = ["# What pruning and shrinking buy", "", INTRODUCTION, ""]
    for section in measured.sections:
        lines += [f"## {section.model}, `{section.requested}`", ""]
        lines += table(section.report) if section.report else [f"The gate refused it: {section.failed}"]
        lines.append("")
    return "\n".join([*lines, *provenance.section(command, measured.index_sha256, measured.made_at)])
