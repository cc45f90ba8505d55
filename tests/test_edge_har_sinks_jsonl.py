"""JSON lines: whole lines whatever the disk does, rotation, nothing of others touched;
a full disk is reported and waited for.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
from pathlib import Path

import pytest

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import RetryLater, line_of
from edge_har.sinks.jsonl import FileDestination, JsonLinesOptions, StreamDestination
from edge_har.sinks.queued import QueuedSink
from tests.helpers.sinks import (
    QUICK,
    fill,
    made_event,
    made_events,
    quick_path,
    setting,
    small_disk,
    wait_until,
)

__all__ = ["quick_path"]  # a fixture


def target(path: Path, max_bytes: int = 1_000_000, keep: int = 5, **more: bool) -> FileDestination:
    return FileDestination(path, max_bytes=max_bytes, keep=keep, **more)


def lines(path: Path) -> list[bytes]:
    """The file's lines, all of them whole."""
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return content.splitlines()


def as_lines(events: list[Event]) -> list[bytes]:
    return [line_of(event) for event in events]


def test_a_sink_appends_a_line_for_each_event(quick_path: Path) -> None:
    path, events = quick_path / "events.jsonl", made_events(20)
    for begin in (0, 10):
        run = setting()
        sink = JsonLinesOptions(str(path)).open(run).events
        for event in events[begin : begin + 10]:
            sink.write(event)
        sink.close()
        assert [(s.name, s.delivered) for s in run.run_status.sinks] == [("jsonl", 10)]
    assert lines(path) == as_lines(events)
    assert json.loads(lines(path)[3]) == events[3].to_json()


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_rotation_keeps_order_and_bounds(quick_path: Path, batch: int) -> None:
    path, events = quick_path / "events.jsonl", made_events(300)
    file = target(path, max_bytes=2000, keep=4)
    for begin in range(0, 300, batch):
        file.deliver(events[begin : begin + batch])
    file.close()
    names = [f"events.jsonl.{n}" for n in (4, 3, 2, 1)] + ["events.jsonl"]
    assert sorted(p.name for p in quick_path.iterdir()) == sorted(names)
    assert all((quick_path / name).stat().st_size <= 2000 for name in names)
    kept = [line for name in names for line in lines(quick_path / name)]
    assert kept == as_lines(events)[-len(kept) :] and len(kept) > 40


def test_events_are_their_owners_alone_unless_the_file_was_there(quick_path: Path) -> None:
    before = os.umask(0o022)
    try:
        shared = quick_path / "shared.jsonl"
        shared.touch(mode=0o644)
        for path in (quick_path / "events.jsonl", shared):
            file = target(path, max_bytes=2000)
            file.deliver(made_events(5))
            file.close()
        assert shared.stat().st_mode & 0o777 == 0o644
        file = target(quick_path / "events.jsonl", max_bytes=2000)
        file.deliver(made_events(30))
        file.close()
        modes = {path.stat().st_mode & 0o777 for path in quick_path.glob("events.jsonl*")}
        assert modes == {0o600}
    finally:
        os.umask(before)


def test_no_older_file_may_be_wanted(quick_path: Path) -> None:
    path = quick_path / "events.jsonl"
    file = target(path, max_bytes=2000, keep=0)
    file.deliver(made_events(100))
    file.close()
    assert [p.name for p in quick_path.iterdir()] == ["events.jsonl"]
    assert lines(path)[-1] == line_of(made_event(99))


def test_a_file_that_was_moved_away_is_begun_anew(quick_path: Path) -> None:
    path, events = quick_path / "events.jsonl", made_events(9)
    file = target(path)
    file.deliver(events[:3])
    path.rename(quick_path / "old")
    file.deliver(events[3:6])
    path.unlink()
    file.deliver(events[6:])
    file.close()
    assert lines(quick_path / "old") == as_lines(events[:3])
    assert lines(path) == as_lines(events[6:])


def test_a_line_cut_short_by_a_kill_is_taken_away_at_any_byte(quick_path: Path) -> None:
    path, events = quick_path / "events.jsonl", made_events(3)
    whole = b"".join(line + b"\n" for line in as_lines(events))
    first = len(as_lines(events)[0]) + 1
    for size in range(first, len(whole), 5):
        path.write_bytes(whole[:size])
        file = target(path)
        file.deliver([made_event(50)])
        file.close()
        kept = whole[: whole.rfind(b"\n", 0, size) + 1].splitlines()
        if whole[size : size + 1] == b"\n":  # all but the line's end was there
            kept = whole[: size + 1].splitlines()
        assert lines(path) == [*kept, line_of(made_event(50))]


