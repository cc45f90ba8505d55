"""A model of one set runs on the clips of another: what it predicts is counted by their labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import crossed
from benchmarks.experiments.crossed import Crossing, measure_crossed
from benchmarks.experiments.folds import BUNDLE, Experiment, prepare_folds
from edge_har.errors import DataError
from edge_har.model.bundle import default_bundle_path
from tests.helpers.videos import make_dataset
from tests.test_benchmarks_pages_accuracy import RIGHT, SMALL, WINNER, measured, result

CROSSING = Crossing("weizmann", "Walk", "other")


def test_predictions_are_counted_by_label_of_the_other_set(tmp_path: Path) -> None:
    clips = make_dataset(tmp_path / "other", ("Right", "Down"), groups=3, frames=30)
    target = replace(measured("other"), folds=prepare_folds(clips, tmp_path, lambda _: None))
    (tmp_path / BUNDLE).write_bytes(default_bundle_path().read_bytes())
    trained = replace(result(SMALL, "g01", RIGHT, RIGHT), conversion=tmp_path)
    source = replace(measured("weizmann"), results=(trained, result(WINNER, "g01", RIGHT)))
    entries: tuple[Experiment, ...] = (SMALL, WINNER)
    lines: list[str] = []
    for _ in range(2):
        made = measure_crossed(
            [source, target], entries, say=lines.append, cache=tmp_path, crossings=(CROSSING,)
        )
        by_label = {one.label: one for one in made if one.model == SMALL.name}
        assert set(by_label) == {"Down", "Right"} and all(one.clips == 3 for one in by_label.values())
        assert all(0 <= one.score <= 1 and 0 <= one.share <= 1 for one in by_label.values())
    published: dict[str, dict[str, Any]] = {}
    measure_crossed(
        [source, target],
        entries,
        say=lines.append,
        cache=tmp_path,
        crossings=(CROSSING,),
        on_result=published.__setitem__,
    )
    (tmp_path / BUNDLE).unlink()
    again = partial(
        measure_crossed, [source, target], entries, say=print, cache=tmp_path / "new", crossings=(CROSSING,)
    )
    assert again(published=published) == made
    with pytest.raises(DataError, match="published without its bundle; remove its line"):
        again()
    refused = [one for one in made if one.model == WINNER.name]
    assert refused and not any(one.predicted for one in refused)


def test_a_crossing_needs_both_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossed, "keep", None)
    assert not measure_crossed([measured("ucf9")], (SMALL,), say=print, cache=tmp_path)
