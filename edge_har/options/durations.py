"""Spans of time as people write them: `90`, `90s`, `10m`, `2h`."""

from __future__ import annotations

import math
import re

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?([smh]?)")
EXPECTED = "a time, such as 90, 1.5, 90s, 10m or 2h"


def parse_duration(value: object) -> float:
    """Seconds, 0 or more, from a number of them or a text with a unit. Raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError("not a time")
    if isinstance(value, str):
        found = DURATION.fullmatch(value.strip().lower())
        if found is None:
            raise ValueError("not a time")
        return float(found[1]) * UNITS_S[found[2]]
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("not a time")
    return float(value)
