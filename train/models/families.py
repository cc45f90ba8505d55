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
PLAIN_RGB = {"augmentation": 0.35, "average": 0.0, "monitor": "accuracy"}
FAMILIES = {
    LRCN: Family(
        "LRCN: four convolutions per frame, an LSTM over the frames (published architecture)",
        smallest_px=64,
        settings={"epochs": 50, "patience": 50, **PLAIN_RGB},
    ),
    CONVLSTM: Family(
        "ConvLSTM: four convolutional LSTMs with pooling (published architecture)",
        smallest_px=31,
        settings={
            "epochs": 30,
            "patience": 30,
            "windows_per_epoch": 160,
            "batch": 16,
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
            "epochs": 60,
            "patience": 25,
            "learning_rate": 3e-3,
            "average": 0.985,
            "still_share": 0.125,
        },
    ),
}
