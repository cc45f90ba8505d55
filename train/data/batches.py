"""From clips to batches of windows: decoded once to a cache on disk, mapped from there, sampled by time.

A clip's frames lie in one uint8 file that is mapped, never read whole; nothing here grows with their number
but a path and a label per clip. A batch is a pure function of (seed, step), so a resumed training sees what
it would have seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, MisuseError, SourceError
from edge_har.model.cadence import TIME_TOLERANCE_S, TemporalContract, fill_indices, window_starts
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.sources.recordings import content_sha256
from edge_har.system.files import expand_user, replaced_file
from train.data.augment import Amounts, Mirror, augment
from train.data.index import Clip
from train.data.letterbox import content_boxes
from train.data.sampling import BACKGROUND, OTHER, Sampling
from train.data.videos import decode_prepared, tick_indices
from train.tf import tf

CACHE_VERSION = 1  # counts up when decoding or the files' layout changes
CACHE_VARIABLE = "EDGE_HAR_CACHE"
NPY_MAGIC = b"\x93NUMPY\x01\x00"  # version 1.0, as numpy writes plain arrays
NPY_START = len(NPY_MAGIC) + 2  # bytes before the header: the magic and the header's length
NPY_SHAPE = re.compile(rb"'shape': \(([0-9, ]+)\)")
SHORTEST_FRACTION = 0.6  # of a window's ticks that a deliberately short sample keeps
PREFETCH_BATCHES = 2
# Of a still window: how many frames of the clip it creeps through, and how far shaking and changing light go.
CREEP_FRAMES = 2.0
SHAKE_FRACTION = 0.05  # of the frame's side
LIGHT_LOG = 0.5  # natural logarithm of the change
EVALUATION_WINDOWS = 32  # windows predicted at once

OnProgress = Callable[[int, int], None]  # clips done, clips in all
Times = NDArray[np.float64]


@dataclass(frozen=True)
class CachedClip:
    """A clip whose frames are in the cache. label: index into the labels. stem: the cache's files without
    suffix.
    """

    name: str
    label: int
    group: str
    stem: Path

    def times_s(self) -> Times:
        """When each frame is, seconds, float64 [n]."""
        return _mapped(f"{self.stem}.times.npy", np.float64)

    def frames(self) -> Pixels:
        """The frames, uint8 [n, height, width, 3], mapped from disk; open only as long as the array lives."""
        return _mapped(f"{self.stem}.frames.npy", np.uint8)


def _mapped(path: str, dtype: type[np.generic]) -> NDArray[Any]:
    """An array of the cache, mapped from its .npy file. Raises OSError or ValueError where it is absent or
    damaged.

    The header is not read by numpy, which runs Python's parser for it: on Python 3.11 that fails at random
    while another thread parses too, as TensorFlow does while it traces a function.
    """
    with open(path, "rb") as file:
        start = file.read(NPY_START)
        length = int.from_bytes(start[len(NPY_MAGIC) :], "little")
        shape = NPY_SHAPE.search(file.read(length))
    if not start.startswith(NPY_MAGIC) or shape is None:
        raise ValueError(f"{path}: not an array of the clip cache")
    sides = tuple(int(side) for side in shape[1].split(b",") if side.strip())
    return np.memmap(path, dtype, "r", NPY_START + length, sides)


def cache_folder() -> Path:
    """Where decoded clips are kept: $EDGE_HAR_CACHE, else the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or expand_user("~/.cache")) / "edge-har" / "clips"


