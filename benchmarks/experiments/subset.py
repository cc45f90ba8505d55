"""An index of some labels of a data set, and splits of it by groups."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.experiments.folds import LOG, Say
from benchmarks.measure.commands import edge_har
from edge_har.errors import DataError
from train.data.videos import find_clips


def index_of_labels(
    clips: Path, labels: Sequence[str], seeds: Iterable[int], cache: Path, say: Say
) -> tuple[Path, dict[int, Path]]:
    """The index of these labels' clips and a split file for each seed, below `cache`. Raises DataError where
    the set lacks one of the labels.
    """
    found = [clip for clip in find_clips(clips) if clip.label in labels]
    missing = set(labels) - {clip.label for clip in found}
    if missing:
        raise DataError(f"{clips}: no clip of {min(missing)}")
    named = f"{os.path.realpath(clips)} {' '.join(labels)}"
    folder = cache / "data" / hashlib.sha256(named.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    rows, index, log = folder / "clips.csv", folder / "index.csv", folder / LOG
    with rows.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "group"))
        table.writerows((clip.path, clip.label, clip.group or "") for clip in found)
    say(f"checking {len(found)} clips of {clips}")
    edge_har("data", "index", rows, "--out", index, log=log)
    splits = {seed: folder / f"split-{seed}.json" for seed in seeds}
    for seed, split in splits.items():
        edge_har("data", "split", index, "--seed", str(seed), "--out", split, log=log)
    return index, splits
