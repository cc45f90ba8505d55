"""Several sources in one run: nothing mixed up, nobody waits for another, one that fails ends alone;
too much to do.
"""

from __future__ import annotations

import logging
import time
from itertools import count
from pathlib import Path

import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.capture import Capture, TickQueue, backlog_ticks
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.pipeline import JOIN_S, Load, Pipeline, Reload
from edge_har.pipeline.rules import LabelRule, Rules
from edge_har.sources.named import NamedSource
from tests.helpers.colours import COLOURS, colour_bundle, colour_bytes
from tests.helpers.running import Kept, Running, ScriptedSource, camera, steady, wait_until, write_scene

BOTH = [("start", "Red"), ("end", "Red"), ("start", "Green"), ("end", "Green")]


@pytest.mark.parametrize("stateful", [False, True])
def test_every_source_gives_what_it_gives_alone(tmp_path: Path, stateful: bool) -> None:
    """Files of different scenes and rates, in one run and each in its own: equal events, equal counts."""
    scenes = {
        "a": ((("Red", 2.0), ("Green", 2.0)), 25.0),
        "b": ((("Green", 3.0), ("Blue", 1.0), ("Red", 1.0)), 12.5),
        "c": ((("Blue", 1.0), ("Red", 3.0)), 30.0),
    }
    paths = {
        name: write_scene(tmp_path / f"{name}.avi", parts, rate) for name, (parts, rate) in scenes.items()
    }
    together = Kept()
    feeds = [f"{name}={path}" for name, path in paths.items()]
    summaries = Pipeline(colour_bundle(stateful), feeds, [together]).run()
    assert [s.source for s in summaries] == list(scenes)
    for summary in summaries:
        alone = Kept()
        (single,) = Pipeline(
            colour_bundle(stateful), [f"{summary.source}={paths[summary.source]}"], [alone]
        ).run()

        def shape(events: Kept, source: str = summary.source) -> list[tuple[object, ...]]:
            return [
                (e.type, e.label, e.score, e.start_s, e.end_s, e.reason)
                for e in events.events
                if e.source == source
            ]

        assert shape(together) == shape(alone) and len(shape(alone)) >= 4
        assert (summary.ticks, summary.frames, summary.skipped) == (single.ticks, single.frames, 0)
    numbers = sorted(int(e.id.rpartition("-")[2]) for e in together.events if e.type == "start")
    assert numbers == list(range(1, len(numbers) + 1))  # one row of ids for all


def test_a_file_that_is_read_as_fast_as_possible_leaves_cameras_their_turn(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "long.avi", (("Red", 3.0), ("Green", 3.0)) * 10)
    with steady("Blue") as server, Running(f"file={path}", f"cam={server.url}") as running:
        wait_until(lambda: running.pipeline.run_status.source("file").state == "ended")
        running.sink.wait(lambda e: (e.source, e.type, e.label) == ("cam", "start", "Blue"))
    assert running.summaries["file"].ticks == 750 and running.summaries["file"].skipped == 0
    assert running.summaries["cam"].skipped == 0
    assert running.sink.told_of("file") == BOTH * 10


def test_a_source_that_is_not_there_ends_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_scene(tmp_path / "a.avi")
    sink = Kept()
    pipeline = Pipeline(colour_bundle(), ["gone=none.avi", f"a={path}", "http://127.0.0.1:1/x"], [sink])
    pipeline.run()
    assert sink.types_and_labels == BOTH
    assert sorted(type(error).__name__ for error in pipeline.failures) == ["SourceError"] * 2
    states = {s.name: s.state for s in pipeline.run_status.sources}
    assert states == {"gone": "failed", "a": "ended", "http://127.0.0.1:1/x": "failed"}
    assert "no such file" in pipeline.run_status.source("gone").reason
    assert [r.levelname for r in caplog.records if "none.avi" in r.getMessage()] == ["ERROR"]


