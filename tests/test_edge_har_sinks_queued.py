"""The queue before a sink: recognition never waits, order is kept, nothing is lost within the bound,
all ends in time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import EventSink
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.status import SinkState
from edge_har.sinks import Outputs
from edge_har.sinks.base import RetryLater
from edge_har.sinks.queued import MAX_REQUESTED_S, QueuedSink, RetryPolicy
from edge_har.system.backoff import JITTER
from tests.helpers.colours import colour_bundle, painted
from tests.helpers.sinks import QUICK, Place, made_event, made_events, wait_until
from tests.helpers.videos import write_video


def queued(place: Place, **options: object) -> QueuedSink:
    """A queue before `place` that is quick to try again."""
    return QueuedSink(place, SinkState("place"), **{"retries": QUICK, **options})


def test_events_arrive_in_order_and_are_counted() -> None:
    place, events = Place(), made_events(50)
    sink = queued(place)
    for event in events:
        sink.write(event)
    sink.close()
    assert place.taken == events
    assert (sink.state.delivered, sink.state.queued, sink.state.dropped, sink.state.failed) == (50, 0, 0, 0)
    assert place.closed


def test_an_outage_loses_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place, events = Place(), made_events(30)
    place.fail = "nobody is at home"
    sink = queued(place)
    for event in events:
        sink.write(event)
    wait_until(lambda: place.tries > 5, "several tries")
    assert sink.state.last_error == "nobody is at home"
    place.fail = None
    wait_until(lambda: len(place.taken) == 30, "all events")
    sink.close()
    assert place.taken == events
    assert sink.state.failed >= 5
    assert [record.getMessage() for record in caplog.records] == [
        "place: nobody is at home; trying again until it works",
        "place: works again",
    ]


def test_what_arrived_before_a_failure_is_not_sent_again() -> None:
    class Third(Place):
        def deliver(self, events):
            self.tries += 1
            if self.tries == 1:
                self.taken += events[:2]
                raise RetryLater("in the middle", delivered=2)
            super().deliver(events)

    place, events = Third(), made_events(4)
    place.free.clear()
    sink = queued(place)
    for event in events:
        sink.write(event)
    place.free.set()
    sink.close()
    assert place.taken == events


def test_a_place_that_hangs_for_ever_blocks_neither_write_nor_close() -> None:
    place = Place()
    place.free.clear()
    sink = queued(place, retries=RetryPolicy(close_s=0.05), capacity=100)
    for event in made_events(500):
        sink.write(event)
    assert place.entered.wait(30)
    sink.close()
    assert not place.taken and not place.closed  # it hangs still: nobody waited for it
    sink.write(made_event(1000))
    sink.close()
    place.free.set()


def test_recognition_goes_on_beside_a_sink_that_hangs(tmp_path: Path) -> None:
    place, told = Place(), []
    place.free.clear()

    class Kept(EventSink):
        def write(self, event: Event) -> None:
            told.append((event.type, event.label))

        def close(self) -> None:
            """Nothing to do."""

    sink = queued(place, retries=RetryPolicy(close_s=0.05), capacity=2)
    scene = [painted(colour, 80, (32, 24)) for colour in ("Red", "Green")]
    video = write_video(tmp_path / "scene.mkv", np.concatenate(scene), 25.0)
    Pipeline(colour_bundle(), [str(video)], [sink, Kept()]).run()
    sink.close()
    assert not place.taken
    assert [one for one in told if one[0] != "update"] == [
        ("start", "Red"),
        ("end", "Red"),
        ("start", "Green"),
        ("end", "Green"),
    ]
    place.free.set()


def test_the_oldest_go_where_too_many_wait(caplog: pytest.LogCaptureFixture) -> None:
    place, events = Place(batch=1), made_events(40)
    place.free.clear()
    sink = queued(place, capacity=10)
    sink.write(events[0])
    assert place.entered.wait(30)
    for event in events[1:]:
        sink.write(event)
    assert sink.state.dropped == 29
    assert sink.state.queued == 11
    place.free.set()
    wait_until(lambda: len(place.taken) == 11, "what was left")
    sink.close()
    assert place.taken == [events[0], *events[30:]]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "place: too many events wait, the oldest are dropped",
        "place: 29 events were dropped",
    ]


def test_a_sink_made_so_waits_for_room_and_loses_nothing() -> None:
    place, events = Place(batch=1), made_events(40)
    place.free.clear()
    sink = queued(place, capacity=10, waits=lambda: True)
    writer = threading.Thread(target=lambda: [sink.write(event) for event in events])
    writer.start()
    wait_until(lambda: sink.state.queued == 10, "a full queue")
    place.free.set()
    writer.join(30)
    sink.close()
    assert place.taken == events and sink.state.dropped == 0


def test_what_is_refused_is_set_aside_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    place, events, aside = Place(), made_events(20), []
    place.refuse = lambda event: int(event.start_s) in (3, 4, 5)
    sink = queued(place, set_aside=lambda event, reason: aside.append((event, reason)))
    for event in events:
        sink.write(event)
    sink.close()
    assert place.taken == events[:3] + events[6:]
    assert aside == [(event, "it will not have that") for event in events[3:6]]
    assert (sink.state.delivered, sink.state.refused, sink.state.dropped) == (17, 3, 0)
    assert len(caplog.records) == 1


def test_a_fault_in_a_library_is_a_failure_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Place):
        def deliver(self, events):
            self.tries += 1
            if self.tries < 3:
                raise KeyError("password=hunter2")
            super().deliver(events)

    place, events = Faulty(), made_events(5)
    sink = queued(place)
    for event in events:
        sink.write(event)
    wait_until(lambda: len(place.taken) == 5, "all events")
    sink.close()
    assert place.taken == events
    assert "hunter2" not in caplog.text


def test_a_reader_that_has_gone_is_told_to_whoever_writes() -> None:
    class Gone(Place):
        def deliver(self, events):
            raise BrokenPipeError

    place = Gone()
    sink = queued(place)
    sink.write(made_event(0))
    wait_until(lambda: place.closed, "the end of the thread")
    with pytest.raises(BrokenPipeError):
        sink.write(made_event(1))
    sink.close()


def test_updates_can_be_left_out() -> None:
    place = Place()
    sink = queued(place, updates=False)
    for number, kind in enumerate(("start", "update", "update", "end")):
        sink.write(made_event(number, kind))
    sink.close()
    assert [event.type for event in place.taken] == ["start", "end"]


@pytest.mark.parametrize(("requested_s", "pause_s"), [(0.08, 0.08), (1e9, MAX_REQUESTED_S), (0.0, 0.01)])
def test_a_pause_is_as_long_as_the_destination_asks_within_bounds(
    monkeypatch: pytest.MonkeyPatch, requested_s: float, pause_s: float
) -> None:
    class Busy(Place):
        def deliver(self, events: Sequence[Event]) -> None:
            raise RetryLater("busy", wait_s=requested_s)

    waited: list[float] = []
    sink = queued(Busy(), retries=RetryPolicy(first_s=0.01, last_s=0.01, tend_s=0.01))
    wait_for = sink.changed.wait_for

    def noted(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        waited.append(0.0 if timeout is None else timeout)
        return wait_for(predicate, min(waited[-1], 0.1))

    monkeypatch.setattr(sink.changed, "wait_for", noted)
    sink.write(made_event(1))
    wait_until(lambda: waited, "a pause")
    sink.close()
    assert waited[0] == pytest.approx(pause_s, rel=JITTER)


def test_closing_a_run_stops_all_sinks_before_it_waits_for_one() -> None:
    done: list[str] = []

    class Slow(EventSink):
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, event: Event) -> None:
            """Nothing to do."""

        def stop(self) -> None:
            done.append(f"stop {self.name}")

        def close(self) -> None:
            done.append(f"close {self.name}")

    Outputs(event_sinks=[Slow("a"), Slow("b")]).close()
    assert done == ["stop a", "stop b", "close a", "close b"]
