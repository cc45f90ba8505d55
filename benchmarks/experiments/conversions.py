"""Conversions of the published models on one split by groups, and what the report of each has in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.experiments.entries import TRAINING, ClipSet
from benchmarks.experiments.folds import REPORT, Experiment, FoldResult

MIN_AGREEMENT, MAX_DROP_POINTS = 0.97, 2.0
AUTO = "auto"
PRECISIONS = {"LRCN": (AUTO, "int8"), "ConvLSTM": (AUTO,)}
ALL_INTEGER = {"ConvLSTM": ("int8-cells16", "int8")}


@dataclass(frozen=True)
class ParityRow:
    """One conversion. report: its figures on the test groups. failed: why the gate refused it, or None."""

    clips: str
    model: str
    requested: str
    made: str
    trained: float
    report: dict[str, Any]
    failed: str | None

    @property
    def agreement(self) -> float:
        """Share of windows with the float model's label."""
        return float(self.report["agreement"]["share"])

    @property
    def drop_points(self) -> float:
        """Window accuracy lost, percentage points."""
        return float(self.report["drop"]["points"])

    @property
    def breach(self) -> str | None:
        """What is past a limit, where this is what should ship.
        That a float model knows too little is no breach.
        """
        if self.requested != AUTO:
            return None
        name = f"{self.model} on {self.clips}"
        if self.drop_points > MAX_DROP_POINTS:
            return f"{name}: loses {self.drop_points:.1f} points"
        return f"{name}: agrees on {self.agreement:.3f}" if self.agreement < MIN_AGREEMENT else None


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


def row_of(clips: str, result: FoldResult) -> ParityRow:
    """A result with what its conversion's report says."""
    assert result.conversion is not None
    report = json.loads((result.conversion / REPORT).read_text())
    _, model, requested = result.entry.name.split()
    made = report["precision"]
    taken = [trial["route"] for trial in report.get("trials", ()) if trial["taken"]]
    if made == "mixed" and taken:
        made = ", ".join(f"{part} {form}" for part, form in taken[0].items())
    figures = result.float_figures
    return ParityRow(
        clips,
        model,
        requested,
        made,
        figures.windows_right / figures.windows,
        report["parity"]["test"],
        report["failed"],
    )
