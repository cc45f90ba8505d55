"""Train every fold of a cross-validation, each a RUN of its own, and say what they give together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from edge_har.errors import MisuseError
from edge_har.system.files import PathKind, path_kind
from train import runs
from train.data.index import Dataset
from train.data.splits import Split
from train.intervals import group_interval, wilson_interval
from train.runs import Run, TrainConfig

RESULT = "cross-validation.json"
FOLD = "fold-{number}"
FOLD_NAME = re.compile(r"fold-(\d+)")
SCHEMA = 1

TrainRun = Callable[[TrainConfig, Split, Path], Run]


@dataclass(frozen=True)
class FoldFigures:
    """One fold on the groups that it did not train on. right: clips. best_epoch: counted from 1."""

    groups: tuple[str, ...]
    clips: int
    right: int
    window_accuracy: float
    best_epoch: int

    @property
    def accuracy(self) -> float:
        """Fraction of clips that are right."""
        return self.right / self.clips


@dataclass(frozen=True)
class CrossValidation:
    """What all folds give. spread: standard deviation of the folds' clip accuracy. interval: 95 %, of all
    clips; over groups where they are known, else Wilson's. best_epoch: the folds' median, for a training on
    everything.
    """

    folds: tuple[FoldFigures, ...]
    interval: tuple[float, float]
    groups_known: bool

    @property
    def clips(self) -> int:
        """Clips of all folds."""
        return sum(fold.clips for fold in self.folds)

    @property
    def right(self) -> int:
        """Clips of all folds that are right."""
        return sum(fold.right for fold in self.folds)

    @property
    def accuracy(self) -> float:
        """Fraction of all clips that are right: each was held out once."""
        return self.right / self.clips

    @property
    def mean(self) -> float:
        """Mean of the folds' clip accuracy."""
        return mean(fold.accuracy for fold in self.folds)

    @property
    def spread(self) -> float:
        """Standard deviation of the folds' clip accuracy."""
        return stdev(fold.accuracy for fold in self.folds)

    @property
    def best_epoch(self) -> int:
        """Median of the folds' best epochs."""
        return round(median(fold.best_epoch for fold in self.folds))

    def to_json(self) -> dict[str, Any]:
        """What RESULT holds."""
        names = ("clips", "right", "accuracy", "mean", "spread", "interval", "best_epoch")
        return {
            "schema": SCHEMA,
            "groups": "known" if self.groups_known else "unknown",
            **{name: getattr(self, name) for name in names},
            "folds": [asdict(fold) | {"accuracy": fold.accuracy} for fold in self.folds],
        }

    def lines(self) -> list[str]:
        """A table for a person; the last line is the figure to believe."""
        low, high = self.interval
        rows = [
            f"{number:>4}  {fold.right:>5} of {fold.clips:<5}  {fold.accuracy:.3f}  {fold.best_epoch:>10}  "
            f"{_short(fold.groups)}"
            for number, fold in enumerate(self.folds)
        ]
        held_out = "groups" if self.groups_known else "clips (their groups are unknown)"
        pooled = (
            f"{self.accuracy:.3f}, {self.right} of {self.clips} clips right (95 % {low:.3f} to {high:.3f})"
        )
        return [
            "fold  right clips     accuracy  best epoch  held out",
            *rows,
            f"folds: mean {self.mean:.3f}, standard deviation {self.spread:.3f}",
            f"on {held_out} held out: {pooled}",
        ]


def cross_validate(
    config: TrainConfig,
    dataset: Dataset,
    splits: Sequence[Split],
    out: str | os.PathLike[str],
    train: TrainRun,
    report: Callable[[str], None],
) -> CrossValidation:
    """Train each fold into OUT/fold-N, what is finished not again, and write OUT/cross-validation.json.

    train: makes a RUN of a split at a folder, or goes on with it. Raises MisuseError where OUT holds
    something else, and what `train` raises.
    """
    folder = Path(out)
    check_folder(folder, len(splits))
    folds, correct, groups = [], [], []
    for number, split in enumerate(splits):
        report(f"fold {number} of 0 to {len(splits) - 1}: without {_short(split.test)}")
        run = train(config, split, folder / FOLD.format(number=number))
        folds.append(_figures(run, split))
        wrong = {one["clip"] for one in run.metrics["test"]["wrong"]}
        held_out = split.clips(dataset, "test")
        correct += [clip.name not in wrong for clip in held_out]
        groups += [clip.group for clip in held_out]
    known = dataset.groups_known
    interval = group_interval(correct, groups) if known else wilson_interval(sum(correct), len(correct))
    result = CrossValidation(tuple(folds), interval, known)
    runs.write_json(folder / RESULT, result.to_json())
    return result


def check_folder(folder: Path, folds: int | None = None) -> None:
    """Raises MisuseError for a folder that holds a RUN, more than `folds` folds, or something else."""
    kind = path_kind(folder, MisuseError)
    if kind is PathKind.ABSENT:
        return
    if kind is not PathKind.FOLDER:
        raise MisuseError(f"{folder}: exists and is no folder; choose another --out")
    names = {path.name for path in folder.iterdir()} - {RESULT}
    numbers = {int(found[1]) for name in names if (found := FOLD_NAME.fullmatch(name))}
    if len(numbers) != len(names):
        raise MisuseError(f"{folder}: holds something else than folds; choose another --out")
    if folds is not None and numbers and max(numbers) >= folds:
        raise MisuseError(
            f"{folder}: holds a cross-validation of more than {folds} folds; choose another --out"
        )


def _figures(run: Run, split: Split) -> FoldFigures:
    test: Mapping[str, Any] = run.metrics["test"]
    right = test["clips"] - len(test["wrong"])
    return FoldFigures(split.test, test["clips"], right, test["window_accuracy"], run.metrics["best_epoch"])


def _short(groups: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(groups[:most])
    return shown if len(groups) <= most else f"{shown} and {len(groups) - most} more"
