"""docs/figures/parity.md: what each precision keeps of the float model, on several data sets,
one split by groups each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.conversions import (
    MAX_DROP_POINTS,
    MIN_AGREEMENT,
    ParityRow,
    entries_of,
    row_of,
)
from benchmarks.experiments.entries import PARTS, SETS, ClipSet
from benchmarks.experiments.folds import CACHE, FoldResult, Say, prepare_split, run_folds
from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import EdgeHarError

INTRODUCTION = (
    "Both published models on three sets of clips, each split once by groups (people; scenes): "
    f"{PARTS.replace(',', ', ')} percent of the clips train, choose the precision, and are measured on here. "
    "Nothing "
    "of the third part was seen by training, calibration or the choice. `edge-har convert` ran with "
    "its "
    "defaults but for `--precision`."
)
NOTES = (
    "Shares are of windows at every offset, with 95 % intervals over groups. *float*: Keras, which the "
    "quantised forms are made of. *clip*, *stream*: the quantised whole-clip graph and the stream that "
    "devices run. "
    "*agree*: windows on which the stream gives the float model's label. *drop*: percentage points of "
    "accuracy from "
    "float to stream, its interval with the same groups drawn for both; below 0 the stream was better. "
    "*trained*: the "
    "share of windows, at the model's own hop, that training itself found right. What the gate "
    "refused "
    "was not written as a bundle; its figures are those of the refusal. `auto` is what should ship: it is "
    "held to a "
    f"drop of {MAX_DROP_POINTS:g} points and an agreement of {MIN_AGREEMENT:g}."
)


@dataclass(frozen=True)
class Parity:
    """Everything that docs/figures/parity.md says. index_sha256: of each set's clips."""

    rows: tuple[ParityRow, ...]
    index_sha256: tuple[str, ...]
    made_at: tuple[str, ...]

    def check_limits(self) -> None:
        """Raises EdgeHarError, in one line, where what should ship is past a limit."""
        breaches = [row.breach for row in self.rows if row.breach]
        if breaches:
            raise EdgeHarError("; ".join(breaches))


def measure_parity(
    root: Path, *, say: Say, jobs: int, sets: Sequence[ClipSet] = SETS, cache: Path = CACHE
) -> Parity:
    """Train and convert what is not in the cache yet. root: the folder of the sets. Raises DataError for
    unfit clips, EdgeHarError where a training or conversion fails.
    """
    cut = {clips: prepare_split(root / clips.name, PARTS, cache, say) for clips in sets}
    for clips, folds in cut.items():
        run_folds(folds, entries_of(clips, converted=False), cache=cache, jobs=jobs, say=say)
    results: list[tuple[ClipSet, FoldResult]] = []
    for clips, folds in cut.items():
        made = run_folds(folds, entries_of(clips, converted=True), cache=cache, jobs=jobs, say=say)
        results += [(clips, result) for result in made]
    return Parity(
        tuple(row_of(clips.name, result) for clips, result in results),
        tuple(folds.sha256 for folds in cut.values()),
        tuple(sorted({at for _, result in results for at in result.made_at})),
    )


def page(parity: Parity, command: list[str]) -> str:
    """docs/figures/parity.md."""
    head = ["clips", "model", "--precision", "trained", "float", "clip", "stream", "agree", "drop", "gate"]
    lines = [
        "# Parity",
        "",
        INTRODUCTION,
        "",
        *markdown_table([head, *map(_cells, parity.rows)]),
        "",
        NOTES,
        "",
        *_measured_on(parity.rows),
        "",
        *_refusals(parity.rows),
        *provenance.section(command, ", ".join(parity.index_sha256), parity.made_at),
    ]
    return "\n".join(lines)


def _cells(row: ParityRow) -> list[str]:
    requested = row.requested if row.requested == row.made else f"{row.requested} ({row.made})"
    low, high = row.report["drop"]["interval"]
    ways = row.report["accuracy"]
    return [
        row.clips,
        row.model,
        requested,
        f"{row.trained:.3f}",
        *(_fraction(ways[way]["windows"]) for way in ("float", "whole_clip", "stream")),
        _fraction(row.report["agreement"]),
        f"{row.drop_points:.1f} ({low:.1f} to {high:.1f})",
        "passed" if row.failed is None else "refused",
    ]


def _fraction(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['share']:.3f} ({low:.2f} to {high:.2f})"


def _measured_on(rows: Sequence[ParityRow]) -> list[str]:
    """Each set's test part."""
    by_set = {row.clips: row.report for row in rows}
    return [
        f"- {name}: {report['windows']} windows of {report['clips']} clips, {len(report['groups'])} groups"
        for name, report in by_set.items()
    ]


def _refusals(rows: Sequence[ParityRow]) -> list[str]:
    refused = [row for row in rows if row.failed is not None]
    if not refused:
        return []
    listed = [f"- {row.clips}, {row.model}, {row.requested}: {row.failed}" for row in refused]
    return ["## What the gate refused", "", *listed, ""]
