"""Golden clips: frames and the scores to expect, by which a device proves that it computes what we do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_har.errors import ConversionError, DataError, SourceError
from edge_har.model.bundle import Bundle, encode_strip
from edge_har.model.cadence import TemporalContract, window_indices
from edge_har.model.labels import composed
from edge_har.model.manifest import Golden, Manifest
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer
from edge_har.sources import synthetic
from edge_har.sources.recordings import find_recordings
from edge_har.sources.synthetic_body import LABELS
from edge_har.system.files import PathKind, path_kind
from train.data.videos import decode_ticks, tick_indices
from train.fitting.synthetic_clips import FIRST_SEED

CLIPS = 4
MARGIN = 0.2  # between the two best labels: far beyond what two machines differ by
# All below train.fitting.synthetic_clips.FIRST_SEED: nothing is trained on them.
SEEDS = range(24)
RATE_HZ = 25.0
MOST_OWN_CLIPS = 8
DIGITS = 6  # of expected scores
TOLERANCE = 0.05  # of a probability
SHAPE_SIZE_WH = (160, 120)
SYNTHETIC, SHAPES, OWN = "synthetic person", "synthetic shapes", "the user's own clips"

assert max(SEEDS) < FIRST_SEED


def choose_golden(
    bundle: Bundle, folder: Path | None = None, count: int = CLIPS
) -> tuple[list[Golden], dict[str, bytes], str]:
    """Golden clips with their PNG strips by name, and what they show.

    From the videos under `folder` where it is given; else synthetic: the person of the built-in source where
    the labels are its own, else moving shapes. Each has a top-1 margin of MARGIN or more. Raises
    ConversionError when there is none, or one of the user's own is below the margin.
    """
    manifest = bundle.manifest
    recognizer = TickRecognizer(bundle, plain=True)
    if folder is not None:
        found = [
            _checked(name, label, frames, recognizer, manifest)
            for name, label, frames in _own_clips(folder, manifest)
        ]
        kind = OWN
    else:
        drawable = {label.lower() for label in LABELS}
        kind = SYNTHETIC if all(label.lower() in drawable for label in manifest.labels) else SHAPES
        drawn = (
            _person_clips(manifest) if kind == SYNTHETIC else _shape_clips(manifest.frame, manifest.temporal)
        )
        found = _first_of_each_label(drawn, recognizer, manifest, count, label_must_fit=kind == SYNTHETIC)
    files = {f"golden/{number:02d}.png": encode_strip(frames) for number, (frames, _, _) in enumerate(found)}
    golden = [Golden(name, label, scores) for name, (_, label, scores) in zip(files, found, strict=True)]
    return golden, files, kind


Found = tuple[Pixels, str, tuple[float, ...]]


def _score(
    frames: Pixels, recognizer: TickRecognizer, manifest: Manifest
) -> tuple[str, float, tuple[float, ...]]:
    scores = recognizer.clip(frames)
    best = np.sort(scores)[::-1]
    label = manifest.labels[int(scores.argmax())]
    return label, float(best[0] - best[1]), tuple(round(float(score), DIGITS) for score in scores)


def _checked(
    name: str, label: str | None, frames: Pixels, recognizer: TickRecognizer, manifest: Manifest
) -> Found:
    prediction, margin, scores = _score(frames, recognizer, manifest)
    if margin < MARGIN:
        raise ConversionError(
            f"golden clip {name}: its two best labels are {margin:.2f} apart, expected {MARGIN} or more; "
            "remove it"
        )
    return frames, label or prediction, scores


def _first_of_each_label(
    drawn: Iterator[tuple[str | None, Pixels]],
    recognizer: TickRecognizer,
    manifest: Manifest,
    count: int,
    *,
    label_must_fit: bool,
) -> list[Found]:
    """The first clips in order that have the margin, one per predicted label, `count` at most."""
    found: dict[str, Found] = {}
    for label, frames in drawn:
        if label in found:
            continue
        prediction, margin, scores = _score(frames, recognizer, manifest)
        if margin >= MARGIN and prediction not in found and (not label_must_fit or prediction == label):
            found[prediction] = (frames, prediction, scores)
            if len(found) == min(count, len(manifest.labels)):
                break
    if not found:
        raise ConversionError(
            f"no synthetic clip is recognised with a margin of {MARGIN}: name a folder of clips with "
            "--golden DIR"
        )
    return list(found.values())


def _person_clips(manifest: Manifest) -> Iterator[tuple[str | None, Pixels]]:
    count = math.ceil(manifest.temporal.window_s * RATE_HZ) + 1
    for seed in SEEDS:
        for label in manifest.labels:
            frames = synthetic.render_clip(label, seed, count, RATE_HZ)
            yield label, _window(frames, RATE_HZ, manifest.frame, manifest.temporal)


def _window(frames: Pixels, rate_hz: float, spec: FrameSpec, contract: TemporalContract) -> Pixels:
    taken = tick_indices(np.arange(len(frames)) / rate_hz, contract.interval_ms, max_gap_ms=contract.gap_ms)
    first = taken[window_indices(len(taken), contract.frames, contract.hop_ticks)[0]]
    return np.stack([prepare_frame(frames[i], spec) for i in first])


def _shape_clips(spec: FrameSpec, contract: TemporalContract) -> Iterator[tuple[str | None, Pixels]]:
    """Bright shapes that move over a plain ground: position, size, colour, direction and speed by seed."""
    width, height = SHAPE_SIZE_WH
    for seed in SEEDS:
        random = np.random.default_rng([seed, 6])
        ground, colour = (tuple(int(c) for c in random.integers(0, 256, 3)) for _ in range(2))
        x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(6, 40)
        per_s = random.uniform(-80, 80, 3) * (1, 1, 0.3)  # pixels: right, down, growth
        clip = np.empty((contract.frames, height, width, 3), np.uint8)
        for tick in range(contract.frames):
            moved = per_s * tick * contract.interval_ms / 1000
            clip[tick] = ground
            centre = (round((x + moved[0]) % width), round((y + moved[1]) % height))
            cv2.circle(clip[tick], centre, max(2, round(radius + moved[2])), colour, cv2.FILLED)
        yield None, np.stack([prepare_frame(frame, spec) for frame in clip])


def _own_clips(folder: Path, manifest: Manifest) -> Iterator[tuple[str, str | None, Pixels]]:
    paths = own_videos(folder)
    contract = manifest.temporal
    for path in paths:
        try:
            ticks = decode_ticks(path, manifest.frame, contract.interval_ms, max_gap_ms=contract.gap_ms)
        except SourceError as error:
            raise DataError(f"golden clip {path}: {error}") from error
        folder_label = composed(path.parent.name)
        label = folder_label if folder_label in manifest.labels else None
        yield path.name, label, ticks[window_indices(len(ticks), contract.frames, contract.hop_ticks)[0]]


def own_videos(folder: Path) -> Sequence[Path]:
    """The user's own golden clips, sorted. Raises DataError for no folder and where there are none, or more
    than MOST_OWN_CLIPS.
    """
    if path_kind(folder, DataError) is not PathKind.FOLDER:
        raise DataError(f"{folder}: no such folder of golden clips")
    paths = [Path(path) for path in find_recordings(str(folder))]
    if not 1 <= len(paths) <= MOST_OWN_CLIPS:
        raise DataError(f"{folder}: expected 1 to {MOST_OWN_CLIPS} golden clips, found {len(paths)} videos")
    return paths