def cache_clips(
    clips: Sequence[Clip],
    labels: Sequence[str],
    spec: FrameSpec,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> list[CachedClip]:
    """Decode, in parallel, the clips that the cache does not hold yet; the key is content and frame spec.

    Raises DataError for a clip that cannot be decoded or changed since it was indexed, or a cache that cannot
    be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number_of = {OTHER: BACKGROUND, **{label: number for number, label in enumerate(labels)}}
    cached = [
        CachedClip(clip.name, number_of[clip.label], clip.group, folder / cache_key(clip.sha256, spec))
        for clip in clips
    ]
    missing = [pair for pair in zip(clips, cached, strict=True) if not is_cached(pair[1])]
    pool = ThreadPoolExecutor(os.cpu_count())  # decoding runs outside Python's lock
    try:
        for done, _ in enumerate(pool.map(lambda pair: _decode(pair[0], pair[1], spec), missing), start=1):
            if on_progress is not None:
                on_progress(done, len(missing))
    finally:
        pool.shutdown(cancel_futures=True)
    return cached


def cache_key(content: str, spec: FrameSpec) -> str:
    """Names the cached frames of one content (a clip's sha256, or whatever else identifies it) under one
    frame spec.
    """
    key = json.dumps([CACHE_VERSION, content, spec.to_json()], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def store(cached: CachedClip, times_s: Times, frames: Pixels) -> None:
    """Put decoded frames into the cache; a reader never sees a part. Raises DataError when it cannot be
    written.
    """
    try:
        _save(Path(f"{cached.stem}.times.npy"), times_s)
        _save(Path(f"{cached.stem}.frames.npy"), frames)  # last: its presence says that both are there
    except OSError as error:
        raise DataError(
            f"{cached.stem.parent}: the clip cache cannot be written: {error.strerror or error}"
        ) from error


def is_cached(clip: CachedClip) -> bool:
    """Whether the clip's frames and times are there, whole."""
    try:
        return len(clip.frames()) == len(clip.times_s()) > 0
    except (OSError, ValueError, EOFError):  # absent, or damaged: decoded again
        return False


def _decode(clip: Clip, cached: CachedClip, spec: FrameSpec) -> None:
    try:
        if content_sha256(clip.path) != clip.sha256:
            raise DataError(f"{clip.path}: changed since it was indexed; make the index again")
        times_s, frames = decode_prepared(clip.path, spec)
    except (SourceError, OSError) as error:
        raise DataError(f"{clip.path}: cannot be decoded: {error}") from error
    store(cached, times_s, frames)


def _save(path: Path, array: NDArray[Any]) -> None:
    with replaced_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)


def clip_windows(
    clip: CachedClip, contract: TemporalContract, hop_ticks: int | None = None
) -> list[NDArray[np.int64]]:
    """Which frames each window of a clip takes, as `run` and `classify` take them: a list of int64 [frames].

    hop_ticks: ticks between windows; default the contract's. A short clip is filled forward and back. Where
    the contract spreads its frames, the one window over the whole clip.
    """
    if contract.sampling == "spread":
        return [spread_indices(len(clip.times_s()), contract.frames)]
    taken = tick_indices(clip.times_s(), contract.interval_ms, max_gap_ms=contract.gap_ms)
    if len(taken) < contract.frames:
        return [taken[fill_indices(len(taken), contract.frames)]]
    starts = window_starts(len(taken), contract.frames, hop_ticks or contract.hop_ticks)
    return [taken[start : start + contract.frames] for start in starts]


def spread_indices(count: int, frames: int) -> NDArray[np.int64]:
    """Which of a clip's `count` frames the tutorial notebooks take: every (count // frames)-th from the
    first; int64 [frames]. A clip with fewer is filled forward and back.
    """
    if count < frames:
        return np.asarray(fill_indices(count, frames), np.int64)
    return np.arange(frames, dtype=np.int64) * (count // frames)


def evaluation_batches(
    clips: Sequence[CachedClip], contract: TemporalContract, hop_ticks: int | None = None
) -> Iterator[tuple[Pixels, NDArray[np.int64]]]:
    """Every window of every clip, in order: uint8 [n, frames, height, width, 3], and int64 [n] positions in
    `clips`.
    """
    pixels: list[Pixels] = []
    positions: list[int] = []
    for position, clip in enumerate(clips):
        frames = clip.frames()
        for window in clip_windows(clip, contract, hop_ticks):
            pixels.append(frames[window])
            positions.append(position)
            if len(pixels) == EVALUATION_WINDOWS:
                yield np.stack(pixels), np.array(positions)
                pixels, positions = [], []
    if pixels:
        yield np.stack(pixels), np.array(positions)


class WindowPlan:
    """Which windows training sees: every clip equally often, each time at a random start and cadence.

    Still windows show a moment of a clip in which nothing is done: it is frozen, or creeps; some are shaken
    as by the camera, some change their light. Outliers are windows turned by a quarter or a half. The label
    of both is BACKGROUND, as it is of other clips, in which none of the labels happens.
    """

    def __init__(
        self,
        clips: Sequence[CachedClip],
        sampling: Sampling,
        synthetic: Sequence[CachedClip] = (),
        other: Sequence[CachedClip] = (),
    ) -> None:
        if not clips or (sampling.synthetic_windows and not synthetic):
            raise MisuseError("there are no clips to draw training windows from")
        self._clips, self._synthetic, self._other = clips, synthetic, other
        self.sampling = sampling

    def batch(self, step: int) -> tuple[Pixels, NDArray[np.int32]]:
        """Batch number `step`: uint8 [batch, frames, height, width, 3] and int32 [batch] labels, or
        BACKGROUND.
        """
        random = np.random.default_rng([self.sampling.seed, 1, step])
        sampling = self.sampling
        made, still, turned = sampling.synthetic_windows, sampling.still_windows, sampling.outlier_windows
        other = sampling.other_windows if self._other else 0
        chosen = self._turn(self._clips, sampling.batch - made - still - turned - other, step, 2)
        chosen += self._turn(self._synthetic, made, step, 3)
        chosen += self._turn(self._other, other, step, 5)
        pixels = [clip.frames()[self._window(clip.times_s(), random)] for clip in chosen]
        pixels += [self._still(clip.frames(), random) for clip in self._turn(self._clips, still, step, 4)]
        for clip in self._turn(self._clips, turned, step, 6):
            window = clip.frames()[self._window(clip.times_s(), random)]
            pixels.append(np.rot90(window, int(random.integers(1, 4)), axes=(1, 2)))
        labels = [clip.label for clip in chosen] + [BACKGROUND] * (still + turned)
        return np.stack(pixels), np.array(labels, np.int32)

    def _turn(self, clips: Sequence[CachedClip], count: int, step: int, stream: int) -> list[CachedClip]:
        """The next `count` clips of a shuffled order; a new order follows each time one is used up."""
        positions = range(step * count, (step + 1) * count)
        return [
            clips[
                _shuffled(len(clips), self.sampling.seed, stream, position // len(clips))[
                    position % len(clips)
                ]
            ]
            for position in positions
        ]

    def _window(self, times_s: Times, random: np.random.Generator) -> NDArray[np.int64]:
        contract = self.sampling.contract
        if contract.sampling == "spread":
            return spread_indices(len(times_s), contract.frames)
        first, last = _longest_piece(times_s, contract.gap_ms / 1000)
        interval_s = (
            contract.interval_ms / 1000 * random.uniform(1 - self.sampling.jitter, 1 + self.sampling.jitter)
        )
        ticks = contract.frames
        if random.random() < self.sampling.short_share:
            ticks = int(random.integers(max(1, int(SHORTEST_FRACTION * ticks)), ticks + 1))
        spare_s = times_s[last] - times_s[first] - (ticks - 1) * interval_s
        at_s = times_s[first] + random.uniform(0, max(0.0, spare_s)) + np.arange(ticks) * interval_s
        taken = first + np.searchsorted(times_s[first : last + 1], at_s - TIME_TOLERANCE_S)
        taken = taken[taken <= last]
        return np.asarray(taken[fill_indices(len(taken), contract.frames)], np.int64)

    def _creeping(self, frames: Pixels, random: np.random.Generator) -> Pixels:
        ticks = self.sampling.contract.frames
        creep = random.choice([0.0, random.uniform(0, CREEP_FRAMES)])
        at = random.uniform(0, max(0.0, len(frames) - 1 - creep)) + np.linspace(0, creep, ticks)
        return np.array(frames[np.minimum(at.astype(np.int64), len(frames) - 1)])

    def _still(self, frames: Pixels, random: np.random.Generator) -> Pixels:
        window = self._creeping(frames, random)
        top, bottom, left, right = content_boxes(window[None])[0]
        scene = window[:, top:bottom, left:right]
        changes: list[Callable[[Pixels, np.random.Generator], Pixels]] = [_as_it_is, _shaken, _relit]
        window[:, top:bottom, left:right] = changes[random.choice(len(changes))](scene, random)
        return window


def _as_it_is(window: Pixels, random: np.random.Generator) -> Pixels:
    return window


def _shaken(window: Pixels, random: np.random.Generator) -> Pixels:
    """Every frame moved by a little, as by a bump against the camera; what comes in repeats the border."""
    height, width = window.shape[1:3]
    reach = max(1, round(SHAKE_FRACTION * min(height, width)))
    moves = random.integers(-reach, reach + 1, (len(window), 2))
    calm = random.integers(0, len(window), 2)  # it begins and ends at some time
    moves[: calm.min()] = moves[calm.max() :] = 0
    rows = np.clip(np.arange(height) + moves[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) + moves[:, 1:], 0, width - 1)
    return np.asarray(window[np.arange(len(window))[:, None, None], rows[:, :, None], columns[:, None, :]])


def _relit(window: Pixels, random: np.random.Generator) -> Pixels:
    """A lamp goes on or off, at once or slowly, or flashes."""
    begin, end = np.sort(random.uniform(0, len(window), 2))
    ticks = np.arange(len(window))
    ramp = np.clip((ticks - begin) / max(end - begin, 1e-3), 0, 1)
    course = random.choice(np.array([ramp, (ticks >= begin), (ticks >= begin) & (ticks < end)], np.float64))
    gain = np.exp(random.uniform(-LIGHT_LOG, LIGHT_LOG) * course)
    lit = window * gain[:, None, None, None]
    return np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)


@lru_cache(maxsize=8)
def _shuffled(count: int, seed: int, stream: int, turn: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, stream, turn]).permutation(count)


