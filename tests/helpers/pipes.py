"""Pipes that nobody reads."""

from __future__ import annotations

import os
from contextlib import suppress


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe that takes nothing more; to be closed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * size)
    os.set_blocking(writer, True)
    return reader, writer
