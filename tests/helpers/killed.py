"""Runs that write events to a file through a spool, each killed at some moment:
python -m tests.helpers.killed FOLDER RUNS

The last run ends as it should. Event ids are RUN-NUMBER.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from edge_har.sinks.jsonl import JsonLinesOptions
from tests.helpers.sinks import made_event, setting

EVENTS = 3000  # a run that is not killed before ends with them
LONGEST_S = 0.15


def write_events(folder: Path, run: int, begun: int, *, killed: bool) -> None:
    """One run, which says on the descriptor `begun` when it starts;
    the file is rotated often, so that this is interrupted too.
    """
    options = JsonLinesOptions(
        str(folder / "events.jsonl"), max_bytes=5000, keep=10_000, spool=str(folder / "spool")
    )
    sink = options.open(setting()).events
    os.write(begun, b".")
    for number in range(EVENTS if killed else 10):
        sink.write(replace(made_event(number), id=f"{run}-{number}"))
        if killed:
            time.sleep(0.0001)
    sink.close()


def main(folder: Path, runs: int) -> None:
    """Kill all runs but the last one."""
    chance = random.Random(1)
    listening, begun = os.pipe()
    for run in range(runs):
        child = os.fork()
        if not child:
            write_events(folder, run, begun, killed=True)
            os._exit(0)
        os.read(listening, 1)
        time.sleep(chance.uniform(0, LONGEST_S))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write_events(folder, runs, begun, killed=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
