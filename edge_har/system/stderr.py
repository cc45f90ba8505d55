"""Native libraries that write to standard error what no option turns off."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STANDARD_ERROR = 2  # the descriptor


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """In the block, what anything of this process writes to standard error is dropped; errors come as
    exceptions.
    """
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:  # this process has none
        yield
        return
    try:
        _flush()
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), STANDARD_ERROR)
        yield
    finally:
        _flush()
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)


def _flush() -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            sys.stderr.flush()
