"""The index of a data set: which clips can be decoded, what is in them, and one hash that names exactly this
set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from edge_har.errors import DataError, MisuseError, SourceError, printable
from edge_har.model.labels import check_labels
from edge_har.sources.recordings import content_sha256
from edge_har.system.files import PathKind, path_kind
from train.data.files import write_text
from train.data.sampling import OTHER
from train.data.videos import (
    ClipFacts,
    FoundClip,
    Report,
    clips_of_rows,
    find_clips,
    find_other,
    measure_clip,
    read_rows,
    with_composed_labels,
)

COLUMNS = ("path", "label", "group", "frames", "rate_hz", "width", "height", "duration_s", "sha256")
FACT_COLUMNS = COLUMNS[3:]
MAX_UNREADABLE_FRACTION = 0.05
MAX_NAMED = 5  # clips named where many have the same fault

OnProgress = Callable[[int, int], None]  # clips done, clips in all
CheckFound = Callable[[Sequence[FoundClip]], None]


@dataclass(frozen=True)
class Clip:
    """One clip that decodes. path: what to open. name: path below the data set's common folder, the same on
    every machine. group: person or source video (the name itself where groups are unknown). sha256: of the
    file.
    """

    path: Path
    label: str
    group: str
    name: str
    sha256: str
    facts: ClipFacts


@dataclass(frozen=True)
class Dataset:
    """Clips sorted by name, with at least two labels beside OTHER, which is none. unreadable: (path, reason)
    of the skipped clips.

    groups_known: every clip of a label has a group of its own making; else figures say `groups: unknown`.
    Raises DataError when there are not enough labels, or they are none (see edge_har.model.labels).
    """

    clips: tuple[Clip, ...]
    groups_known: bool
    unreadable: tuple[tuple[Path, str], ...] = field(default=())

    def __post_init__(self) -> None:
        check_labels(self.labels, DataError)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, sorted: the order of a model's outputs."""
        return tuple(sorted({clip.label for clip in self.labelled}))

    @property
    def labelled(self) -> tuple[Clip, ...]:
        """The clips in which a label happens."""
        return tuple(clip for clip in self.clips if clip.label != OTHER)

    @property
    def other(self) -> tuple[Clip, ...]:
        """The clips in which none of the labels happens."""
        return tuple(clip for clip in self.clips if clip.label == OTHER)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, sorted."""
        return tuple(sorted({clip.group for clip in self.clips}))

    @property
    def sha256(self) -> str:
        """Names exactly this set: sha256 over the sorted (name, label, group, sha256) of its clips."""
        lines = sorted(json.dumps([clip.name, clip.label, clip.group, clip.sha256]) for clip in self.clips)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load_clips(
    source: str | os.PathLike[str],
    on_progress: OnProgress | None = None,
    report: Report | None = None,
    check_found: CheckFound | None = None,
    other: str | os.PathLike[str] | None = None,
) -> Dataset:
    """The data set of a folder or clips.csv (every clip is decoded once to check it) or of an index
    (trusted). report: gets a line about what gives no clip, and what a decoded clip lacks. check_found:
    called with the clips of a folder or clips.csv before one is opened; it may raise. other: a folder of
    clips in which none of the labels happens.

    Raises DataError for what `find_clips` and `find_other` refuse, an index whose clips are gone, more than
    5 % unreadable clips, or a label with no readable clip; MisuseError for an index with `other`.
    """
    path = Path(source)
    if path_kind(path, DataError) is PathKind.FILE and path.suffix.lower() == ".csv":
        rows = read_rows(path)
        if rows and set(FACT_COLUMNS) <= rows[0].keys():
            if other is not None:
                raise MisuseError(
                    f"{source}: an index holds its other clips; give --other to 'edge-har data index'"
                )
            return _read_index(path, rows)
    return build_index(source, on_progress, report=report, check_found=check_found, other=other)


def build_index(
    source: str | os.PathLike[str],
    on_progress: OnProgress | None = None,
    labels: Collection[str] | None = None,
    report: Report | None = None,
    check_found: CheckFound | None = None,
    other: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Find, decode and hash every clip (of `labels` alone where they are given) of a folder or clips.csv;
    check_found, report, other and errors as in `load_clips`.
    """
    found = [clip for clip in find_clips(source, report) if labels is None or clip.label in labels]
    if other is not None:
        found += find_other(other, report)
    if check_found is not None:
        check_found(found)
    readable: list[tuple[FoundClip, ClipFacts, str]] = []
    unreadable: list[tuple[Path, str]] = []
    pool = ThreadPoolExecutor(os.cpu_count())  # decoding and hashing run outside Python's lock
    try:
        for done, (clip, outcome) in enumerate(zip(found, pool.map(_examine, found), strict=True), start=1):
            if isinstance(outcome, str):
                unreadable.append((clip.path, outcome))
            else:
                readable.append((clip, *outcome))
            if on_progress is not None:
                on_progress(done, len(found))
    finally:
        pool.shutdown(cancel_futures=True)
    if len(unreadable) > MAX_UNREADABLE_FRACTION * len(found):
        raise DataError(_too_many_unreadable(source, unreadable, len(found)))
    lost = {clip.label for clip in found} - {clip.label for clip, _, _ in readable}
    if lost:
        raise DataError(
            f"{source}: no clip of {', '.join(sorted(lost))} can be decoded; mend or remove the label"
        )
    damaged = [f"{clip.path}: {facts.warning}" for clip, facts, _ in readable if facts.warning is not None]
    if report is not None:
        for line in damaged[:MAX_NAMED]:
            report(f"warning: {printable(line)}")
        if len(damaged) > MAX_NAMED:
            report(f"warning: {len(damaged) - MAX_NAMED} more clips could not be read wholly")
    return _dataset(readable, unreadable)


