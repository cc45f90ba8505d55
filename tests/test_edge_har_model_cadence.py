"""Ticks by time: a table of edge cases, and what holds for every stream of times."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import BundleError, MisuseError
from edge_har.model.cadence import Cadence, Due, TemporalContract, fill_indices, window_starts

INTERVAL_MS, GAP_MS = 80.0, 1000.0


def taken(times_s: list[float], interval_ms: float = INTERVAL_MS, gap_ms: float = GAP_MS) -> list[Due]:
    cadence = Cadence(interval_ms, gap_ms)
    return [cadence.due(time_s) for time_s in times_s]


CASES = {
    "25 fps: every other frame": ([i / 25 for i in range(5)], [1, 0, 1, 0, 1]),
    "at the rate: every frame": ([i * 0.08 for i in range(4)], [1, 1, 1, 1]),
    "a tick takes the first frame at or after it": ([0, 0.079, 0.081, 0.159, 0.2], [1, 0, 1, 0, 1]),
    "8 fps: frames are repeated": ([i / 8 for i in range(6)], [1, 1, 2, 1, 2, 1]),
    "rounding in a container is no late frame": ([0, 0.0799999999, 0.1600000001], [1, 1, 1]),
    "ticks are not accumulated": ([0, 0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1, 2]),
    "two frames at one time": ([0, 0.08, 0.08], [1, 1, 0]),
    "a silence just short of the gap repeats": ([0, 1.0], [1, 12]),
    "a silence above the gap starts anew": ([0, 1.01, 1.09], [1, 1, 1]),
    "time that runs backwards starts anew": ([5, 5.08, 1, 1.08], [1, 1, 1, 1]),
    "a first frame late in its container": ([7.3, 7.38], [1, 1]),
}


@pytest.mark.parametrize("name", CASES)
def test_which_ticks_a_frame_serves(name: str) -> None:
    times_s, counts = CASES[name]
    assert [due.count for due in taken(times_s)] == counts


def test_resets_are_reported() -> None:
    assert [due.reset for due in taken([0, 0.1, 1.2, 1.3, 0.5])] == [True, False, True, False, True]


def test_float_noise_is_no_step_backwards() -> None:
    cadence = Cadence(INTERVAL_MS, GAP_MS)
    for time_s in (5.0, 5.08, 5.08 - 0.9e-6, 5.16):
        assert cadence.due(time_s).reset == (time_s == 5.0)
    assert cadence.due(5.16 - 2e-6).reset


def test_counters_say_what_was_repeated_and_unused() -> None:
    cadence = Cadence(INTERVAL_MS, GAP_MS)
    for time_s in (0, 0.04, 0.08, 0.4):
        cadence.due(time_s)
    assert (cadence.unused, cadence.repeated) == (1, 3)


def test_restart_begins_at_the_next_frame_and_keeps_counting() -> None:
    cadence = Cadence(INTERVAL_MS, GAP_MS)
    cadence.due(0)
    cadence.due(0.04)
    cadence.restart()
    assert cadence.due(0.05) == Due(0, 1, True)
    assert cadence.tick_time_s(2) == 0.05 + 2 * 0.08
    assert cadence.unused == 1


def test_misuse_is_refused() -> None:
    cadence = Cadence(INTERVAL_MS, GAP_MS)
    with pytest.raises(MisuseError):
        cadence.tick_time_s(0)
    for time_s in (math.nan, math.inf):
        with pytest.raises(MisuseError):
            cadence.due(time_s)


@settings(max_examples=200, deadline=None)
@given(
    steps_ms=st.lists(st.floats(0, 900), min_size=1, max_size=60),
    start_s=st.floats(0, 1e6),
    interval_ms=st.floats(20, 400),
)
def test_each_tick_takes_the_first_frame_at_or_after_it(
    steps_ms: list[float], start_s: float, interval_ms: float
) -> None:
    times_s = [start_s]
    for step_ms in steps_ms:
        times_s.append(times_s[-1] + step_ms / 1000)
    cadence = Cadence(interval_ms, GAP_MS)
    frame_of: dict[int, int] = {}
    for index, time_s in enumerate(times_s):
        due = cadence.due(time_s)
        assert due.reset == (index == 0)
        for tick in range(due.first, due.first + due.count):
            frame_of[tick] = index
    assert sorted(frame_of) == list(range(len(frame_of)))  # every tick once
    for tick, index in frame_of.items():
        at_s = cadence.tick_time_s(tick)
        assert times_s[index] >= at_s - 2e-6
        assert index == 0 or times_s[index - 1] < at_s
    assert times_s[-1] < cadence.tick_time_s(len(frame_of)) + 2e-6  # no tick is missing
    assert cadence.repeated + cadence.unused == sum(
        abs(list(frame_of.values()).count(i) - 1) for i in range(len(times_s))
    )


@pytest.mark.parametrize(
    ("available", "frames", "expected"),
    [
        (1, 4, [0, 0, 0, 0]),
        (2, 5, [0, 1, 0, 1, 0]),
        (3, 8, [0, 1, 2, 1, 0, 1, 2, 1]),
        (4, 4, [0, 1, 2, 3]),
        (5, 4, [0, 1, 2, 3]),
    ],
)
def test_a_short_clip_is_filled_forward_and_back(available: int, frames: int, expected: list[int]) -> None:
    assert fill_indices(available, frames) == expected


def test_nothing_fills_nothing() -> None:
    with pytest.raises(MisuseError):
        fill_indices(0, 4)


@given(available=st.integers(1, 50), frames=st.integers(1, 60))
def test_neighbours_in_a_filled_window_are_neighbours_in_time(available: int, frames: int) -> None:
    filled = fill_indices(available, frames)
    assert len(filled) == frames and set(filled) <= set(range(available))
    assert all(abs(a - b) <= 1 for a, b in pairwise(filled))


@pytest.mark.parametrize(
    ("ticks", "frames", "hop", "expected"),
    [
        (0, 4, 2, []),
        (3, 4, 2, [0]),
        (4, 4, 2, [0]),
        (5, 4, 2, [0, 1]),
        (6, 4, 2, [0, 2]),
        (9, 4, 4, [0, 4, 5]),
        (7, 4, 1, [0, 1, 2, 3]),
    ],
)
def test_windows_of_a_file(ticks: int, frames: int, hop: int, expected: list[int]) -> None:
    assert window_starts(ticks, frames, hop) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0, "interval_ms": 80},
        {"frames": 4, "interval_ms": 0},
        {"frames": 4, "interval_ms": math.nan},
        {"frames": 4, "interval_ms": 80, "hop_ticks": 3},
        {"frames": 4, "interval_ms": 80, "max_gap_ms": 79},
        {"frames": 4, "interval_ms": 80, "sampling": "some"},
    ],
)
def test_contracts_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(MisuseError):
        TemporalContract(**wrong)


def test_a_manifest_holds_the_contract() -> None:
    contract = TemporalContract(20, 80.0, hop_ticks=5, max_gap_ms=900.0)
    assert TemporalContract.from_json(contract.to_json()) == contract
    assert contract.window_s == pytest.approx(1.52)
    assert TemporalContract(4, 700).gap_ms == 1400 and TemporalContract(4, 80).gap_ms == 1000
    with pytest.raises(BundleError, match="temporal"):
        TemporalContract.from_json({"frames": 4})
