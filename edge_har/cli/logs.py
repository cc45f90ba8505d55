"""What commands write on stderr while they run: -q less, -v more;
as plain lines, or as systemd's journal reads them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TextIO

import click

from edge_har.config.declared import AUTO, JOURNALD, LEVELS
from edge_har.errors import MisuseError, printable

VERBOSITIES = {-1: "error", 0: "info", 1: "debug"}
PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}
PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}  # sd-daemon(3)
JOURNAL_VARIABLE = "JOURNAL_STREAM"

_log = logging.getLogger("edge_har")


class _Lines(logging.Formatter):
    """One line per record; warnings and errors say what they are."""

    def format(self, record: logging.LogRecord) -> str:
        return PREFIXES.get(record.levelno, "") + _text_of(record)


class _JournalLines(logging.Formatter):
    """One line per record, its priority in front as the journal reads it."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{PRIORITIES.get(record.levelno, 6)}>" + _text_of(record)


def _text_of(record: logging.LogRecord) -> str:
    """A record's message as it may go to a terminal: it may quote a file's name or a server."""
    return printable(record.getMessage().replace("\n", " "))


def journal_reads(stream: TextIO) -> bool:
    """Whether what `stream` is given goes to systemd's journal."""
    with suppress(OSError, ValueError):
        facts = os.fstat(stream.fileno())
        return os.environ.get(JOURNAL_VARIABLE) == f"{facts.st_dev}:{facts.st_ino}"
    return False


def watch_log(verbosity: int | str, form: str = AUTO) -> None:
    """Show the library's log on stderr: errors alone at -1, what matters at 0, everything at 1,
    or as LEVELS name it.

    form: plain, journald, or auto: journald where the journal reads stderr.
    """
    handler = logging.StreamHandler(sys.stderr)
    journald = form == JOURNALD or (form == AUTO and journal_reads(sys.stderr))
    handler.setFormatter(_JournalLines() if journald else _Lines())
    _log.handlers = [handler]
    _log.propagate = False
    _log.setLevel(LEVELS[verbosity if isinstance(verbosity, str) else VERBOSITIES[verbosity]])


def write_line(line: str) -> None:
    """Write a line on stderr, control characters as escapes. A full disk behind it costs the line alone;
    BrokenPipeError passes when the reader has gone.
    """
    try:
        click.echo(printable(line), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def beginning(level: int) -> str:
    """What a line of `level` that is no record of the log begins with, in the form of the log."""
    if _log.handlers:
        journald = isinstance(_log.handlers[0].formatter, _JournalLines)
    else:
        journald = journal_reads(sys.stderr)
    return f"<{PRIORITIES[level]}>" if journald else PREFIXES.get(level, "")


def write_error(text: str) -> None:
    """Write on stderr why the command ends, in the form of the log; one line for each of `text`."""
    begin = beginning(logging.ERROR)
    for line in text.splitlines() or [""]:
        write_line(f"{begin}{line}")


def verbosity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command -q and -v; it receives `verbosity`: -1, 0 or 1."""

    @click.option("-q", "--quiet", is_flag=True, help="Write only errors on stderr.")
    @click.option("-v", "--verbose", is_flag=True, help="Write more on stderr.")
    @wraps(function)
    def wrapped(*args: Any, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        if quiet and verbose:
            raise MisuseError("-q and -v contradict each other")
        return function(*args, verbosity=verbose - quiet, **kwargs)

    return wrapped
