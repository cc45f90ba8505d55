"""RUNs of a pretrained encoder, whose weights are random here: quick to make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.helpers.runs import coloured_squares
from train.data.index import load_clips
from train.data.splits import make_split
from train.fitting.fit import train_run
from train.models import encoders
from train.models.families import MOBILENET_V1_025
from train.runs import Run, default_config
from train.tf import keras

QUICK = {"frames": 4, "epochs": 1, "windows_per_epoch": 16, "batch": 8, "hop_ticks": 2}


def train_pretrained(folder: Path, *, stop_at: str | None = None, **settings: Any) -> tuple[Run, list[str]]:
    """Train on coloured squares; the RUN and the lines reported. folder: may hold clips, weights, decoded
    clips and RUNs of earlier calls. stop_at: the beginning of a line at which the training is interrupted.
    """
    clips, weights = folder / "clips", folder / "weights.h5"
    if not clips.exists():
        coloured_squares(clips)
    if not weights.exists():
        keras.utils.set_random_seed(0)
        keras.applications.MobileNet(
            alpha=0.25, weights=None, include_top=False, input_shape=(224, 224, 3)
        ).save_weights(weights)
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if stop_at is not None and line.startswith(stop_at):
            raise KeyboardInterrupt

    known = encoders.ENCODERS[MOBILENET_V1_025]
    encoders.ENCODERS[MOBILENET_V1_025] = replace(known, sha256=None)
    try:
        config = default_config("lrcn", encoder=MOBILENET_V1_025, **(QUICK | settings))
        dataset = load_clips(clips)
        run = train_run(
            config,
            dataset,
            folder / str(abs(hash(str(settings)))),
            split=make_split(dataset, 0),
            cache=folder / "cache",
            report=report,
            encoder_weights=weights,
        )
    finally:
        encoders.ENCODERS[MOBILENET_V1_025] = known
    return run, lines