def write_index(dataset: Dataset, out: str | os.PathLike[str]) -> None:
    """Write `dataset` as a csv, paths relative to it; group is empty where unknown. Raises DataError if it
    cannot.
    """
    folder = os.path.realpath(Path(out).parent)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for clip in dataset.clips:
        path = Path(os.path.relpath(clip.path, folder)).as_posix()
        group = "" if clip.group == clip.name else clip.group
        facts = clip.facts
        table.writerow(
            [
                path,
                clip.label,
                group,
                facts.frames,
                facts.rate_hz,
                facts.width,
                facts.height,
                facts.duration_s,
                clip.sha256,
            ]
        )
    write_text(out, text.getvalue())


def shared_content(dataset: Dataset) -> list[tuple[Clip, Clip]]:
    """Pairs of clips with the same bytes in different groups: they could be in two parts of a split."""
    return [(one, other) for one, other in _same_bytes(dataset) if one.group != other.group]


def contradictions(dataset: Dataset) -> list[tuple[Clip, Clip]]:
    """Pairs of clips with the same bytes under different labels: one of the two is labelled wrongly."""
    return [(one, other) for one, other in _same_bytes(dataset) if one.label != other.label]


def _same_bytes(dataset: Dataset) -> list[tuple[Clip, Clip]]:
    """Each clip with the first one of the same bytes, which may be itself."""
    first: dict[str, Clip] = {}
    return [(first.setdefault(clip.sha256, clip), clip) for clip in dataset.clips]


def summary(dataset: Dataset) -> list[str]:
    """Lines for a person: clips by label, groups, seconds, and what was skipped."""
    clips = dataset.clips
    by_label = Counter(clip.label for clip in clips)
    seconds = sum(clip.facts.duration_s for clip in clips)
    groups = len(dataset.groups) if dataset.groups_known else "unknown"
    lines = [f"{label}: {count} clips" for label, count in sorted(by_label.items())]
    total = f"{len(clips)} clips, {len(dataset.labels)} labels, groups: {groups}, {seconds:.1f} s"
    return [*lines, total, f"index hash: {dataset.sha256}"]


def _examine(clip: FoundClip) -> tuple[ClipFacts, str] | str:
    """Facts and sha256 of a clip, or why it cannot be read."""
    try:
        return measure_clip(clip.path), content_sha256(clip.path)
    except (SourceError, OSError) as error:
        return str(error)


def _too_many_unreadable(
    source: str | os.PathLike[str], unreadable: Sequence[tuple[Path, str]], clips: int
) -> str:
    named = ", ".join(path.name for path, _ in unreadable[:MAX_NAMED])
    more = ", ..." if len(unreadable) > MAX_NAMED else ""
    return (
        f"{source}: {len(unreadable)} of {clips} clips cannot be decoded, more than "
        f"{MAX_UNREADABLE_FRACTION:.0%}; "
        f"mend or remove them: {named}{more}"
    )


def _dataset(
    readable: Sequence[tuple[FoundClip, ClipFacts, str]], unreadable: Sequence[tuple[Path, str]] = ()
) -> Dataset:
    """Names are paths below the clips' common folder, so that folder, clips.csv and index give the same
    names.
    """
    common = os.path.commonpath([clip.path.parent for clip, _, _ in readable])
    clips = []
    for clip, facts, digest in readable:
        name = clip.path.relative_to(common).as_posix()
        clips.append(Clip(clip.path, clip.label, clip.group or name, name, digest, facts))
    return Dataset(
        tuple(sorted(clips, key=lambda clip: clip.name)),
        all(clip.group for clip, _, _ in readable if clip.label != OTHER),
        tuple(unreadable),
    )


def _read_index(path: Path, rows: list[dict[str, str]]) -> Dataset:
    found = with_composed_labels(clips_of_rows(path, rows), path)
    gone = [clip.path for clip in found if not os.path.exists(clip.path)]
    if gone:
        raise DataError(f"{path}: {len(gone)} of its clips are gone, such as {gone[0]}; make the index again")
    return _dataset(
        [
            (clip, _facts(path, line, row), row["sha256"])
            for line, (clip, row) in enumerate(zip(found, rows, strict=True), 2)
        ]
    )


def _facts(path: Path, line: int, row: dict[str, str]) -> ClipFacts:
    try:
        facts = ClipFacts(
            int(row["frames"]),
            float(row["rate_hz"]),
            int(row["width"]),
            int(row["height"]),
            float(row["duration_s"]),
        )
    except ValueError as error:
        raise DataError(f"{path} line {line}: {error}; make the index again") from error
    if facts.frames < 1 or not math.isfinite(facts.rate_hz) or len(row["sha256"]) != 64:
        raise DataError(f"{path} line {line}: not a checked clip; make the index again")
    return facts
