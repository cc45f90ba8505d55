"""Clips of the synthetic person as extra training data, kept in the cache of decoded clips.

Where still windows are trained on too, some of the clips show the person standing, and their label is
BACKGROUND. Seeds below FIRST_SEED belong to the demo, golden clips and tests: nothing is ever trained on
them.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edge_har.errors import MisuseError
from edge_har.model.preprocess import prepare_frame
from edge_har.sources import synthetic
from edge_har.sources.synthetic_body import LABELS
from train.data.batches import CachedClip, OnProgress, cache_key, is_cached, store
from train.data.sampling import BACKGROUND
from train.runs import TrainConfig

FIRST_SEED = 1000
CLIPS_PER_LABEL = 60
RATE_HZ = 25.0
# What cameras give: 4:3 and 16:9, twice each, and a telephone held upright.
SIZES_WH = ((320, 240), (640, 360), (640, 480), (1280, 720), (240, 320))
SAMPLED_SEEDS, SAMPLED_FRAMES = 3, 2  # by which a change of the drawing is noticed
STANDING = ("Bend", "JumpingJack", "WaveOneHand", "WaveTwoHands")  # whoever does these does not walk


def synthetic_identity(config: TrainConfig, labels: Sequence[str]) -> dict[str, Any] | None:
    """What config.json holds of the synthetic clips; None without any. Raises MisuseError for labels not
    drawn.
    """
    if config.synthetic_share == 0:
        return None
    absent = [label for label in labels if label not in LABELS]
    if absent:
        raise MisuseError(
            f"the synthetic person cannot do {absent[0]!r}; synthetic clips need labels of "
            f"{', '.join(LABELS)}"
        )
    return {
        "share": config.synthetic_share,
        "first_seed": FIRST_SEED,
        "last_seed": FIRST_SEED + len(_cast(config, labels)) - 1,
        "clips_per_label": CLIPS_PER_LABEL,
        "sizes_wh": [list(size_wh) for size_wh in SIZES_WH],
        "drawing_sha256": _drawing(),
    }


def cache_synthetic(
    config: TrainConfig, labels: Sequence[str], folder: Path, on_progress: OnProgress | None = None
) -> list[CachedClip]:
    """Draw, in parallel, the synthetic clips that the cache does not hold yet; none where the share is 0.

    Every clip has a seed of its own. Raises DataError when the cache cannot be written.
    """
    if config.synthetic_share == 0:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    drawing = _drawing()
    frames = math.ceil(config.contract.window_s * (1 + config.jitter) * RATE_HZ) + 1
    cast = _cast(config, labels)
    clips = {}
    for seed, (action, label) in cast.items():
        suffix = ", standing" if label == BACKGROUND else ""
        width, height = _size_wh(seed, len(cast))
        content = f"{drawing} {action}{suffix} {seed} {frames} {RATE_HZ} {width}x{height}"
        name = f"synthetic:{action}?seed={seed}&size={width}x{height}{suffix}"
        clips[seed] = CachedClip(name, label, "synthetic", folder / cache_key(content, config.frame_spec))

    def draw(seed: int) -> None:
        action, label = cast[seed]
        size_wh = _size_wh(seed, len(cast))
        rgb = synthetic.render_clip(action, seed, frames, RATE_HZ, size_wh, stands=label == BACKGROUND)
        pixels = np.stack([prepare_frame(frame, config.frame_spec) for frame in rgb])
        store(clips[seed], np.arange(frames) / RATE_HZ, pixels)

    missing = [seed for seed, clip in clips.items() if not is_cached(clip)]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for done, _ in enumerate(pool.map(draw, missing), start=1):
            if on_progress is not None:
                on_progress(done, len(missing))
    finally:
        pool.shutdown(cancel_futures=True)
    return list(clips.values())


def _size_wh(seed: int, clips: int) -> tuple[int, int]:
    """The size of a clip's pictures, px: every action is drawn in all of them."""
    turn = (seed - FIRST_SEED) * CLIPS_PER_LABEL // clips
    return SIZES_WH[turn % len(SIZES_WH)]


def _cast(config: TrainConfig, labels: Sequence[str]) -> dict[int, tuple[str, int]]:
    """Seed -> (action drawn, label): every label alike, and standing as one more label where it is trained
    on.
    """
    parts = [(name, label) for label, name in enumerate(labels)]
    seeds = range(FIRST_SEED, FIRST_SEED + CLIPS_PER_LABEL * (len(parts) + (config.still_share > 0)))
    cast = {}
    for seed in seeds:
        turn, part = divmod(seed - FIRST_SEED, len(seeds) // CLIPS_PER_LABEL)
        standing = (STANDING[turn % len(STANDING)], BACKGROUND)
        cast[seed] = parts[part] if part < len(parts) else standing
    return cast


@cache
def _drawing() -> str:
    """Hash of a sample of the drawing, every action and standing: another drawing is another data set."""
    digest = hashlib.sha256()
    for seed in range(FIRST_SEED, FIRST_SEED + SAMPLED_SEEDS):
        for action in LABELS:
            digest.update(synthetic.render_clip(action, seed, SAMPLED_FRAMES, RATE_HZ).tobytes())
        standing = STANDING[seed % len(STANDING)]
        digest.update(synthetic.render_clip(standing, seed, SAMPLED_FRAMES, RATE_HZ, stands=True).tobytes())
    return digest.hexdigest()
