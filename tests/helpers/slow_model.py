"""`edge-har` with a model that is slow: `python -m tests.helpers.slow_model WHEN SECONDS COMMAND...`

WHEN: `load`, each graph takes so long to be made, or a number, each call of a graph does after so many quick
ones. Meanwhile the thread is in one call of a C library that lets other threads run, as the runtime's own is;
each begins with a line SLOW on stderr.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from typing import Any

from edge_har.cli import main
from edge_har.model.interpreter import Array, Graph

SLOW = "slow"
PROBE_ROUNDS = 20_000
MOST_ROUNDS = 2**31 - 1  # that the library takes
STDERR = os.dup(2)  # a run keeps what libraries write there from its reader


def burn(rounds: int) -> None:
    """Be in one call of a C library for so many rounds."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)


def rounds_of(seconds: float) -> int:
    """How many rounds last so long on this machine now."""
    began_s = time.perf_counter()
    burn(PROBE_ROUNDS)
    return min(MOST_ROUNDS, max(1, round(seconds / (time.perf_counter() - began_s) * PROBE_ROUNDS)))


def make_slow(when: str, seconds: float) -> None:
    """Let all graphs of this process be slow."""
    rounds = rounds_of(seconds)
    made, run_raw, calls = Graph.__init__, Graph.run_raw, 0

    def slow_init(graph: Graph, *given: Any, **named: Any) -> None:
        os.write(STDERR, f"{SLOW}\n".encode())
        burn(rounds)
        made(graph, *given, **named)

    def slow_run(graph: Graph, *stored: Array) -> list[Array]:
        nonlocal calls
        calls += 1
        if calls > int(when):
            os.write(STDERR, f"{SLOW}\n".encode())
            burn(rounds)
        return run_raw(graph, *stored)

    if when == "load":
        Graph.__init__ = slow_init  # type: ignore[method-assign]
    else:
        Graph.run_raw = slow_run  # type: ignore[method-assign]


if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    make_slow(sys.argv[1], float(sys.argv[2]))
    del sys.argv[1:3]
    main()
