"""No group is in two parts of a split, every clip in exactly one, as near to the percents as groups allow."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import DataError, MisuseError
from tests.helpers.need import need_clips
from train.data.index import Clip, Dataset, load_clips
from train.data.splits import (
    PARTS,
    Split,
    every_clip_alone,
    group_folds,
    leave_one_group_out,
    load_split,
    load_splits,
    make_split,
    write_splits,
)
from train.data.videos import ClipFacts

FACTS = ClipFacts(30, 25.0, 32, 32, 1.2)
Table = dict[str, dict[str, int]]  # group -> label -> clips


def made(table: Table) -> Dataset:
    """A data set with that many clips of each label in each group; opens no file."""
    clips = []
    for group, labels in table.items():
        for label, count in labels.items():
            for number in range(count):
                name = f"{label}/v_{label}_{group}_c{number:02d}.avi"
                clips.append(Clip(Path(name), label, group, name, f"{len(clips):064d}", FACTS))
    return Dataset(tuple(sorted(clips, key=lambda clip: clip.name)), True)


def tables(max_groups: int) -> st.SearchStrategy[Table]:
    """Any mix of groups and labels that leaves at least two labels."""
    row = st.dictionaries(st.sampled_from("ABC"), st.integers(1, 6), min_size=1)
    rows = st.lists(row, min_size=1, max_size=max_groups)
    named = rows.map(lambda all_rows: {f"g{number:02d}": labels for number, labels in enumerate(all_rows, 1)})
    return named.filter(lambda table: len({label for labels in table.values() for label in labels}) > 1)


def sizes(split: Split, dataset: Dataset) -> list[int]:
    return [len(split.clips(dataset, part)) for part in PARTS]


def assert_clean(split: Split, dataset: Dataset) -> None:
    """Every clip in exactly one part, no group in two, every label in every part."""
    parts = [split.clips(dataset, part) for part in PARTS]
    assert sorted(clip.name for part in parts for clip in part) == [clip.name for clip in dataset.clips]
    groups = [{clip.group for clip in part} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(dataset.groups)


@settings(deadline=None)  # a shared machine may be slow
@given(tables(max_groups=30), st.integers(0, 5))
def test_no_group_stands_on_two_sides(table: Table, seed: int) -> None:
    dataset = made(table)
    try:
        split = make_split(dataset, seed)
    except DataError as error:
        assert any(f"label {label} " in str(error) for label in dataset.labels)
        return
    assert_clean(split, dataset)
    for part in PARTS:
        assert {clip.label for clip in split.clips(dataset, part)} == set(dataset.labels)
    assert make_split(dataset, seed) == split


@settings(deadline=None)
@given(tables(max_groups=6))
def test_a_split_is_refused_only_where_groups_allow_none_and_is_the_nearest(table: Table) -> None:
    dataset = made(table)
    rows = list(table.values())
    errors = []
    for way in product(range(3), repeat=len(rows)):
        parts = [[row for row, part in zip(rows, way, strict=True) if part == place] for place in range(3)]
        if all({label for row in part for label in row} == set(dataset.labels) for part in parts):
            shares = [sum(sum(row.values()) for row in part) / len(dataset.clips) for part in parts]
            errors.append(
                sum((share - goal) ** 2 for share, goal in zip(shares, (0.6, 0.2, 0.2), strict=True))
            )
    if not errors:
        with pytest.raises(DataError, match=r"label [ABC] "):
            make_split(dataset)
        return
    shares = [size / len(dataset.clips) for size in sizes(make_split(dataset), dataset)]
    error = sum((share - goal) ** 2 for share, goal in zip(shares, (0.6, 0.2, 0.2), strict=True))
    assert error**0.5 <= min(errors) ** 0.5 + 1e-4


def test_a_few_folds_hold_every_group_out_once_and_are_alike() -> None:
    dataset = made({f"g{number:02d}": {"A": 1 + number % 3, "B": 2} for number in range(20)})
    folds = group_folds(dataset, 5)
    assert sorted(group for fold in folds for group in fold.test) == list(dataset.groups)
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert_clean(fold, dataset)
        assert fold.validation == following.test
    counts = [len(fold.clips(dataset, "test")) for fold in folds]
    assert max(counts) - min(counts) <= 3
    assert group_folds(dataset, 5) == folds
    assert group_folds(dataset, 20) == leave_one_group_out(dataset)
    for count in (2, 21):
        with pytest.raises(MisuseError, match="folds must be 3 to 20"):
            group_folds(dataset, count)


@settings(deadline=None)
@given(tables(max_groups=20))
def test_folds_leave_each_group_out_once(table: Table) -> None:
    dataset = made(table)
    try:
        folds = leave_one_group_out(dataset)
    except DataError:
        return
    assert [fold.test for fold in folds] == [(group,) for group in dataset.groups]
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert_clean(fold, dataset)
        assert fold.validation == following.test
        assert {clip.label for clip in fold.clips(dataset, "train")} == set(dataset.labels)


def test_a_cross_validation_holds_every_group_out_once_in_folds_that_are_alike() -> None:
    table = {f"g{number:02d}": {"A": 1 + number % 3, "B": 2} for number in range(20)}
    dataset = made(table)
    folds = group_folds(dataset)
    assert len(folds) == 5 and folds == group_folds(dataset)
    assert sorted(group for fold in folds for group in fold.test) == list(dataset.groups)
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert_clean(fold, dataset)
        assert fold.validation == following.test
        assert abs(len(fold.clips(dataset, "test")) - len(dataset.clips) / 5) <= 2
    assert group_folds(dataset, seed=1) != folds
    assert len(group_folds(dataset, 3)) == 3


def test_few_groups_are_a_fold_each() -> None:
    dataset = made({f"g{number}": {"A": 1, "B": 1} for number in range(7)})
    assert group_folds(dataset) == leave_one_group_out(dataset) == group_folds(dataset, 7)
    for count in (2, 8):
        with pytest.raises(MisuseError, match=f"folds must be 3 to 7, the number of groups, got {count}"):
            group_folds(dataset, count)
    lonely = made({f"g{number:02d}": {"A": 1, **({"B": 1} if number < 2 else {})} for number in range(12)})
    with pytest.raises(DataError, match=r"label B has clips of .* only: nothing left to train on"):
        group_folds(lonely, 3)


def test_a_random_split_takes_every_clip_for_itself() -> None:
    dataset = every_clip_alone(made({f"g{number}": {"A": 4, "B": 4} for number in range(2)}))
    assert len(dataset.groups) == 16 and not dataset.groups_known
    assert sizes(make_split(dataset), dataset) == [10, 3, 3]


def test_many_small_groups_come_within_a_point() -> None:
    """150 scenes of one to ten clips, nearly all of one label only;
    and 2,000 clips whose groups are unknown.
    """
    scenes: Table = {
        f"g{n:03d}": {("Fight", "NoFight")[n % 2]: 1 + n % 3 + 7 * (n % 50 == 0)} for n in range(150)
    }
    singles: Table = {f"s{n:04d}": {"ABCDE"[n % 5]: 1} for n in range(2000)}
    rare: Table = singles | {f"r{n}": {"Rare": 1} for n in range(3)}
    for table in (scenes, singles, rare):
        dataset = made(table)
        split = make_split(dataset, 1)
        assert_clean(split, dataset)
        shares = [100 * size / len(dataset.clips) for size in sizes(split, dataset)]
        assert all(abs(share - goal) < 1 for share, goal in zip(shares, (60, 20, 20), strict=True))


def test_real_clips_split_near_the_shares() -> None:
    fight = load_clips(need_clips("fight"))
    shares = [100 * size / len(fight.clips) for size in sizes(make_split(fight), fight)]
    assert all(abs(share - goal) < 1 for share, goal in zip(shares, (60, 20, 20), strict=True))
    weizmann = load_clips(need_clips())
    assert sorted(sizes(make_split(weizmann), weizmann)) == [
        11,
        18,
        36,
    ]  # people of 9 and 11 clips: the nearest
    assert len(leave_one_group_out(weizmann)) == 7


def test_the_seed_chooses_among_equals_and_shares_are_kept() -> None:
    dataset = made({f"g{n:02d}": {"A": 1, "B": 1} for n in range(10)})
    assert len({make_split(dataset, seed) for seed in range(8)}) > 1
    assert sizes(make_split(dataset), dataset) == [12, 4, 4]
    assert sizes(make_split(dataset, 0, (80, 10, 10)), dataset) == [16, 2, 2]


@pytest.mark.parametrize("shares", [(60, 40), (60, 20, 30), (100, 0, 0), (float("nan"), 50, 50)])
def test_shares_that_make_no_split_are_misuse(shares: tuple[float, ...]) -> None:
    with pytest.raises(MisuseError, match="sum 100"):
        make_split(made({f"g{n}": {"A": 1, "B": 1} for n in range(5)}), 0, shares)


def test_a_label_of_too_few_groups_is_named() -> None:
    table: Table = {f"g{n}": {"A": 2, "B": 1} for n in range(5)}
    table["g0"]["Rare"] = table["g1"]["Rare"] = 3
    with pytest.raises(DataError, match="label Rare has clips of 2 groups only"):
        make_split(made(table))
    with pytest.raises(DataError, match="label Rare has clips of g0 and g1 only"):
        leave_one_group_out(made(table))
    with pytest.raises(DataError, match="3 groups or more, got 2"):
        leave_one_group_out(made({"g1": {"A": 1, "B": 1}, "g2": {"A": 1, "B": 1}}))


@pytest.fixture
def five() -> Dataset:
    return made({f"g{n}": {"A": 1, "B": 2} for n in range(1, 6)})


def test_a_file_holds_what_was_written(tmp_path: Path, five: Dataset) -> None:
    split, folds = make_split(five, 3), leave_one_group_out(five)
    write_splits(tmp_path / "split.json", five, (split,), seed=3)
    data = json.loads((tmp_path / "split.json").read_text())
    assert (data["schema"], data["seed"], data["index_sha256"]) == (1, 3, five.sha256)
    assert set(data["parts"]) == set(PARTS) and data["groups"] == "known"
    assert load_split(tmp_path / "split.json", five) == split
    write_splits(tmp_path / "folds.json", five, folds)
    assert load_splits(tmp_path / "folds.json", five) == folds
    with pytest.raises(DataError, match="holds 5 folds; expected one split"):
        load_split(tmp_path / "folds.json", five)


GOOD = {"train": ["g1", "g2", "g3"], "validation": ["g4"], "test": ["g5"]}


def test_a_hand_made_split_needs_no_hash(tmp_path: Path, five: Dataset) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"schema": 1, "parts": GOOD}))
    assert load_split(tmp_path / "split.json", five).test == ("g5",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"parts": GOOD | {"test": ["g5", "g2"]}},
            "group g2 is in two parts of the split: train and test",
        ),
        ({"parts": GOOD | {"test": []}}, "the split's part 'test' is empty"),
        ({"parts": GOOD | {"test": ["g7"]}}, "group g7 is not in the data set"),
        ({"parts": GOOD | {"train": ["g1", "g2"]}}, "group g3 is in no part"),
        ({"parts": {"train": ["g1"]}}, "a split must hold train, validation, test"),
        ({"parts": GOOD | {"test": "g5"}}, "part 'test' must be a list of groups"),
        ({"parts": None}, "a split must hold"),
        ({"folds": []}, "a list of 'folds'"),
        ({"schema": 2}, "not a split of schema 1"),
        ({"index_sha256": "0" * 64}, "made for other clips"),
    ],
)
def test_a_wrong_hand_made_split_is_refused_in_one_line(
    tmp_path: Path, five: Dataset, change: dict[str, object], says: str
) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"schema": 1, "parts": GOOD} | change))
    with pytest.raises(DataError, match=says) as raised:
        load_splits(path, five)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "path,label\n"])
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, five: Dataset, content: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split\.json: not a split"):
        load_split(tmp_path / "split.json", five)
    with pytest.raises(DataError, match="cannot be read"):
        load_split(tmp_path / "absent.json", five)


def test_clips_of_no_label_stay_with_their_group_and_need_no_part() -> None:
    table = {"g1": {"A": 2, "B": 2, "_other": 1}, "g2": {"A": 2, "B": 2}, "g3": {"A": 2, "B": 2}}
    dataset = made({**table, "g4": {"_other": 3}})
    assert dataset.labels == ("A", "B") and len(dataset.other) == 4
    split = make_split(dataset, 0)
    for part in PARTS:
        assert {clip.label for clip in split.clips(dataset, part)} >= {"A", "B"}
    assert sorted(group for part in PARTS for group in split.groups(part)) == list(dataset.groups)
    for fold in group_folds(dataset, 3):
        assert {"A", "B"} <= {clip.label for clip in fold.clips(dataset, "train")}
