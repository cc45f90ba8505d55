"""The soak's judge: each fault that it is there to find, in a list of a few lines, and the plan of faults."""

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.soak.disks import Disk
from tests.soak.judge import (
    DESTINATIONS,
    Arrived,
    Event,
    Fault,
    Play,
    compare,
    faults_of_order,
    find,
    put_out,
)
from tests.soak.plan import IDLE, OF_CAMERAS, OF_DESTINATIONS, PAGE, plan
from tests.soak.show import INDEX, PICTURES, Journal, Show
from tests.soak.watch import Reading, Sample, emptied_s, growth, recovered_s

PLAY = Play("door", "Bend", 100.0, 104.0)
CAMERAS = ("a", "b", "c", "d")


def line(number: int, kind: str, at: int = 0) -> dict[str, str]:
    return {"id": f"0a1b-{number}", "type": kind, "time": f"2026-11-21T10:00:{at:02}.000Z"}


def whole(number: int, at: int = 0) -> list[dict[str, str]]:
    return [line(number, "start", at), line(number, "update", at + 1), line(number, "end", at + 2)]


def test_a_run_without_faults_has_none() -> None:
    emitted = [*whole(1), line(2, "source_lost", 5), *whole(3, 6), line(2, "source_back", 9)]
    assert faults_of_order(emitted) == []
    assert compare(emitted, emitted) == Arrived(lines=8, duplicates=0, missing=0, strange=0)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*whole(1), *whole(3, 5)], "absent: [2]"),
        ([*whole(2), *whole(1, 5)], "without gaps"),
        ([*whole(1), line(1, "end", 2)], "2 times"),
        (whole(1)[:2], "0a1b-1: start update"),
        (whole(1)[1:], "0a1b-1: update end"),
        ([*whole(1), line(1, "update", 9)], "start update end update"),
        ([*whole(1), {**line(2, "start"), "id": "ffff-2"}], "2 processes"),
    ],
)
def test_each_fault_of_ids_is_found(lines: list[dict[str, str]], said: str) -> None:
    assert said in " ".join(faults_of_order(lines))


def test_what_did_not_arrive_what_came_twice_and_what_nobody_told() -> None:
    emitted = [*whole(1), *whole(2, 5)]
    assert compare(emitted, [*emitted[1:], emitted[3], line(9, "start")]) == Arrived(
        7, duplicates=1, missing=1, strange=1
    )


@pytest.mark.parametrize(
    ("source", "label", "start_s", "end_s", "right"),
    [
        ("door", "Bend", 100.6, 105.0, True),
        ("door", "Walk", 100.6, 105.0, False),
        ("yard", "Bend", 100.6, 105.0, False),
        ("door", "Bend", 98.0, 105.0, False),
        ("door", "Bend", 103.5, 105.0, False),
        ("door", "Bend", 100.6, 101.5, False),
        ("door", "Bend", 100.6, 107.0, False),
    ],
)
def test_an_event_must_have_label_source_and_time(
    source: str, label: str, start_s: float, end_s: float, right: bool
) -> None:
    found = find([PLAY], [Event(source, label, start_s, end_s)])
    assert (len(found.right), len(found.missing)) == ((1, 0) if right else (0, 1))


def test_a_second_event_in_a_play_is_counted() -> None:
    found = find([PLAY], [Event("door", "Bend", 100.5, 102.5), Event("door", "Bend", 102.8, 105.0)])
    assert (len(found.right), found.more) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "disturbed"),
    [
        (Fault("killed", "door", 101.0, 102.0), True),
        (Fault("killed", "yard", 101.0, 102.0), False),
        (Fault("killed", "door", 90.0, 92.0), True),  # over at 92 + 10 + 3
        (Fault("killed", "door", 80.0, 82.0), False),
        (Fault("killed", "door", 106.0, 110.0), True),
        (Fault("killed", "door", 107.5, 110.0), False),
    ],
)
def test_a_fault_disturbs_the_plays_of_its_camera_until_it_is_over(fault: Fault, disturbed: bool) -> None:
    assert PLAY.is_disturbed([fault]) is disturbed


@pytest.mark.parametrize("minutes", [3, 60])
def test_every_kind_of_fault_is_in_every_plan_and_no_target_has_two_at_once(minutes: int) -> None:
    planned = plan(60.0 * minutes, CAMERAS, seed=0)
    assert {fault.kind for fault in planned} >= {*OF_CAMERAS, *OF_DESTINATIONS, CAMERAS[0], IDLE}
    assert planned == plan(60.0 * minutes, CAMERAS, seed=0) != plan(60.0 * minutes, CAMERAS, seed=1)
    for target in (*CAMERAS, DESTINATIONS, PAGE):
        own = [fault for fault in planned if fault.target == target]
        assert all(a.at_s + a.lasts_s < b.at_s for a, b in pairwise(own))
    on_rtsp = {fault.kind for fault in planned if fault.target in CAMERAS[2:]}
    assert on_rtsp == set(OF_CAMERAS)


