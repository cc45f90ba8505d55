"""Work in a thread of its own: the main thread only waits, and so heeds a signal at once.

Python runs the handlers of signals in the main thread, between two of its instructions: one that is in a
library's call for ten seconds heeds nothing for ten seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import Generic, ParamSpec, TypeVar

# The names of threads that may hang in a library: those that read sources, and the one that recognises.
CAPTURE_THREAD, WORK_THREAD = "capture", "work"
LOOK_S = 0.1  # how often the main thread looks, should a signal have come to another thread

P = ParamSpec("P")
T = TypeVar("T")


class Work(Generic[T]):
    """`do`, begun in a thread of its own."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._do = do
        self._given: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=WORK_THREAD)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._given.append(self._do())
        except BaseException as error:  # noqa: BLE001  `result` raises it
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, at most so many seconds; whether it has ended."""
        return self._done.wait(timeout_s)

    def result(self) -> T:
        """What it gave, once it has ended; raises what it raised. What a signal's handler raises passes."""
        while not self.wait(LOOK_S):
            pass
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._given[0]


def interruptible(function: Callable[P, T]) -> Callable[P, T]:
    """Let Ctrl-C end `function` at once, whatever library it is in; what it was at is left as it is."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        return Work(partial(function, *args, **kwargs)).result()

    return wrapped
