"""The spool: order and every event through restarts, power cuts at any byte, a full disk, damage;
bounds by a stated rule.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_har.errors import EdgeHarError
from edge_har.pipeline.events import Event
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import event_of, line_of
from edge_har.sinks.queued import QueuedSink
from edge_har.sinks.spool import Spool
from tests.helpers.command import environment
from tests.helpers.sinks import (
    QUICK,
    Place,
    fill,
    made_event,
    made_events,
    quick_path,
    small_disk,
    wait_until,
)

__all__ = ["quick_path"]  # a fixture
STEPS = ("append", "peek", "done", "reopen", "tear")
SMALL = 8 * 1000  # bytes: files of 1000, some five events each


def drained(spool: Spool, batch: int = 7) -> list[Event]:
    """All that waits, taken as a target takes it."""
    taken: list[Event] = []
    while events := spool.peek(batch):
        taken += events
        spool.ack(len(events))
    return taken


def left_in(folder: Path) -> list[Event]:
    """All that waits in a folder that nobody uses."""
    spool = Spool(folder)
    found = drained(spool)
    spool.close()
    return found


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


def test_a_line_is_the_event_again() -> None:
    for kind in ("start", "update", "end"):
        event = made_event(7, kind)
        assert event_of(line_of(event)) == event
    line = json.loads(line_of(made_event(7)))
    assert event_of(json.dumps(line | {"later": "version"}).encode()) == made_event(7)
    for bad in (b"", b"[]", b"7", b'{"id": "1"}', b"{" * 100_000):
        with pytest.raises(ValueError):
            event_of(bad)


def test_events_wait_in_order_and_outlast_the_process(quick_path: Path) -> None:
    events = made_events(300)
    spool = Spool(quick_path / "s", max_bytes=1_000_000)
    for begin in range(0, 200, 13):
        spool.append(events[begin : min(200, begin + 13)])
    assert spool.peek(50) == events[:50]
    spool.ack(30)
    spool.close()
    spool = Spool(quick_path / "s", max_bytes=1_000_000)
    assert len(spool) == 170
    spool.append(events[200:])
    assert drained(spool) == events[30:]
    assert len(spool) == 0 and spool.dropped == 0
    spool.close()
    assert left_in(quick_path / "s") == []


def test_what_is_not_done_waits_again(quick_path: Path) -> None:
    spool, events = Spool(quick_path), made_events(10)
    spool.append(events)
    assert spool.peek(5) == events[:5]
    spool.ack(2)
    assert spool.peek(5) == events[2:7]
    spool.ack(0)
    assert drained(spool) == events[2:]
    spool.close()


def test_nobody_else_reads_it_and_only_one_process_uses_it(quick_path: Path) -> None:
    spool = Spool(quick_path / "s")
    spool.append(made_events(1))
    assert (quick_path / "s").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (quick_path / "s").iterdir())
    with pytest.raises(EdgeHarError, match=r"another process uses it.*another `name`"):
        Spool(quick_path / "s")
    spool.close()
    assert left_in(quick_path / "s") == made_events(1)


def test_a_folder_that_cannot_be_is_one_line(quick_path: Path) -> None:
    (quick_path / "file").write_text("")
    with pytest.raises(EdgeHarError, match=r"events cannot wait in .*file"):
        Spool(quick_path / "file")


def test_a_power_cut_at_any_byte_leaves_whole_events(quick_path: Path) -> None:
    events = made_events(3)
    spool = Spool(quick_path / "s")
    spool.append(events)
    spool.close()
    (path,) = segments(quick_path / "s")
    whole = path.read_bytes()
    ends = [0, *(match.end() for match in re.finditer(rb"\n", whole))]
    for size in range(len(whole)):
        (quick_path / "s" / "cursor").unlink()
        path.write_bytes(whole[:size])
        spool = Spool(quick_path / "s")
        spool.append(made_events(1, first=90))
        count = sum(end <= size for end in ends) - 1
        assert drained(spool) == [*events[:count], made_event(90)], size
        assert spool.dropped == 0
        spool.close()


@pytest.mark.parametrize("content", [b"", b"\0" * 30, b"rubbish", b"00000000000000000099 00000000\n"])
def test_a_damaged_cursor_delivers_again_rather_than_not(quick_path: Path, content: bytes) -> None:
    spool = Spool(quick_path)
    spool.append(made_events(20))
    assert len(spool.peek(5)) == 5
    spool.ack(5)
    spool.close()
    (quick_path / "cursor").write_bytes(content)
    assert left_in(quick_path) == made_events(20)


def test_damage_is_put_aside_and_told_and_the_rest_goes_on(
    quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = made_events(40)
    spool = Spool(quick_path, max_bytes=16 * SMALL)
    spool.append(events)
    spool.close()
    first, *_ = segments(quick_path)
    content = bytearray(first.read_bytes())
    at = content.index(b'"door"', 400)
    content[at] ^= 1
    first.write_bytes(content)
    spool = Spool(quick_path, max_bytes=16 * SMALL)
    spool.append(made_events(5, first=40))
    found = drained(spool)
    spool.close()
    hit = next(n for n, end in enumerate(m.end() for m in re.finditer(rb"\n", content)) if end > at)
    assert found == [*events[:hit], *events[hit + 1 :], *made_events(5, first=40)]
    assert spool.dropped == 1
    assert [path.read_bytes() for path in quick_path.glob("*.damaged")] == [bytes(content)]
    assert len(caplog.records) == 1 and ".damaged" in caplog.text


@pytest.mark.parametrize("which", ["first", "last", "all"])
@pytest.mark.parametrize("content", [bytes(200_000), random.Random(1).randbytes(200_000), b"\n" * 5000])
def test_a_file_of_rubbish_stops_nothing(quick_path: Path, which: str, content: bytes) -> None:
    spool = Spool(quick_path, max_bytes=SMALL * 8)
    spool.append(made_events(100))
    spool.close()
    files = segments(quick_path)
    assert len(files) > 2
    for path in {"first": files[:1], "last": files[-1:], "all": files}[which]:
        path.write_bytes(content)
    spool = Spool(quick_path, max_bytes=SMALL * 80)
    spool.append(made_events(3, first=200))
    found = drained(spool)
    assert found[-3:] == made_events(3, first=200)
    assert all(a.start_s < b.start_s for a, b in pairwise(found))
    assert (which == "all") == (len(found) == 3)
    assert len(spool) == 0
    if which == "first":  # how many were in the last one nobody knows
        assert spool.dropped + len(found) == 103
    assert len(list(quick_path.glob("*.damaged"))) <= 1
    spool.close()
    assert left_in(quick_path) == []


def test_a_folder_that_somebody_removes_is_made_again(
    quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(quick_path / "s")
    spool.append(made_events(10))
    spool.peek(2)
    spool.ack(2)
    shutil.rmtree(quick_path / "s")
    spool.append(made_events(5, first=10))
    assert drained(spool) == made_events(5, first=10)
    assert spool.dropped == 8 and len(spool) == 0
    spool.append(made_events(5, first=15))
    spool.close()
    assert left_in(quick_path / "s") == made_events(5, first=15)
    assert len(caplog.records) == 1 and "removed" in caplog.text


def test_the_oldest_go_where_the_bound_is_reached(quick_path: Path) -> None:
    spool, events = Spool(quick_path, max_bytes=SMALL), made_events(500)
    for event in events:
        spool.append([event])
    assert sum(path.stat().st_size for path in segments(quick_path)) <= SMALL + 1000
    found = drained(spool)
    assert found == events[-len(found) :] and len(found) >= 20
    assert spool.dropped + len(found) == 500
    spool.close()


def test_what_is_on_its_way_when_its_file_is_dropped_is_counted_once(quick_path: Path) -> None:
    spool, events = Spool(quick_path, max_bytes=SMALL), made_events(200)
    spool.append(events[:3])
    assert spool.peek(3) == events[:3]
    for event in events[3:]:
        spool.append([event])
    spool.ack(2)  # the third did not arrive, and is gone
    found = drained(spool)
    assert 2 + spool.dropped + len(found) == 200
    spool.close()


def test_room_is_given_back_when_all_is_delivered(quick_path: Path) -> None:
    spool = Spool(quick_path)
    spool.append(made_events(2000))
    drained(spool)
    assert sum(path.stat().st_size for path in segments(quick_path)) < 66_000
    spool.append(made_events(3, first=5000))
    assert drained(spool) == made_events(3, first=5000)
    spool.close()


def test_a_full_disk_is_told_once_and_loses_nothing(
    quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    events = made_events(600)
    with small_disk(quick_path / "disk", 256) as disk:
        spool = Spool(disk / "s", name="hook")
        spool.append(events[:100])
        ballast = fill(disk)
        for event in events[100:300]:
            spool.append([event])
        assert drained(spool, batch=9)[:150] == events[:150]  # also what is in memory alone
        spool.append(events[300:400])
        assert spool.peek(4) == events[300:304]
        ballast.unlink()
        spool.append(events[400:500])
        spool.ack(4)
        spool.append(events[500:])
        spool.close()
        assert left_in(disk / "s") == events[304:]
    assert [record.getMessage() for record in caplog.records] == [
        f"hook: events cannot wait in {disk}/s: No space left on device; they wait in memory until they can",
        f"hook: {disk}/s takes events again",
    ]


def test_memory_is_bounded_while_the_disk_is_full(quick_path: Path) -> None:
    events = made_events(400)
    with small_disk(quick_path / "disk", 128) as disk:
        fill(disk)
        spool = Spool(disk / "s", memory_bytes=20_000)
        for event in events:
            spool.append([event])
        found = drained(spool)
        assert found == events[-len(found) :]
        assert spool.dropped + len(found) == 400 and 80 < len(found) < 130
        spool.close()


def test_a_disk_that_is_full_from_the_start(quick_path: Path) -> None:
    with small_disk(quick_path / "disk", 64) as disk:
        (disk / "s").mkdir()
        ballast = fill(disk)
        spool = Spool(disk / "s")
        spool.append(made_events(50))
        assert len(spool) == 50
        ballast.unlink()
        spool.append([])
        spool.close()
        assert left_in(disk / "s") == made_events(50)


def test_a_sink_delivers_past_a_full_disk_and_keeps_what_waits(quick_path: Path) -> None:
    events = made_events(300)
    with small_disk(quick_path / "disk", 128) as disk:
        fill(disk)
        place = Place()
        place.fail = "away"
        sink = QueuedSink(place, SinkState("hook"), spool=Spool(disk / "s"), retries=QUICK)
        for event in events:
            sink.write(event)
        wait_until(lambda: sink.state.failed > 2, "some tries")
        place.fail = None
        wait_until(lambda: sink.state.delivered == 300, "all events")
        sink.close()
        assert place.taken == events


def test_what_neither_the_disk_nor_the_place_took_is_told_as_lost(
    quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(quick_path / "disk", 128) as disk:
        fill(disk)
        place = Place()
        place.fail = "away"
        sink = QueuedSink(place, SinkState("hook"), spool=Spool(disk / "s"), retries=QUICK)
        for event in made_events(300):
            sink.write(event)
        sink.close()
    assert "the next run does" not in caplog.text
    told = [
        record for record in caplog.records if "hook: 300 events could not be delivered" in record.message
    ]
    assert [record.levelname for record in told] == ["ERROR"]  # -q does not hide it
    assert sink.state.lost == 300


def test_the_next_run_delivers_what_this_one_could_not(
    quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, events = Place(), made_events(100)
    place.free.clear()
    sink = QueuedSink(place, SinkState("hook"), spool=Spool(quick_path), retries=QUICK)
    for event in events[:60]:
        sink.write(event)
    assert place.entered.wait(30)
    wait_until(lambda: len(segments(quick_path)[0].read_bytes().splitlines()) == 60, "events on the disk")
    sink.stop()
    sink._until_s = 0.0  # no patience left
    sink.close()
    assert "60 events are not delivered yet, the next run does" in caplog.text
    after = Place()
    sink = QueuedSink(after, SinkState("hook"), spool=Spool(quick_path), retries=QUICK)
    for event in events[60:]:
        sink.write(event)
    sink.close()
    assert after.taken == events
    place.free.set()


def test_runs_killed_at_any_moment_write_every_event_once(quick_path: Path) -> None:
    runs = 12
    subprocess.run(
        [sys.executable, "-m", "tests.helpers.killed", str(quick_path), str(runs)],
        check=True,
        timeout=120,
        env=environment(),
    )
    names = sorted(
        quick_path.glob("events.jsonl*"),
        key=lambda path: int(path.suffix[1:]) if path.suffix != ".jsonl" else 0,
    )
    lines = [line for path in reversed(names) for line in path.read_text().splitlines()]
    ids = [tuple(map(int, json.loads(line)["id"].split("-"))) for line in lines]
    for run in range(runs + 1):
        of_run = [number for at, number in ids if at == run]
        assert of_run == list(range(len(of_run))), f"run {run}"
    assert ids == sorted(ids)
    assert [number for at, number in ids if at == runs] == list(range(10))
    assert len(ids) > 10  # the runs that were killed wrote too


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), max_size=40))
def test_any_history_gives_all_events_in_order(quick_path: Path, steps) -> None:
    folder = Path(tempfile.mkdtemp(dir=quick_path))
    spool = Spool(folder, max_bytes=SMALL * 100)
    written = taken = seen = 0
    for step, count in steps:
        if step == "append":
            spool.append(made_events(count, first=written))
            written += count
        elif step == "peek":
            events = spool.peek(count)
            assert events == made_events(len(events), first=taken)
            assert bool(events) == (count > 0 and written > taken)
            seen = len(events)
        elif step == "done":
            gone = min(seen, count)
            spool.ack(gone)
            taken, seen = taken + gone, 0
        else:
            spool.close()
            if step == "tear" and (files := segments(folder)):
                with open(files[-1], "ab") as file:
                    file.write(b"0badcafe 12 {" + os.urandom(count).replace(b"\n", b""))
            spool, seen = Spool(folder, max_bytes=SMALL * 100), 0
        assert len(spool) == written - taken
    assert drained(spool) == made_events(written - taken, first=taken)
    spool.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["flip", "cut", "insert"]),
            st.integers(0, 2**16),
            st.integers(0, 2**16),
            st.binary(max_size=40),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_damage_leaves_events_in_order_and_a_spool_that_works(quick_path: Path, faults) -> None:
    folder = Path(tempfile.mkdtemp(dir=quick_path))
    spool = Spool(folder, max_bytes=SMALL * 2)
    spool.append(made_events(40))
    spool.peek(5)
    spool.ack(5)
    spool.close()
    for fault, which, where, what in faults:
        files = sorted(path for path in folder.iterdir() if path.stat().st_size)
        path = files[which % len(files)]
        content = bytearray(path.read_bytes())
        at = where % len(content)
        if fault == "flip":
            content[at] ^= 1 + where % 255
        elif fault == "cut":
            del content[at:]
        else:
            content[at:at] = what
        path.write_bytes(content)
    spool = Spool(folder, max_bytes=SMALL * 2)
    spool.append(made_events(7, first=100))
    found = drained(spool)
    assert found[-7:] == made_events(7, first=100)
    numbers = [int(event.start_s) for event in found[:-7]]
    assert numbers == sorted(set(numbers)) and set(numbers) <= set(range(40))
    assert found[:-7] == [made_event(number) for number in numbers]
    assert len(spool) == 0
    spool.close()
    assert left_in(folder) == []
