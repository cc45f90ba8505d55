"""What the folds of a cross-validation give together, with trainings that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_har.errors import MisuseError
from tests.test_train_data_splits import made
from train.data.index import Dataset
from train.data.splits import Split, group_folds
from train.fitting.cross_validation import RESULT, CrossValidation, check_folder, cross_validate
from train.runs import Run, TrainConfig

CONFIG = TrainConfig("motion")


@pytest.fixture
def dataset() -> Dataset:
    return made({f"g{number}": {"A": 2, "B": 2} for number in range(4)})


def validated(dataset: Dataset, out: Path, lines: list[str]) -> CrossValidation:
    """Fold n gets its first n clips wrong."""
    splits = group_folds(dataset)

    def train(config: TrainConfig, split: Split, folder: Path) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        fold = splits.index(split)
        clips = split.clips(dataset, "test")
        wrong = [{"clip": clip.name} for clip in clips[:fold]]
        test = {"clips": len(clips), "wrong": wrong, "window_accuracy": 0.5}
        metrics = {"test": test, "best_epoch": 10 * (fold + 1)}
        return Run(folder, config, dataset.labels, True, dataset.sha256, split.to_json(), metrics)

    return cross_validate(CONFIG, dataset, splits, out, train, lines.append)


def test_every_clip_counts_once_and_the_interval_is_over_groups(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    result = validated(dataset, tmp_path / "OUT", lines)
    assert [(fold.right, fold.clips) for fold in result.folds] == [(4, 4), (3, 4), (2, 4), (1, 4)]
    assert (result.right, result.clips, result.accuracy, result.mean) == (10, 16, 0.625, 0.625)
    assert result.spread == pytest.approx(0.3227, abs=1e-4) and result.best_epoch == 25
    assert result.interval[0] < 0.625 < result.interval[1]
    assert lines[1] == "fold 1 of 0 to 3: without g1"
    written = json.loads((tmp_path / "OUT" / RESULT).read_text())
    assert written == result.to_json() | {"folds": written["folds"], "interval": list(result.interval)}
    assert written["folds"][3]["accuracy"] == 0.25
    *_, spread, believe = result.lines()
    assert spread == "folds: mean 0.625, standard deviation 0.323"
    assert believe.startswith("on groups held out: 0.625, 10 of 16 clips right (95 % ")


def test_unknown_groups_are_named_in_the_figure(dataset: Dataset, tmp_path: Path) -> None:
    unknown = Dataset(dataset.clips, groups_known=False)
    result = validated(unknown, tmp_path / "OUT", [])
    assert "clips (their groups are unknown) held out" in result.lines()[-1]


def test_a_folder_with_something_else_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    validated(dataset, tmp_path, [])
    check_folder(tmp_path, 4)
    with pytest.raises(MisuseError, match="holds a cross-validation of more than 3 folds"):
        check_folder(tmp_path, 3)
    (tmp_path / "config.json").touch()
    with pytest.raises(MisuseError, match="holds something else than folds"):
        check_folder(tmp_path, 4)
    with pytest.raises(MisuseError, match="is no folder"):
        check_folder(tmp_path / "config.json")
