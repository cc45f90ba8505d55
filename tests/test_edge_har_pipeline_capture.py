"""Sources that hang, flap, fail or stay away: the thread that follows them, and who looks after it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from edge_har.pipeline import capture as module
from edge_har.pipeline.capture import (
    LAST_RETRY_S,
    MAX_LEFT_BEHIND,
    Capture,
    Ended,
    Failed,
    Item,
    Lost,
    Opened,
    Timeouts,
)
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.sources.base import Source
from edge_har.sources.named import NamedSource
from tests.helpers.colours import painted
from tests.helpers.mjpeg import jpeg
from tests.helpers.rtsp import rtsp_process
from tests.helpers.running import LONG_S, Running, ScriptedSource, camera, steady, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

SHORT = Timeouts(open_s=0.5, read_s=0.5)


def sampler() -> Sampler:
    return Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0))


class Followed:
    """A capture and what it hands over, looked after as a pipeline does."""

    def __init__(
        self, open_it: Callable[[], Source], timeouts: Timeouts = SHORT, *, waits: bool = False
    ) -> None:
        self.capture = Capture(
            NamedSource("cam", open_it),
            sampler,
            threading.Condition(),
            wait_for_source=waits,
            timeouts=timeouts,
        )
        self.news: list[Item] = []
        self.ticks = 0

    def until(self, found: Callable[[], object]) -> None:
        """Take what comes until `found`."""

        def step() -> object:
            self.capture.check_thread()
            while (item := self.capture.queue.pop()) is not None:
                self.ticks += isinstance(item, Ticks)
                if not isinstance(item, Ticks):
                    self.news.append(item)
            return found()

        wait_until(step)

    def __enter__(self) -> Self:
        self.capture.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.capture.stop()
        self.capture.join(LONG_S)


class Hanging:
    """A call into a library that does not return until `let_go`."""

    def __init__(self) -> None:
        self.calls = 0
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.calls += 1
        assert self.let_go.wait(2 * LONG_S)


@pytest.fixture
def hanging() -> Hanging:
    made = Hanging()
    yield made
    made.let_go.set()


def test_a_read_that_hangs_is_left_behind_and_another_thread_takes_over(hanging: Hanging) -> None:
    opened: list[ScriptedSource] = []

    def open_it() -> Source:
        first = not opened
        opened.append(ScriptedSource(until_frame=5 if first else None, then=hanging))
        return opened[-1]

    with Followed(open_it) as followed:
        followed.until(lambda: len(opened) == 2 and followed.ticks > 4)
        first, lost, again = followed.news
        assert (first, again) == (Opened(True), Opened(True)) and isinstance(lost, Lost)
        assert lost.reason == "cam: silent for 0.5 s, and its thread hangs"
        assert (followed.capture.abandoned, opened[0].closed.is_set()) == (1, False)
        frames = followed.capture.counts.frames
        assert frames >= 5  # those of the thread before are counted too
        hanging.let_go.set()
        wait_until(opened[0].closed.is_set)  # it came back: its source is closed, and nothing of it is told
        followed.until(lambda: followed.capture.counts.frames > frames)
        assert len(followed.news) == 3


def test_what_a_thread_left_behind_still_gives_is_not_taken(hanging: Hanging) -> None:
    """It comes back with a frame when another has taken over."""

    def late() -> float:
        hanging()
        return time.monotonic()

    opened: list[ScriptedSource] = []

    def open_it() -> Source:
        opened.append(ScriptedSource(until_frame=0, then=late))
        return opened[-1]

    with Followed(open_it) as followed:
        followed.until(lambda: len(opened) == 2)
        hanging.let_go.set()
        wait_until(opened[0].closed.is_set)
        assert followed.capture.abandoned == 1


def test_an_open_that_hangs_fails_or_is_tried_again(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    def open_it() -> Source:
        if hanging.calls < 1:
            hanging()
        return ScriptedSource()

    with Followed(open_it) as followed:
        followed.until(lambda: followed.news)
        (failed,) = followed.news
        assert isinstance(failed, Failed) and str(failed.error) == "cam: no answer within 0.5 s"
    hanging.calls = 0
    with Followed(open_it, waits=True) as followed:
        followed.until(lambda: followed.ticks)
        assert followed.news == [Opened(True)]
    assert "cam: no answer within 0.5 s, its thread hangs; trying again" in caplog.text


def test_threads_left_behind_are_bounded_and_one_that_ends_makes_room(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(module, "LAST_RETRY_S", 0.01)
    monkeypatch.setattr(module, "CONFIRM_S", 0.05)
    leave = [threading.Event() for _ in range(MAX_LEFT_BEHIND + 1)]
    opened: list[ScriptedSource] = []

    def open_it() -> Source:
        event = leave[len(opened)] if len(opened) < len(leave) else hanging.let_go
        opened.append(ScriptedSource(until_frame=1, then=lambda: event.wait(2 * LONG_S) and None))
        return opened[-1]

    with Followed(open_it, Timeouts(0.1, 0.1)) as followed:
        followed.until(lambda: "4 threads hang in its library" in caplog.text)
        began_s = time.monotonic()
        followed.until(lambda: time.monotonic() - began_s > 0.5)
        assert len(opened) == MAX_LEFT_BEHIND == followed.capture.abandoned
        leave[2].set()
        followed.until(lambda: len(opened) == MAX_LEFT_BEHIND + 1)
        for event in leave:
            event.set()
        hanging.let_go.set()


def test_a_process_that_stood_still_leaves_nobody_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that only looks too long, because nobody ran, is not believed at once."""
    with Followed(ScriptedSource) as followed:
        followed.until(lambda: followed.ticks)
        worker = followed.capture._worker
        for _ in range(20):
            worker.call = (time.monotonic() - 100, 0.5)
            followed.until(lambda: worker.call is None or time.monotonic() - worker.call[0] < 50)
        assert followed.capture.abandoned == 0 and followed.news == [Opened(True)]


