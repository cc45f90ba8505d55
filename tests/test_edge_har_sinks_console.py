"""Lines for people: what each shows, by which clock, and that nothing in them steers a terminal."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest

from edge_har.pipeline.events import Event
from edge_har.sinks.console import ConsoleSink, line_writer


@pytest.fixture(autouse=True)
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is 5 hours and a half ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()


def event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "id": "1-1",
        "type": "start",
        "source": "door",
        "label": "Walk",
        "score": 0.914,
        "start_s": 12.5,
        "end_s": None,
        "time": "2026-11-29T21:03:05.250Z",
        "model": "m@0",
    }
    return Event(**(fields | changes))


END = {"type": "end", "end_s": 14.75, "reason": "left"}
LOST = {"type": "source_lost", "label": None, "score": None}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "02:33:05  start  Walk           0.91  door"),
        ({"type": "update"}, "02:33:05  update Walk           0.91  door"),
        (END, "02:33:05  end    Walk           0.91  after 2.2 s  door"),
        (END | {"reason": "gap"}, "02:33:05  end    Walk           0.91  after 2.2 s, gap  door"),
        (LOST, "02:33:05  lost   door"),
        (LOST | {"type": "source_back", "end_s": 20.0}, "02:33:05  back   after 7.5 s  door"),
        ({"source": "a\x1b[2Jb"}, "02:33:05  start  Walk           0.91  a\\x1b[2Jb"),
    ],
)
def test_a_line_has_the_time_of_day_of_this_machine(changes: dict[str, Any], line: str) -> None:
    assert line_writer(colour=False, source_time=False)(event(**changes)) == line


def test_the_times_of_the_source_on_request() -> None:
    line = line_writer(colour=False, source_time=True)
    assert line(event()) == "02:33:05  start  Walk           0.91  12.50 s  door"
    assert line(event(**END)) == "02:33:05  end    Walk           0.91  12.50 to 14.75 s  after 2.2 s  door"


def test_colours_are_of_the_first_word() -> None:
    line = line_writer(colour=True, source_time=False)
    assert line(event()) == "02:33:05  \x1b[32mstart \x1b[0m Walk           0.91  door"
    assert "\x1b" not in line(event(type="update"))


def test_a_stream_gets_each_line_behind_the_beginning_of_the_log() -> None:
    stream = io.StringIO()
    sink = ConsoleSink(stream, "<6>")
    sink.write(event())
    sink.write(event(**LOST))
    assert stream.getvalue() == "<6>02:33:05  start  Walk           0.91  door\n<6>02:33:05  lost   door\n"
