"""How far long work has come, on standard error: a bar on a terminal, elsewhere a line at each tenth."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

PARTS = 10  # lines of one work, at most

OnProgress = Callable[[int, int], None]  # takes how much is done, and how much there is


def on_terminal() -> bool:
    """Whether standard error is a terminal that can write a line again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def to_stderr(line: str) -> None:
    """Write a line for a person on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(
    label: str, report: Callable[[str], None] = to_stderr, *, lines: bool = True
) -> Iterator[OnProgress]:
    """In the block, what shows progress. Nothing is shown before its first call, so that errors come alone.

    The bar has the time left and no colours. report: takes the lines; another one than `to_stderr` gets lines
    on a terminal too. lines: False for work whose stages have lines of their own: without a bar, nothing.
    """
    bars: list[ProgressBar[int]] = []
    shown = 0  # of PARTS

    with ExitStack() as stack:

        def advance(done: int, total: int) -> None:
            nonlocal shown
            if report is not to_stderr or not on_terminal():
                if lines and done * PARTS // max(total, 1) > shown:
                    shown = done * PARTS // max(total, 1)
                    report(f"{label}: {done} of {total}")
                return
            if not bars:
                bars.append(
                    stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr))
                )
            bars[0].update(done - bars[0].pos)

        yield advance
