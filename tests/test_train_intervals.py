"""Intervals against values worked out elsewhere, and where they must lie."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_har.errors import MisuseError
from train.intervals import fraction_interval, group_interval, wilson_interval


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        (84, 98, 0.774, 0.913),  # 84 of 98: facts of the notebooks say 77 to 91 %
        (0, 10, 0.0, 0.2775),  # z^2 / (n + z^2)
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (64, 65, 0.9179, 0.9973),
    ],
)
def test_wilson_against_known_values(right: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-4)


@given(count=st.integers(1, 500), data=st.data())
def test_wilson_holds_its_fraction(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right / count + 1e-12 and right / count - 1e-12 <= high <= 1
    assert wilson_interval(count - right, count) == pytest.approx((1 - high, 1 - low))


def test_nothing_counted_is_refused() -> None:
    for right, count in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(MisuseError):
            wilson_interval(right, count)
    with pytest.raises(MisuseError):
        group_interval([], [])


def test_it_is_the_mean_of_any_figure_and_one_of_both_where_groups_are_known_or_not() -> None:
    lost, groups = [0.5, 1.5, 2.5, 3.5], ["a", "a", "b", "b"]
    assert group_interval(lost, groups) == (1.0, 3.0)
    correct = np.array([True] * 8 + [False] * 2)
    by_group = fraction_interval(correct, ["a", "b"] * 5)
    assert by_group["share"] == 0.8 and by_group["interval_by"] == "groups"
    for unknown in (
        fraction_interval(correct, ["a"] * 10),
        fraction_interval(correct, ["a", "b"] * 5, False),
    ):
        assert unknown["interval_by"] == "wilson"
        assert unknown["interval"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert json.loads(json.dumps(by_group)) == by_group


def test_intervals_load_without_tensorflow() -> None:
    code = "import sys, train.intervals; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    loaded = set(done.stdout.split())
    assert "train" in loaded and not loaded & {"tensorflow", "tf_keras", "keras"}


def test_groups_that_differ_widen_the_interval() -> None:
    groups = [f"g{n // 10}" for n in range(80)]
    even = [n % 10 != 0 for n in range(80)]  # each group 9 of 10
    uneven = [n >= 8 for n in range(80)]  # the same fraction, nearly all misses in one group
    assert group_interval(even, groups) == (0.9, 0.9)
    low, high = group_interval(uneven, groups)
    assert low < 0.75 and high == 1.0


def test_with_one_clip_a_group_it_is_near_wilson() -> None:
    right = [n % 5 != 0 for n in range(200)]
    by_group = group_interval(right, [str(n) for n in range(200)])
    assert by_group == pytest.approx(wilson_interval(160, 200), abs=0.01)
    assert by_group == group_interval(right, [str(n) for n in range(200)])  # seeded
