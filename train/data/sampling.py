"""How training windows are drawn from clips; checked here, without TensorFlow, before any clip is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract

BACKGROUND = -1  # of a window that shows none of the labels: every label is then equally likely
OTHER = "_other"  # a folder, or a label of clips.csv, of clips in which none of the labels happens


@dataclass(frozen=True)
class Sampling:
    """How training windows are drawn. batch: windows in a batch. jitter: half range of the interval's factor.

    short_share: how many windows hold fewer ticks than a window and are filled, so that length gives no label
    away. synthetic_share: how much of each batch is drawn from the synthetic clips; below half. still_share:
    how much of each batch are real scenes without motion, of the label BACKGROUND. outlier_share: how much of
    each batch are windows turned by a quarter or a half, which nobody does like that, of the label BACKGROUND
    too; below half, as all three together are. other_share: how much of each batch shows clips of OTHER,
    where there are any; below half.
    """

    contract: TemporalContract
    batch: int = 32
    seed: int = 0
    jitter: float = 0.15
    short_share: float = 0.2
    synthetic_share: float = 0.0
    still_share: float = 0.0
    outlier_share: float = 0.0
    other_share: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise MisuseError(f"a batch must hold 1 window or more, got {self.batch}")
        if not 0 <= self.jitter < 1:
            raise MisuseError(f"cadence jitter must be 0 or more and below 1, got {self.jitter}")
        if not 0 <= self.short_share <= 1:
            raise MisuseError(f"the fraction of short windows must be 0 to 1, got {self.short_share}")
        if not 0 <= self.synthetic_share < 0.5:
            raise MisuseError(
                f"synthetic windows must stay under half of a batch, got {self.synthetic_share}"
            )
        shares = self.synthetic_share, self.still_share, self.outlier_share
        if min(shares) < 0 or sum(shares) >= 0.5:
            raise MisuseError(
                "synthetic, still and outlier windows must together stay under half of a batch, got "
                f"{', '.join(map(str, shares))}"
            )

        if not 0 <= self.other_share < 0.5:
            raise MisuseError(
                f"windows of other clips must stay under half of a batch, got {self.other_share}"
            )

    @property
    def synthetic_windows(self) -> int:
        """How many windows of a batch are synthetic."""
        return int(self.batch * self.synthetic_share)

    @property
    def still_windows(self) -> int:
        """How many windows of a batch stand still."""
        return int(self.batch * self.still_share)

    @property
    def outlier_windows(self) -> int:
        """How many windows of a batch are turned."""
        return int(self.batch * self.outlier_share)

    @property
    def other_windows(self) -> int:
        """How many windows of a batch show none of the labels, where there are such clips."""
        return int(self.batch * self.other_share)
