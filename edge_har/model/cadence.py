"""Frames with times -> ticks at the model's interval; windows of ticks.
Arithmetic on times, never on frame counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_har.errors import BundleError, MisuseError
from edge_har.model.values import check_range, real, whole

# A camera gives up to 100 frames a second; what lasts longer than 10 s from tick to tick is no movement.
INTERVAL_MS = (10, 10_000)
# A movement needs two frames; 600 are a minute at 10 a second, and memory grows with them.
FRAMES = (2, 600)
# One frame stands in for all ticks of a gap, 6,000 at most.
MAX_GAP_MS = 60_000
TIME_TOLERANCE_S = 1e-6  # float noise of a container's times; far below any frame's duration
SAMPLINGS = ("interval", "spread")


@dataclass(frozen=True)
class TemporalContract:
    """How a model wants time sampled: `frames` ticks, `interval_ms` apart, a result every `hop_ticks`.

    max_gap_ms: a longer silence between two frames resets everything (default: `usual_gap_ms`). sampling:
    `interval` is fit for live streams; `spread` (frames spread evenly over a whole trimmed clip, as notebooks
    do) is not.

    Raises MisuseError when a value is outside its bounds (INTERVAL_MS, FRAMES, MAX_GAP_MS) or they do not go
    together.
    """

    frames: int
    interval_ms: float
    hop_ticks: int = 1
    max_gap_ms: float | None = None
    sampling: Literal["interval", "spread"] = "interval"

    def __post_init__(self) -> None:
        check_range("frames", self.frames, *FRAMES, MisuseError)
        check_range("interval_ms", self.interval_ms, *INTERVAL_MS, MisuseError)
        if self.hop_ticks < 1 or self.frames % self.hop_ticks:
            raise MisuseError(f"hop_ticks must divide the {self.frames} frames, got {self.hop_ticks}")
        if self.max_gap_ms is not None:
            check_range("max_gap_ms", self.max_gap_ms, self.interval_ms, MAX_GAP_MS, MisuseError)
        if self.sampling not in SAMPLINGS:
            raise MisuseError(f"sampling must be one of {', '.join(SAMPLINGS)}, got {self.sampling!r}")

    @property
    def window_s(self) -> float:
        """Seconds between the first and the last tick of a window."""
        return (self.frames - 1) * self.interval_ms / 1000

    @property
    def gap_ms(self) -> float:
        """The silence, in milliseconds, after which a stream's clock starts again."""
        return usual_gap_ms(self.interval_ms) if self.max_gap_ms is None else self.max_gap_ms

    def cadence(self) -> Cadence:
        """A fresh tick clock for one stream."""
        return Cadence(self.interval_ms, self.gap_ms)

    def to_json(self) -> dict[str, Any]:
        """The contract as a manifest's JSON."""
        return {
            "frames": self.frames,
            "interval_ms": self.interval_ms,
            "hop_ticks": self.hop_ticks,
            "max_gap_ms": self.gap_ms,
            "sampling": self.sampling,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TemporalContract:
        """Read a manifest's `temporal`; raises BundleError when it is not a contract."""
        try:
            return cls(
                frames=whole(data["frames"]),
                interval_ms=real(data["interval_ms"]),
                hop_ticks=whole(data["hop_ticks"]),
                max_gap_ms=None if data.get("max_gap_ms") is None else real(data["max_gap_ms"]),
                sampling=data.get("sampling", "interval"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"manifest key 'temporal' is not a temporal contract: {error}") from error


def usual_gap_ms(interval_ms: float) -> float:
    """The gap, in milliseconds, of a contract that names none: the larger of two intervals and 1000 ms."""
    return max(2 * interval_ms, 1000.0)


@dataclass(frozen=True)
class Due:
    """What one frame is for: ticks `first` to `first + count - 1`;
    `reset` when it starts a new tick clock.
    """

    first: int
    count: int
    reset: bool


class Cadence:
    """The tick clock of one stream: tick k is at t0 + k x interval and takes the first frame at or after it.

    interval_ms, max_gap_ms: milliseconds. `repeated` counts ticks that repeated a frame, `unused` frames that
    no tick needed. A gap longer than max_gap_ms, or a time that runs backwards,
    starts the clock again at that frame.
    """

    def __init__(self, interval_ms: float, max_gap_ms: float) -> None:
        self.interval_s = interval_ms / 1000
        self.max_gap_s = max_gap_ms / 1000
        self.repeated = 0
        self.unused = 0
        self._start_s: float | None = None
        self._last_s = 0.0
        self._next_tick = 0

    def due(self, time_s: float) -> Due:
        """The ticks that the frame at `time_s` (seconds on the source's clock) serves; count 0 when none."""
        if not math.isfinite(time_s):
            raise MisuseError(f"a frame's time must be a finite number of seconds, got {time_s}")
        reset = self._start_s is None or not (
            -TIME_TOLERANCE_S <= time_s - self._last_s <= self.max_gap_s + TIME_TOLERANCE_S
        )
        if reset:
            self._start_s, self._next_tick = time_s, 0
        self._last_s = time_s
        assert self._start_s is not None
        first = self._next_tick
        passed = math.floor((time_s - self._start_s + TIME_TOLERANCE_S) / self.interval_s)
        count = max(0, passed - first + 1)
        self._next_tick += count
        if count == 0:
            self.unused += 1
        self.repeated += max(0, count - 1)
        return Due(first, count, reset)

    def tick_time_s(self, tick: int) -> float:
        """When tick `tick` of the current clock is, in the source's seconds;
        raises MisuseError before any frame.
        """
        if self._start_s is None:
            raise MisuseError("the tick clock has not started: no frame was offered yet")
        return self._start_s + tick * self.interval_s

    def restart(self) -> None:
        """Forget the clock (a reconnect, a new file); the next frame starts it again. Counters go on."""
        self._start_s = None


def fill_indices(available: int, frames: int) -> list[int]:
    """Which of `available` ticks fill a window of `frames`: in order, then back and forth (0 1 2 1 0 1 ...).

    Raises MisuseError when there is nothing to fill from.
    """
    if available < 1:
        raise MisuseError("a window cannot be filled from no frames")
    period = max(1, 2 * (available - 1))
    return [min(i % period, period - i % period) if available > 1 else 0 for i in range(frames)]


def window_starts(ticks: int, frames: int, hop_ticks: int) -> list[int]:
    """First ticks of the windows of a file with `ticks` ticks:
    each hop, and one aligned to the end for the rest.

    A file shorter than a window has one window, at 0 (its ticks come from `fill_indices`);
    no ticks, no windows.
    """
    if ticks < 1:
        return []
    last = max(0, ticks - frames)
    starts = list(range(0, last + 1, hop_ticks))
    return starts if starts[-1] == last else [*starts, last]


def window_indices(ticks: int, frames: int, hop_ticks: int) -> list[list[int]]:
    """Which ticks each window of a file with `ticks` ticks holds, `frames` of them each.

    A file shorter than a window has one, filled as `fill_indices` does.
    Raises MisuseError when there is no tick.
    """
    if ticks < frames:
        return [fill_indices(ticks, frames)]
    return [list(range(start, start + frames)) for start in window_starts(ticks, frames, hop_ticks)]
