"""Events for people, one readable line each."""

from __future__ import annotations

import os
from typing import TextIO

from edge_har.pipeline.events import Event

COLOURS = {"start": "\x1b[32m", "end": "\x1b[36m", "source_lost": "\x1b[31m", "source_back": "\x1b[32m"}
PLAIN = "\x1b[0m"
WORDS = {"source_lost": "lost", "source_back": "back"}


def wants_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not set NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class ConsoleSink:
    """Writes a line per event to `stream`: what, which activity, when in the source, how sure. begin: of each
    line.
    """

    def __init__(self, stream: TextIO, begin: str = "") -> None:
        self._stream = stream
        self._begin = begin
        self._colour = wants_colour(stream)

    def write(self, event: Event) -> None:
        """Write one line."""
        word = f"{WORDS.get(event.type, event.type):<6}"
        if self._colour and event.type in COLOURS:
            word = f"{COLOURS[event.type]}{word}{PLAIN}"
        self._stream.write(f"{self._begin}{word} {describe(event)}\n")
        self._stream.flush()

    def stop(self) -> None:
        """Nothing takes time to close."""

    def close(self) -> None:
        """The stream is the caller's: nothing to do."""


def describe(event: Event) -> str:
    """One event in words, without its type."""
    when = f"{event.start_s:.2f} s" if event.end_s is None else f"{event.start_s:.2f} to {event.end_s:.2f} s"
    if event.label is None or event.score is None:
        return f"{event.source}  {when}"
    reason = f", {event.reason}" if event.reason not in (None, "left") else ""
    return f"{event.label:<14} {event.score:.2f}  {when}{reason}  {event.source}"
