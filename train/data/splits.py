"""Splits that keep every group on one side: train, validation and test by percent, or one group held out at a
time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, MisuseError
from edge_har.model.values import read_json
from train.data.files import write_text
from train.data.index import Clip, Dataset
from train.data.sampling import OTHER
from train.data.videos import FoundClip

SCHEMA = 1
PARTS = ("train", "validation", "test")
DEFAULT_PERCENTS = (60.0, 20.0, 20.0)  # percent of the clips in PARTS
PERCENT_TOLERANCE = 1e-6
DEFAULT_FOLDS = 5  # of a cross-validation
MOST_SINGLE = 10  # groups: up to here each is a fold of its own
EXHAUSTIVE_GROUPS = 9  # up to here all 3^n assignments are tried; above, climbs from a few starts
CLIMBS = 8
CLIMB_TRIALS = 256  # changes looked at in one step of the climb
CLIMB_PATIENCE = 12  # steps without a better one that end it
SIZE_DECIMALS = 4  # sizes of parts (as fractions) nearer than this are equal
LABEL_DECIMALS = 2  # and fractions of labels; among equals the seed chooses

Counts = NDArray[np.int64]
Key = tuple[float, float, float]


@dataclass(frozen=True)
class Split:
    """Which groups train, validate and test. Raises DataError when a group is in two parts or a part is
    empty.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for one, other in combinations(PARTS, 2):
            both = sorted(set(self.groups(one)) & set(self.groups(other)))
            if both:
                raise DataError(f"group {both[0]} is in two parts of the split: {one} and {other}")
        for part in PARTS:
            if not self.groups(part):
                raise DataError(f"the split's part '{part}' is empty")

    def groups(self, part: str) -> tuple[str, ...]:
        """The groups of one of PARTS; raises MisuseError for another name."""
        if part not in PARTS:
            raise MisuseError(f"a split's parts are {', '.join(PARTS)}; got {part!r}")
        groups: tuple[str, ...] = getattr(self, part)
        return groups

    def clips(self, dataset: Dataset, part: str) -> tuple[Clip, ...]:
        """The clips of one of PARTS, in the data set's order."""
        groups = set(self.groups(part))
        return tuple(clip for clip in dataset.clips if clip.group in groups)

    def to_json(self) -> dict[str, list[str]]:
        """The three lists of groups, as they stand in a file."""
        return {part: list(self.groups(part)) for part in PARTS}


def make_split(dataset: Dataset, seed: int = 0, percents: Sequence[float] = DEFAULT_PERCENTS) -> Split:
    """Deal whole groups to train, validation and test, as near to `percents` (of the clips) as groups allow.

    Every part holds every label. The same data and seed give the same split. Raises DataError naming a label
    that cannot be in every part, MisuseError for percents that are not three numbers above 0 with the sum
    100.
    """
    check_percents(percents)
    check_groups_for_parts(dataset.clips)
    table = _clips_by_group_and_label(dataset)
    random = np.random.default_rng(seed)
    goal = np.asarray(percents) / 100
    order = random.permutation(len(table))  # the seed chooses among equals
    dealt = table[order]
    chosen = np.empty(len(table), np.int64)
    chosen[order] = (
        _best_of_all(dealt, goal) if len(dealt) <= EXHAUSTIVE_GROUPS else _best_of_climbs(dealt, goal, random)
    )
    _check_labels(dataset, table, chosen)
    return Split(*(tuple(np.array(dataset.groups)[chosen == part].tolist()) for part in range(len(PARTS))))


def check_percents(percents: Sequence[float]) -> None:
    """Raises MisuseError unless `percents` are three numbers above 0 with the sum 100."""
    if (
        len(percents) != len(PARTS)
        or not min(percents) > 0
        or not abs(sum(percents) - 100) < PERCENT_TOLERANCE
    ):
        shown = ",".join(f"{percent:g}" for percent in percents)
        raise MisuseError(f"parts must be {len(PARTS)} percents above 0 with the sum 100, got {shown}")


