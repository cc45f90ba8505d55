"""Small finished RUNs of every kind of model, trained for seconds on squares whose colour and motion
tell the label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.videos import moving_square, write_video

LABELS = ("Blue", "Green", "Red")  # sorted: the order of the outputs
GROUPS = 5
CLIPS_PER_GROUP = 2
FRAMES = 40
RATE_HZ = 25.0
SIZE_WH = (64, 64)
SETTINGS: dict[str, dict[str, Any]] = {
    "lrcn": {"size": 64, "epochs": 5},
    "motion": {"size": 32, "epochs": 16, "still_share": 0.0},
    "convlstm": {"size": 32, "epochs": 6, "hop_ticks": 3, "standardise": False},
}


def coloured_squares(folder: Path) -> Path:
    """A data set in UCF50's layout: one colour channel and one motion for each label. Returns `folder`."""
    for label, name in enumerate(LABELS):
        for group in range(1, GROUPS + 1):
            for clip in range(1, CLIPS_PER_GROUP + 1):
                pixels = moving_square(
                    label, FRAMES, rate_hz=RATE_HZ, size_wh=SIZE_WH, seed=group * 10 + clip
                ).astype(np.float32)
                pixels[..., [channel for channel in range(3) if channel != 2 - label]] *= 0.4
                write_video(
                    folder / name / f"v_{name}_g{group:02d}_c{clip:02d}.avi", pixels.astype(np.uint8), RATE_HZ
                )
    return folder


def train_tiny(kind: str, folder: Path, *, everything: bool = False, **changes: Any) -> Path:
    """A finished RUN under `folder`, its clips beside it; `everything`: trained on all groups."""
    from train.data.index import load_clips
    from train.data.splits import make_split
    from train.fitting.fit import train_run
    from train.runs import default_config

    clips = folder / "clips"
    if not clips.exists():
        coloured_squares(clips)
    dataset = load_clips(clips)
    settings = {"frames": 6, "windows_per_epoch": 128, "batch": 16, "label_smoothing": 0.0, "average": 0.9}
    config = default_config(kind, **(settings | SETTINGS[kind] | changes))
    out = folder / f"run-{kind}{'-all' if everything else ''}"
    split = None if everything else make_split(dataset, 0)
    train_run(config, dataset, out, split=split, cache=folder / "cache", report=lambda line: None)
    return out
