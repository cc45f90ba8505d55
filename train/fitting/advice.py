"""What a finished training says for itself, in one plain sentence, and the options to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from train.fitting.budget import Budget
from train.runs import TrainConfig

LEARNT_LITTLE = 0.85  # of log(classes): the lowest training loss above it is little more than chance
UNDERFITTED = 0.7  # training accuracy below it: the model does not even know its own clips
LATE_FRACTION = 0.05  # of the epochs: a best epoch as near to the end was cut off there
FEW_GROUPS = 3  # held-out groups: with fewer, one person or scene tips the figure
OVERFITTED = 0.25  # training accuracy above that of held-out windows
STRONGER = 1.5  # times the augmentation, where a model learns its clips by heart
LEAST_STRONGER = 0.5
RATE_FACTOR = 0.5  # of the learning rate, where nothing was learnt

UNMEASURED, UNDERFIT, CUT_OFF, GROUPS, OVERFIT, FINE = (
    "not measured",
    "underfitted",
    "best epoch was the last",
    "too few groups",
    "overfitted",
    "looks fine",
)


@dataclass(frozen=True)
class Advice:
    """verdict: one of the names above. sentence: for a person. options: of `edge-har train`, to be added to
    the same command or to replace its own; empty where the next command is `edge-har convert`.
    """

    verdict: str
    sentence: str
    options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        return asdict(self) | {"options": list(self.options)}


def advise(
    history: Sequence[Mapping[str, float]],
    best_epoch: int,
    config: TrainConfig,
    budget: Budget,
    figures: Mapping[str, Any],
    classes: int,
) -> Advice:
    """Judge a training by its history (a row for each epoch) and its figures (`validation` and `test` of
    metrics.json, where there are any). best_epoch: counted from 1. classes: number of labels.
    """
    rows, best = list(history), history[best_epoch - 1]
    longer = ("--epochs", str(2 * len(rows)))
    lowest, seen = min(row["loss"] for row in rows), best["accuracy"]
    if lowest > LEARNT_LITTLE * math.log(classes):
        return Advice(
            UNDERFIT,
            f"Underfitted: the training loss never went below {lowest:.2f}, and guessing gives "
            f"{math.log(classes):.2f}.",
            _learns_more(config),
        )
    if "validation" not in figures and "test" not in figures:
        return Advice(
            UNMEASURED,
            "Nothing was held out, so nothing says how good it is on other people: cross-validate.",
            ("--cross-validate",),
        )
    chosen = "validation" in figures and config.monitor != "none"
    late = chosen and len(rows) - best_epoch <= math.floor(LATE_FRACTION * len(rows))
    if seen < UNDERFITTED:
        return Advice(
            UNDERFIT,
            f"Underfitted: it is right on {seen:.0%} of the windows it was trained on; it needs more epochs.",
            longer,
        )
    if late and len(rows) >= budget.longest:
        return Advice(
            CUT_OFF,
            f"The best epoch, {best_epoch} of {len(rows)}, was one of the last: it still got better when it "
            "ended.",
            longer,
        )
    part = "test" if "test" in figures else "validation"
    held_out = figures[part]
    right, groups = held_out["window_accuracy"], held_out["groups"]
    if groups != "unknown" and min(len(figures[one]["groups"]) for one in figures) < FEW_GROUPS:
        few = min(figures, key=lambda one: len(figures[one]["groups"]))
        count = len(figures[few]["groups"])
        return Advice(
            GROUPS,
            f"Too few groups: {few} rests on {count} of them, and one person or scene tips the figure; "
            "cross-validate.",
            ("--cross-validate",),
        )
    if seen - right > OVERFITTED:
        return Advice(
            OVERFIT,
            f"Overfitted: right on {seen:.0%} of its training windows and on {right:.0%} of {part} windows; "
            "clips of more people or scenes help most, stronger changes somewhat.",
            ("--augmentation", f"{max(LEAST_STRONGER, STRONGER * config.augmentation):g}"),
        )
    return Advice(
        FINE, f"Looks fine: {seen:.0%} of training windows and {right:.0%} of {part} windows right."
    )


def _learns_more(config: TrainConfig) -> tuple[str, ...]:
    """What helps most where a model learns nothing: the first that is not done yet."""
    if not config.standardise:
        return ("--standardise",)
    if config.augmentation > LEAST_STRONGER:
        return ("--augmentation", f"{config.augmentation / 2:g}")
    return ("--learning-rate", f"{RATE_FACTOR * config.learning_rate:g}")
