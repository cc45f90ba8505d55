"""Which faults a soak makes, and when: a pure function of its length and seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.soak.judge import DESTINATIONS, RECOVERY_S, RECOVERY_SHARE

OF_CAMERAS = ("killed", "stalled", "size changes", "bytes damaged")
OF_DESTINATIONS = (
    "broker stopped",
    "web server killed",
    "spool's disk full",
    "broker stalled",
    "web server stalled",
    "file's disk full",
    "all destinations away",
)
# The kind of a fault of the page is the camera whose pictures a client requests and does not read, or IDLE.
PAGE = "page"
IDLE = "idle connections"
FIRST_S = 22.0  # nothing fails before
LAST_S = 40.0  # and nothing in the end, so that all can arrive
LONG_S = 600.0  # from this length on faults last longer, and quiet times are those of a longer life


@dataclass(frozen=True)
class Planned:
    """What is done to `target`, from `at_s` seconds of the soak on, for `lasts_s`."""

    at_s: float
    lasts_s: float
    kind: str
    target: str


def plan(length_s: float, cameras: Sequence[str], seed: int) -> list[Planned]:
    """All faults of a soak, by time. Those of a camera, of destinations, of the page never overlap."""
    rng = random.Random(seed)
    is_long = length_s >= LONG_S
    faults = []
    for number, camera in enumerate(cameras):
        at_s, count = FIRST_S + 6 * number + rng.uniform(0, 5), 0
        while True:
            # Each camera has all kinds in turn, each begins with another, and two at once show two of them.
            kind = OF_CAMERAS[(number + 2 * count + count // 2) % len(OF_CAMERAS)]
            lasts_s = _lasts_s(kind, rng, is_long)
            over_s = at_s + lasts_s * (1 + RECOVERY_SHARE) + RECOVERY_S
            if at_s + lasts_s > length_s - LAST_S:
                break
            faults.append(Planned(at_s, lasts_s, kind, camera))
            at_s = over_s + (rng.uniform(30, 110) if is_long else rng.uniform(22, 32))
            count += 1
    at_s, count = FIRST_S, 0
    while True:
        lasts_s = rng.uniform(20, 70) if is_long else rng.uniform(8, 11)
        if at_s + lasts_s > length_s - LAST_S:
            break
        faults.append(Planned(at_s, lasts_s, OF_DESTINATIONS[count % len(OF_DESTINATIONS)], DESTINATIONS))
        at_s += lasts_s + (rng.uniform(25, 80) if is_long else 6)
        count += 1
    at_s, count = FIRST_S + rng.uniform(0, 10), 0
    while at_s < length_s - LAST_S:
        lasts_s = rng.uniform(10, 60) if is_long else 12.0
        kinds = (IDLE, *cameras)
        faults.append(Planned(at_s, lasts_s, kinds[count % len(kinds)], PAGE))
        at_s += lasts_s + (rng.uniform(30, 120) if is_long else 30.0)
        count += 1
    return sorted(faults, key=lambda fault: fault.at_s)


def _lasts_s(kind: str, rng: random.Random, is_long: bool) -> float:
    if kind == "stalled":
        return rng.uniform(10, 20) if is_long else rng.uniform(9, 11)
    if kind == "killed":
        return rng.uniform(3, 40) if is_long else rng.uniform(4, 7)
    return rng.uniform(8, 25) if is_long else rng.uniform(7, 9)