def test_zeros_of_a_power_cut_are_taken_away(quick_path: Path) -> None:
    path = quick_path / "events.jsonl"
    path.write_bytes(line_of(made_event(1)) + b"\n" + bytes(200_000))
    file = target(path)
    file.deliver([made_event(2)])
    file.close()
    assert lines(path) == as_lines([made_event(1), made_event(2)])


@pytest.mark.parametrize("content", [b"{\n}\n", b"RIFF....AVI ", b"some notes\n", b'{"version": 1}\n'])
def test_what_is_no_file_of_events_is_left_alone(quick_path: Path, content: bytes) -> None:
    path = quick_path / "video.avi"
    path.write_bytes(content)
    with pytest.raises(MisuseError, match="left alone"):
        JsonLinesOptions(str(path)).open(setting())
    assert path.read_bytes() == content


def test_what_can_be_no_file_is_said_at_once(quick_path: Path) -> None:
    with pytest.raises(MisuseError, match="there is no folder"):
        JsonLinesOptions(str(quick_path / "no" / "events.jsonl")).open(setting())
    with pytest.raises(MisuseError, match="no ordinary file"):
        JsonLinesOptions(str(quick_path)).open(setting())
    for wrong in ({"max_bytes": 10}, {"keep": -1}, {"path": "-", "spool": "x"}, {"name": "a/b"}):
        with pytest.raises(MisuseError):
            JsonLinesOptions(**wrong)


def test_another_process_is_not_written_over(quick_path: Path) -> None:
    path = quick_path / "events.jsonl"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        file = target(path)
        with pytest.raises(RetryLater, match="another process writes it"):
            file.deliver([made_event(0)])
    file.deliver([made_event(0)])
    file.close()
    assert lines(path) == [line_of(made_event(0))]


def test_a_full_disk_is_told_once_and_recovers_with_whole_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    events = made_events(400)
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "events.jsonl"
        sink = QueuedSink(target(path), SinkState("file"), retries=QUICK)
        for event in events[:50]:
            sink.write(event)
        wait_until(lambda: sink.state.delivered == 50, "events before")
        ballast = fill(disk)
        for event in events[50:]:
            sink.write(event)
        wait_until(lambda: sink.state.failed > 3, "several tries")
        kept = lines(path)
        assert kept == as_lines(events)[: len(kept)]
        ballast.unlink()
        wait_until(lambda: "works again" in caplog.text and sink.state.delivered > 250, "the rest")
        # 400 lines do not fit on the disk: what is on it is whole, and the others wait.
        sink.close()
        kept = lines(path)
        assert kept == as_lines(events)[: len(kept)] and len(kept) > 250
    told = [record.getMessage() for record in caplog.records]
    assert told[:2] == [
        f"file: {path}: No space left on device; trying again until it works",
        "file: works again",
    ]


def test_events_of_a_killed_run_are_not_written_twice(quick_path: Path) -> None:
    path, events = quick_path / "events.jsonl", made_events(30)
    before = target(path, max_bytes=2000)
    before.deliver(events[:20])
    before.close()
    # Killed before the spool noted what had arrived: all comes again.
    after = target(path, max_bytes=2000, replayed=True)
    after.deliver(events[:12])
    after.deliver(events[12:30])
    after.close()
    rotated = sorted(quick_path.glob("events.jsonl.*"), reverse=True)
    assert len(rotated) > 1
    assert [line for p in (*rotated, path) for line in lines(p)] == as_lines(events)


def test_standard_output_gets_whole_lines_from_a_reader_that_is_slow() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    events, read = made_events(300), b""
    stream = StreamDestination(writer)
    at = 0
    while at < len(events):
        try:
            stream.deliver(events[at : at + stream.batch])
            at += len(events[at : at + stream.batch])
        except RetryLater as later:
            at += later.delivered
            read += os.read(reader, 1000)
    os.close(writer)
    while chunk := os.read(reader, 65_536):
        read += chunk
    os.close(reader)
    assert read.splitlines() == as_lines(events)


def test_standard_output_on_a_full_disk_and_without_a_reader() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(RetryLater, match="No space left"):
        StreamDestination(full.fileno()).deliver(made_events(1))
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        StreamDestination(writer).deliver(made_events(1))
    os.close(writer)


def test_a_dash_is_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as standard:
        monkeypatch.setattr(sys, "stdout", standard)
        sink = JsonLinesOptions("-").open(setting()).events
        sink.write(made_event(3))
        sink.close()
    assert os.read(reader, 65_536) == line_of(made_event(3)) + b"\n"
    os.close(reader)