def _longest_piece(times_s: Times, max_gap_s: float) -> tuple[int, int]:
    """First and last frame of the longest piece without a gap; the device starts again at gaps and backward
    times.
    """
    steps = np.diff(times_s)
    broken = np.flatnonzero((steps < -TIME_TOLERANCE_S) | (steps > max_gap_s + TIME_TOLERANCE_S)) + 1
    edges = [0, *broken.tolist(), len(times_s)]
    first, end = max(pairwise(edges), key=lambda piece: piece[1] - piece[0])
    return first, end - 1


def targets(labels: Any, classes: int, table: NDArray[np.float32] | None = None) -> Any:
    """What a model should predict: float32 [batch, classes], one label (or its row of `table`, float32
    [labels, classes]), or every label alike for BACKGROUND.
    """
    if table is None:
        known = tf.one_hot(labels, classes)
    else:
        known = tf.gather(tf.constant(table), tf.maximum(labels, 0))
    return tf.where((labels != BACKGROUND)[:, None], known, 1 / classes)


def training_batches(
    plan: WindowPlan, first_step: int, last_step: int, mirror: Mirror, amounts: Amounts
) -> Any:
    """The augmented batches of steps first_step .. last_step - 1 as a tf.data.Dataset of (float32 clips
    [batch, frames, height, width, 3] of whole numbers 0..255, int32 labels [batch]).
    """
    pixels, _ = plan.batch(first_step)

    def made(step: int) -> tuple[Pixels, NDArray[np.int32]]:
        return augment(*plan.batch(step), (plan.sampling.seed, step), mirror, amounts)

    def load(step: Any) -> tuple[Any, Any]:
        clips, labels = tf.numpy_function(made, [step], (tf.uint8, tf.int32), stateful=False)
        shaped = tf.ensure_shape(clips, pixels.shape)
        return tf.cast(shaped, tf.float32), tf.ensure_shape(labels, pixels.shape[:1])

    steps = tf.data.Dataset.range(first_step, last_step)
    return steps.map(load, num_parallel_calls=2, deterministic=True).prefetch(PREFETCH_BATCHES)
