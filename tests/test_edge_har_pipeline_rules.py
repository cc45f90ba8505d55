"""Rules per label: on or off, how sure, at which hours of the wall clock, from which sources."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from edge_har.errors import MisuseError
from edge_har.pipeline.rules import Hours, LabelRule, Rules

PARIS = "Europe/Paris"
NIGHT = (Hours.parse("22:00-06:00"),)


def minutes_allowed(rule: LabelRule, first: datetime, hours: float, zone: str = PARIS) -> list[datetime]:
    """The minutes (UTC) from `first` on at which an event may start."""
    now = [first]
    gate = Rules({"A": rule}, zone).gate("cam", clock=lambda: now[0].timestamp())
    found, names = [], ("A",)
    while now[0] < first + timedelta(hours=hours):
        if not gate.barred(names)[0]:
            found.append(now[0])
        now[0] += timedelta(minutes=1)
    return found


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("noon_before", "hours", "begins", "ends"),
    [
        ("2026-01-10T12:00", 8, "2026-01-10T21:00", "2026-01-11T05:00"),  # winter: UTC+1
        ("2026-07-10T12:00", 8, "2026-07-10T20:00", "2026-07-11T04:00"),  # summer: UTC+2
        ("2026-03-28T12:00", 7, "2026-03-28T21:00", "2026-03-29T04:00"),  # the clock skips 02:00 to 03:00
        ("2026-10-24T12:00", 9, "2026-10-24T20:00", "2026-10-25T05:00"),  # it shows 02:00 to 03:00 twice
    ],
)
def test_a_night_is_as_long_as_the_clock_on_the_wall_says(
    noon_before: str, hours: int, begins: str, ends: str
) -> None:
    allowed = minutes_allowed(LabelRule(hours=NIGHT), utc(noon_before), 24)
    assert len(allowed) == hours * 60
    assert (allowed[0], allowed[-1]) == (utc(begins), utc(ends) - timedelta(minutes=1))
    assert allowed[-1] - allowed[0] == timedelta(hours=hours, minutes=-1)  # one piece


def test_an_hour_that_is_skipped_does_not_come_and_one_shown_twice_comes_twice() -> None:
    rule = LabelRule(hours=(Hours.parse("02:15-02:45"),))
    assert minutes_allowed(rule, utc("2026-03-28T22:00"), 8) == []
    twice = minutes_allowed(rule, utc("2026-10-24T22:00"), 8)
    assert [m.strftime("%H:%M") for m in (twice[0], twice[29], twice[30], twice[59])] == [
        *("00:15", "00:44"),
        *("01:15", "01:44"),
    ]
    assert len(twice) == 60


def test_without_a_zone_it_is_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        at = datetime(
            2026, 3, 8, 4, 0, tzinfo=ZoneInfo("America/New_York")
        ).timestamp()  # the day of the change
        for hours, barred in (("04:00-05:00", False), ("03:00-04:00", True)):
            gate = Rules({"A": LabelRule(hours=(Hours.parse(hours),))}).gate("cam", clock=lambda: at)
            assert gate.barred(("A",)).tolist() == [barred]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_jumps_is_followed_at_once() -> None:
    now = [utc("2026-01-10T12:00").timestamp()]
    gate, names = Rules({"A": LabelRule(hours=NIGHT)}, PARIS).gate("cam", clock=lambda: now[0]), ("A",)
    assert gate.barred(names)[0]
    now[0] += 11 * 3600
    assert not gate.barred(names)[0]
    now[0] -= 30 * 3600
    assert gate.barred(names)[0]


def test_other_names_are_looked_up_within_the_same_second() -> None:
    gate = Rules({"A": LabelRule(enabled=False)}).gate("cam", clock=lambda: 0.0)
    assert gate.barred(("A", "B")).tolist() == [True, False]
    assert gate.barred(("B", "A")).tolist() == [False, True]
    assert gate.barred(("B", "C", "A")).tolist() == [False, False, True]


def test_rules_hold_where_and_for_what_they_are_made() -> None:
    rules = Rules(
        {"A": LabelRule(sources=("door",)), "B": LabelRule(enabled=False), "C": LabelRule(enter=0.9)}
    )
    names = ("A", "B", "C", "D")
    assert rules.gate("door").barred(names).tolist() == [False, True, False, False]
    assert rules.gate("attic").barred(names).tolist() == [True, True, False, False]
    assert Rules({"B": LabelRule()}, only=True).gate("door").barred(names).tolist() == [
        True,
        False,
        True,
        True,
    ]
    assert Rules({"C": LabelRule(enter=0.9)}).gate("door") is None and Rules().gate("door") is None


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("08:00-17:30", ["08:00", "17:29"], ["07:59", "17:30", "00:00"]),
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59"]),
        ("00:00-24:00", ["00:00", "23:59"], []),
        ("18:00-24:00", ["18:00", "23:59"], ["00:00", "17:59"]),
    ],
)
def test_hours(text: str, inside: list[str], outside: list[str]) -> None:
    hours = Hours.parse(text)

    def minute(clock: str) -> int:
        return int(clock[:2]) * 60 + int(clock[3:])

    assert all(minute(clock) in hours for clock in inside)
    assert not any(minute(clock) in hours for clock in outside)


@pytest.mark.parametrize(
    "text", ["8-17", "25:00-06:00", "22:00", "22:60-23:00", "24:00-06:00", "12:00-24:01", "07:00-07:00", ""]
)
def test_hours_that_cannot_be(text: str) -> None:
    with pytest.raises(MisuseError, match="HH:MM-HH:MM, such as 22:00-06:00, got " + re.escape(repr(text))):
        Hours.parse(text)


def test_what_a_rule_names_must_be_there() -> None:
    with pytest.raises(MisuseError, match=r"the model has no label 'Wlak'; did you mean Walk\?"):
        Rules({"Wlak": LabelRule()}).check_names(("Walk", "Run"), ("cam",))
    with pytest.raises(MisuseError, match="the model has no label 'Sit'; there are Walk, Run"):
        Rules({"Sit": LabelRule()}).check_names(("Walk", "Run"), ("cam",))
    with pytest.raises(MisuseError, match="the rule of 'Walk' names the source 'dor'; there are door"):
        Rules({"Walk": LabelRule(sources=("dor",))}).check_names(("Walk", "Run"), ("door",))
    with pytest.raises(MisuseError, match="no time zone 'Europe/Paradise'"):
        Rules(zone="Europe/Paradise")
    for wrong in ({"enter": 1.5}, {"cooldown_s": -1.0}, {"cooldown_s": float("nan")}):
        with pytest.raises(MisuseError):
            LabelRule(**wrong)
