"""Features of a frozen encoder, computed once for each clip and kept beside the decoded clips.

A clip of features is a clip like others, with a row of bytes in place of a frame for each of its ticks: the
encoder's features in float16, then the frame made small, for a motion branch. So windows are drawn from it as
from frames.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.model.cadence import TemporalContract, fill_indices
from edge_har.model.preprocess import Pixels
from train.data.augment import NEVER, Amounts, Mirror, changed
from train.data.batches import CachedClip, WindowPlan, is_cached, store
from train.data.sampling import BACKGROUND
from train.data.videos import tick_indices
from train.tf import tf

FEATURES_VERSION = 2  # counts up when what a row holds changes
FRAMES_AT_ONCE = 32
HALF_BYTES = 2  # of a float16
Rows = Pixels  # uint8 [ticks, bytes]

OnProgress = Callable[[int, int], None]  # clips done, clips in all


@dataclass(frozen=True)
class RowLayout:
    """What a row holds. width: features of the encoder. small_px: side of the frame made small, in RGB; 0:
    none. frames_per_step: ticks that a feature looks back over, its own among them.
    """

    width: int
    small_px: int
    frames_per_step: int

    def rows(self, features: NDArray[np.float32], small: Pixels) -> Rows:
        """Rows of features [ticks, width] and small frames [ticks, small_px, small_px, 3]."""
        halves = np.ascontiguousarray(features, np.float16).view(np.uint8)
        return np.concatenate([halves, small.reshape(len(small), -1)], axis=1)

    def small(self, rows: Rows) -> Pixels:
        """The small frames of rows [..., bytes], to be written to: uint8 [..., small_px, small_px, 3]."""
        return rows[..., HALF_BYTES * self.width :].reshape(*rows.shape[:-1], self.small_px, self.small_px, 3)

    def tensors(self, rows: Any) -> tuple[Any, Any]:
        """Features float32 [..., width] and small frames uint8 [..., small_px, small_px, 3] of rows, uint8
        [..., bytes].
        """
        lead = tf.shape(rows)[:-1]
        cut = HALF_BYTES * self.width
        halves = tf.reshape(rows[..., :cut], tf.concat([lead, [self.width, HALF_BYTES]], 0))
        features = tf.cast(tf.bitcast(halves, tf.float16), tf.float32)
        small = tf.reshape(rows[..., cut:], tf.concat([lead, [self.small_px, self.small_px, 3]], 0))
        return features, small


@dataclass(frozen=True)
class FeatureSource:
    """What makes rows. encode: float32 frames [n, frames_per_step, height, width, 3], 0..255, -> features [n,
    width]. identity: of the encoder and its weights, as JSON can hold it.
    """

    encode: Callable[[Any], Any]
    layout: RowLayout
    identity: Any

    def rows(self, frames: Any) -> Rows:
        """The rows of ticks whose frames are uint8 or float32 [ticks, height, width, 3]. The first ones look
        back over themselves.
        """
        layout, made = self.layout, []
        for at in range(0, len(frames), FRAMES_AT_ONCE):
            ticks = np.arange(at, min(at + FRAMES_AT_ONCE, len(frames)))
            back = np.arange(layout.frames_per_step)[::-1]
            seen = tf.gather(frames, np.maximum(ticks[:, np.newaxis] - back, 0))
            small = np.zeros((len(ticks), 0), np.uint8)
            if layout.small_px:
                factor = frames.shape[1] // layout.small_px
                pooled = tf.nn.avg_pool2d(tf.cast(seen[:, -1], tf.float32), factor, factor, "VALID")
                small = tf.cast(tf.round(pooled), tf.uint8).numpy()
            made.append(layout.rows(self.encode(tf.cast(seen, tf.float32)).numpy(), small))
        return np.concatenate(made)


@dataclass(frozen=True)
class Variant:
    """One change of every clip as a whole: shift, scale, light and shape, drawn by `seed` and the clip's name
    in the cache, whatever other clips there are; those of odd seeds are mirrored too, where their label
    allows it.
    """

    seed: int
    mirror: Mirror
    amounts: Amounts

    def label(self, label: int) -> int:
        """The label after mirroring."""
        return self.mirror.target[label] if label != BACKGROUND and self._mirrors(label) else label

    def changed(self, name: str, frames: Pixels, label: int) -> Pixels:
        """Frames of the clip `name`, of this label, changed: uint8 [n, height, width, 3]."""
        random = np.random.default_rng([self.seed, *name.encode()])
        return changed(frames, self._mirrors(label), random, self.amounts)

    @property
    def identity(self) -> Any:
        """As JSON can hold it."""
        return [self.seed, list(self.mirror.target), astuple(self.amounts)]

    def _mirrors(self, label: int) -> bool:
        may = self.mirror.active if label == BACKGROUND else self.mirror.target[label] != NEVER
        return self.seed % 2 == 1 and may


def feature_clips(
    clips: Sequence[CachedClip],
    source: FeatureSource,
    contract: TemporalContract,
    variant: Variant | None = None,
    on_progress: OnProgress | None = None,
) -> list[CachedClip]:
    """Clips of features of decoded clips, a row for each of their ticks at the contract's interval, short
    ones filled to a window: so a window's rows are what its frames give. Computed where the cache does not
    hold them yet. variant: how their frames are changed before; None: not at all.

    Raises DataError for a cache that cannot be written.
    """
    made = []
    for done, clip in enumerate(clips, 1):
        key = [FEATURES_VERSION, clip.stem.name, source.identity]
        key += [contract.frames, contract.interval_ms, contract.gap_ms]
        key.append(None if variant is None else [variant.identity, clip.label])
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]
        label = clip.label if variant is None else variant.label(clip.label)
        rows = replace(clip, label=label, stem=clip.stem.with_name(name))
        if not is_cached(rows):
            times_s = clip.times_s()
            taken = tick_indices(times_s, contract.interval_ms, max_gap_ms=contract.gap_ms)
            if len(taken) < contract.frames:
                taken = taken[fill_indices(len(taken), contract.frames)]
            frames = clip.frames()[taken]
            if variant is not None:
                frames = variant.changed(clip.stem.name, frames, clip.label)
            ticks_s = np.arange(len(taken)) * contract.interval_ms / 1000
            store(rows, times_s[taken[0]] + ticks_s, source.rows(frames))
        made.append(rows)
        if on_progress is not None:
            on_progress(done, len(clips))
    return made


class FeaturePlan(WindowPlan):
    """Windows of rows. Still ones are frozen or creep; light and bumps cannot be made from features."""

    def _still(self, frames: Pixels, random: np.random.Generator) -> Pixels:
        return self._creeping(frames, random)
