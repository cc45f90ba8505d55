"""How long a training goes on: steps, epochs and patience from the number of training windows.

A small set needs a number of steps that its size does not change (`TrainConfig.steps`, known of each
family); a larger one needs to be seen a number of times. Arithmetic alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_har.model.cadence import TemporalContract
from train.runs import NOTEBOOK, TrainConfig

if TYPE_CHECKING:
    from train.data.batches import CachedClip

PASSES = 20  # over the training windows, where that is more than the family's steps
MOST_TIMES = 4  # the family's steps: what a large set is given at most
SHORTEST_EPOCHS, LONGEST_EPOCHS = 20, 60  # epochs of a training are between these: one is then 1/20 to 1/60
PATIENCE_FRACTION = 5 / 12  # of the epochs; published models of plain RGB stand still that long and go on
LEAST_PATIENCE = 5  # epochs
LONGER = 1.5  # times the planned epochs: where a training ends that still gets better
STILL_BETTER_FRACTION = 0.1  # of the planned epochs: a best epoch as late as this lets it go on
WARMUP_FRACTION = 0.05  # of the steps in which the learning rate rises
LONGEST_WARMUP = 100  # steps
WATCHED_FRACTION = 0.2  # of the steps in which the training loss must have left chance
FEWEST_WATCHED = 150  # steps: fewer say nothing
AT_CHANCE = 0.97  # of log(classes): a mean training loss above it has learnt nothing
RESTARTS = 2  # with other weights, at most


@dataclass(frozen=True)
class Budget:
    """What a training may take. windows: distinct ones of the training clips. steps_per_epoch: batches.

    epochs: planned, over which the learning rate falls. longest: where it ends though validation still gets
    better. patience: epochs without a better validation that end it. warmup_steps: at the start, in which the
    learning rate rises. watched_epochs: after which a training loss at chance is started again; 0 never.
    """

    windows: int
    steps_per_epoch: int
    epochs: int
    longest: int
    patience: int
    warmup_steps: int
    watched_epochs: int

    @property
    def steps(self) -> int:
        """Batches in the planned epochs."""
        return self.steps_per_epoch * self.epochs

    @property
    def still_better(self) -> int:
        """How many epochs ago the best one may be, at the end of the planned epochs, for more to follow."""
        return math.ceil(STILL_BETTER_FRACTION * self.epochs)

    def ends(self, epochs: int, without_better: int) -> bool:
        """Whether training is over after `epochs`, the last `without_better` of which were not the best."""
        planned = epochs >= self.epochs and without_better >= self.still_better
        return epochs >= self.longest or planned or without_better >= self.patience

    def at_chance(self, losses: Sequence[float], classes: int) -> bool:
        """Whether the training losses of the epochs so far say that nothing is learnt."""
        watched = losses[: self.watched_epochs]
        enough = self.watched_epochs and len(watched) == self.watched_epochs
        return bool(enough) and min(watched) >= AT_CHANCE * math.log(classes)

    def unvalidated(self) -> Budget:
        """The same where no validation says whether it gets better: all planned epochs, and no more."""
        return replace(self, longest=self.epochs, patience=self.epochs + 1)

    def refit(self, windows: int, epochs: int) -> Budget:
        """The same for more training windows, each seen as often, over before its planned end: after so many
        epochs.
        """
        steps = max(1, round(self.steps_per_epoch * windows / self.windows))
        return replace(self.unvalidated(), windows=windows, steps_per_epoch=steps, longest=epochs)

    def to_json(self) -> dict[str, int]:
        """As metrics.json holds it."""
        return asdict(self)


def training_windows(clips: Sequence[CachedClip], contract: TemporalContract) -> int:
    """How many windows the clips hold that do not overlap, one at least of each clip."""
    if contract.sampling == "spread":
        return len(clips)
    window_s = contract.frames * contract.interval_ms / 1000
    return int(sum(max(1, round(float(np.ptp(clip.times_s())) / window_s)) for clip in clips))


def budget_of(config: TrainConfig, windows: int) -> Budget:
    """The budget of a training with validation; what `config` gives (epochs, patience, windows_per_epoch)
    is taken, the rest follows from `windows`. Given epochs are all there are. The notebooks' recipe sees each
    window once in an epoch, and neither warms up nor starts again.
    """
    sampling = config.sampling
    real = config.batch - sampling.synthetic_windows - sampling.still_windows - sampling.outlier_windows
    own = config.recipe != NOTEBOOK
    steps = min(max(config.steps, round(PASSES * windows / real)), MOST_TIMES * config.steps)
    if config.windows_per_epoch is not None:
        per_epoch = max(1, round(config.windows_per_epoch / config.batch))
    elif not own:
        per_epoch = math.ceil(windows / real)
    else:
        bounds = math.ceil(steps / LONGEST_EPOCHS), math.ceil(steps / SHORTEST_EPOCHS)
        per_epoch = min(max(math.ceil(windows / real), bounds[0]), bounds[1])
    epochs = config.epochs or math.ceil(steps / per_epoch)
    total = per_epoch * epochs
    watched = math.ceil(max(FEWEST_WATCHED, WATCHED_FRACTION * total) / per_epoch)
    return Budget(
        windows=windows,
        steps_per_epoch=per_epoch,
        epochs=epochs,
        longest=config.epochs or math.ceil(LONGER * epochs),
        patience=config.patience or max(LEAST_PATIENCE, round(PATIENCE_FRACTION * epochs)),
        warmup_steps=min(LONGEST_WARMUP, int(WARMUP_FRACTION * total)) if own else 0,
        watched_epochs=watched if own and 2 * watched <= epochs else 0,
    )


def budget_line(budget: Budget) -> str:
    """One line for a person: how long the training may be."""
    longest = f", at most {budget.longest}" if budget.longest > budget.epochs else ""
    waits = (
        f"; {budget.patience} without a better validation end it" if budget.patience < budget.epochs else ""
    )
    return (
        f"{budget.windows} training windows: {budget.epochs} epochs{longest} of {budget.steps_per_epoch} "
        f"batches{waits}"
    )
