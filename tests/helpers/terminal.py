"""The command on a terminal of its own: what a person sees there."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.helpers.command import environment

READ_BYTES = 65_536


class Terminal(io.StringIO):
    """A stream that is taken for a terminal: what a person would see there."""

    def isatty(self) -> bool:
        return True


def edge_har_on_terminal(
    *arguments: object, stderr_too: bool = False, cwd: Path | None = None, **variables: str
) -> tuple[int, str, str]:
    """Run `edge-har` with a terminal as standard output: its exit code, what the terminal shows, with `\\n`
    at the end of a line, and what a pipe reads from stderr.

    stderr_too: the terminal shows stderr as well. variables: of the environment.
    """
    seen, terminal = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "edge_har", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal if stderr_too else subprocess.PIPE,
        cwd=cwd,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100", **variables},
    )
    os.close(terminal)
    shown = bytearray()
    with suppress(OSError):  # Linux's end of a terminal whose programs have all closed it
        while some := os.read(seen, READ_BYTES):
            shown += some
    os.close(seen)
    _, errors = done.communicate(timeout=60)
    text = shown.decode().replace("\r\n", "\n")
    return done.returncode, text, "" if errors is None else errors.decode()
