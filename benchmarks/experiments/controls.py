"""What simple means reach on a set's folds, beside any figure of a model: the first frame alone, hand-made
motion, an encoder of random weights, the frozen pretrained encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.experiments.cache import keep
from benchmarks.experiments.folds import Folds, Say
from benchmarks.measure.baseline import (
    Floats,
    encoder_features,
    motion_features,
    predict_held_out,
    raw_features,
)
from benchmarks.measure.clips import Figures, HeldOut, clip_ticks
from benchmarks.measure.frozen import frozen_encoder
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels

VERSION = 1  # counts up when what a control computes changes
HAND_MADE = "hand-made motion"
FIRST_FRAME = "first frame alone"
RANDOM = "encoder of random weights"
FROZEN = "frozen encoder"
CONTROLS = (FIRST_FRAME, HAND_MADE, RANDOM, FROZEN)

MOTION_SPEC = FrameSpec((64, 64))
CONTRACT = TemporalContract(20, 80.0)


def measure_controls(
    folds: Folds,
    numbers: Sequence[int],
    *,
    names: Sequence[str] = CONTROLS,
    size: int = 224,
    weights: Path | None = None,
    cache: Path,
    say: Say,
) -> dict[str, tuple[Figures, ...]]:
    """Figures of each control by fold, from a logistic regression on all groups that the fold does not hold
    out.

    numbers: of the folds. size: side of the encoder's pictures, pixels. weights: of the pretrained encoder;
    without them FROZEN is left out, and the first frame is seen as small grey pixels.
    """
    wanted = [name for name in names if name != FROZEN or weights is not None]
    made_of = {
        "work": "controls",
        "version": VERSION,
        "index": folds.sha256,
        "held_out": [folds.split(number)["test"] for number in numbers],
        "names": wanted,
        "size": size if {RANDOM, FROZEN, FIRST_FRAME} & set(wanted) else None,
        "weights": None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    make = partial(_measure, folds=folds, numbers=numbers, names=wanted, size=size, weights=weights, say=say)
    _, made = keep(cache, made_of, make)
    return {name: tuple(Figures.from_json(values) for values in made["figures"][name]) for name in wanted}


def _measure(
    folder: Path,
    *,
    folds: Folds,
    numbers: Sequence[int],
    names: Sequence[str],
    size: int,
    weights: Path | None,
    say: Say,
) -> dict[str, Any]:
    clips = folds.clips()
    held_out = [set(folds.split(number)["test"]) for number in numbers]
    features: dict[str, list[Floats]] = {name: [] for name in names}
    encoders = {RANDOM: frozen_encoder(size, None)} if RANDOM in names else {}
    if weights is not None and {FROZEN, FIRST_FRAME} & set(names):
        encoders[FROZEN] = frozen_encoder(size, weights)
    say(f"{folds.name}: {', '.join(names)}")
    for clip in clips:
        if HAND_MADE in names:
            features[HAND_MADE].append(motion_features(clip_ticks(clip.path, MOTION_SPEC, CONTRACT)))
        if set(names) - {HAND_MADE}:
            ticks = clip_ticks(clip.path, FrameSpec((size, size), "letterbox"), CONTRACT)
            for name, made in _appearance(ticks, encoders).items():
                if name in names:
                    features[name].append(made)
    return {
        "figures": {
            name: [one.to_json() for one in _figures(clips, features[name], held_out)] for name in names
        }
    }


def _appearance(ticks: Pixels, encoders: Mapping[str, Any]) -> dict[str, Floats]:
    """Features of the ticks of one clip, by control. encoders: RANDOM, and FROZEN where it is at hand."""
    made = {name: encoder_features(encode, ticks) for name, encode in encoders.items()}
    made[FIRST_FRAME] = encoders[FROZEN](ticks[:1])[0] if FROZEN in encoders else raw_features(ticks[0])
    return made


def _figures(
    clips: Sequence[HeldOut], features: Sequence[Floats], held_out: Sequence[set[str]]
) -> list[Figures]:
    """By fold; a control has one prediction a clip, which counts as its one window."""
    labels, groups = [clip.label for clip in clips], [clip.group for clip in clips]
    predicted = predict_held_out(features, labels, groups, held_out)
    made = []
    for group in held_out:
        part = [(clip, answer) for clip, answer in zip(clips, predicted, strict=True) if clip.group in group]
        wrong = tuple(
            {"clip": clip.name, "label": clip.label, "answer": str(answer)}
            for clip, answer in part
            if answer != clip.label
        )
        made.append(Figures(len(part), len(wrong), wrong, len(part), len(part) - len(wrong)))
    return made
