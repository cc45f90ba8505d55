"""Runs of this checkout's `edge-har` beside a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.command import environment


@contextmanager
def started(*arguments: object, home: Path) -> Iterator[subprocess.Popen[str]]:
    """`edge-har run`, with a home of its own, while the block lasts."""
    home.mkdir(exist_ok=True)
    with (home / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_har", "run", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment() | {"EDGE_HAR_HOME": str(home)},
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
    print((home / "output").read_text())
