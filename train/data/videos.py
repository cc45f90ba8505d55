"""Find a data set's clips, and decode them to the frames and ticks that the device would take."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, SourceError, printable
from edge_har.model.cadence import FRAMES, Cadence, TemporalContract, usual_gap_ms
from edge_har.model.labels import check_distinct, check_label, check_labels, composed
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.sources.recordings import PassedOver, listed, open_recording, walk
from edge_har.system.files import PathKind, is_utf8, path_kind
from train.data.sampling import OTHER

CLIPS_CSV = "clips.csv"
REQUIRED_COLUMNS = ("path", "label")
UCF_NAME = re.compile(r"v_(?P<label>.+)_(?P<group>g\d+)_[^_]+")  # UCF50: v_Label_gNN_cNN
FACT_DECIMALS = 6  # of rates and durations: what an index holds is what a fresh check gives
LAYOUT_HINT = "expected DIR/LABEL/video, or a clips.csv with the columns path,label,group"
CLIP_DEPTH = 2  # DIR/LABEL/clip
LOOSE_PICTURES = "pictures one level too high; each clip of pictures is a folder in its label's folder"

Report = Callable[[str], None]


class LabelError(DataError):
    """A label of clips that cannot be one, or two that people take for one."""


@dataclass(frozen=True)
class FoundClip:
    """A clip as a folder or a csv names it, not yet opened. group: person or source video; None where
    unknown.
    """

    path: Path
    label: str
    group: str | None


@dataclass(frozen=True)
class ClipFacts:
    """What decoding a clip to its end showed. rate_hz: mean rate by the container's times; 0.0 where it has
    none. warning: what could not be read; an index does not keep it.
    """

    frames: int
    rate_hz: float
    width: int
    height: int
    duration_s: float
    warning: str | None = field(default=None, compare=False)


def find_clips(source: str | os.PathLike[str], report: Report | None = None) -> tuple[FoundClip, ...]:
    """The clips of a folder (its clips.csv where it has one, else a folder per label) or of a csv, sorted by
    path. A clip is a video file or a folder of numbered pictures.

    Groups come from the csv, else from names in UCF50's form. Opens no clip. report: gets a line for each
    thing of the folder that gives no clip. Raises DataError for a folder or csv that cannot be read, has no
    clips or one label only, or contradicts itself; LabelError as `with_composed_labels` does.
    """
    path = Path(os.path.realpath(source))
    lines: list[str] = []
    kind = path_kind(path, DataError, source)
    if kind is PathKind.FOLDER:
        rows_csv = path / CLIPS_CSV
        if path_kind(rows_csv, DataError) is PathKind.FILE:
            found = clips_of_rows(rows_csv, read_rows(rows_csv))
            lines = _unlisted(path, found, rows_csv)
        else:
            found, lines = _clips_of_folders(path, source)
    elif kind is PathKind.FILE and path.suffix.lower() == ".csv":
        found = clips_of_rows(path, read_rows(path))
    elif kind is not PathKind.ABSENT:
        raise DataError(f"{source}: not a data set; {LAYOUT_HINT}")
    else:
        raise DataError(f"{source}: no such folder or csv; {LAYOUT_HINT}")
    if not found:
        raise DataError("; ".join([f"{source}: no videos found", *lines, LAYOUT_HINT]))
    if report is not None:
        for line in lines:
            report(line)
    found = with_composed_labels(found, source)
    _check_agreement(found, source)
    return tuple(sorted(found, key=lambda clip: str(clip.path)))


def find_other(folder: str | os.PathLike[str], report: Report | None = None) -> tuple[FoundClip, ...]:
    """Every video below a folder, as a clip in which none of the labels happens, sorted by path. Groups come
    from names in UCF50's form, with the folder's name before them; other clips are each their own. report:
    gets a line where the folder holds more than videos. Raises DataError where there is none.
    """
    root = Path(os.path.realpath(folder))
    if path_kind(root, DataError, folder) is not PathKind.FOLDER:
        raise DataError(f"{folder}: no such folder; name one that holds clips of what else happens")
    walked = walk(str(root))
    paths = sorted(Path(recording) for recording in walked.recordings)
    lines = _passed_over_line(_relative(walked.passed_over, root), folder)
    if not paths:
        raise DataError("; ".join([f"{folder}: no videos found", *lines]))
    if report is not None:
        for line in lines:
            report(line)
    named = ((path, _named_group(path)) for path in paths)
    return tuple(FoundClip(path, OTHER, group and f"{root.name}/{group}") for path, group in named)


def with_composed_labels(found: Sequence[FoundClip], shown: str | os.PathLike[str]) -> list[FoundClip]:
    """The same clips with their labels as a model gives them: accents as one character (NFC).

    shown: the data set, for the error. Raises LabelError for a label that cannot be one, and for two that
    people take for one, before any clip is opened.
    """
    try:
        check_distinct(sorted({clip.label for clip in found}), LabelError)
        found = [replace(clip, label=composed(clip.label)) for clip in found]
        for label in sorted({clip.label for clip in found}):
            check_label(label, LabelError)
    except LabelError as error:
        raise LabelError(f"{shown}: {error}") from error
    return found


def read_rows(csv_path: Path) -> list[dict[str, str]]:
    """Rows of a csv with at least the columns path and label, cells stripped;
    raises DataError with the line.
    """
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restkey="", restval="")
            missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{csv_path}: no column {' or '.join(map(repr, missing))}; expected path,label,group"
                )
            return [{key: cell.strip() for key, cell in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{csv_path}: cannot be read as a csv: {error}") from error


def clips_of_rows(csv_path: Path, rows: list[dict[str, str]]) -> list[FoundClip]:
    """The clips that a csv's rows name; their paths are relative to the csv.
    Raises DataError with the line.
    """
    folder = os.path.realpath(csv_path.parent)
    found: dict[Path, FoundClip] = {}
    for line, row in enumerate(rows, start=2):
        if not row["path"] or not row["label"]:
            raise DataError(f"{csv_path} line {line}: path and label must not be empty")
        path = Path(os.path.normpath(os.path.join(folder, row["path"])))
        if path in found:
            raise DataError(f"{csv_path} line {line}: {row['path']} is listed twice")
        found[path] = FoundClip(path, row["label"], row.get("group") or _named_group(path))
    return list(found.values())


def _clips_of_folders(folder: Path, shown: str | os.PathLike[str]) -> tuple[list[FoundClip], list[str]]:
    """The clips of a folder per label, and a line for each label without one and for what else is there."""
    walked = walk(str(folder))
    found, passed_over = [], list(walked.passed_over)
    for recording in walked.recordings:
        path = Path(recording)
        depth = len(path.relative_to(folder).parts)
        if depth < CLIP_DEPTH and path.is_dir():
            passed_over.append(PassedOver(recording, LOOSE_PICTURES))
        elif depth != CLIP_DEPTH:
            raise DataError(f"{shown}: {path.relative_to(folder)} is not in a label's folder; {LAYOUT_HINT}")
        else:
            found.append(FoundClip(path, path.parent.name, _named_group(path)))
    odd = [name for clip in found if not is_utf8(name := str(clip.path.relative_to(folder)))]
    if odd:
        raise DataError(
            f"{shown}: {len(odd)} of its {len(found)} clips have a name that is not UTF-8, as an index is: "
            f"rename them, such as {min(odd)}"
        )
    below = _relative(passed_over, folder)
    labels = {
        Path(os.path.relpath(entered, folder)).parts[0]
        for entered in walked.folders
        if entered != str(folder)
    }
    lines, rest = [], below
    for label in sorted(labels - {clip.label for clip in found}):
        inside = [one for one in rest if Path(one.path).parts[0] == label]
        rest = [one for one in rest if one not in inside]
        whole = [f"{one.kind}: {one.detail}".removesuffix(": ") for one in inside if one.path == label]
        lines.append(printable(f"{shown}: no clip in {label}: {whole[0] if whole else listed(inside)}"))
    return found, lines + _passed_over_line(rest, shown)


def _relative(passed_over: Sequence[PassedOver], folder: Path) -> list[PassedOver]:
    return [replace(one, path=os.path.relpath(one.path, folder)) for one in passed_over]


def _passed_over_line(passed_over: Sequence[PassedOver], shown: str | os.PathLike[str]) -> list[str]:
    """One line where there is any; paths are relative to the folder `shown`."""
    return [printable(f"{shown}: passed over {listed(passed_over)}")] if passed_over else []


def _unlisted(folder: Path, found: list[FoundClip], rows_csv: Path) -> list[str]:
    """A line about recordings of a folder that its csv does not name."""
    named = {os.path.realpath(clip.path) for clip in found}
    others = [path for path in walk(str(folder)).recordings if os.path.realpath(path) not in named]
    if not others:
        return []
    return [printable(f"{rows_csv}: {len(others)} videos beside it are not in it, such as {others[0]}")]


def _named_group(path: Path) -> str | None:
    named = UCF_NAME.fullmatch(path.stem)
    return named["group"] if named else None


def _check_agreement(found: list[FoundClip], shown: str | os.PathLike[str]) -> None:
    """Two labels or more; and no folder or file name that is one of the labels belongs to a clip of
    another.
    """
    labels = {clip.label for clip in found}
    try:
        check_labels(sorted(labels), DataError)
    except DataError as error:
        raise DataError(f"{shown}: {error}") from error
    folded = {label.casefold() for label in labels}
    for clip in found:
        named = UCF_NAME.fullmatch(clip.path.stem)
        for kind, says in (("folder", clip.path.parent.name), ("name", named["label"] if named else "")):
            says = composed(says)
            if says.casefold() in folded and says.casefold() != clip.label.casefold():
                raise DataError(
                    f"{clip.path}: labelled {clip.label}, but its {kind} says {says}; make them agree"
                )


def measure_clip(path: str | os.PathLike[str]) -> ClipFacts:
    """Decode a clip to its end and count what came; raises SourceError when not one frame can be decoded."""
    frames, first_s, last_s, shape = 0, 0.0, 0.0, None
    with open_recording(path) as source:
        while (time_s := source.grab()) is not None:
            if shape is None:
                with suppress(SourceError):  # one damaged frame is no damaged clip
                    shape, first_s = source.retrieve().shape, time_s
            frames, last_s = frames + (shape is not None), time_s
        rate_hz = (frames - 1) / (last_s - first_s) if last_s > first_s else source.rate_hz
    if shape is None:
        raise SourceError(f"{path}: no frame can be decoded")
    duration_s = frames / rate_hz if rate_hz else 0.0
    height, width = shape[:2]
    return ClipFacts(
        frames, round(rate_hz, FACT_DECIMALS), width, height, round(duration_s, FACT_DECIMALS), source.warning
    )


def decode_ticks(
    path: str | os.PathLike[str], spec: FrameSpec, interval_ms: float, *, max_gap_ms: float | None = None
) -> Pixels:
    """The frames that the device takes from this clip, prepared: uint8 [ticks, height, width, 3], RGB.

    The device's own sampler takes them: frames that no tick needs are grabbed, not converted. Where a silence
    above `max_gap_ms` cuts the clip, the longest piece is returned: no window spans a gap. Raises SourceError
    when nothing can be decoded.
    """
    contract = TemporalContract(min(FRAMES), interval_ms, max_gap_ms=max_gap_ms)
    runs: list[list[Pixels]] = []
    with open_recording(path) as source:
        for ticks in ticks_of(source, Sampler(spec, contract)):
            if ticks.reset:
                runs.append([])
            runs[-1].extend([ticks.frame] * len(ticks.times_s))
    if not runs:
        raise SourceError(f"{path}: no frame can be decoded")
    return np.stack(max(runs, key=len))


def decode_prepared(path: str | os.PathLike[str], spec: FrameSpec) -> tuple[NDArray[np.float64], Pixels]:
    """Every whole frame of a clip: times (float64 [n], seconds, from the container) and pixels (uint8 [n, h,
    w, 3]).

    `tick_indices` picks from these what `decode_ticks` would give, at any start and interval (cadence
    jitter). Raises SourceError when nothing can be decoded.
    """
    times_s, prepared = [], []
    with open_recording(path) as source:
        while (time_s := source.grab()) is not None:
            try:
                prepared.append(prepare_frame(source.retrieve(), spec, color=source.color))
            except SourceError:  # one damaged frame: as on the device, its tick takes the next
                continue
            times_s.append(time_s)
    if not prepared:
        raise SourceError(f"{path}: no frame can be decoded")
    return np.array(times_s, np.float64), np.stack(prepared)


def tick_indices(
    times_s: NDArray[np.float64],
    interval_ms: float,
    *,
    start_s: float | None = None,
    max_gap_ms: float | None = None,
) -> NDArray[np.int64]:
    """Which frame each tick takes, as the device's own tick clock decides: int64 [ticks].

    times_s: the frames' times. The clock starts at the first frame at or after `start_s` (default: the first
    frame). Where a silence above `max_gap_ms` (default: the temporal contract's) cuts the clip, the longest
    piece. Empty when no frame is at or after `start_s`.
    """
    runs: list[list[int]] = [[]]
    clock = Cadence(interval_ms, usual_gap_ms(interval_ms) if max_gap_ms is None else max_gap_ms)
    for index, time_s in enumerate(times_s.tolist()):
        if start_s is not None and time_s < start_s:
            continue
        due = clock.due(time_s)
        if due.reset:
            runs.append([])
        runs[-1].extend([index] * due.count)
    return np.array(max(runs, key=len), np.int64)
