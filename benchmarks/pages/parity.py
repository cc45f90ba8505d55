"""docs/figures/parity.md: what each precision keeps of the float model, on several data sets, one split by groups each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.entries import PARTS, SETS, TRAINING, ClipSet
from benchmarks.experiments.folds import CACHE, REPORT, Experiment, FoldResult, Say, prepare_split, run_folds
from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import EdgeHarError

MIN_AGREEMENT, MAX_DROP_POINTS = 0.97, 2.0
AUTO = "auto"

INTRODUCTION = (
    "Both published models on three sets of clips, each split once by groups (people; scenes): "
    f"{PARTS.replace(',', ', ')} percent of the clips train, choose the precision, and are measured on here. Nothing "
    "of the third part was seen by training, pruning, calibration or the choice. `edge-har convert` ran with its "
    "defaults (half of the weights pruned) but for `--precision`."
)
NOTES = (
    "Shares are of windows at every offset, with 95 % intervals over groups. *float*: Keras, after pruning, which the "
    "quantised forms are made of. *clip*, *stream*: the quantised whole-clip graph and the stream that devices run. "
    "*agree*: windows on which the stream gives the float model's label. *drop*: percentage points of accuracy from "
    "float to stream, its interval with the same groups drawn for both; below 0 the stream was better. *trained*: the "
    "share of windows, at the model's own hop, that the model answered rightly before pruning. What the gate refused "
    "was not written as a bundle; its figures are those of the refusal. `auto` is what should ship: it is held to a "
    f"drop of {MAX_DROP_POINTS:g} points and an agreement of {MIN_AGREEMENT:g}."
)


PRECISIONS = {"LRCN": (AUTO, "int8"), "ConvLSTM": (AUTO,)}
ALL_INTEGER = {"ConvLSTM": ("int8-cells16", "int8")}


@dataclass(frozen=True)
class ParityRow:
    """One conversion. said: its report's figures on the test groups. failed: why the gate refused it, or None."""

    clips: str
    model: str
    asked: str
    made: str
    trained: float
    said: dict[str, Any]
    failed: str | None

    @property
    def agreement(self) -> float:
        """Share of windows with the float model's label."""
        return float(self.said["agreement"]["share"])

    @property
    def drop_points(self) -> float:
        """Window accuracy lost, percentage points."""
        return float(self.said["drop"]["points"])

    @property
    def breach(self) -> str | None:
        """What is past a limit, where this is what should ship. That a float model knows too little is no breach."""
        if self.asked != AUTO:
            return None
        name = f"{self.model} on {self.clips}"
        if self.drop_points > MAX_DROP_POINTS:
            return f"{name}: loses {self.drop_points:.1f} points"
        return f"{name}: agrees on {self.agreement:.3f}" if self.agreement < MIN_AGREEMENT else None


@dataclass(frozen=True)
class Parity:
    """Everything that docs/figures/parity.md says. index_sha256: of each set's clips."""

    rows: tuple[ParityRow, ...]
    index_sha256: tuple[str, ...]
    made_at: tuple[str, ...]

    def check(self) -> None:
        """Raises EdgeHarError, in one line, where what should ship is past a limit."""
        breaches = [row.breach for row in self.rows if row.breach]
        if breaches:
            raise EdgeHarError("; ".join(breaches))


def entries_of(clips: ClipSet, *, converted: bool) -> list[Experiment]:
    """The trainings of a set, or its conversions."""
    made = []
    for model, precisions in PRECISIONS.items():
        options = (*TRAINING, *clips.options)
        if not converted:
            made.append(Experiment(model, model.lower(), options, converted=False))
            continue
        for precision in (*precisions, *(ALL_INTEGER.get(model, ()) if clips.all_integer else ())):
            name = f"{clips.name} {model} {precision}"
            made.append(Experiment(name, model.lower(), options, conversion=("--precision", precision)))
    return made


def measure_parity(
    root: Path, *, say: Say, jobs: int, sets: Sequence[ClipSet] = SETS, cache: Path = CACHE
) -> Parity:
    """Train and convert what is not in the cache yet. root: the folder of the sets. Raises DataError for unfit clips,
    EdgeHarError where a training or conversion fails.
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


def row_of(clips: str, result: FoldResult) -> ParityRow:
    """A result with what its conversion's report says."""
    assert result.conversion is not None
    said = json.loads((result.conversion / REPORT).read_text())
    _, model, asked = result.entry.name.split()
    made = said["precision"]
    taken = [trial["route"] for trial in said.get("trials", ()) if trial["taken"]]
    if made == "mixed" and taken:
        made = ", ".join(f"{part} {form}" for part, form in taken[0].items())
    figures = result.float_figures
    return ParityRow(
        clips,
        model,
        asked,
        made,
        figures.windows_right / figures.windows,
        said["parity"]["test"],
        said["failed"],
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
    asked = row.asked if row.asked == row.made else f"{row.asked} ({row.made})"
    low, high = row.said["drop"]["interval"]
    ways = row.said["accuracy"]
    return [
        row.clips,
        row.model,
        asked,
        f"{row.trained:.3f}",
        *(_share(ways[way]["windows"]) for way in ("float", "whole_clip", "stream")),
        _share(row.said["agreement"]),
        f"{row.drop_points:.1f} ({low:.1f} to {high:.1f})",
        "passed" if row.failed is None else "refused",
    ]


def _share(said: dict[str, Any]) -> str:
    low, high = said["interval"]
    return f"{said['share']:.3f} ({low:.2f} to {high:.2f})"


def _measured_on(rows: Sequence[ParityRow]) -> list[str]:
    """Each set's test part."""
    by_set = {row.clips: row.said for row in rows}
    return [
        f"- {name}: {said['windows']} windows of {said['clips']} clips, {len(said['groups'])} groups"
        for name, said in by_set.items()
    ]


def _refusals(rows: Sequence[ParityRow]) -> list[str]:
    refused = [row for row in rows if row.failed is not None]
    if not refused:
        return []
    told = [f"- {row.clips}, {row.model}, {row.asked}: {row.failed}" for row in refused]
    return ["## What the gate refused", "", *told, ""]
