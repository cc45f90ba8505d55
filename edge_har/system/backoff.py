"""Growing pauses between tries."""

from __future__ import annotations

import random

JITTER = 0.2  # fraction by which a pause is longer or shorter, so that many devices do not try at once


class Backoff:
    """How long to wait before each next try: twice as long each time up to a limit, give or take JITTER.

    first_s, last_s: the first pause and the longest one, in seconds, before the jitter.
    """

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self.reset()

    def reset(self) -> None:
        """It worked: the next failure waits for `first_s` again."""
        self.next_s = self._first_s

    def after_failure(self) -> float:
        """Seconds to wait now."""
        pause_s = self.next_s * random.uniform(1 - JITTER, 1 + JITTER)
        self.next_s = min(2 * self.next_s, self._last_s)
        return pause_s
