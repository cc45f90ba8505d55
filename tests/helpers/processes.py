"""What the system tells of other processes, for tests that wait until they have done something."""

from __future__ import annotations

from pathlib import Path
from signal import Signals

from tests.helpers.running import wait_until


def is_running(pid: int) -> bool:
    """Whether the process is there and not only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def catches(pid: int, number: Signals) -> bool:
    """Whether the process has a handler for the signal; False once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def wait_until_gone(pid: int) -> None:
    """Wait until the process has ended."""
    wait_until(lambda: not is_running(pid))
