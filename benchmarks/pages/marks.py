"""What a picture of accuracies shows, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.experiments.evaluation import Fraction

CONTROL, FLOAT, STREAM = "control", "float", "stream"


@dataclass(frozen=True)
class Mark:
    """A point. form: CONTROL, FLOAT or STREAM."""

    row: str
    form: str
    fraction: Fraction


@dataclass(frozen=True)
class Panel:
    """One set. goal: share of clips that is wanted. chance: the share that guessing gets."""

    title: str
    goal: float
    chance: float
    marks: tuple[Mark, ...]
