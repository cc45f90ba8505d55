"""The clips of a conversion, each used only for what its group allows; the choice of calibration windows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.labels import MIN_LABELS, check_distinct
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.sources.recordings import content_sha256, find_recordings
from edge_har.system.files import PathKind, path_kind
from train.data.batches import CachedClip, cache_clips, cache_folder, clip_windows
from train.data.index import Clip, build_index, load_clips
from train.data.sampling import BACKGROUND
from train.data.splits import PARTS, make_split
from train.data.videos import FoundClip, LabelError, find_clips, measure_clip
from train.fitting.synthetic_clips import cache_synthetic
from train.runs import INDEX, Run

CALIBRATION_WINDOWS = 100
UNLABELLED = ""

Report = Callable[[str], None]


@dataclass(frozen=True)
class ClipParts:
    """The clips of a conversion, by what they may be used for. Raises DataError where a group is on both
    sides.

    training: of the groups the weights were trained on, for pruning and calibration. validation, test: held
    out from them (empty where all groups were trained on). synthetic: synthetic clips that were trained on.
    other: held out, clips in which none of the labels happens.
    """

    training: Sequence[CachedClip]
    validation: Sequence[CachedClip] = ()
    test: Sequence[CachedClip] = ()
    synthetic: Sequence[CachedClip] = ()
    other: Sequence[CachedClip] = ()

    def __post_init__(self) -> None:
        trained = {clip.group for clip in (*self.training, *self.synthetic)}
        both = sorted(trained & {clip.group for clip in (*self.validation, *self.test, *self.other)})
        if both:
            raise DataError(f"group {both[0]} was trained on and cannot be held out too")
        if not self.training:
            raise DataError("there is no clip of the groups that the model was trained on")


@dataclass(frozen=True)
class Calibration:
    """Windows that set the ranges of integers.

    pixels: uint8 [n, frames, height, width, 3]. sha256: names exactly these windows and their clips' content.
    names: the clips they were taken from, each once, sorted.
    """

    pixels: Pixels
    sha256: str
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, windows: Sequence[tuple[CachedClip, NDArray[np.int64]]]) -> Calibration:
        """Of clips and the frames taken from each: int64 [frames]."""
        listed = json.dumps(
            [[clip.name, clip.stem.name, taken.tolist()] for clip, taken in windows], separators=(",", ":")
        )
        return cls(
            np.stack([clip.frames()[taken] for clip, taken in windows]),
            hashlib.sha256(listed.encode()).hexdigest(),
            tuple(sorted({clip.name for clip, _ in windows})),
        )


def clip_parts_of_run(
    run: Run, data: str | os.PathLike[str] | None, cache: Path | None, report: Report
) -> ClipParts:
    """The clips a RUN was trained and tested on, decoded. data: where they are now; default: where they were.

    Raises DataError when they are gone or are other clips than those of the training.
    """
    dataset = load_clips(data if data is not None else run.folder / INDEX)
    if dataset.sha256 != run.index_sha256:
        raise DataError(
            f"{data or run.folder / INDEX}: other clips (index hash {dataset.sha256[:12]}) than the RUN was "
            "trained on "
            f"({run.index_sha256[:12]}); name those with --data"
        )
    folder = cache or cache_folder()
    every = cache_clips(dataset.clips, run.labels, run.config.frame_spec, folder, _decoded(report))
    clips = [clip for clip in every if clip.label != BACKGROUND]
    trained = set(run.metrics["trained_on"]["groups"])
    parts = run.split["parts"]

    def held_out(part: str) -> list[CachedClip]:
        return [clip for clip in clips if clip.group in set(parts[part]) - trained]

    return ClipParts(
        [clip for clip in clips if clip.group in trained],
        held_out("validation"),
        held_out("test"),
        cache_synthetic(run.config, run.labels, folder, _decoded(report)),
        [clip for clip in every if clip.label == BACKGROUND and clip.group not in run.learned_groups],
    )


@dataclass(frozen=True)
class HeldOutClips:
    """Clips that were not trained on here, for an external model. index_sha256: names exactly these clips."""

    clip_parts: ClipParts
    labelled: bool
    groups_known: bool
    index_sha256: str


def held_out_clips(
    folder: Path, labels: Sequence[str], spec: FrameSpec, cache: Path | None, report: Report
) -> HeldOutClips:
    """The clips of a folder, one part to set ranges, the other held out; a group is never on both sides.

    They are labelled where two or more of the folder's labels are among `labels`: then those alone are taken.
    Else every video below the folder is taken, without a label. Raises DataError when there are too few, and
    LabelError where a folder's name is one of the labels but for its case, blanks or encoding.
    """
    found = {clip.label for clip in _found(folder)}
    try:
        check_distinct([*labels, *sorted(found.difference(labels))], LabelError)
    except LabelError as error:
        raise LabelError(f"{folder}: {error}") from error
    named = found & set(labels)
    if len(named) < MIN_LABELS:
        report(f"{folder}: no folders named as the labels: outputs are compared, accuracy is not measured")
        return _unlabelled(folder, spec, cache, report)
    absent = [label for label in labels if label not in named]
    if absent:
        report(f"{folder}: no clips of {', '.join(absent)}")
    dataset = build_index(folder, labels=named, report=report)
    clips = cache_clips(dataset.clips, labels, spec, cache or cache_folder(), _decoded(report))
    try:
        split = make_split(dataset)
    except DataError:  # too few groups for three parts
        clip_parts = _halves(clips, folder)
    else:
        parts = [[clip for clip in clips if clip.group in split.groups(part)] for part in PARTS]
        clip_parts = ClipParts(*parts)
    return HeldOutClips(clip_parts, True, dataset.groups_known, dataset.sha256)


def check_clips_folder(folder: Path) -> None:
    """Raises DataError where there is no such folder."""
    if path_kind(folder, DataError) is not PathKind.FOLDER:
        raise DataError(f"{folder}: no such folder of clips")


def _found(folder: Path) -> Sequence[FoundClip]:
    check_clips_folder(folder)
    try:
        return find_clips(folder)
    except LabelError:
        raise
    except DataError:  # videos that lie in no folder per label
        return ()


def _unlabelled(folder: Path, spec: FrameSpec, cache: Path | None, report: Report) -> HeldOutClips:
    clips = []
    for path in map(Path, find_recordings(str(folder), report)):
        name = path.relative_to(folder).as_posix()
        try:
            facts, digest = measure_clip(path), content_sha256(path)
        except (SourceError, OSError) as error:
            report(f"{path}: skipped: {error}")
            continue
        clips.append(Clip(path, UNLABELLED, name, name, digest, facts))
    if not clips:
        raise DataError(f"{folder}: holds no video that can be decoded")
    cached = cache_clips(clips, [UNLABELLED], spec, cache or cache_folder(), _decoded(report))
    listed = json.dumps(sorted([clip.name, clip.sha256] for clip in clips))
    clip_parts = _halves([replace(clip, label=BACKGROUND) for clip in cached], folder)
    return HeldOutClips(clip_parts, False, False, hashlib.sha256(listed.encode()).hexdigest())


def _halves(clips: Sequence[CachedClip], folder: Path, seed: int = 0) -> ClipParts:
    """Half of the groups for the ranges, the other half held out."""
    groups = sorted({clip.group for clip in clips})
    if len(groups) < 2:
        raise DataError(
            f"{folder}: its clips are all of one group; two are needed, one to set the ranges and one to "
            "check them on"
        )
    order = np.random.default_rng([seed, 7]).permutation(len(groups))
    trained = {groups[i] for i in order[: len(groups) // 2]}
    return ClipParts(
        [clip for clip in clips if clip.group in trained],
        test=[clip for clip in clips if clip.group not in trained],
    )


def _decoded(report: Report) -> Callable[[int, int], None]:
    def decoded(done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            report(f"decoded {done} of {total} clips")

    return decoded


def choose_calibration(
    clip_parts: ClipParts,
    contract: TemporalContract,
    *,
    synthetic_fraction: float = 0.0,
    windows: int = CALIBRATION_WINDOWS,
    seed: int = 0,
) -> Calibration:
    """Windows of training clips, every label alike, synthetic ones in the fraction they were trained on."""
    made = round(windows * synthetic_fraction) if clip_parts.synthetic else 0
    random = np.random.default_rng([seed, 4])
    chosen = []
    for clips, count in ((clip_parts.training, windows - made), (clip_parts.synthetic, made)):
        for clip in _in_turns(clips, count, random):
            possible = clip_windows(clip, contract, 1)
            chosen.append((clip, possible[int(random.integers(len(possible)))]))
    return Calibration.of(chosen)


def all_windows(clip_parts: ClipParts, contract: TemporalContract) -> Calibration:
    """Every training clip from its start to its end, one window beside the next."""
    return Calibration.of(
        [
            (clip, taken)
            for clip in clip_parts.training
            for taken in clip_windows(clip, contract, contract.frames)
        ]
    )


def _in_turns(clips: Sequence[CachedClip], count: int, random: np.random.Generator) -> list[CachedClip]:
    """`count` clips, label after label, within each in a shuffled order, repeated when it is used up."""
    if count == 0:
        return []
    by_label: dict[int, list[CachedClip]] = {}
    for index in random.permutation(len(clips)):
        by_label.setdefault(clips[index].label, []).append(clips[index])
    queues = [by_label[label] for label in sorted(by_label)]
    return [queues[i % len(queues)][i // len(queues) % len(queues[i % len(queues)])] for i in range(count)]
