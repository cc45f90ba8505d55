"""A file or drawing played by the clock, as a camera would give it."""

from __future__ import annotations

import threading
import time

from edge_har.sources.base import Source, Wrapper


class PacedSource(Wrapper):
    """Holds each frame of `source` back until its time has come, counted from the first frame.

    Times stay as they are.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.live = True
        self._start_s: float | None = None
        self._closed = threading.Event()

    def grab(self) -> float | None:
        """Time of the next frame in seconds, when it has come; None at the end or once closed."""
        time_s = super().grab()
        if time_s is None:
            return None
        if self._start_s is None:
            self._start_s = time.monotonic() - time_s
        if self._closed.wait(max(0.0, self._start_s + time_s - time.monotonic())):
            return None
        return time_s

    def close(self) -> None:
        """Release the source; a grab that waits ends at once."""
        self._closed.set()
        super().close()
