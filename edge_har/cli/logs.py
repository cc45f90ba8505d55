"""What commands say on stderr while they run: -q less, -v more."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from edge_har.errors import MisuseError

LEVELS = {-1: logging.ERROR, 0: logging.INFO, 1: logging.DEBUG}
PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}


class _Lines(logging.Formatter):
    """One line per record; warnings and errors say what they are."""

    def format(self, record: logging.LogRecord) -> str:
        return PREFIXES.get(record.levelno, "") + record.getMessage().replace("\n", " ")


def watch_log(verbosity: int) -> None:
    """Show the library's log on stderr: errors alone at -1, what matters at 0, everything at 1."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    log = logging.getLogger("edge_har")
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(LEVELS[verbosity])


def verbosity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command -q and -v; it receives `verbosity`: -1, 0 or 1."""

    @click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
    @click.option("-v", "--verbose", is_flag=True, help="More on stderr.")
    @wraps(function)
    def wrapped(*args: Any, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        if quiet and verbose:
            raise MisuseError("-q and -v contradict each other")
        return function(*args, verbosity=verbose - quiet, **kwargs)

    return wrapped
