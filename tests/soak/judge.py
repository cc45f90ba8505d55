"""What was emitted against what was shown, and what arrived against what was emitted. Arithmetic on lists, no
runtime in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# An event may begin so long before and after the person does, and end so long before and after. The model
# answers for
# the last 1.5 s, smoothed over .5 s; the stretch in which the person eases in and out is .4 s; the rest is
# for the way.
BEGINS_S = (-0.6, 3.0)
ENDS_S = (-2.0, 2.6)
# What a fault disturbs goes on after it: pauses between attempts grow to about the time that a source was
# away.
RECOVERY_SHARE, RECOVERY_S = 1.5, 10.0
DESTINATIONS = "destinations"  # what the faults of all receivers have as their target
BEFORE_S, AFTER_S = 1.0, 3.0  # of a play, that must be undisturbed as well

# What mosquitto writes where a client comes whose id another has.
TAKEN_OVER = re.compile(r"(\d+): Client (\S+) already connected, closing old connection")
CLOCK_S = 1.0  # it writes whole seconds

Key = tuple[str, str, str]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """Something that was done to `target` from `began_s` to `ended_s` (seconds of CLOCK_MONOTONIC)."""

    kind: str
    target: str
    began_s: float
    ended_s: float

    @property
    def over_s(self) -> float:
        """When its traces must be gone."""
        return self.ended_s + RECOVERY_S + RECOVERY_SHARE * (self.ended_s - self.began_s)


@dataclass(frozen=True)
class Play:
    """`camera` showed a person doing `label` from `start_s` to `end_s`."""

    camera: str
    label: str
    start_s: float
    end_s: float

    def is_disturbed(self, faults: Iterable[Fault]) -> bool:
        """Whether a fault of its camera, or what comes of it, overlaps it."""
        return any(
            fault.began_s < self.end_s + AFTER_S and self.start_s - BEFORE_S < fault.over_s
            for fault in faults
            if fault.target == self.camera
        )


@dataclass(frozen=True)
class Event:
    """An activity that was emitted, in the source's time."""

    source: str
    label: str
    start_s: float
    end_s: float

    @staticmethod
    def of(line: Line) -> Event:
        """The event of an `end` line."""
        return Event(line["source"], line["label"], line["start_s"], line["end_s"])


def matches(event: Event, play: Play) -> bool:
    """Whether the event is what the play must give."""
    begins_s, ends_s = event.start_s - play.start_s, event.end_s - play.end_s
    return (
        (event.source, event.label) == (play.camera, play.label)
        and BEGINS_S[0] <= begins_s <= BEGINS_S[1]
        and ENDS_S[0] <= ends_s <= ENDS_S[1]
    )


@dataclass(frozen=True)
class Found:
    """Of the expected plays: those with their event, those with more of their label besides, those without.

    other: events that overlap an expected play and have another label. begins_s, ends_s: how late each right
    event was.
    """

    right: list[tuple[Play, Event]]
    more: int
    missing: list[Play]
    other: list[Event]


def find(plays: Sequence[Play], events: Sequence[Event]) -> Found:
    """Look for each play's event."""
    right, missing, other, more = [], [], [], 0
    for play in plays:
        here = [
            event
            for event in events
            if event.source == play.camera
            and event.start_s < play.end_s
            and play.start_s + BEGINS_S[0] < event.end_s
        ]
        same = [event for event in here if event.label == play.label]
        hits = [event for event in same if matches(event, play)]
        if hits:
            right.append((play, hits[0]))
            more += len(same) - 1
        else:
            missing.append(play)
        other += [event for event in here if event.label != play.label]
    return Found(right, more, missing, other)


def key_of(line: Line) -> Key:
    """What distinguishes one line from all others."""
    return line["id"], line["type"], line["time"]


def number_of(line: Line) -> tuple[str, int]:
    """The token of the process in an id, and the number."""
    found = re.fullmatch(r"([0-9a-f]+)-(\d+)", line["id"])
    assert found, line
    return found[1], int(found[2])


@dataclass(frozen=True)
class Arrived:
    """What one destination got: lines, duplicates among them, lines that were emitted and did not come, lines
    that were not emitted.
    """

    lines: int
    duplicates: int
    missing: int
    strange: int


def compare(emitted: Sequence[Line], got: Sequence[Line]) -> Arrived:
    """What of all that was emitted arrived."""
    expected, came = Counter(map(key_of, emitted)), Counter(map(key_of, got))
    return Arrived(
        lines=len(got),
        duplicates=sum(count - 1 for count in came.values()),
        missing=len(expected.keys() - came.keys()),
        strange=len(came.keys() - expected.keys()),
    )


def faults_of_order(lines: Sequence[Line]) -> list[str]:
    """What is wrong with the ids and the order of lines of one run: gaps, duplicates, lines after an end."""
    wrong = []
    tokens = {number_of(line)[0] for line in lines}
    if len(tokens) > 1:
        wrong.append(f"ids of {len(tokens)} processes")
    firsts = list(dict.fromkeys(number_of(line)[1] for line in lines))
    if firsts != list(range(1, len(firsts) + 1)):
        absent = sorted(set(range(1, max(firsts, default=0) + 1)) - set(firsts))
        wrong.append(f"ids do not count up without gaps; absent: {absent[:10]}")
    for duplicate, count in Counter(map(key_of, lines)).items():
        if count > 1:
            wrong.append(f"{duplicate} is there {count} times")
    types: dict[str, list[str]] = {}
    for line in lines:
        types.setdefault(line["id"], []).append(line["type"])
    for name, emitted in types.items():
        order = " ".join(emitted)
        if not re.fullmatch(r"start( update)* end|source_lost( source_back)?", order):
            wrong.append(f"{name}: {order}")
    return wrong


def put_out(broker_log: str, faults: Iterable[Fault], wall_clock_s: float) -> list[str]:
    """Ids of clients whose connection another of the same id ended, though no fault of a destination had made
    them connect again.

    wall_clock_s: what CLOCK_MONOTONIC is behind the wall clock.
    """
    return [
        name
        for second, name in TAKEN_OVER.findall(broker_log)
        if not any(
            fault.began_s - CLOCK_S <= int(second) - wall_clock_s <= fault.over_s
            for fault in faults
            if fault.target == DESTINATIONS
        )
    ]


def wall_s(line: Line) -> float:
    """When a line was emitted: seconds since 1970."""
    return datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