def test_whatever_a_library_throws_a_live_source_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[ScriptedSource] = []

    def fail() -> float:
        raise RuntimeError("bad\nstate")

    def open_it() -> Source:
        opened.append(ScriptedSource(until_frame=3, then=fail))
        if len(opened) == 2:
            raise ValueError("no such device")
        return opened[-1]

    with Followed(open_it) as followed:
        followed.until(lambda: len(opened) == 3 and len(followed.news) == 3)
        _, lost, _ = followed.news
        assert isinstance(lost, Lost) and lost.reason == "cam: RuntimeError: bad state"
    assert opened[0].closed.is_set() and "Traceback" not in caplog.text


def test_a_first_open_that_throws_fails_in_one_line() -> None:
    def open_it() -> Source:
        raise ValueError("no such device")

    with Followed(open_it) as followed:
        followed.until(lambda: followed.news)
        (failed,) = followed.news
        assert isinstance(failed, Failed) and isinstance(failed.error, SourceError)
        assert str(failed.error) == "cam: ValueError: no such device"


def test_a_misuse_is_not_tried_again() -> None:
    def open_it() -> Source:
        raise MisuseError("no such scheme")

    with Followed(open_it, waits=True) as followed:
        followed.until(lambda: followed.news)
        assert [type(item) for item in followed.news] == [Failed]


def test_pauses_begin_anew_after_a_steady_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEADY_S", 0.2)
    made = Capture(NamedSource("cam", lambda: ScriptedSource(until_frame=30)), sampler, threading.Condition())
    made._backoff.next_s = 16.0
    made.start()
    wait_until(lambda: made._backoff.next_s == 2 * 0.5)  # half a second of frames, then the first pause again
    made.stop()


def test_a_source_that_only_flaps_keeps_its_long_pause() -> None:
    made = Capture(NamedSource("cam", lambda: ScriptedSource(until_frame=2)), sampler, threading.Condition())
    made._backoff.next_s = 16.0
    made.start()
    wait_until(lambda: made._backoff.next_s == LAST_RETRY_S)
    made.stop()


@pytest.mark.parametrize("waits", [True, False])
def test_a_source_that_stays_away_is_given_up(waits: bool) -> None:
    """Never there, or there once: it opens again and again but gives no frame."""
    opened: list[ScriptedSource] = []

    def open_it() -> Source:
        if waits:
            raise SourceError("cam: nobody answers")
        opened.append(ScriptedSource(until_frame=5 if not opened else 0))
        return opened[-1]

    began_s = time.monotonic()
    with Followed(open_it, Timeouts(give_up_s=1.5), waits=waits) as followed:
        followed.until(lambda: any(isinstance(item, Failed) for item in followed.news))
        assert time.monotonic() - began_s > 1.5
        assert str(followed.news[-1].error) == "cam: gave no frame for 1.5 s, given up"
        assert waits or (followed.ticks and len(opened) > 1)


