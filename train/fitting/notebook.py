"""The tutorial notebooks' recipe twice: on their random split, and on groups that were held out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_har.errors import MisuseError
from edge_har.system.files import PathKind, path_kind
from train import runs
from train.data.index import Dataset
from train.data.splits import Split, every_clip_alone, make_split
from train.runs import Run, TrainConfig

LEAKY, HONEST = "random-leaky", "grouped"  # folders of OUT
RESULT = "notebook.json"
SCHEMA = 1

TrainRun = Callable[[TrainConfig, Dataset, Split, Path], Run]


@dataclass(frozen=True)
class Part:
    """Test clips of one split, and how many of them are right."""

    clips: int
    right: int
    interval: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """Fraction of clips that are right."""
        return self.right / self.clips

    def to_json(self) -> dict[str, Any]:
        """As RESULT holds it."""
        return {
            "clips": self.clips,
            "right": self.right,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
        }

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.3f}, {self.right} of {self.clips} clips (95 % {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class NotebookFigures:
    """The same recipe on both splits. groups_known: whether the second one is honest."""

    leaky: Part
    honest: Part
    groups_known: bool

    def to_json(self) -> dict[str, Any]:
        """What RESULT holds."""
        return {
            "schema": SCHEMA,
            "groups": "known" if self.groups_known else "unknown",
            LEAKY: self.leaky.to_json(),
            HONEST: self.honest.to_json(),
            "gap": self.leaky.accuracy - self.honest.accuracy,
        }

    def lines(self) -> list[str]:
        """Both figures and the gap, for a person."""
        if not self.groups_known:
            return [
                f"{LEAKY}: {self.leaky}",
                f"second split: {self.honest}; groups are unknown, so that this one may leak too",
            ]
        return [
            f"{LEAKY}: {self.leaky}; clips of one person or scene stand on both sides",
            f"{HONEST}: {self.honest}; groups held out: the figure to believe",
            f"gap: {self.leaky.accuracy - self.honest.accuracy:+.3f}",
        ]


def train_notebook(
    config: TrainConfig, dataset: Dataset, split: Split, out: str | os.PathLike[str], train: TrainRun
) -> NotebookFigures:
    """Train OUT/random-leaky and OUT/grouped, what is finished not again, and write OUT/notebook.json.

    split: by groups, of the second. train: makes a RUN at a folder, or goes on with it. Raises MisuseError
    where OUT holds something else, and what `train` raises.
    """
    folder = Path(out)
    check_folder(folder)
    alone = every_clip_alone(dataset)
    leaky = train(config, alone, make_split(alone, config.seed), folder / LEAKY)
    honest = train(config, dataset, split, folder / HONEST)
    figures = NotebookFigures(_part(leaky), _part(honest), dataset.groups_known)
    runs.write_json(folder / RESULT, figures.to_json())
    return figures


def check_folder(folder: Path) -> None:
    """Raises MisuseError for a folder that holds something else than the two RUNs."""
    kind = path_kind(folder, MisuseError)
    if kind is PathKind.ABSENT:
        return
    if kind is not PathKind.FOLDER or {path.name for path in folder.iterdir()} - {LEAKY, HONEST, RESULT}:
        raise MisuseError(f"{folder}: holds something else than RUNs of this recipe; choose another --out")


def _part(run: Run) -> Part:
    test = run.metrics["test"]
    low, high = test["interval_wilson"]
    return Part(test["clips"], test["clips"] - len(test["wrong"]), (low, high))