def test_a_client_that_another_puts_out_is_found_but_not_one_that_a_fault_made_connect_again() -> None:
    log = (
        "1000: New client connected from 127.0.0.1:1 as edge-har-a (p2, c1, k30).\n"
        "{}: Client edge-har-a already connected, closing old connection.\n"
    )
    stalled = [Fault("broker stalled", DESTINATIONS, 90.0, 100.0), Fault("killed", "door", 150.0, 160.0)]
    assert put_out(log.format(1101), stalled, 1000.0) == []  # until 100 + 10 + 15
    assert put_out(log.format(1080), stalled, 1000.0) == ["edge-har-a"]
    assert put_out(log.format(1155), stalled, 1000.0) == ["edge-har-a"]


def test_growth_is_a_matter_of_medians() -> None:
    def samples(late_mb: float) -> list[Sample]:
        return [Sample(float(t), 70.0 if t < 800 else late_mb, 20, 9, 0.0) for t in range(1000)]

    grown = growth(samples(74.0), "rss_mb", (300, 600), fraction=0.03, more=2)
    assert (grown.early, grown.late, grown.is_flat) == (70.0, 74.0, True)
    assert not growth(samples(75.0), "rss_mb", (300, 600), fraction=0.03, more=2).is_flat


def test_recovery_is_seen_when_ticks_go_on_and_queues_are_empty() -> None:
    def reading(at_s: float, ticks: float, queued: float) -> Reading:
        return Reading(at_s, 200, {("source_ticks_total", "door"): ticks, ("sink_queued", "mqtt"): queued})

    readings = [reading(0, 5, 0), reading(1, 9, 2), reading(2, 9, 3), reading(3, 9, 1), reading(4, 12, 0)]
    assert recovered_s(readings, "door", 1.5) == 2.5
    assert emptied_s(readings, ["mqtt"], 0.5) == 3.5
    assert recovered_s(readings[:4], "door", 1.5) is None


def write_show(folder: Path, *, pictures: int = 100, plays: list[tuple[str, int, int]]) -> Show:
    index = {"rate_hz": 10, "sizes_wh": [[16, 16]], "plays": plays, "positions": [[(0, 1)] * pictures]}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / PICTURES).write_bytes(b"x")
    return Show(folder, 0.0)


def test_a_journal_has_plays_that_were_sent_from_before_to_after_and_their_longest_gap(
    tmp_path: Path,
) -> None:
    show = write_show(tmp_path, plays=[("Bend", 20, 40), ("Walk", 70, 80)])
    path = tmp_path / "journal"
    journal = Journal(show, path)
    numbers = [n for n in range(15, 200) if n not in range(75, 79)]
    for number in numbers:  # comes within the lead of the first play
        journal.sent(number, number / 10)
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    assert [(row["round"], row["play"], row["gap_s"]) for row in rows] == [
        (0, 1, 0.5),
        (1, 0, 0.1),
        (1, 1, 0.1),
    ]


WRITER = """
import sys, time
while True:
    try:
        with open(sys.argv[1], "a") as file:
            file.write("line\\n")
        print("written", flush=True)
    except OSError as error:
        print("full", flush=True)
    time.sleep(0.02)
"""


@pytest.mark.parametrize("mount", [True, False])
def test_a_disk_is_full_until_it_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mount: bool
) -> None:
    if not mount:
        monkeypatch.setenv("PATH", str(tmp_path))  # no mount to be found
    disk = Disk(tmp_path / "disk", 64)
    if mount and not disk.mounted:
        pytest.skip("this process may not mount a tmpfs")
    assert disk.mounted is mount
    command = [sys.executable, "-c", WRITER, str(disk.folder / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = iter(writer.stdout)
        try:
            assert next(said) == "written\n"
            disk.fill(writer.pid)
            (disk.folder / "file").rename(disk.folder / "old")  # the rest of its last block is not to be had
            until_s = time.monotonic() + 30
            while next(said) != "full\n":
                assert time.monotonic() < until_s
            disk.free(writer.pid)
            while next(said) != "written\n":
                assert time.monotonic() < until_s
        finally:
            writer.send_signal(signal.SIGKILL)
            disk.close()