def test_what_nobody_can_have_meant_ends_all(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.avi")
    with pytest.raises(MisuseError, match="gopher"):
        Pipeline(colour_bundle(), [f"a={path}", "gopher://x"], []).run()
    for sources, says in (([], "name a source"), (["0", "0"], "2 sources are called 0")):
        with pytest.raises(MisuseError, match=says):
            Pipeline(colour_bundle(), sources, [])


def test_an_event_is_closed_when_its_source_ends_though_others_go_on(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.avi", (("Red", 2.0),))
    with steady("Blue") as server, Running(f"a={path}", f"cam={server.url}") as running:
        running.sink.wait(lambda e: (e.source, e.type, e.reason) == ("a", "end", "stop"))
        assert running.pipeline.run_status.source("cam").state != "ended"


def test_a_lost_camera_leaves_the_others_alone() -> None:
    with steady("Green") as other, camera((("Red", 40),)) as short:
        with Running(f"a={short.url}", f"b={other.url}") as running:
            running.sink.wait(lambda e: e.type == "source_back")
        assert running.sink.told_of("b") == [("start", "Green"), ("end", "Green")]
        assert [k for k, _ in running.sink.told_of("a")[:4]] == ["start", "end", "source_lost", "source_back"]
        assert other.opened == 1 and running.summaries["b"].reconnects == 0


def test_a_new_model_takes_over_all_sources(tmp_path: Path) -> None:
    path = tmp_path / "colours.ehar"
    path.write_bytes(colour_bytes(name="first"))
    feeds = [NamedSource(c, lambda c=c: ScriptedSource(c, colour=c)) for c in COLOURS]
    with Running(*feeds, path=path) as running:
        for colour in COLOURS:
            running.sink.wait(lambda e, c=colour: (e.type, e.label, e.source) == ("start", c, c))
        path.write_bytes(colour_bytes(name="second"))
        running.pipeline.reload()
        for colour in COLOURS:
            running.sink.wait(lambda e, c=colour: e.source == c and e.model.startswith("second@"))
        assert running.pipeline.run_status.model_id.startswith("second@")
    assert all(running.sink.told_of(c) == [("start", c), ("end", c)] for c in COLOURS)


def test_the_end_waits_for_all_hanging_sources_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    let_go, waited_s, plain = threading.Event(), [], Capture.join

    def join(self: Capture, timeout_s: float) -> None:
        began_s = time.monotonic()
        plain(self, timeout_s)
        waited_s.append((timeout_s, time.monotonic() - began_s))

    monkeypatch.setattr(Capture, "join", join)
    feeds = [
        NamedSource(
            c, lambda c=c: ScriptedSource(c, colour=c, until_frame=20, then=lambda: let_go.wait(60) and None)
        )
        for c in COLOURS
    ]
    with Running(*feeds) as running:
        for colour in COLOURS:
            running.sink.wait(lambda e, c=colour: (e.type, e.source) == ("start", c))
        wait_until(lambda: all(s.counts.frames == 20 for s in running.pipeline.run_status.sources))
    let_go.set()
    assert [e.reason for e in running.sink.events if e.type == "end"] == ["stop"] * 3
    assert len(waited_s) == 3 and waited_s[0][0] <= JOIN_S
    assert all(allowed_s <= max(0.0, JOIN_S - waited_s[0][1]) + 0.01 for allowed_s, _ in waited_s[1:])


# Too much to do ---------------------------------------------------------------------------------------------


def recognised(cost_s: float, interval_s: float, seconds: float) -> tuple[int, float]:
    """A recognizer that takes `cost_s` for each tick, on a simulated clock: ticks skipped, and the greatest
    age of a
    tick when it was recognised, in periods: the longer of interval and cost.
    """
    from threading import Condition

    from edge_har.model.cadence import TemporalContract
    from edge_har.pipeline import capture
    from edge_har.pipeline.sampler import Ticks
    from tests.helpers.colours import painted

    queue = TickQueue(Condition(), capacity=backlog_ticks(TemporalContract(4, 1000 * interval_s)))
    load, now_s, tick, oldest = Load(), 0.0, count(), 0.0
    next_s, frame = 0.0, painted("Red", 1)[0]
    clock = capture.time.monotonic
    try:
        capture.time.monotonic = lambda: now_s  # type: ignore[method-assign]
        while now_s < seconds:
            # All that came while the latest tick was recognised, before that is known to have been slow.
            while next_s <= now_s:
                queue.push(Ticks((next_s,), frame, False, 0.0, None))
                next_s = (next(tick) + 1) * interval_s
            queue.newest_only = load.too_much
            taken = queue.pop()
            if taken is None:
                now_s = next_s
                continue
            now_s += cost_s
            oldest = max(oldest, now_s - taken.times_s[0])
            load.add("cam", cost_s, interval_s)
    finally:
        capture.time.monotonic = clock  # type: ignore[method-assign]
    return queue.skipped, oldest / max(interval_s, cost_s)


@pytest.mark.parametrize("cost_ms", [1, 33, 34, 50, 100, 333])
def test_a_slow_model_sees_what_is_now(cost_ms: float) -> None:
    """30 ticks a second for ten minutes: a tick is never older than two periods when it was recognised."""
    skipped, periods = recognised(cost_ms / 1000, 1 / 30, 600)
    assert periods <= 2.0 + 1e-9
    assert (skipped > 0) == (cost_ms > 1000 / 30)


def test_a_hiccup_is_no_load() -> None:
    load = Load()
    for cost_s in (0.001, 0.001, 0.4, 0.001, 0.4, 0.001):
        load.add("cam", cost_s, 0.08)
        assert not load.too_much
    for cost_s in (0.1, 0.1, 0.1):
        load.add("cam", cost_s, 0.08)
    assert load.too_much
    load.forget("cam")
    assert not load.too_much


def test_many_small_loads_are_too_much_together() -> None:
    load = Load()
    for number in range(8):
        assert not load.too_much
        for _ in range(2):
            load.add(f"cam{number}", 0.011, 0.08)
    assert load.too_much


def test_with_a_slow_recognizer_only_the_newest_tick_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real threads and a real camera: while one tick is recognised others come,
    and none but the last is taken.
    """
    import threading

    behind, plain = [], TickRecognizer.tick
    pause = threading.Event()

    def slow(self: TickRecognizer, frame: object) -> object:
        pause.wait(0.25)  # three intervals and more
        return plain(self, frame)

    monkeypatch.setattr(TickRecognizer, "tick", slow)
    with steady(rate_hz=30.0) as server, Running(server.url) as running:
        state, (lane,) = running.pipeline.run_status.sources[0], running.pipeline.lanes
        for number in range(3, 23):
            wait_until(lambda number=number: state.counts.ticks >= number)
            behind.append(lane.capture.queue._waiting)
    assert max(behind[3:]) <= 1
    assert running.summary.skipped > running.summary.ticks


def test_a_camera_at_ease_skips_nothing() -> None:
    with steady(rate_hz=25.0) as server, Running(server.url) as running:
        state = running.pipeline.run_status.sources[0]
        wait_until(lambda: state.counts.ticks > 40)
        assert state.label == "Red" and state.rate_hz == pytest.approx(25, rel=0.5)
    assert running.summary.skipped == 0


# Settings read again ----------------------------------------------------------------------------------------


def test_settings_are_read_again_between_two_ticks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_har")
    feed = NamedSource("cam", lambda: ScriptedSource(colour="Red"))
    with Running(feed, rules=Rules({"Red": LabelRule(enabled=False)})) as running:
        state = running.pipeline.run_status.sources[0]
        wait_until(lambda: running.pipeline.lanes[0].stream.predicted)
        assert running.sink.events == [] and state.label is None
        answers = iter([MisuseError("key 'enter' is no number"), Reload(RunOptions())])

        def read() -> Reload:
            answer = next(answers)
            if isinstance(answer, MisuseError):
                raise answer
            return answer

        running.pipeline._on_reload = read
        running.pipeline.reload()
        wait_until(lambda: "the old ones go on: key 'enter' is no number" in caplog.text)
        assert running.sink.events == []
        running.pipeline.reload()
        running.sink.wait(lambda e: (e.type, e.label) == ("start", "Red"))
    assert running.sink.types_and_labels == [("start", "Red"), ("end", "Red")]


UNKNOWN_ENTER = (
    "enter of the label 'unknown' has no effect: it begins where no label reaches the bundle's reject "
    "threshold, 0.5"
)
LOW_ENTER = "enter of the label 'Red' is 0.3, but no label begins below the bundle's 0.5"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (RunOptions(unknown=True, rules=Rules({"unknown": LabelRule(enter=0.9)})), [UNKNOWN_ENTER]),
        (RunOptions(unknown=True, rules=Rules({"unknown": LabelRule(cooldown_s=5.0)})), []),
        (RunOptions(rules=Rules({"Red": LabelRule(enter=0.3)})), [LOW_ENTER]),
        (RunOptions(enter=0.3), ["enter is 0.3, but no label begins below the bundle's 0.5"]),
        (RunOptions(enter=0.5, rules=Rules({"Red": LabelRule(enter=0.6)})), []),
    ],
)
def test_a_threshold_that_does_not_hold_is_one_warning_at_the_start_and_after_a_change(
    options: RunOptions, says: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def warned() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.getMessage().startswith("enter")]

    caplog.set_level(logging.INFO, "edge_har")
    feed = NamedSource("cam", lambda: ScriptedSource(colour="Red"))
    bundle, given = colour_bundle(reject_threshold=0.5), {"unknown": options.unknown, "enter": options.enter}
    with Running(feed, bundle=bundle, rules=options.rules, **given) as running:
        assert warned() == says
        running.pipeline._on_reload = lambda: Reload(options)
        running.pipeline.reload()
        wait_until(lambda: "the settings were read again" in caplog.text)
    assert warned() == says * 2


def test_options_that_do_not_fit_the_bundle_are_refused() -> None:
    for options, says in (
        (RunOptions(rules=Rules({"Wlak": LabelRule()})), f"there are {', '.join(COLOURS)}"),
        (
            RunOptions(rules=Rules({"Red": LabelRule(sources=("dor",))})),
            "names the source 'dor'; there are 0",
        ),
        (RunOptions(unknown=True), "no reject threshold"),
        (RunOptions(enter=0.2, leave=0.3), "leave <= enter"),
    ):
        with pytest.raises(MisuseError, match=says):
            Pipeline(colour_bundle(), ["0"], [], options)
    for name, value, expected in (
        ("give_up_s", 0.0, "more than 0 seconds, or None"),
        ("duration_s", -1.0, "more than 0 seconds, or None"),
        ("cooldown_s", -1.0, "a time"),
    ):
        with pytest.raises(MisuseError, match=f"{name} must be {expected}.*, got {value}"):
            RunOptions(**{name: value})


def test_unknown_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    from tests.helpers.colours import GREY

    path = write_scene(tmp_path / "a.avi", ((GREY, 2.0), ("Red", 2.0), (GREY, 2.0)))
    for unknown, expected in (
        (False, [("start", "Red"), ("end", "Red")]),
        (True, [(k, v) for v in ("unknown", "Red", "unknown") for k in ("start", "end")]),
    ):
        sink = Kept()
        bundle = colour_bundle(reject_threshold=0.5)
        Pipeline(bundle, [f"cam={path}"], [sink], RunOptions(unknown=unknown)).run()
        assert sink.types_and_labels == expected


def test_a_first_open_that_fails_is_raised_where_it_is_the_only_source() -> None:
    pipeline = Pipeline(colour_bundle(), ["none.avi"], [])
    with pytest.raises(SourceError, match="no such file"):
        pipeline.run()
    assert pipeline.run_status.sources[0].state == "failed"
