"""The families of models that `edge-har train` knows: the description of each, and the settings that suit it.

Without TensorFlow: help texts and configurations read it. `train.models.architectures` builds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_har.errors import MisuseError

LRCN, CONVLSTM, MOTION = "lrcn", "convlstm", "motion"
PUBLISHED = "published"
MOBILENET_V1_025 = "mobilenet_v1_0.25"
ENCODER_NAMES = (PUBLISHED, MOBILENET_V1_025, "mobilenet_v1_0.5", "mobilenet_v2_0.35")
RGB, DIFFERENCE, GREY3, BOTH = "rgb", "difference", "grey3", "both"
# What an encoder sees in a tick, and of how many frames that is made.
INPUTS = {RGB: 1, DIFFERENCE: 2, GREY3: 3, BOTH: 2}
LSTM, GRU, CONVOLUTION, STATISTICS = "lstm", "gru", "convolution", "statistics"
HEADS = (LSTM, GRU, CONVOLUTION, STATISTICS)
# A pretrained encoder halves its picture five times: other sides leave borders that its padding treats
# otherwise than in its own training.
SIZE_STEP_PX = 32
PRETRAINED_SIZES_PX = tuple(range(96, 225, SIZE_STEP_PX))


@dataclass(frozen=True)
class Design:
    """What an LRCN is made of; the defaults are the published one. Raises MisuseError.

    encoder: what makes features of a tick, one of ENCODER_NAMES. inputs: what it sees, a key of INPUTS: the
    frame, the difference of two frames, three frames as grey in the three channels, or both of the first two,
    each through an encoder of its own. head: what makes scores of a window's features, one of HEADS.
    motion_branch: a small network over differences of two frames beside the encoder, whose features stand
    beside the encoder's.
    """

    encoder: str = PUBLISHED
    inputs: str = RGB
    head: str = LSTM
    motion_branch: bool = False

    def __post_init__(self) -> None:
        for name, known in (("encoder", ENCODER_NAMES), ("inputs", tuple(INPUTS)), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise MisuseError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def pretrained(self) -> bool:
        """Whether the encoder's weights come from elsewhere."""
        return self.encoder != PUBLISHED

    @property
    def frames_per_step(self) -> int:
        """How many frames a tick's features are made of."""
        return max(INPUTS[self.inputs], 2 if self.motion_branch else 1)

    def check(self, model: str, size: int) -> None:
        """Raises MisuseError where the family `model` or frames of `size` pixels cannot take this design."""
        if model != LRCN and self != Design():
            raise MisuseError(
                f"encoder, inputs, head and motion branch are choices of {LRCN}, not of {model}"
            )
        if self.inputs == BOTH and not self.pretrained:
            raise MisuseError(f"inputs {BOTH!r} needs a pretrained encoder: choose one with --encoder")
        if self.pretrained and size not in PRETRAINED_SIZES_PX:
            sizes = ", ".join(map(str, PRETRAINED_SIZES_PX))
            raise MisuseError(f"{self.encoder} takes frames of {sizes} pixels a side, got {size}")


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
            # Pictures of every shape need them: of a person's ten clips 600 steps knew 8, 1,500 all.
            "steps": 1500,
            "batch": 16,
            "learning_rate": 3e-3,
            "average": 0.985,
            "still_share": 0.125,
        },
    ),
}
# Of the tutorial notebooks that the published models come from: every clip once in an epoch, Adam.
_NOTEBOOK = {
    "recipe": "notebook",
    "fit": "stretch",
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

# Of an LRCN whose encoder is pretrained: its head is trained on features that are computed once, which is
# cheap.
PRETRAINED_SETTINGS: dict[str, Any] = {
    "size": 96,
    "inputs": BOTH,
    "head": STATISTICS,
    "learning_rate": 1e-3,
    "label_smoothing": 0.1,
    "average": 0.98,
    "augmentation": 0.5,
    # Scores of frozen features have one best solution, reached late; the loss is lowest long before, where
    # they are less sure, which `convert` mends by a temperature. So all epochs are trained, and validation
    # clips, which then choose nothing, train the final head too.
    "monitor": "none",
    "refit": True,
}


@dataclass(frozen=True)
class Preset:
    """A model along the front of accuracy and latency: a family, and the settings of `TrainConfig` that make
    it."""

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS = {
    "s": Preset(MOTION),
    "m": Preset(LRCN, {"encoder": MOBILENET_V1_025, "size": 96}),
    "l": Preset(LRCN, {"encoder": MOBILENET_V1_025, "size": 224}),
}
