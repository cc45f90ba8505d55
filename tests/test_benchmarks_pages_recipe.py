"""The page of the two recipes: what it reports, and when the default is worse."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages.recipe import HONEST, LEAKY, MODELS, OWN, Recipes, Trained, measure_recipe, page
from edge_har.errors import DataError, EdgeHarError
from tests.helpers.videos import make_dataset


def recipes(own: int) -> Recipes:
    trained = []
    for model in MODELS:
        for seed in range(3):
            trained.append(Trained(model, "default", seed, {OWN: (own, 20)}, "abc"))
            parts = {LEAKY: (18, 20), HONEST: (10 + seed, 20)}
            trained.append(Trained(model, "notebook", seed, parts, "abc"))
    return Recipes(tuple(trained), 103, "0" * 64)


def test_the_page_gives_both_recipes_on_the_same_split_and_the_gap() -> None:
    text = page(recipes(11), ["python", "-m", "benchmarks", "recipe"])
    assert "| LRCN | default | groups | 11/20 | 11/20 | 11/20 | 0.550 |" in text
    assert "| ConvLSTM | notebook | groups | 10/20 | 11/20 | 12/20 | 0.550 |" in text
    assert "| LRCN | notebook | random-leaky | 18/20 | 18/20 | 18/20 | 0.900 |" in text
    assert "LRCN: the default is +0.000 from the notebooks' recipe" in text
    assert "shows +0.350 more than held-out groups" in text
    assert "python -m benchmarks recipe" in text and "at: abc" in text


def test_a_default_that_is_worse_is_refused() -> None:
    recipes(11).check_limits()
    with pytest.raises(EdgeHarError, match="LRCN and ConvLSTM: the notebooks' recipe is better"):
        recipes(10).check_limits()


def test_other_clips_are_one_line(tmp_path: Path) -> None:
    clips = make_dataset(tmp_path / "clips", ("Down", "Right"), groups=3, frames=4)
    with pytest.raises(DataError, match="no clip of HighJump"):
        measure_recipe(clips, say=lambda _: None, jobs=1, cache=tmp_path / "cache")
