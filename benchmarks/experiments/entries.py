"""The sets of clips and the trainings that several pages are made of."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.experiments.folds import Experiment
from edge_har.model.manifest import Smoothing


@dataclass(frozen=True)
class ClipSet:
    """A folder of clips, and the options of `edge-har train` that fit it. all_integer: a ConvLSTM's integer
    forms are measured too; their 16-bit kernels take most of an hour over thousands of windows.
    """

    name: str
    options: tuple[str, ...] = ()
    all_integer: bool = False


SYNTHETIC_SHARE = "0.3125"  # of each training batch of the shipped model
# One person says too little of when a model of plain RGB is best: these train on that person too, to the end.
LRCN = Experiment("LRCN", "lrcn", ("--no-validation",))
CONVLSTM = Experiment("ConvLSTM", "convlstm", ("--no-validation",))
MOTION = Experiment("motion", "motion", ("--synthetic", SYNTHETIC_SHARE))
MOTION_ALONE = Experiment("motion, real clips alone", "motion", converted=False)
PARTS = "55,15,30"  # percent of the clips that train, choose the precision, and are measured on
# All epochs, whatever the validation groups say: those choose the precision, which training should not see.
TRAINING = ("--monitor", "none")
SETS = (
    ClipSet("weizmann", all_integer=True),
    # Its camera gives 10 frames a second of little contrast, from which neither model learns without help.
    ClipSet("thermal", ("--interval-ms", "100", "--standardise", "--windows", "320")),
    ClipSet("fight"),
)
# On four plays of the demo 33 of 36 actions are seen, with 7 false events; at the defaults 31, with 4.
SMOOTHING = Smoothing(smooth_s=0.5, enter=0.5, leave=0.35, min_s=0.4)
