"""How long a training goes on is arithmetic: from windows, from what is given, and never without an end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract
from train.fitting.budget import (
    MOST_TIMES,
    SHORTEST_EPOCHS,
    Budget,
    budget_line,
    budget_of,
    training_windows,
)
from train.runs import TrainConfig, config_from_json, default_config, settings_json


class Clip:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def times_s(self) -> np.ndarray:
        return np.arange(0, self._seconds, 0.04)


@pytest.mark.parametrize("model", ["motion", "lrcn", "convlstm"])
@pytest.mark.parametrize("windows", [1, 40, 300, 5_000, 1_000_000])
def test_a_budget_has_the_steps_that_a_family_needs_and_an_end(model: str, windows: int) -> None:
    config = default_config(model)
    budget = budget_of(config, windows)
    assert config.steps <= budget.steps <= 1.1 * MOST_TIMES * config.steps + budget.steps_per_epoch
    assert SHORTEST_EPOCHS - 1 <= budget.epochs <= 60
    assert budget.epochs < budget.longest <= math.ceil(1.5 * budget.epochs)
    assert budget.warmup_steps < 0.06 * budget.steps and 0 < budget.watched_epochs < budget.epochs / 2


def test_more_windows_are_more_steps_and_a_small_set_is_seen_often() -> None:
    config = default_config("lrcn")
    steps = [budget_of(config, windows).steps for windows in (50, 500, 1500, 5000)]
    assert steps == sorted(steps) and steps[0] < steps[-1]
    assert budget_of(config, 50).steps_per_epoch * config.batch >= 50


def test_what_is_given_is_taken_and_given_epochs_are_all_there_are() -> None:
    config = default_config("motion", batch=32, epochs=7, windows_per_epoch=96, patience=3)
    budget = budget_of(config, 1000)
    assert (budget.epochs, budget.longest, budget.steps_per_epoch, budget.patience) == (7, 7, 3, 3)


def test_training_goes_on_while_validation_gets_better() -> None:
    budget = Budget(100, 10, 40, 60, 15, 20, 0)
    assert not budget.ends(39, 14) and budget.ends(39, 15)
    assert not budget.ends(40, 3) and budget.ends(40, 4)
    assert not budget.ends(59, 0) and budget.ends(60, 0)
    alone = budget.unvalidated()
    assert not alone.ends(39, 39) and alone.ends(40, 0)


def test_a_refit_sees_each_window_as_often_along_the_same_learning_rate_and_ends_where_it_should() -> None:
    first = budget_of(default_config("motion"), 300)
    again = first.refit(400, epochs=7)
    assert again.windows == 400 and again.steps_per_epoch == round(first.steps_per_epoch * 4 / 3)
    assert again.epochs == first.epochs  # over which the rate falls
    assert not again.ends(6, 6) and again.ends(7, 0)


def test_a_loss_at_chance_is_seen_after_the_watched_epochs_alone() -> None:
    budget = Budget(100, 50, 40, 60, 15, 20, 4)
    at_chance = [1.40, 1.39, 1.38, 1.385]
    assert budget.at_chance(at_chance, 4) and not budget.at_chance(at_chance[:3], 4)
    assert not budget.at_chance([1.40, 1.39, 1.2, 1.385], 4)
    assert budget.at_chance([*at_chance, 0.5], 4), "what comes later changes nothing: a resume decides alike"
    assert not replace(budget, watched_epochs=0).at_chance(at_chance, 4)


def test_a_few_steps_are_never_judged() -> None:
    assert budget_of(TrainConfig("motion", epochs=2, windows_per_epoch=64), 50).watched_epochs == 0


def test_windows_of_clips_do_not_overlap_and_every_clip_has_one() -> None:
    clips = [Clip(0.5), Clip(1.6), Clip(8.0)]
    assert training_windows(clips, TemporalContract(20, 80.0)) == 1 + 1 + 5
    assert training_windows(clips, TemporalContract(20, 80.0, sampling="spread")) == 3


def test_the_notebooks_recipe_sees_every_clip_once_in_an_epoch() -> None:
    config = default_config("lrcn", recipe="notebook")
    budget = budget_of(config, 61)
    assert (budget.steps_per_epoch, budget.epochs, budget.longest, budget.patience) == (16, 70, 70, 15)
    assert budget.warmup_steps == budget.watched_epochs == 0
    assert config.contract.sampling == "spread" and config_from_json(settings_json(config)) == config
    with pytest.raises(MisuseError, match="the notebooks' recipe is for lrcn and convlstm, not for 'motion'"):
        default_config("motion", recipe="notebook")


def test_a_stored_training_of_before_keeps_its_numbers() -> None:
    stored = {"model": "lrcn", "epochs": 50, "patience": 50, "windows_per_epoch": 320, "batch": 32}
    config = config_from_json(stored)
    assert budget_of(config, 900).steps == 500 and not config.standardise and config.recipe == "default"


def test_the_line_for_a_person() -> None:
    budget = Budget(280, 35, 58, 87, 24, 100, 12)
    assert budget_line(budget) == (
        "280 training windows: 58 epochs, at most 87 of 35 batches; 24 without a better validation end it"
    )
    assert budget_line(budget.unvalidated()) == "280 training windows: 58 epochs of 35 batches"
