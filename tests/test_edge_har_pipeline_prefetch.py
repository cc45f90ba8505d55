"""Reading ahead gives what reading in turn gives, and ends with whoever listens."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

from edge_har.errors import SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.pipeline.prefetch import AHEAD, FRAME_TIMES, ticks_ahead
from edge_har.pipeline.sampler import Sampler
from edge_har.sources.base import Source

SPEC, CONTRACT = FrameSpec((8, 8)), TemporalContract(4, 80.0)


class Numbered(Source):
    """Frames of one grey level each at given times; some are damaged. `fails`: instead of the end."""

    def __init__(self, times_s: list[float], damaged: tuple[int, ...] = (), fails: bool = False) -> None:
        self.at = -1
        self._times_s, self._damaged, self._fails = times_s, damaged, fails

    def grab(self) -> float | None:
        self.at += 1
        if self.at < len(self._times_s):
            return self._times_s[self.at]
        if self._fails:
            raise SourceError("broke off")
        return None

    def retrieve(self) -> Pixels:
        if self.at in self._damaged:
            raise SourceError("damaged")
        return np.full((8, 8, 3), self.at % 256, np.uint8)

    def close(self) -> None:
        """Nothing to do."""


def times(rate_hz: float, frames: int) -> list[float]:
    return [number / rate_hz for number in range(frames)]


@pytest.mark.parametrize("rate_hz", [5, 12.5, 25, 60])
def test_the_ticks_are_those_of_reading_in_turn(rate_hz: float) -> None:
    all_s = [*times(rate_hz, 100), *(t + 500 for t in times(rate_hz, 50))]
    in_turn, source = Sampler(SPEC, CONTRACT), Numbered(all_s, damaged=(10, 11, 100))
    expected = []
    while (time_s := source.grab()) is not None:
        expected.append((time_s, in_turn.offer(source, time_s)))
    ahead = Sampler(SPEC, CONTRACT)
    read = list(ticks_ahead(Numbered(all_s, damaged=(10, 11, 100)), ahead))
    made = [ticks for _, ticks in read if ticks is not None]
    wanted = [ticks for _, ticks in expected if ticks is not None]
    assert [(t.times_s, t.reset, t.frame.tobytes()) for t in made] == [
        (t.times_s, t.reset, t.frame.tobytes()) for t in wanted
    ]
    assert [given_s[-1] for given_s, ticks in read if ticks is not None] == [
        time_s for time_s, ticks in expected if ticks is not None
    ]
    given_s = [time_s for some_s, _ in read for time_s in some_s]
    assert given_s[-1] == all_s[-1] and all(a < b for a, b in pairwise(given_s))
    # Only where many frames passed between ticks are some not told of, and never the latest.
    assert given_s == all_s or max(len(some_s) for some_s, _ in read) == FRAME_TIMES
    assert (ahead.frames, ahead.damaged) == (in_turn.frames, in_turn.damaged) == (150, in_turn.damaged)


def test_what_the_source_raises_is_raised_after_what_it_gave() -> None:
    read = ticks_ahead(Numbered(times(12.5, 5), fails=True), Sampler(SPEC, CONTRACT))
    assert [next(read)[0] for _ in range(5)] == [(t,) for t in times(12.5, 5)]
    with pytest.raises(SourceError, match="broke off"):
        next(read)


def test_it_is_ahead_by_a_few_pictures_alone_and_ends_with_whoever_listens() -> None:
    source = Numbered(times(12.5, 1000))
    read = ticks_ahead(source, Sampler(SPEC, CONTRACT))
    for _ in range(10):
        next(read)
    read.close()
    assert source.at <= 10 + AHEAD + 2
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
