"""Run `edge-har` as a person would, in processes of their own:
a crash, memory or an interrupt stays theirs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from edge_har.errors import EdgeHarError

ROOT = Path(__file__).resolve().parents[2]
# What TensorFlow and the libraries below it take as their number of threads.
THREAD_VARIABLES = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)

_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def edge_har(*arguments: str | os.PathLike[str], log: Path, threads: int | None = None) -> str:
    """Run one command to its end and return its standard output; its standard error is added to `log`.

    threads: how many each library may use; default: as they like. Raises EdgeHarError with the command's own
    last line when it fails.
    """
    limits = {name: str(threads) for name in THREAD_VARIABLES} if threads else {}
    command = [sys.executable, "-m", "edge_har", *(os.fspath(argument) for argument in arguments)]
    with log.open("a", encoding="utf-8") as errors:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=os.environ | limits,
            start_new_session=True,  # Ctrl-C reaches it through `interrupt_all` alone, once
        )
        with _lock:
            _running.add(child)
        try:
            output = child.communicate()[0]
        finally:
            with _lock:
                _running.discard(child)
    if child.returncode:
        raise EdgeHarError(
            f"edge-har {arguments[0]} ended with {child.returncode}: {last_line(log) or 'no message'}"
        )
    return output


def interrupt_all() -> None:
    """Ask every command still running here to end as Ctrl-C does; they keep what they have done."""
    with _lock:
        for child in _running:
            child.send_signal(signal.SIGINT)


def last_line(log: Path) -> str:
    """The last line that says something, without colours or a progress bar's carriage returns;
    empty without one.
    """
    if not log.is_file():
        return ""
    lines = [line.rpartition("\r")[2].strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