def test_a_file_may_take_its_time(hanging: Hanging) -> None:
    class Slow(ScriptedSource):
        live, ends = False, True

    with Followed(lambda: Slow(until_frame=1, then=hanging)) as followed:
        began_s = time.monotonic()
        followed.until(lambda: time.monotonic() - began_s > 3 * SHORT.read_s)
        assert followed.capture.abandoned == 0
        hanging.let_go.set()
        followed.until(lambda: followed.news[-1] == Ended(None))


# In a whole run ---------------------------------------------------------------------------------------------


def test_a_camera_that_stalls_is_told_as_lost_and_comes_back() -> None:
    with steady() as server, Running(server.url) as running:
        running.sink.wait(lambda e: e.type == "start")
        server.stall()
        lost = running.sink.wait(lambda e: e.type == "source_lost")
        wait_until(lambda: running.pipeline.run_status.sources[0].state == "lost")
        server.stop()
        server.start()
        back = running.sink.wait(lambda e: e.type == "source_back")
        running.sink.wait(lambda e: e.type == "start" and e.start_s > back.start_s)
        state = running.pipeline.run_status.sources[0]
        assert (state.state, state.reason, state.counts.reconnects) == ("live", None, 1)
    assert back.end_s - lost.start_s > 4


def test_an_rtsp_camera_that_stands_still_is_left_and_found_again() -> None:
    """Its process is stopped, so nothing closes and nothing answers; FFmpeg alone takes long to notice."""
    with rtsp_process() as (url, server), Running(f"door={url}") as running:
        running.sink.wait(lambda e: (e.type, e.label) == ("start", "Red"))
        server.send_signal(signal.SIGSTOP)
        running.sink.wait(lambda e: e.type == "source_lost")
        server.send_signal(signal.SIGCONT)
        back = running.sink.wait(lambda e: e.type == "source_back")
        running.sink.wait(lambda e: e.type == "start" and e.start_s >= back.start_s)
    assert [k for k, _ in running.sink.types_and_labels] == [
        "start",
        "end",
        "source_lost",
        "source_back",
        "start",
        "end",
    ]


def test_a_hanging_library_does_not_touch_the_other_source(hanging: Hanging) -> None:
    opened: list[ScriptedSource] = []

    def open_it() -> Source:
        opened.append(
            ScriptedSource(
                "attic", colour="Green", until_frame=40 if len(opened) == 0 else None, then=hanging
            )
        )
        return opened[-1]

    feeds = (NamedSource("attic", open_it), NamedSource("door", lambda: ScriptedSource("door", colour="Red")))
    with Running(*feeds, timeouts=SHORT) as running:
        back = running.sink.wait(lambda e: e.type == "source_back")
        running.sink.wait(lambda e: (e.source, e.type) == ("attic", "start") and e.start_s >= back.end_s)
        assert running.pipeline.run_status.source("attic").counts.abandoned == 1
    assert running.sink.told_of("door") == [("start", "Red"), ("end", "Red")]
    assert running.sink.told_of("attic")[:4] == [
        ("start", "Green"),
        ("end", "Green"),
        ("source_lost", None),
        ("source_back", None),
    ]
    assert running.summaries["door"].reconnects == 0 and running.summaries["attic"].reconnects == 1


def test_size_and_rate_may_change_in_mid_stream() -> None:
    small, large = (jpeg(painted("Red", 1, size)[0]) for size in ((32, 24), (640, 360)))
    server = camera((), 12.5)
    server.pictures = lambda number: small if number < 20 or number % 2 else large
    with server, Running(server.url) as running:
        running.sink.wait(lambda e: e.type == "start")
        wait_until(lambda: server.sent > 25)
        server.rate_hz = 50.0
        wait_until(lambda: server.sent > 120)
    assert running.sink.types_and_labels == [("start", "Red"), ("end", "Red")]
    assert running.summary.reconnects == running.summary.damaged == 0


def test_a_run_gives_up_its_only_source(caplog: pytest.LogCaptureFixture) -> None:
    server = camera((("Red", 20),))
    with server, Running(server.url, give_up_s=1.0) as running:
        running.sink.wait(lambda e: e.type == "source_lost")
        server.stop()
        running.wait()
    assert "given up" in str(running.error)
    assert running.pipeline.run_status.sources[0].state == "failed"
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]  # the command says it


def test_what_is_said_of_a_source_begins_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    with steady() as server, Running(f"door={server.url}", f"hall={server.url}") as running:
        running.sink.wait(lambda e: e.type == "start")
        server.stop()
        for name in ("door", "hall"):
            running.sink.wait(lambda e, name=name: e.type == "source_lost" and e.source == name)
    told = sorted(line.partition(":")[0] for line in caplog.messages if "reconnecting" in line)
    assert told == ["door", "hall"]
