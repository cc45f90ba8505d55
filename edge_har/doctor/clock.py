"""The clock: whether it can be right, and whether anything keeps it so."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from edge_har.doctor.finding import Finding, Level, Machine

EARLIEST_S = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()  # no clock that is right shows less
LATEST_S = datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp()
CLOCK_ADVICE = "sudo timedatectl set-ntp true, and see that the network reaches a time server"
TIME_ERROR = 5  # <sys/timex.h>: the clock is not synchronised
TIMEX_BYTES = 512  # more than struct timex has anywhere


def check_clock(machine: Machine) -> Iterator[Finding]:
    """Whether the clock can be right, and whether anything keeps it so: a Raspberry Pi has none that runs on
    while it is off.
    """
    time_s = machine.time_s()
    synchronised = (machine.synchronised or clock_is_synchronised)()
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_s))
    if not EARLIEST_S <= time_s <= LATEST_S:
        text = f"it is {shown}: times of events are wrong, and encrypted connections fail"
        yield Finding("clock", Level.PROBLEM, text, CLOCK_ADVICE)
    elif synchronised is False:
        yield Finding("clock", Level.WARNING, f"{shown}; no time server keeps it right", CLOCK_ADVICE)
    else:
        yield Finding("clock", Level.OK, shown + ", kept by a time server" * bool(synchronised))


def clock_is_synchronised() -> bool | None:
    """Whether the kernel takes its clock for synchronised; None where it does not say."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)  # all zeros: nothing is changed
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR
