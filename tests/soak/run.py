"""One soak from beginning to end, and what is wrong with what came of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.soak.judge import (
    AFTER_S,
    BEFORE_S,
    Arrived,
    Event,
    Fault,
    Found,
    Play,
    compare,
    faults_of_order,
    find,
    number_of,
    put_out,
)
from tests.soak.plan import LONG_S, OF_DESTINATIONS, PAGE, Planned, plan
from tests.soak.scenes import seen_in_file
from tests.soak.show import Show
from tests.soak.stage import CAMERAS, DEVICE, END_S, NEIGHBOUR, READY_S, Camera, Stage
from tests.soak.watch import Growth, Reading, Sample, Watch, emptied_s, growth, recovered_s

SECOND = "MQTT, of a second device"
MAX_GAP_S = 0.5  # between two pictures that a camera sent: with a longer one the play was not shown
# Of the expected events, on a machine that does much else; in the short form other tests run beside it.
MISSING_SHARE, MISSING_SHORT_SHARE = 0.02, 0.06
UNANSWERED_SHARE = 0.01  # of the requests to the page, for the same reason
UNSHOWN_SHARE = 0.1  # of the plays without a fault, that the machine may have kept a camera from showing
EXPECTED, EXPECTED_SHORT = 100, 20
STOP_S, STOP_SHORT_S = 2.0, 10.0  # beside other tests nothing is timed
HEALTH_S, HEALTH_SHORT_S = 2.0, 5.0  # until /healthz answers, also while others hold connections
EARLY_S, EARLY_SHORT_S = (300.0, 600.0), (60.0, 90.0)
# What the medians may have grown by at the end: memory's fraction and MB, files and threads.
RSS_FRACTION, RSS_MB, RSS_SHORT_MB = 0.03, 2.0, 5.0
FILES, THREADS = 4, 4
SINKS = {
    "broker stopped": ("mqtt",),
    "broker stalled": ("mqtt",),
    "web server killed": ("webhook",),
    "web server stalled": ("webhook",),
    "file's disk full": ("jsonl",),
}
AGAIN = "is lost again and again"  # what a run says whose connection to the broker another takes
ALL_SINKS = ("jsonl", "mqtt", "webhook")

Lines = list[dict[str, Any]]


@dataclass(frozen=True)
class Soaked:
    """What came of a soak. at_s: when it began, when its faults began to count, when it ended. plays: all
    that the cameras had to show in that time; expected: those that nothing disturbed. left: lines for another
    run to deliver.
    """

    length_s: float
    seed: int
    commit: str
    at_s: tuple[float, float]
    plays: list[Play]
    disturbed: int
    unshown: list[Play]
    unknown: int
    expected: list[Play]
    faults: list[Fault]
    found: Found
    lines: Lines
    files: int
    wrong: list[str]
    arrived: dict[str, Arrived]
    left: int
    samples: list[Sample]
    readings: list[Reading]
    unanswered: int
    exit_code: int
    stopped_s: float
    tracebacks: int
    mounted: bool

    @property
    def is_long(self) -> bool:
        """Whether it is one of those that are published."""
        return self.length_s >= LONG_S

    @property
    def health_s(self) -> float:
        """How long /healthz may take to answer."""
        return HEALTH_S if self.is_long else HEALTH_SHORT_S

    @property
    def missing_share(self) -> float:
        """How many of the expected events may be absent."""
        return MISSING_SHARE if self.is_long else MISSING_SHORT_SHARE

    def growth(self, measure: str) -> Growth:
        """How much of a measure there was at first and in the end."""
        early_s = EARLY_S if self.is_long else EARLY_SHORT_S
        if measure == "rss_mb":
            more = RSS_MB if self.is_long else RSS_SHORT_MB
            return growth(self.samples, measure, early_s, fraction=RSS_FRACTION, more=more)
        return growth(
            self.samples, measure, early_s, fraction=0, more=FILES if measure == "files" else THREADS
        )

    def recoveries_s(self) -> dict[str, list[float | None]]:
        """By kind of fault, how long after each one its traces were gone."""
        found: dict[str, list[float | None]] = {}
        for fault in sorted(self.faults, key=lambda fault: (fault.kind in OF_DESTINATIONS, fault.kind)):
            if fault.target == PAGE:
                continue
            after = (
                emptied_s(self.readings, SINKS.get(fault.kind, ALL_SINKS), fault.ended_s)
                if fault.kind in OF_DESTINATIONS
                else recovered_s(self.readings, fault.target, fault.ended_s)
            )
            found.setdefault(fault.kind, []).append(after)
        return found

    def problems(self) -> list[str]:
        """All that should not be."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        yield from self.wrong
        for destination, arrived in self.arrived.items():
            if arrived.missing or arrived.strange:
                yield (
                    f"{destination}: {arrived.missing} lines did not come, "
                    f"{arrived.strange} were never emitted"
                )
        if self.arrived["file"].duplicates:
            yield f"the file has {self.arrived['file'].duplicates} lines twice"
        least = EXPECTED if self.is_long else EXPECTED_SHORT
        if len(self.expected) < least:
            yield f"only {len(self.expected)} events were to be expected, {least} are needed"
        missing = self.found.missing
        if len(missing) > self.missing_share * len(self.expected):
            yield f"{len(missing)} of {len(self.expected)} expected events are absent: {missing[:5]}"
        if len(self.unshown) > 2 + UNSHOWN_SHARE * len(self.plays):
            yield f"{len(self.unshown)} plays were not shown whole though no fault was made"
        outages = {line["id"]: line["type"] for line in self.lines if line["type"].startswith("source")}
        away = [name for name, latest in outages.items() if latest == "source_lost"]
        if away:
            yield f"sources that went away did not come back: {away}"
        dropped = [
            (names, value)
            for names, value in self.readings[-1].values.items()
            if names[0] == "sink_dropped_total" and value
        ]
        if dropped:
            yield f"events were dropped: {dropped}"
        if any(reading.health != 200 for reading in self.readings):
            yield "/healthz reported that it is not well"
        slow = [reading.health_s for reading in self.readings if reading.health_s > self.health_s]
        if slow:
            yield f"/healthz took more than {self.health_s:g} s {len(slow)} times, {max(slow):.1f} s at most"
        if self.unanswered > UNANSWERED_SHARE * len(self.readings):
            yield f"{self.unanswered} requests to the page had no answer"
        for measure in ("rss_mb", "files", "threads"):
            grown = self.growth(measure)
            if not grown.is_flat:
                yield f"{measure} grew from {grown.early:.1f} to {grown.late:.1f}, beyond {grown.limit:.1f}"
        if self.exit_code:
            yield f"it ended with exit {self.exit_code}"
        if self.stopped_s > (STOP_S if self.is_long else STOP_SHORT_S):
            yield f"it took {self.stopped_s:.1f} s to end"
        if self.tracebacks:
            yield f"its log has {self.tracebacks} tracebacks"


def soak(folder: Path, length_s: float, seed: int, commit: str, say: Callable[[str], None]) -> Soaked:
    """Run a soak in `folder`. Raises RuntimeError where the runtime ends before it should."""
    say("looking at the drawings as files")
    (folder / "checks").mkdir(parents=True)
    known = {camera.name: seen_in_file(camera.seed, folder / "checks") for camera in CAMERAS}
    planned = plan(length_s, [camera.name for camera in CAMERAS], seed)
    (folder / "plan.jsonl").write_text("".join(json.dumps(vars(fault)) + "\n" for fault in planned))
    with Stage(folder) as stage:
        stage.start_runtime()
        watch = Watch(stage.runtime.pid, stage.web_port)
        watch.start()
        _wait_until_live(stage, watch)
        began_s = time.monotonic()
        say(f"all {len(CAMERAS)} sources are live; {len(planned)} faults in {length_s / 60:.0f} minutes")
        failed = _make_faults(stage, planned, began_s, began_s + length_s, say)
        _wait_until_empty(stage, watch)
        over_s = time.monotonic()
        watch.stop()
        exit_code, stopped_s = stage.end_runtime()
        emitted = [json.loads(line) for line in stage.emitted]
        left, arrived, lines, files = _arrivals(stage, emitted)
        second, arrived[SECOND] = _neighbour(stage)
        log = stage.log.read_text()
        (folder / "runtime.log").write_text(log)
        plays = [play for camera in stage.cameras.values() for play in _plays(camera, began_s, over_s)]
        undisturbed = [play for play in plays if not play.is_disturbed(stage.faults)]
        shown = {play for camera in stage.cameras.values() for play in _shown(camera)}
        unshown = [play for play in undisturbed if play not in shown]
        expected = [play for play in undisturbed if play in shown and known[play.camera][play.label]]
        ends = [Event.of(line) for line in emitted if line["type"] == "end"]
        return Soaked(
            length_s=length_s,
            seed=seed,
            commit=commit,
            at_s=(began_s, over_s),
            plays=plays,
            disturbed=len(plays) - len(undisturbed),
            unshown=unshown,
            unknown=len(undisturbed) - len(unshown) - len(expected),
            expected=expected,
            faults=stage.faults,
            found=find(expected, ends),
            lines=emitted,
            files=files,
            wrong=failed
            + second
            + faults_of_order(lines)
            + ([] if lines == emitted else ["the file is not what was emitted, in order"]),
            arrived=arrived,
            left=left,
            samples=watch.samples,
            readings=watch.readings,
            unanswered=watch.unanswered,
            exit_code=exit_code,
            stopped_s=stopped_s,
            tracebacks=log.count("Traceback"),
            mounted=stage.spool.mounted and stage.file.mounted,
        )


def _check_alive(stage: Stage) -> None:
    code = stage.runtime.poll()
    if code is not None:
        log = stage.log.read_text().splitlines()
        raise RuntimeError(f"edge-har run has ended with exit {code}: {log[-5:]}")


def _wait_until_live(stage: Stage, watch: Watch) -> None:
    until_s = time.monotonic() + READY_S
    while not watch.readings or not all(
        watch.readings[-1].values.get(("source_ticks_total", name)) for name in stage.cameras
    ):
        _check_alive(stage)
        if time.monotonic() > until_s:
            raise RuntimeError(f"not all sources are live after {READY_S:.0f} s")
        time.sleep(0.2)


def _make_faults(
    stage: Stage, planned: Sequence[Planned], began_s: float, until_s: float, say: Callable[[str], None]
) -> list[str]:
    """Make each fault in a thread of its own, and wait until the time is up; which could not be made, and
    why.
    """
    over = threading.Event()
    failed: list[str] = []

    def make(fault: Planned) -> None:
        try:
            stage.do(fault, over)
        except Exception as error:  # noqa: BLE001  reported in the end, where all of them are
            failed.append(f"a fault could not be made: {fault}: {error!r}")

    threads = []
    waiting = list(planned)
    try:
        while (now_s := time.monotonic()) < until_s:
            while waiting and now_s >= began_s + waiting[0].at_s:
                fault = waiting.pop(0)
                say(f"{fault.at_s:6.0f} s: {fault.target}, {fault.kind}, {fault.lasts_s:.0f} s")
                threads.append(threading.Thread(target=make, args=(fault,), daemon=True))
                threads[-1].start()
            _check_alive(stage)
            time.sleep(0.2)
    finally:
        over.set()
        for thread in threads:
            thread.join(READY_S)
    return failed


def _wait_until_empty(stage: Stage, watch: Watch) -> None:
    """Wait until all that was emitted has arrived, or half a minute; what goes on gives more."""
    seen_s = time.monotonic()
    while time.monotonic() < seen_s + END_S and emptied_s(watch.readings, ALL_SINKS, seen_s) is None:
        _check_alive(stage)
        time.sleep(0.2)


def _arrivals(stage: Stage, emitted: Lines) -> tuple[int, dict[str, Arrived], Lines, int]:
    """How many lines were left for another run, what each destination got, the file's lines, and how many
    files they are in.
    """
    destinations: dict[str, Callable[[], Lines]] = {
        "file": lambda: _lines_of(_rotated(stage.events)),
        "MQTT": lambda: _lines_of([stage.heard_of(DEVICE)]),
        "webhook": lambda: _lines_of([stage.hooked]),
    }
    _wait_for(lambda: not any(compare(emitted, read()).missing for read in destinations.values()))
    left = sum(compare(emitted, read()).missing for read in destinations.values())
    rest: set[str] = set()
    if left:
        rest = {number_of(line)[0] for line in stage.deliver_the_rest()}
        _wait_for(lambda: not any(compare(emitted, read()).missing for read in destinations.values()))
    got = {
        destination: [line for line in read() if number_of(line)[0] not in rest]
        for destination, read in destinations.items()
    }
    arrived = {destination: compare(emitted, lines) for destination, lines in got.items()}
    return left, arrived, got["file"], len(_rotated(stage.events))


def _neighbour(stage: Stage) -> tuple[list[str], Arrived]:
    """What is wrong with two devices of one host name at a broker, and what arrived of the second one."""
    wrong = []
    due = [json.loads(line) for line in list(stage.neighbour_emitted)]

    def heard() -> Lines:
        return _lines_of([stage.heard_of(NEIGHBOUR)])

    _wait_for(lambda: not compare(due, heard()).missing)
    # What it emits at its end may stay with it, for its next run.
    missing = compare(due, heard()).missing
    code = stage.end_neighbour()
    if code:
        wrong.append(f"the second device ended with exit {code}")
    if not due:
        wrong.append("the second device emitted nothing")
    wall_clock_s = time.time() - time.monotonic()
    for name in put_out((stage.broker.folder / "log").read_text(), stage.faults, wall_clock_s):
        wrong.append(f"the broker ended the connection of {name}, as another client had its id")
    for log in (stage.log, stage.neighbour_log):
        if AGAIN in log.read_text():
            wrong.append(f"{log.name}: the connection to the broker {AGAIN}")
    emitted = [json.loads(line) for line in stage.neighbour_emitted]
    return wrong, replace(compare(emitted, heard()), missing=missing)


def _wait_for(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.5)


def _rotated(path: Path) -> list[Path]:
    """A file that is rotated, with those that it was rotated into, oldest first."""
    older = [other for other in path.parent.glob(f"{path.name}.*") if other.suffix[1:].isdigit()]
    return [*sorted(older, key=lambda other: -int(other.suffix[1:])), path]


def _lines_of(paths: Sequence[Path]) -> Lines:
    return [
        json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines() if line
    ]


def _plays(camera: Camera, began_s: float, over_s: float) -> Iterator[Play]:
    """All plays between two times, with what must be seen before and after them."""
    show = Show(camera.pack, camera.epoch_s)
    round_number = 0
    while show.time_s(round_number * show.round_pictures) < over_s:
        for number in range(len(show.plays)):
            play = _play(camera, show, round_number, number)
            if began_s <= play.start_s - BEFORE_S and play.end_s + AFTER_S <= over_s:
                yield play
        round_number += 1


def _play(camera: Camera, show: Show, round_number: int, number: int) -> Play:
    label, first, last = show.plays[number]
    before = round_number * show.round_pictures
    return Play(camera.plan.name, label, show.time_s(before + first), show.time_s(before + last + 1))


def _shown(camera: Camera) -> Iterator[Play]:
    """What the camera wrote down that it showed, whole and without a gap."""
    show = Show(camera.pack, camera.epoch_s)
    for line in _lines_of([camera.journal]):
        if line["gap_s"] <= MAX_GAP_S:
            yield _play(camera, show, line["round"], line["play"])
