"""`edge-har receive` with shorter limits, which ends as by a power cut before the step that a test names."""

from __future__ import annotations

import os
import signal
import sys
import time

from edge_har.cli.receive import command
from edge_har.deploy.receive import ReceiveLimits

KILL_AT = "TEST_KILL_AT"  # name of a step
SLEEP_AT = "TEST_SLEEP_AT"  # name of a step, to stay in it for SLEEP_S
IDLE_S = "TEST_IDLE_S"
SLEEP_S = 1.0


def _on_step(name: str) -> None:
    if name == os.environ.get(KILL_AT):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == os.environ.get(SLEEP_AT):
        time.sleep(SLEEP_S)


if __name__ == "__main__":
    idle_s = float(os.environ.get(IDLE_S, "20"))
    limits = ReceiveLimits(lock_s=0.3, idle_s=idle_s, on_step=_on_step)
    code = command.main(standalone_mode=False, obj=limits)
    sys.exit(code if isinstance(code, int) else 0)
