"""Bundles of the project's models in their true sizes, with random weights: for cost, not for recognition."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np

from edge_har.model.bundle import MODEL_CARD, write_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from tests.helpers.alone import made_once
from tests.helpers.need import need_module

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "tests"
VERSION = 1  # another where the models or what is done here changes
FRAMES, SIDE, INTERVAL_MS = 20, 64, 80.0
LABELS = ("A", "B", "C", "D")


@functools.cache
def published_bundle(kind: str) -> Path:
    """A converted bundle of `lrcn`, `motion` or `convlstm`;
    made with TensorFlow once, then kept in .cache.
    """
    path = CACHE / f"published-{kind}-{VERSION}.ehar"
    if not path.is_file():
        need_module("tensorflow", "pip install -e '.[workstation]'")
    return made_once(path, lambda: _make(kind, path))


def _make(kind: str, path: Path) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from convert.tflite.build import GraphBuilder
    from train.models.architectures import build as build_model

    clips = np.random.default_rng(0).integers(0, 256, (8, FRAMES, SIDE, SIDE, 3), np.uint8)
    built = GraphBuilder(
        build_model(kind, FRAMES, SIDE, len(LABELS)),
        kind=kind,
        labels=LABELS,
        frame=FrameSpec((SIDE, SIDE)),
        temporal=TemporalContract(FRAMES, INTERVAL_MS, hop_ticks=5 if kind == "convlstm" else 1),
        calibration=clips,
        log=path.with_suffix(".log"),
        name=kind,
    ).forced()
    write_bundle(path, built.manifest, {MODEL_CARD: b"# Random weights\n", **built.files})
