"""A clock that cannot be right, and one that nothing keeps right."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_har.doctor import clock as checks
from edge_har.doctor.finding import Level
from tests.helpers.doctor import found, machine

NOON = 1_800_000_000.0  # in 2027


@pytest.mark.parametrize(
    ("time_s", "synchronised", "level", "text"),
    [
        (0.0, True, Level.PROBLEM, "it is 1970-01-01"),
        (4_200_000_000.0, True, Level.PROBLEM, "it is 2103-"),
        (NOON, False, Level.WARNING, "no time server"),
        (NOON, True, Level.OK, "kept by a time server"),
        (NOON, None, Level.OK, "2027-01-15"),
    ],
)
def test_clock(tmp_path: Path, time_s: float, synchronised: bool | None, level: Level, text: str) -> None:
    made = machine(tmp_path, time_s=lambda: time_s, synchronised=lambda: synchronised)
    ((at, shown, _),) = found(checks.check_clock(made))
    assert at is level and text in shown


def test_the_kernel_is_asked_about_its_clock() -> None:
    assert checks.clock_is_synchronised() in (True, False, None)
