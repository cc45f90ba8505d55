"""The sets of clips and the trainings that several pages are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.experiments.evaluation import Row, SetPlan
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
# With pictures of every shape and a drawn person, 450 batches know .64 of what it does, 1,500 .88.
MOTION = Experiment(
    "motion",
    "motion",
    ("--synthetic", SYNTHETIC_SHARE, "--batch", "32", "--windows", "800", "--epochs", "60"),
)
PARTS = "55,15,30"  # percent of the clips that train, choose the precision, and are measured on
# All epochs, whatever the validation groups say: those choose the precision, which training should not see.
TRAINING = ("--monitor", "none")
# Its camera gives 10 frames a second of little contrast, from which no published model learns without help.
THERMAL_CADENCE = ("--interval-ms", "100")
THERMAL_PIXELS = ("--standardise",)
SETS = (
    ClipSet("weizmann", all_integer=True),
    ClipSet("thermal", (*THERMAL_CADENCE, *THERMAL_PIXELS)),
    ClipSet("fight"),
)
# On four plays of the demo 33 of 36 actions are seen, with 7 false events; at the defaults 31, with 4.
SMOOTHING = Smoothing(smooth_s=0.5, enter=0.5, leave=0.35, min_s=0.4)


# The accuracy page. Presets along the front of accuracy and latency: s is `motion`.
SMALL = Experiment("s: motion", "motion")
MIDDLE = Experiment("m: small pictures", "lrcn", ("--preset", "m"))
WINNER = Experiment("l: large pictures", "lrcn", ("--preset", "l"))
PUBLISHED = (Experiment("LRCN, published", "lrcn"), Experiment("ConvLSTM, published", "convlstm"))
SEEDS = 3  # of SMALL and WINNER, which are measured on every fold
FEW_FOLDS = 2  # of MIDDLE, with one seed; its variants and PUBLISHED are measured on one fold


def _variant(name: str, *options: str) -> Experiment:
    return replace(MIDDLE, name=f"m, {name}", options=(*MIDDLE.options, *options))


# One change each of m, whose encoder sees RGB and differences and whose head takes means over time.
VARIANTS = (
    _variant("encoder sees RGB", "--inputs", "rgb"),
    _variant("encoder sees differences", "--inputs", "difference"),
    _variant("encoder sees three grey frames", "--inputs", "grey3"),
    _variant("encoder sees RGB, motion branch", "--inputs", "rgb", "--motion-branch"),
    _variant("LSTM head", "--head", "lstm"),
    _variant("GRU head", "--head", "gru"),
    _variant("convolution head", "--head", "convolution"),
    _variant("at 128 px", "--size", "128"),
)


@dataclass(frozen=True)
class AccuracySet:
    """A set of the accuracy page. goal: of the share of clips; by: the entries it is set for. unit: what a
    group is. count: folds by groups; None: each group is one. options: of every training; plain, encoder:
    of those without and with a pretrained encoder. variants: whether VARIANTS are measured, as float models.
    middle: whether MIDDLE is measured, where it is another one than WINNER. published: which of PUBLISHED
    are measured. note: for the page.
    """

    name: str
    goal: float
    by: tuple[Experiment, ...]
    unit: str
    count: int | None = None
    options: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    encoder: tuple[str, ...] = ()
    encoder_px: int = 224
    variants: bool = False
    middle: bool = False
    published: tuple[Experiment, ...] = ()
    note: str = ""

    def plan(self, root: Path) -> SetPlan:
        """What is measured. root: the folder of the sets."""
        rows = [
            Row(self._fitted(SMALL, self.plain), SEEDS),
            Row(self._fitted(WINNER, self.encoder), SEEDS),
        ]
        if self.middle:
            rows.append(Row(self._fitted(MIDDLE, self.encoder), folds=FEW_FOLDS))
        rows += [Row(self._fitted(entry, self.plain), folds=1) for entry in self.published]
        if self.variants:
            for entry in VARIANTS:
                made = replace(self._fitted(entry, self.encoder), converted=False)
                rows.append(Row(made, folds=1))
        return SetPlan(root / self.name, tuple(rows), self.count, encoder_px=self.encoder_px)

    def _fitted(self, entry: Experiment, more: tuple[str, ...]) -> Experiment:
        return replace(entry, options=(*self.options, *more, *entry.options))


# s and l take most of some three hours on two cores. So one seed alone becomes streams, and m, its variants
# and LRCN are measured on one set; the recipe page has ConvLSTM, whose training takes longest.
ACCURACY_SETS = (
    AccuracySet("weizmann_full", 0.98, (SMALL, WINNER), "person"),
    AccuracySet(
        "ucf9",
        0.95,
        (WINNER,),
        "source video",
        count=5,
        variants=True,
        middle=True,
        published=PUBLISHED[:1],
    ),
    AccuracySet("fight", 0.75, (SMALL, WINNER), "scene", count=5),
    AccuracySet(
        "thermal",
        0.85,
        (SMALL, WINNER),
        "person",
        count=3,
        options=THERMAL_CADENCE,
        plain=THERMAL_PIXELS,
        encoder=("--size", "96"),
        encoder_px=96,
        note="Its camera has 16x16 pixels, of which 224 show no more: l sees 96 here, so it is m too.",
    ),
)
FIGHT_NEXT_GOAL = 0.8
STREAM_POINTS = 2.0  # that the stream may lose
