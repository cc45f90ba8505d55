"""The sentence at the end of a training names what went wrong, and what to try."""

from __future__ import annotations

from typing import Any

import pytest

from train.fitting import advice
from train.fitting.budget import Budget
from train.runs import default_config

CONFIG = default_config("lrcn")
BUDGET = Budget(100, 10, 20, 30, 10, 10, 0)


def history(losses: list[float], accuracies: list[float]) -> list[dict[str, float]]:
    return [
        {"epoch": n, "loss": loss, "accuracy": accuracy}
        for n, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), 1)
    ]


def figures(right: float, groups: int | str = 4) -> dict[str, Any]:
    named = groups if isinstance(groups, str) else [f"g{n}" for n in range(groups)]
    part = {"window_accuracy": right, "groups": named, "labels": list("abcd")}
    return {"validation": part, "test": part}


LEARNT = history([1.0, 0.5, 0.2, 0.1] * 5, [0.5, 0.8, 0.9, 0.95] * 5)


@pytest.mark.parametrize(
    ("rows", "best", "parts", "verdict", "options"),
    [
        (LEARNT, 8, figures(0.85), advice.FINE, ()),
        (LEARNT, 8, figures(0.85, "unknown"), advice.FINE, ()),
        (LEARNT, 8, figures(0.5), advice.OVERFIT, ("--augmentation", "0.525")),
        (LEARNT, 8, figures(0.85, 1), advice.GROUPS, ("--cross-validate",)),
        (LEARNT, 8, {}, advice.UNMEASURED, ("--cross-validate",)),
        (history([1.3] * 20, [0.3] * 20), 20, figures(0.3), advice.UNDERFIT, ("--learning-rate", "0.001")),
        (history([0.9] * 20, [0.6] * 20), 15, figures(0.6), advice.UNDERFIT, ("--epochs", "40")),
        (LEARNT + LEARNT[:10], 30, figures(0.8), advice.CUT_OFF, ("--epochs", "60")),
    ],
)
def test_each_verdict(
    rows: list[dict[str, float]],
    best: int,
    parts: dict[str, Any],
    verdict: str,
    options: tuple[str, ...],
) -> None:
    found = advice.advise(rows, best, CONFIG, BUDGET, parts, 4)
    assert (found.verdict, found.options) == (verdict, options), found.sentence
    assert found.sentence.endswith(".") and "\n" not in found.sentence
    assert found.to_json()["options"] == list(options)


def test_what_learns_nothing_is_first_standardised() -> None:
    rows = history([1.39] * 5, [0.25] * 5)
    plain = default_config("lrcn", standardise=False)
    assert advice.advise(rows, 5, plain, BUDGET, figures(0.2), 4).options == ("--standardise",)
    strong = default_config("lrcn", augmentation=1.0)
    assert advice.advise(rows, 5, strong, BUDGET, figures(0.2), 4).options == ("--augmentation", "0.5")