def check_groups_for_parts(clips: Sequence[Clip | FoundClip]) -> None:
    """Raises DataError naming a label whose clips are of too few groups to be in every part."""
    groups_of: dict[str, set[object]] = {}
    for clip in clips:
        if clip.label != OTHER:
            groups_of.setdefault(clip.label, set()).add(clip.group or clip.path)
    for label, groups in sorted(groups_of.items()):
        if len(groups) < len(PARTS):
            raise DataError(
                f"label {label} has clips of {len(groups)} group{'s' * (len(groups) != 1)} only; each of "
                f"{', '.join(PARTS)} needs one of its own"
            )


def check_groups_for_folds(clips: Sequence[Clip | FoundClip]) -> None:
    """Raises DataError where there are too few groups to leave one out."""
    groups = {clip.group or clip.path for clip in clips}
    if len(groups) < len(PARTS):
        raise DataError(f"leaving one group out needs {len(PARTS)} groups or more, got {len(groups)}")


def leave_one_group_out(dataset: Dataset) -> tuple[Split, ...]:
    """One split for each group, in sorted order: it is the test, the next (round the end) validates, the rest
    train.

    Raises DataError with fewer than three groups, and naming a label that would be missing from a training
    part.
    """
    check_groups_for_folds(dataset.clips)
    return _rotated(dataset, [(group,) for group in dataset.groups])


def group_folds(dataset: Dataset, count: int | None = None, seed: int = 0) -> tuple[Split, ...]:
    """Folds for a cross-validation: every group is in the test part of one. count: of folds, whose clips are
    as alike in number and label as groups allow; default: one for each group where there are MOST_SINGLE or
    fewer, else DEFAULT_FOLDS. The next fold's test groups validate.

    Raises MisuseError for a count below 3 or above the number of groups, DataError as `leave_one_group_out`.
    """
    check_groups_for_folds(dataset.clips)
    groups = dataset.groups
    if count is None:
        count = len(groups) if len(groups) <= MOST_SINGLE else DEFAULT_FOLDS
    if not len(PARTS) <= count <= len(groups):
        raise MisuseError(f"folds must be {len(PARTS)} to {len(groups)}, the number of groups, got {count}")
    if count == len(groups):
        return leave_one_group_out(dataset)
    table = _clips_by_group_and_label(dataset)
    mixed = np.random.default_rng(seed).permutation(len(table))
    order = mixed[np.argsort(-table.sum(1)[mixed], kind="stable")]
    chosen = _deal(table, np.full(count, 1 / count), order)
    names = np.array(groups)
    return _rotated(dataset, [tuple(names[chosen == fold].tolist()) for fold in range(count)])


def every_clip_alone(dataset: Dataset) -> Dataset:
    """The same clips without their groups: a split of it is random, and leaks what clips of one person or
    scene share.
    """
    return Dataset(tuple(replace(clip, group=clip.name) for clip in dataset.clips), groups_known=False)


def _rotated(dataset: Dataset, folds: Sequence[tuple[str, ...]]) -> tuple[Split, ...]:
    """A split for each fold: its groups test, those of the next (round the end) validate, the rest train."""
    splits = []
    for position, test in enumerate(folds):
        validation = folds[(position + 1) % len(folds)]
        rest = tuple(group for group in dataset.groups if group not in (*test, *validation))
        split = Split(rest, validation, test)
        missing = set(dataset.labels) - {clip.label for clip in split.clips(dataset, "train")}
        if missing:
            raise DataError(
                f"label {min(missing)} has clips of {', '.join(test)} and {', '.join(validation)} only: "
                "nothing left to train on"
            )
        splits.append(split)
    return tuple(splits)


def write_splits(
    path: str | os.PathLike[str], dataset: Dataset, splits: Sequence[Split], *, seed: int = 0
) -> None:
    """Write one split (`parts`) or several (`folds`), with what they were made of. Raises DataError if it
    cannot.
    """
    write_text(
        path, json.dumps(splits_to_json(dataset, splits, seed=seed), indent=1, ensure_ascii=False) + "\n"
    )


