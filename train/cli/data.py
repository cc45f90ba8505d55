"""`edge-har data`: index, check and split sets of clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Group
from edge_har.cli.logs import write_line
from edge_har.cli.progress import progress
from edge_har.errors import MisuseError, printable

if TYPE_CHECKING:
    from train.data.index import CheckFound, Dataset
    from train.data.splits import Split

ONE_GROUP_OUT = "leave-one-group-out"
FEWEST_FOLDS = 3  # one each for training, validation and test
DEFAULT_PARTS = "60,20,20"
OTHER_HELP = (
    "A folder of clips in which none of the labels happens, in any layout; the same as a label folder _other."
)

# What people write elsewhere.
INSTEAD = {
    **dict.fromkeys(("--data", "--input", "--dir", "--clips"), "the clips need none: give the folder alone"),
    **dict.fromkeys(("--output", "-o"), "did you mean --out?"),
}


@click.group(
    cls=Group,
    examples={
        "A folder that holds a folder per label": "edge-har data index my_clips",
    },
)
def data() -> None:
    """Index, check and split sets of clips."""


@data.command(
    instead=INSTEAD,
    examples={
        "A folder that holds a folder per label": "edge-har data index my_clips",
        "A list of clips with labels and groups": "edge-har data index clips.csv --out index.csv",
    },
)
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("index.csv"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the index goes; never into DIR.",
)
@click.option("--other", metavar="DIR", type=click.Path(path_type=Path), help=OTHER_HELP)
def index(source: Path, out: Path, other: Path | None) -> None:
    """Decode and hash every clip of DIR and write an index.

    DIR holds a folder per label (names in UCF50's form give the group), or a clips.csv with the columns
    path,label,group; such a csv may also be given itself. A clip is a video, or a folder of numbered
    pictures. What gives no clip is reported.
    """
    from train.data.files import check_can_write
    from train.data.index import summary, write_index

    _refuse_inside(source, out)
    if other is not None:
        _refuse_inside(other, out)
    check_can_write(out)
    dataset = load_and_report(source, other=other)
    write_index(dataset, out)
    for line in summary(dataset):
        write_line(line)
    write_line(f"wrote {out}")


@data.command(
    instead=INSTEAD,
    examples={
        "60 % to train on, 20 % each to validate and to test": "edge-har data split index.csv",
        "Each group held out once": "edge-har data split index.csv --folds leave-one-group-out",
    },
)
@click.argument("source", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("split.json"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the split goes.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Chooses one of several equally good splits.",
)
@click.option(
    "--parts", help=f"Percent of the clips to train on, to validate and to test.  [default: {DEFAULT_PARTS}]"
)
@click.option(
    "--folds",
    metavar=f"{ONE_GROUP_OUT}|N",
    help="Make several splits, with each group in the test part of one: a split for each group, or N.",
)
def split(source: Path, out: Path, seed: int, parts: str | None, folds: str | None) -> None:
    """Split INDEX (or a folder of clips) so that no group is in two parts."""
    if parts is not None and folds is not None:
        raise click.UsageError("--parts and --folds exclude each other")
    from train.data import splits as making
    from train.data.files import check_can_write
    from train.data.splits import PARTS, group_folds, leave_one_group_out, make_split, write_splits

    percents = _percents(parts or DEFAULT_PARTS)
    count = _fold_count(folds)
    # Before the clips are decoded.
    making.check_percents(percents)
    check_can_write(out)
    dataset = load_and_report(
        source, making.check_groups_for_parts if folds is None else making.check_groups_for_folds
    )
    if folds is None:
        splits: tuple[Split, ...] = (make_split(dataset, seed, percents),)
    else:
        splits = leave_one_group_out(dataset) if count is None else group_folds(dataset, count, seed)
    write_splits(out, dataset, splits, seed=seed)
    for one in splits:
        write_line(", ".join(f"{part}: {len(one.clips(dataset, part))} clips" for part in PARTS))
    write_line(f"wrote {out}")


def load_and_report(
    source: Path, check_found: CheckFound | None = None, other: Path | None = None
) -> Dataset:
    """Load a folder, clips.csv or index; progress and skipped clips go to stderr.
    check_found, other and errors as of `load_clips`.
    """
    from train.data.index import contradictions, load_clips, shared_content

    with progress("checking clips") as on_progress:
        dataset = load_clips(source, on_progress, write_line, check_found, other)
    for path, reason in dataset.unreadable:
        write_line(f"skipped: {reason if printable(str(path)) in printable(reason) else f'{path}: {reason}'}")
    if dataset.unreadable:
        skipped, clips = len(dataset.unreadable), len(dataset.unreadable) + len(dataset.clips)
        write_line(f"skipped {skipped} of {clips} clips, which cannot be decoded")
    wrong = contradictions(dataset)
    if wrong:
        first, second = wrong[0]
        write_line(
            f"warning: {len(wrong)} clips have the same content as a clip of another label, such as "
            f"{first.name} and {second.name}; one of the two labels is wrong"
        )
    twins = shared_content(dataset)
    if twins:
        first, second = twins[0]
        write_line(
            f"warning: {len(twins)} clips have the same content as a clip of another group, such as "
            f"{first.name} and {second.name}; a split may hold one on each side"
        )
    return dataset


def _fold_count(folds: str | None) -> int | None:
    """How many folds are wanted; None for one of each group, or for no folds."""
    if folds is None or folds == ONE_GROUP_OUT:
        return None
    if not folds.isdecimal() or int(folds) < FEWEST_FOLDS:
        raise MisuseError(f"--folds is {ONE_GROUP_OUT} or a number from {FEWEST_FOLDS}, got {folds!r}")
    return int(folds)


def _percents(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(percent) for percent in text.split(","))
    except ValueError as error:
        raise MisuseError(f"--parts takes three numbers such as {DEFAULT_PARTS}, got {text!r}") from error


def _refuse_inside(source: Path, out: Path) -> None:
    """A data set is read, never written to."""
    data_set, target = os.path.realpath(source), os.path.realpath(out)
    if target == data_set or (os.path.isdir(source) and Path(target).is_relative_to(data_set)):
        raise MisuseError(
            f"{out} lies in the data set {source}, which is never written to; choose another --out"
        )
