"""The notebooks' recipe beside its honest figure, with trainings that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_har.errors import MisuseError
from tests.test_train_data_splits import made
from train.data.index import Dataset
from train.data.splits import Split, make_split
from train.fitting.notebook import HONEST, LEAKY, RESULT, NotebookFigures, train_notebook
from train.runs import Run, TrainConfig, default_config


def both(dataset: Dataset, out: Path, seen: list[tuple[str, Dataset, Split]]) -> NotebookFigures:
    """The random split gets 9 of 10 clips right, the other one 6."""

    def train(config: TrainConfig, clips: Dataset, split: Split, folder: Path) -> Run:
        seen.append((folder.name, clips, split))
        folder.mkdir(parents=True)
        wrong = 1 if folder.name == LEAKY else 4
        metrics = {"test": {"clips": 10, "wrong": [{}] * wrong, "interval_wilson": [0.2, 0.9]}}
        return Run(folder, config, clips.labels, clips.groups_known, clips.sha256, {}, metrics)

    config = default_config("lrcn", recipe="notebook")
    return train_notebook(config, dataset, make_split(dataset), out, train)


def test_the_random_split_leaks_and_the_gap_stands_beside_it(tmp_path: Path) -> None:
    dataset = made({f"g{number}": {"A": 4, "B": 4} for number in range(5)})
    seen: list[tuple[str, Dataset, Split]] = []
    figures = both(dataset, tmp_path / "OUT", seen)
    (leaky, alone, random_split), (honest, grouped, split) = seen
    assert (leaky, honest) == (LEAKY, HONEST)
    assert not alone.groups_known and grouped == dataset and split == make_split(dataset)

    def groups(part: str) -> set[str]:
        names = {clip.name for clip in random_split.clips(alone, part)}
        return {clip.group for clip in dataset.clips if clip.name in names}

    assert groups("train") & groups("test")
    interval = "(95 % 0.200 to 0.900)"
    assert figures.lines() == [
        f"random-leaky: 0.900, 9 of 10 clips {interval}; clips of one person or scene stand on both sides",
        f"grouped: 0.600, 6 of 10 clips {interval}; groups held out: the figure to believe",
        "gap: +0.300",
    ]
    written = json.loads((tmp_path / "OUT" / RESULT).read_text())
    assert written["gap"] == pytest.approx(0.3) and written[HONEST]["right"] == 6


def test_where_groups_are_unknown_no_figure_is_called_honest(tmp_path: Path) -> None:
    known = made({f"g{number}": {"A": 4, "B": 4} for number in range(5)})
    lines = both(Dataset(known.clips, groups_known=False), tmp_path / "OUT", []).lines()
    assert len(lines) == 2 and "this one may leak too" in lines[1]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(MisuseError, match="holds something else than RUNs of this recipe"):
        both(made({f"g{number}": {"A": 1, "B": 1} for number in range(3)}), tmp_path, [])
