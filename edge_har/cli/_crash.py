"""The line that a command leaves where a graph crashes it all the same."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from edge_har.cli.logs import beginning
from edge_har.errors import printable
from edge_har.system.crash import crash_line


def graph_crash_line(path: str | os.PathLike[str] | None, stderr: TextIO) -> AbstractContextManager[None]:
    """In the block, a graph that crashes this process leaves one line on `stderr` that names its bundle.

    A bundle that was tried may still do that with a picture that the trial did not show it. path: of the
    bundle; None: the shipped one, for which nothing is done.
    """
    if path is None:
        return nullcontext()
    from edge_har.model import interpreter

    line = f"{printable(os.fspath(path))}: a graph of this bundle crashed {interpreter.runtime_name()}"
    return crash_line(f"{beginning(logging.ERROR)}{line}", interpreter.__file__, stderr)
