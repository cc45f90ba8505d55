"""Events for people: one readable line each, with the time of day."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TextIO

from edge_har.errors import printable
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import OpenedSink
from edge_har.pipeline.status import SinkState
from edge_har.sinks.jsonl import StreamDestination, StreamSink
from edge_har.sinks.options import SinkContext, SinkOptions

COLOURS = {"start": "\x1b[32m", "end": "\x1b[36m", "source_lost": "\x1b[31m", "source_back": "\x1b[32m"}
PLAIN = "\x1b[0m"
WORDS = {"source_lost": "lost", "source_back": "back"}


def wants_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not set NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions(SinkOptions):
    """Standard output for people, in place of JSON lines. source_time: whether lines have that too."""

    kind: ClassVar[str] = "console"
    source_time: bool = False

    def open(self, context: SinkContext) -> OpenedSink:
        """A sink that writes the lines in a thread of its own."""
        state = SinkState(self.called)
        line = line_writer(colour=wants_colour(sys.stdout), source_time=self.source_time)
        target = StreamDestination(sys.stdout.fileno(), lambda event: line(event).encode())
        context.run_status.add_sink(state)
        return OpenedSink(events=StreamSink(target, state, waits=context.waits))


class ConsoleSink:
    """Writes a line per event to `stream`. begin: of each line. source_time: whether lines have that too."""

    def __init__(self, stream: TextIO, begin: str = "", *, source_time: bool = False) -> None:
        self._stream = stream
        self._begin = begin
        self._line = line_writer(colour=wants_colour(stream), source_time=source_time)

    def write(self, event: Event) -> None:
        """Write one line."""
        self._stream.write(f"{self._begin}{self._line(event)}\n")
        self._stream.flush()

    def stop(self) -> None:
        """Nothing takes time to close."""

    def close(self) -> None:
        """The stream is the caller's: nothing to do."""


def line_writer(*, colour: bool, source_time: bool) -> Callable[[Event], str]:
    """What makes one line of an event: the time of day, what happened, the activity and how sure it is, how
    long it took, the source. source_time: also when it was by the source's clock.
    """

    def line(event: Event) -> str:
        word = f"{WORDS.get(event.type, event.type):<6}"
        if colour and event.type in COLOURS:
            word = f"{COLOURS[event.type]}{word}{PLAIN}"
        return f"{_time_of_day(event)}  {word} {printable(_describe(event, source_time))}"

    return line


def _time_of_day(event: Event) -> str:
    """When the event was emitted, by this machine's clock and in its time zone."""
    return f"{datetime.fromisoformat(event.time.replace('Z', '+00:00')).astimezone():%H:%M:%S}"


def _describe(event: Event, source_time: bool) -> str:
    """One event in words, without its time of day and type."""
    parts = []
    if event.label is not None and event.score is not None:
        parts.append(f"{event.label:<14} {event.score:.2f}")
    if source_time:
        end = "" if event.end_s is None else f" to {event.end_s:.2f}"
        parts.append(f"{event.start_s:.2f}{end} s")
    if event.end_s is not None:
        reason = f", {event.reason}" if event.reason not in (None, "left") else ""
        parts.append(f"after {event.end_s - event.start_s:.1f} s{reason}")
    return "  ".join([*parts, event.source])
