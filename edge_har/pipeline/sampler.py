"""A source's frames -> prepared frames at the model's ticks; what no tick needs is neither converted nor resized."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from edge_har.errors import BundleError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.sources.base import Source


@dataclass(frozen=True)
class Ticks:
    """Consecutive ticks that share one frame; more than one where the source is slower than the model.

    times_s: when they are, seconds of the source's clock. frame: prepared, uint8 [height, width, 3], RGB.
    reset: the tick clock began anew with them. cost_s: seconds spent on converting and preparing. grabbed_s: when the
    frame came, on time.monotonic(). picture: the frame as the source gave it, in the order `color`, where anybody wants
    to see it; else None.
    """

    times_s: tuple[float, ...]
    frame: Pixels
    reset: bool
    cost_s: float
    made_by: Sampler = field(compare=False, repr=False)
    grabbed_s: float = 0.0
    picture: Pixels | None = field(default=None, compare=False, repr=False)
    color: Literal["rgb", "bgr"] = "bgr"


@dataclass(frozen=True)
class Taken:
    """The frame of consecutive ticks as the source gave it; as Ticks, but pixels: in the order `color`."""

    times_s: tuple[float, ...]
    pixels: Pixels = field(compare=False, repr=False)
    color: Literal["rgb", "bgr"]
    reset: bool
    grabbed_s: float
    cost_s: float


class Sampler:
    """The tick clock of one source, and the frames that its ticks take.

    frames, damaged: how many frames were offered, and could not be decoded. A tick whose frame is damaged takes the
    next one. wanted: whether anybody wants to see the next tick's picture. Raises BundleError for a contract that is
    not sampled by time: only whole, trimmed clips can be spread.
    """

    def __init__(
        self, spec: FrameSpec, contract: TemporalContract, wanted: Callable[[], bool] | None = None
    ) -> None:
        if contract.sampling != "interval":
            raise BundleError(
                f"the model samples by {contract.sampling!r}, not by time: it cannot follow a stream"
            )
        self.spec = spec
        self.contract = contract
        self.cadence = contract.cadence()
        self.frames = 0
        self.damaged = 0
        self.last_s: float | None = None
        self._wanted = wanted
        self._part = 0
        self._owed: tuple[float, ...] = ()
        self._reset = False

    @property
    def repeated(self) -> int:
        """Ticks that had to share a frame."""
        return self.cadence.repeated

    @property
    def unused(self) -> int:
        """Frames that no tick needed."""
        return self.cadence.unused

    def offer(self, source: Source, time_s: float) -> Ticks | None:
        """The ticks that the frame just grabbed at `time_s` answers, or None: then it was not even converted."""
        taken = self.take(source, time_s)
        return None if taken is None else self.prepare(taken)

    def take(self, source: Source, time_s: float) -> Taken | None:
        """As `offer`, with the frame as the source gives it: `prepare` makes ticks of it."""
        self.frames += 1
        self.last_s = time_s
        if source.part != self._part:
            self._part = source.part
            self.cadence.restart()
        due = self.cadence.due(time_s)
        if due.reset:
            self._owed, self._reset = (), True
        times_s = self._owed + tuple(
            self.cadence.tick_time_s(tick) for tick in range(due.first, due.first + due.count)
        )
        if not times_s:
            return None
        began, grabbed_s = time.perf_counter(), time.monotonic()
        try:
            pixels = source.retrieve()
        except SourceError:
            self.damaged += 1
            self._owed = times_s
            return None
        taken = Taken(times_s, pixels, source.color, self._reset, grabbed_s, time.perf_counter() - began)
        self._owed, self._reset = (), False
        return taken

    def prepare(self, taken: Taken) -> Ticks:
        """Ticks with the model's frame."""
        began = time.perf_counter()
        frame = prepare_frame(taken.pixels, self.spec, color=taken.color)
        shown = self._wanted is not None and self._wanted()
        return Ticks(
            taken.times_s,
            frame,
            taken.reset,
            taken.cost_s + time.perf_counter() - began,
            self,
            taken.grabbed_s,
            taken.pixels if shown else None,
            taken.color,
        )

    def restart(self) -> None:
        """The source was opened again: the next frame starts the tick clock."""
        self.cadence.restart()


def ticks_of(source: Source, sampler: Sampler) -> Iterator[Ticks]:
    """All ticks of `source` to its end; the source is left open. Raises SourceError where it fails."""
    while (time_s := source.grab()) is not None:
        made = sampler.offer(source, time_s)
        if made is not None:
            yield made
