"""Numbers as JSON can hold them."""

from __future__ import annotations

import math


def rounded(value: float | None, decimals: int) -> float | None:
    """`value` with at most so many decimals; None for None, and for what no browser can read (NaN,
    infinity).
    """
    return None if value is None or not math.isfinite(value) else round(value, decimals)
