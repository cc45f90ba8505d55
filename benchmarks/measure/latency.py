"""Durations of several calls, measured in turns in one run,
so that whatever else the machine does falls on all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_har.bench import Timing

WARM_UP_ROUNDS = 5

Call = Callable[[], object]
OnProgress = Callable[[int, int], None]  # rounds done, rounds in all


def interleaved(
    calls: Mapping[str, Call],
    rounds: int,
    on_progress: OnProgress | None = None,
    *,
    warm_up_rounds: int = WARM_UP_ROUNDS,
) -> dict[str, Timing]:
    """Time every call once a round, the order moving on by one each round; the first rounds do not count."""
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up_rounds, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call = calls[name]
            started = time.perf_counter()
            call()
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
        if on_progress is not None and number >= 0:
            on_progress(number + 1, rounds)
    return {name: Timing.of(values) for name, values in seconds.items()}
