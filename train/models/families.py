"""The families of models that `edge-har train` knows: the description of each, and the settings that suit it.

Without TensorFlow: help texts and configurations read it. `train.models.architectures` builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LRCN, CONVLSTM, MOTION = "lrcn", "convlstm", "motion"


@dataclass(frozen=True)
class Family:
    """What is known of a family. description: for model cards. smallest_px: side of its frames; below, a pool
    or a convolution has nothing left. settings: of `TrainConfig`, where others than the class's own suit it
    better. results_per_window: how many results its stream gives while a window passes; None: one each tick.
    """

    description: str
    smallest_px: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    results_per_window: int | None = None


# Tried on weizmann's groups: models of plain RGB learn slowly under strong changes and grow sure of their
# errors, so that their validation loss is lowest before they know anything; a ConvLSTM needs many small steps
# with clipped gradients.
# Standardised pixels measured better on every set tried.
PLAIN_RGB = {"augmentation": 0.35, "average": 0.0, "monitor": "accuracy", "standardise": True, "batch": 8}
FAMILIES = {
    LRCN: Family(
        "LRCN: four convolutions per frame, an LSTM over the frames (published architecture)",
        smallest_px=64,
        settings={"steps": 2000, **PLAIN_RGB},
    ),
    CONVLSTM: Family(
        "ConvLSTM: four convolutional LSTMs with pooling (published architecture)",
        smallest_px=31,
        settings={
            "steps": 1200,
            "learning_rate": 4e-3,
            "label_smoothing": 0.0,
            "clip_norm": 1.0,
            **PLAIN_RGB,
        },
        results_per_window=4,
    ),
    MOTION: Family(
        "differences of consecutive frames, convolutions per difference, convolutions over time",
        smallest_px=16,
        settings={
            "learning_rate": 3e-3,
            "average": 0.985,
            "still_share": 0.125,
        },
    ),
}
# Of the tutorial notebooks that the published models come from: every clip once in an epoch, Adam.
_NOTEBOOK = {
    "recipe": "notebook",
    "batch": 4,
    "learning_rate": 1e-3,
    "mirror": "off",
    "augmentation": 0.0,
    "jitter": 0.0,
    "short_share": 0.0,
    "average": 0.0,
    "label_smoothing": 0.0,
}
NOTEBOOK_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    LRCN: {"epochs": 70, "patience": 15, **_NOTEBOOK},
    CONVLSTM: {"epochs": 50, "patience": 10, **_NOTEBOOK},
}
