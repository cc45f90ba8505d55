"""A source's frames -> prepared frames at the model's ticks; what no tick needs is neither converted nor
resized.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from edge_har.errors import BundleError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.pipeline.squeezed import Squeezed, squeezed
from edge_har.sources.base import Source


@dataclass(frozen=True)
class Ticks:
    """Consecutive ticks that share one frame; more than one where the source is slower than the model.

    times_s: when they are, seconds of the source's clock. frame: prepared, uint8 [height, width, 3], RGB.
    reset: the tick clock starts with them. cost_s: seconds spent on converting and preparing. grabbed_s: when
    the frame came, on time.monotonic(). picture: the frame as the source gave it, in the order `color`, where
    a frame sink wants it; else None.
    """

    times_s: tuple[float, ...]
    frame: Pixels
    reset: bool
    cost_s: float
    made_by: Sampler = field(compare=False, repr=False)
    grabbed_s: float = 0.0
    picture: Pixels | None = field(default=None, compare=False, repr=False)
    color: Literal["rgb", "bgr"] = "bgr"


class Sampler:
    """The tick clock of one source, and the frames of its ticks.

    frames, damaged: how many frames were offered, and could not be decoded. A tick whose frame is damaged
    takes the next one. wants_picture: whether a frame sink wants the next tick's picture. squeezed: the first
    picture that had another shape than the model learned from. Raises BundleError for a contract that is not
    sampled by time: only whole, trimmed clips can be spread.
    """

    def __init__(
        self, spec: FrameSpec, contract: TemporalContract, wants_picture: Callable[[], bool] | None = None
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
        self.squeezed: Squeezed | None = None
        self._wants_picture = wants_picture
        self._part = 0
        # Times of ticks whose frame was damaged: the next one serves them too.
        self._pending_ticks: tuple[float, ...] = ()
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
        """The ticks that the frame just grabbed at `time_s` serves, or None: then it was not even
        converted.
        """
        self.frames += 1
        self.last_s = time_s
        source.want_every(self.cadence.interval_s)
        if source.part != self._part:
            self._part = source.part
            self.cadence.restart()
        due = self.cadence.due(time_s)
        if due.reset:
            self._pending_ticks, self._reset = (), True
        times_s = self._pending_ticks + tuple(
            self.cadence.tick_time_s(tick) for tick in range(due.first, due.first + due.count)
        )
        if not times_s:
            return None
        began, grabbed_s = time.perf_counter(), time.monotonic()
        try:
            pixels = source.retrieve()
        except SourceError:
            self.damaged += 1
            self._pending_ticks = times_s
            return None
        if self.squeezed is None:
            self.squeezed = squeezed((pixels.shape[1], pixels.shape[0]), self.spec, source.address)
        frame = prepare_frame(pixels, self.spec, color=source.color)
        shown = self._wants_picture is not None and self._wants_picture()
        ticks = Ticks(
            times_s,
            frame,
            self._reset,
            time.perf_counter() - began,
            self,
            grabbed_s,
            pixels if shown else None,
            source.color,
        )
        self._pending_ticks, self._reset = (), False
        return ticks

    def restart(self) -> None:
        """The source was reconnected: the next frame starts the tick clock."""
        self.cadence.restart()


def ticks_of(source: Source, sampler: Sampler) -> Iterator[Ticks]:
    """All ticks of `source` to its end; the source is left open. Raises SourceError where it fails."""
    while (time_s := source.grab()) is not None:
        made = sampler.offer(source, time_s)
        if made is not None:
            yield made