def splits_to_json(dataset: Dataset, splits: Sequence[Split], *, seed: int = 0) -> dict[str, Any]:
    """What a split file holds: schema, seed, index hash, whether groups are known, and `parts` or `folds`."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "seed": seed,
        "index_sha256": dataset.sha256,
        "groups": "known" if dataset.groups_known else "unknown",
    }
    if len(splits) == 1:
        return head | {"parts": splits[0].to_json()}
    return head | {"folds": [split.to_json() for split in splits]}


def load_splits(path: str | os.PathLike[str], dataset: Dataset) -> tuple[Split, ...]:
    """The split, or the folds, of a file for this data set; a hand-made file may leave `index_sha256` out.

    Raises DataError for a file that is no split, was made for other clips, names a group that is not there,
    leaves a group out, or has one on two sides.
    """
    data = _read_json(path)
    made_for = data.get("index_sha256", dataset.sha256)
    if made_for != dataset.sha256:
        raise DataError(
            f"{path}: made for other clips (index hash {str(made_for)[:12]}, these have "
            f"{dataset.sha256[:12]}); make it again with 'edge-har data split'"
        )
    return tuple(_split_from_json(path, fold, dataset) for fold in _folds(path, data))


def check_split_file(path: str | os.PathLike[str], fold: int | None = None) -> None:
    """What can be known of a split file before the clips are: raises DataError for one that cannot be read or
    holds folds and none is chosen, MisuseError for a `fold` that it does not hold.
    """
    count = len(_folds(path, _read_json(path)))
    if fold is not None and fold >= count:
        raise MisuseError(f"--fold {fold}: {path} holds folds 0 to {count - 1}")
    if fold is None and count != 1:
        raise DataError(f"{path}: holds {count} folds; expected one split into {', '.join(PARTS)}")


def load_split(path: str | os.PathLike[str], dataset: Dataset) -> Split:
    """The one split of a file; raises DataError as `load_splits` does, and for a file of folds."""
    check_split_file(path)
    return load_splits(path, dataset)[0]


def _read_json(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    try:
        data = read_json(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a split file: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: not a split file: expected a JSON object")
    if data.get("schema") != SCHEMA:
        raise DataError(f"{path}: not a split of schema {SCHEMA}; make it with 'edge-har data split'")
    return data


def _folds(path: str | os.PathLike[str], data: Mapping[str, Any]) -> list[Any]:
    folds = data["folds"] if "folds" in data else [data.get("parts")]
    if not isinstance(folds, list) or not folds:
        raise DataError(f"{path}: expected 'parts' with {', '.join(PARTS)}, or a list of 'folds'")
    return folds


def _split_from_json(path: str | os.PathLike[str], fold: object, dataset: Dataset) -> Split:
    if not isinstance(fold, dict) or set(fold) != set(PARTS):
        raise DataError(f"{path}: a split must hold {', '.join(PARTS)}, each a list of groups")
    lists = {part: _names(path, part, fold[part]) for part in PARTS}
    try:
        split = Split(**lists)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    listed = {group for groups in lists.values() for group in groups}
    unknown, missing = sorted(listed - set(dataset.groups)), sorted(set(dataset.groups) - listed)
    if unknown:
        raise DataError(f"{path}: group {unknown[0]} is not in the data set")
    if missing:
        raise DataError(f"{path}: group {missing[0]} is in no part")
    return split


def _names(path: str | os.PathLike[str], part: str, names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: part '{part}' must be a list of groups")
    return tuple(names)


def _clips_by_group_and_label(dataset: Dataset) -> Counts:
    """How many clips each group has of each label: int64 [groups, labels], both in sorted order, and of OTHER
    in a last column where there are such clips.
    """
    groups = {group: row for row, group in enumerate(dataset.groups)}
    columns = (*dataset.labels, OTHER) if dataset.other else dataset.labels
    labels = {label: column for column, label in enumerate(columns)}
    table = np.zeros((len(groups), len(labels)), np.int64)
    for clip in dataset.clips:
        table[groups[clip.group], labels[clip.label]] += 1
    return table


def _check_labels(dataset: Dataset, table: Counts, chosen: Counts) -> None:
    for part, name in enumerate(PARTS):
        counts = table[chosen == part].sum(0).tolist()
        for label, clips in zip(dataset.labels, counts, strict=False):  # OTHER may be missing from a part
            if clips == 0:
                raise DataError(
                    f"label {label} cannot be in each of {', '.join(PARTS)} with whole groups (none is left "
                    "for "
                    f"{name}); add clips of it from more groups"
                )


def _keys(counts: Counts, goal: NDArray[np.float64]) -> list[Key]:
    """What makes one split better than another, most important first, for counts [k, parts, labels]:
    labels missing from parts, distance of the parts' sizes from the goal, distance of each label's.
    """
    missing = (counts == 0).sum((1, 2))
    sizes = counts.sum(2) / counts[0].sum()
    by_label = counts / counts[0].sum(0)
    size_error = np.sqrt(((sizes - goal) ** 2).sum(1)).round(SIZE_DECIMALS)
    label_error = np.abs(by_label - goal[:, None]).mean((1, 2)).round(LABEL_DECIMALS)
    return list(zip(missing.tolist(), size_error.tolist(), label_error.tolist(), strict=True))


def _best_of_all(table: Counts, goal: NDArray[np.float64]) -> Counts:
    """The best of all 3^n ways to deal n groups: part of each group, int64 [groups]."""
    ways = np.indices((len(PARTS),) * len(table)).reshape(len(table), -1).T
    counts = np.stack([(ways == part).astype(np.int64) @ table for part in range(len(PARTS))], 1)
    keys = _keys(counts, goal)
    best: Counts = ways[min(range(len(keys)), key=keys.__getitem__)]
    return best


def _best_of_climbs(table: Counts, goal: NDArray[np.float64], random: np.random.Generator) -> Counts:
    """The best of a few climbs: from the largest group dealt first, then from random orders."""
    orders = [
        np.argsort(-table.sum(1), kind="stable"),
        *(random.permutation(len(table)) for _ in range(CLIMBS - 1)),
    ]
    climbs = [_climb(table, goal, _deal(table, goal, order), random) for order in orders]
    return min(climbs, key=lambda climb: climb[0])[1]


def _climb(
    table: Counts, goal: NDArray[np.float64], chosen: Counts, random: np.random.Generator
) -> tuple[Key, Counts]:
    """Move and swap groups at random while that makes the split `chosen` better; its key and the parts of
    groups.
    """
    counts = np.stack([table[chosen == part].sum(0) for part in range(len(PARTS))])
    best = _keys(counts[None], goal)[0]
    trial, idle = np.arange(CLIMB_TRIALS), 0
    while idle < CLIMB_PATIENCE:
        one = random.integers(len(table), size=CLIMB_TRIALS)
        other = (one + random.integers(1, len(table), size=CLIMB_TRIALS)) % len(table)  # never the same group
        swaps = random.random(CLIMB_TRIALS) < 0.5
        to = np.where(swaps, chosen[other], random.integers(len(PARTS), size=CLIMB_TRIALS))
        back = np.where(swaps, chosen[one], chosen[other])
        after = np.repeat(counts[None], CLIMB_TRIALS, 0)
        after[trial, chosen[one]] -= table[one]
        after[trial, to] += table[one]
        after[trial, chosen[other]] -= table[other]
        after[trial, back] += table[other]
        keys = _keys(after, goal)
        first = min(range(CLIMB_TRIALS), key=keys.__getitem__)
        if keys[first] < best:
            best, counts, idle = keys[first], after[first], 0
            chosen[one[first]], chosen[other[first]] = to[first], back[first]
        else:
            idle += 1
    return best, chosen


def _deal(table: Counts, goal: NDArray[np.float64], order: NDArray[np.int64]) -> Counts:
    """Each group, in that order, to the part that lacks its labels most:
    part of each group, int64 [groups].
    """
    totals = table.sum(0)
    chosen = np.zeros(len(table), np.int64)
    counts = np.zeros((len(goal), table.shape[1]), np.int64)
    for group in order:
        lacking = (goal[:, None] * totals - counts) / totals + (counts == 0)
        chosen[group] = np.argmax((lacking * table[group]).sum(1))
        counts[chosen[group]] += table[group]
    return chosen
