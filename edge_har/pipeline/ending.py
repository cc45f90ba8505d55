"""The end of a run: in two seconds, whatever a source, a model or a sink is at."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from edge_har.system.work import LOOK_S, Work

TAKE_OVER_S = 0.4  # a run that has not ended by then after its signal is ended from outside
GIVE_UP_S = 1.3  # what still runs by then is left behind: the last lines for people are written
END_S = 1.7  # by then the process ends, whatever it is at
PID_OF_A_CONTAINER = 1  # the kernel keeps what a signal does by itself from this one


def end_on_signals(stop: threading.Event) -> None:
    """The first Ctrl-C or SIGTERM ends the run and closes what is open; a second one ends the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        _end_process_on(number)
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def heed_sigterm() -> None:
    """SIGTERM ends the process, in a container too: there the kernel lets it do nothing by itself."""
    if os.getpid() == PID_OF_A_CONTAINER:
        _end_process_on(signal.SIGTERM)


def _end_process_on(number: int) -> None:
    in_container = os.getpid() == PID_OF_A_CONTAINER
    signal.signal(number, _end_process if in_container else signal.SIG_DFL)


def _end_process(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def run_until(
    stop: threading.Event, run: Callable[[], None], *, take_over: Callable[[], None], code: Callable[[], int]
) -> None:
    """Do `run`, which ends by itself soon after `stop` is set: where it does not, call `take_over`, which
    brings what must not be lost to its place, and return without waiting longer. The process then has until
    END_S after `stop` to end by itself; else it ends with the exit code that `code` gives.

    To be called in the main thread. Raises what `run` raised.
    """
    work = Work(run)
    while not (stop.is_set() or work.wait(LOOK_S)):
        pass
    if stop.is_set():
        began_s = time.monotonic()
        threading.Thread(target=_end_after, args=(END_S, code), daemon=True, name="deadline").start()
        if not work.wait(TAKE_OVER_S):
            take_over()
            if not work.wait(max(0.0, began_s + GIVE_UP_S - time.monotonic())):
                return
    work.result()


def _end_after(seconds: float, code: Callable[[], int]) -> None:
    time.sleep(seconds)
    os._exit(code())
