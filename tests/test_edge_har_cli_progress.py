"""Progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest

from edge_har.cli.progress import progress
from tests.helpers.terminal import Terminal


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, steps: int) -> str:
    """What `steps` steps of work write on `stream`."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress("checking clips") as advance:
        for done in range(1, steps + 1):
            advance(done, steps)
    return stream.getvalue()


def test_a_terminal_has_a_bar_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), 5)
    assert "checking clips" in text and "\r" in text and "100%" in text and "\x1b[3" not in text


def test_elsewhere_a_line_at_each_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, io.StringIO(), 40).splitlines()
    assert lines == [f"checking clips: {done} of 40" for done in range(4, 41, 4)]
    assert shown(monkeypatch, io.StringIO(), 2).splitlines() == [
        "checking clips: 1 of 2",
        "checking clips: 2 of 2",
    ]


def test_a_terminal_that_writes_no_line_again_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "dumb")
    with progress("checking clips") as advance:
        advance(1, 1)
    assert stream.getvalue() == "checking clips: 1 of 1\n"


def test_nothing_is_shown_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), 0) == ""


def test_whoever_takes_the_lines_gets_them_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, lines = Terminal(), list[str]()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress("decoding clips", lines.append) as advance:
        advance(1, 2)
        advance(2, 2)
    assert lines == ["decoding clips: 1 of 2", "decoding clips: 2 of 2"] and stream.getvalue() == ""


def test_work_whose_stages_have_lines_has_a_bar_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, elsewhere = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    for stream in (terminal, elsewhere):
        monkeypatch.setattr("sys.stderr", stream)
        with progress("comparing", lines=False) as advance:
            advance(1, 1)
    assert "100%" in terminal.getvalue() and elsewhere.getvalue() == ""
