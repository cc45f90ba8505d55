"""The Python interface: the same events as `run`, and what a program may do with it."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edge_har
from edge_har.errors import BundleError, MisuseError, SourceError
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import Pixels
from edge_har.pipeline.events import EventMachine
from edge_har.pipeline.options import RunOptions
from edge_har.system.work import CAPTURE_THREAD
from tests.helpers.colours import FRAMES, GREY, INTERVAL_MS, LABELS, colour_bundle, colour_bytes, painted
from tests.helpers.command import edge_har as edge_har_command
from tests.helpers.command import environment
from tests.helpers.fuzz_bundle import with_graph_recipe
from tests.helpers.mjpeg import MjpegServer
from tests.helpers.running import LONG_S, ScriptedSource, camera, steady, wait_until, write_scene
from tests.helpers.videos import numbered, write_video

DEMO = "synthetic:demo"
DEMO_START = f"{DEMO}?duration=10&size=160x120"
INTERVAL_S = INTERVAL_MS / 1000
WINDOW_S = (FRAMES - 1) * INTERVAL_S
Timed = list[tuple[float, Pixels]]


def scene(*parts: tuple[object, int], rate_hz: float = 25.0, size_wh: tuple[int, int] = (8, 8)) -> Timed:
    """Frames of each colour, so many of it, with their times from 0."""
    pictures = [picture for colour, count in parts for picture in painted(colour, count, size_wh)]
    return [(number / rate_hz, picture) for number, picture in enumerate(pictures)]


RED_THEN_GREEN = scene((GREY, 25), ("Red", 50), ("Green", 50), (GREY, 25))


@pytest.fixture(scope="module")
def demo_start() -> Timed:
    """The frames of DEMO_START."""
    with edge_har.open_source(DEMO_START) as source:
        return [(frame.time_s, frame.rgb) for frame in source.frames()]


def pushed(recognizer: edge_har.Recognizer, frames: Timed) -> list[edge_har.Prediction]:
    return [prediction for time_s, frame in frames for prediction in recognizer.push(frame, time_s)]


def lines(events: Iterator[edge_har.Event]) -> list[dict[str, Any]]:
    """As they are written, without what differs from run to run."""
    return [without_wall_clock(event.to_json()) for event in events]


def without_wall_clock(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "id": line["id"].partition("-")[2], "time": ""}


def followed(source: Any, **how: Any) -> list[dict[str, Any]]:
    """All events of a source, with the bundle that tells colours."""
    with edge_har.events(source, colour_bundle(), **how) as events:
        return lines(events)


def capture_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == CAPTURE_THREAD]


# The same as run --------------------------------------------------------------------------------------------


def test_run_and_the_api_give_the_same_events_for_the_same_source() -> None:
    ran = edge_har_command("run", "--source", DEMO, "-q", timeout_s=LONG_S * 10)
    assert ran.returncode == 0, ran.stderr
    of_run = [without_wall_clock(json.loads(line)) for line in ran.stdout.splitlines()]
    with edge_har.events(DEMO, edge_har.load_bundle()) as events:
        assert lines(events) == of_run
    assert {line["type"] for line in of_run} == {"start", "update", "end"} and len(of_run) > 20


def test_an_open_source_and_its_frames_give_the_events_of_its_address(demo_start: Timed) -> None:
    bundle = edge_har.load_bundle()
    with edge_har.events(DEMO_START, bundle) as events:
        of_address = lines(events)
    assert len(of_address) > 5
    with edge_har.open_source(DEMO_START) as source, edge_har.events(source, bundle) as events:
        assert lines(events) == [{**line, "source": DEMO} for line in of_address]
    with edge_har.events(demo_start, bundle) as events:
        assert lines(events) == [{**line, "source": "frames"} for line in of_address]


def test_events_are_made_of_what_the_recognizer_predicts(demo_start: Timed) -> None:
    bundle = edge_har.load_bundle()
    recognizer, manifest = edge_har.Recognizer(bundle), bundle.manifest
    predictions = pushed(recognizer, demo_start)
    with edge_har.open_source(DEMO_START) as source:
        assert list(recognizer.predictions(source)) == predictions
    tuning = RunOptions().tuning(manifest, None)
    machine = EventMachine(
        manifest.labels, manifest.smoothing, tuning, source="frames", model=bundle.model_id
    )
    smoothed = [
        event
        for p in predictions
        for event in machine.predict(p.end_s, np.array([*p.scores.values()], np.float32))
    ]
    with edge_har.events(demo_start, bundle) as events:
        assert lines(events) == lines(iter([*smoothed, *machine.close("stop")]))


def test_options_are_those_of_run(tmp_path: Path) -> None:
    model, clip = tmp_path / "colours.ehar", write_scene(tmp_path / "a.avi")
    model.write_bytes(colour_bytes())
    given = ("--enter", 0.9, "--leave", 0.5, "--smooth", 1.0, "--duration", 5.0)
    ran = edge_har_command("run", "--source", f"door={clip}", "--model", model, "-q", *given)
    assert ran.returncode == 0, ran.stderr
    of_run = [without_wall_clock(json.loads(line)) for line in ran.stdout.splitlines()]
    options = RunOptions(enter=0.9, leave=0.5, smooth_s=1.0, duration_s=5.0)
    assert of_run and of_run == followed(f"door={clip}", options=options)
    assert of_run == followed(str(clip), name="door", options=options)
    assert of_run != followed(str(clip), name="door", options=RunOptions(duration_s=5.0))


# Recognizer -------------------------------------------------------------------------------------------------


def test_a_prediction_is_what_a_window_shows() -> None:
    recognizer = edge_har.Recognizer(colour_bundle())
    first, *_, last = pushed(recognizer, RED_THEN_GREEN[25:])
    assert first.label == "Red" and first.score == first.scores["Red"] > 0.99
    assert tuple(first.scores) == LABELS and sum(first.scores.values()) == pytest.approx(1)
    assert (first.start_s, first.end_s) == pytest.approx((1.0, 1.0 + WINDOW_S))
    assert last.scores["Red"] == pytest.approx(1 / 3, abs=0.01)
    assert pickle.loads(pickle.dumps(first)) == first and hash(first)


def test_below_the_reject_threshold_no_label_is_sure() -> None:
    bundle = colour_bundle(reject_threshold=0.6)
    unsure, sure = (pushed(edge_har.Recognizer(bundle), scene((c, 20)))[0] for c in (GREY, "Blue"))
    assert unsure.label is None and unsure.score == pytest.approx(1 / 3, abs=0.01)
    assert sure.label == "Blue"


@pytest.mark.parametrize("rate_hz", [5.0, 12.5, 25.0, 100.0])
def test_predictions_come_at_the_models_cadence_at_every_rate(rate_hz: float) -> None:
    frames = scene(("Green", round(4 * rate_hz)), rate_hz=rate_hz)
    found = pushed(edge_har.Recognizer(colour_bundle()), frames)
    ticks = int(frames[-1][0] / INTERVAL_S + 1e-9) + 1
    assert [p.end_s for p in found] == pytest.approx([k * INTERVAL_S for k in range(FRAMES - 1, ticks)])
    assert {p.label for p in found} == {"Green"}


def test_a_slow_source_has_several_predictions_a_frame_and_a_fast_one_mostly_none() -> None:
    recognizer = edge_har.Recognizer(colour_bundle())
    slow = [len(recognizer.push(frame, time_s)) for time_s, frame in scene(("Red", 6), rate_hz=3.0)]
    fast = [len(recognizer.push(frame, time_s)) for time_s, frame in scene(("Red", 60), rate_hz=100.0)]
    assert max(slow) > 1 and set(fast) == {0, 1} and sum(fast) < 10


@pytest.mark.parametrize("step_s", [5.0, -0.5])
def test_no_window_spans_a_gap_or_a_step_back(step_s: float) -> None:
    recognizer = edge_har.Recognizer(colour_bundle())
    pushed(recognizer, scene(("Red", 25)))
    found = pushed(recognizer, [(1.0 + step_s + time_s, frame) for time_s, frame in scene(("Green", 25))])
    assert found[0].end_s == pytest.approx(1.0 + step_s + WINDOW_S)
    assert all(p.scores["Green"] > 0.99 for p in found)


def test_after_a_reset_a_new_window_begins() -> None:
    recognizer = edge_har.Recognizer(colour_bundle())
    pushed(recognizer, scene(("Red", 25)))
    recognizer.reset()
    found = pushed(recognizer, [(1.0 + time_s, frame) for time_s, frame in scene(("Green", 25))])
    assert found[0].start_s == pytest.approx(1.0) and found[0].scores["Green"] > 0.99


def test_frames_in_opencvs_order_are_recognised_as_such() -> None:
    recognizer = edge_har.Recognizer(colour_bundle())
    red = [
        prediction
        for time_s, frame in scene(("Red", 25))
        for prediction in recognizer.push(np.ascontiguousarray(frame[..., ::-1]), time_s, color="bgr")
    ]
    assert {p.label for p in red} == {"Red"}


def test_a_frame_may_be_written_to_when_it_was_pushed() -> None:
    recognizer, buffer = edge_har.Recognizer(colour_bundle()), painted("Red", 1)[0]
    found = []
    for number in range(20):
        buffer[:] = (255, 0, 0)
        found += recognizer.push(buffer, number * INTERVAL_S)
        buffer[:] = (0, 255, 0)
    assert len(found) == 20 - FRAMES + 1 and {p.label for p in found} == {"Red"}


@pytest.mark.parametrize(
    ("frame", "time_s", "color"),
    [
        (np.zeros((8, 8, 3), np.float32), 0.5, "rgb"),
        (np.zeros((8, 8), np.uint8), 0.5, "rgb"),
        (np.zeros(8, np.uint8), 0.5, "rgb"),
        (np.zeros((1, 8, 8, 3), np.uint8), 0.5, "rgb"),
        (np.zeros((8, 8, 4), np.uint8), 0.5, "rgb"),
        (np.zeros((0, 8, 3), np.uint8), 0.5, "rgb"),
        ([[[0, 0, 0]]], 0.5, "rgb"),
        (painted("Green", 1)[0], float("nan"), "rgb"),
        (painted("Green", 1)[0], "now", "rgb"),
        (painted("Green", 1)[0], 0.5, "gray"),
    ],
)
def test_a_frame_that_cannot_be_is_refused_and_changes_nothing(frame: Any, time_s: Any, color: Any) -> None:
    untouched, recognizer = (edge_har.Recognizer(colour_bundle()) for _ in range(2))
    before, after = RED_THEN_GREEN[30:37], RED_THEN_GREEN[37:]
    expected = pushed(untouched, before) + pushed(untouched, after)
    found = pushed(recognizer, before)
    with pytest.raises(MisuseError, match=r"a frame|color must be"):
        recognizer.push(frame, time_s, color=color)
    assert found + pushed(recognizer, after) == expected


def test_recognizers_of_one_bundle_work_side_by_side_in_threads() -> None:
    bundle = edge_har.load_bundle()
    uris = [f"synthetic:{label}?duration=8" for label in ("Walk", "JumpingJack", "Bend")]

    def predicted(uri: str) -> list[edge_har.Prediction]:
        recognizer = edge_har.Recognizer(bundle)
        with edge_har.open_source(uri) as source:
            return list(recognizer.predictions(source))

    with ThreadPoolExecutor(len(uris)) as pool:
        assert list(pool.map(predicted, uris)) == [predicted(uri) for uri in uris]


def test_each_recording_of_a_folder_starts_a_new_window(tmp_path: Path) -> None:
    for name, colour in (("a.avi", "Red"), ("b.avi", "Green")):
        write_video(tmp_path / name, painted(colour, 25, (32, 24)), 25.0)
    recognizer = edge_har.Recognizer(colour_bundle())
    with edge_har.open_source(str(tmp_path)) as source:
        found = list(recognizer.predictions(source))
        assert source.grab() is None
    assert [p.label for p in found[:: len(found) - 1]] == ["Red", "Green"]
    assert all(p.score > 0.95 for p in found)


def test_a_live_source_that_is_lost_ends_predictions_with_an_error() -> None:
    with ScriptedSource(until_frame=30) as source, pytest.raises(SourceError, match="cam: the stream ended"):
        list(edge_har.Recognizer(colour_bundle()).predictions(source))


def test_pictures_of_another_shape_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    pushed(edge_har.Recognizer(colour_bundle()), scene(("Red", 25), size_wh=(64, 36)))
    assert caplog.text.count("64x36 is squeezed") == 1


def test_a_recognizer_that_cannot_be() -> None:
    with pytest.raises(MisuseError, match="threads"):
        edge_har.Recognizer(colour_bundle(), threads=0)
    spread = TemporalContract(FRAMES, INTERVAL_MS, sampling="spread")
    bundle = colour_bundle()
    with pytest.raises(BundleError, match="not by time"):
        edge_har.Recognizer(replace(bundle, manifest=replace(bundle.manifest, temporal=spread)))


# Events -----------------------------------------------------------------------------------------------------


def test_every_type_is_given_and_the_address_is_opened_again_and_closed() -> None:
    found: list[edge_har.Event] = []
    with camera((("Red", 500),)) as server:
        with edge_har.events(f"door={server.url}", colour_bundle()) as events:
            for event in events:
                found.append(event)
                if event.type == "update" and server.opened == 1:
                    server.stop()
                elif event.type == "source_lost":
                    server.start()
                elif event.type == "update" and server.opened > 1:
                    events.stop()
        assert list(events) == []
        assert capture_threads() == []
    kinds = [(e.type, e.reason) for e in found if e.type != "update"]
    assert kinds == [
        ("start", None),
        ("end", "lost"),
        ("source_lost", None),
        ("source_back", None),
        ("start", None),
        ("end", "stop"),
    ]
    assert {e.source for e in found} == {"door"} and "update" in {e.type for e in found}


def test_leaving_the_block_closes_without_further_events(tmp_path: Path) -> None:
    clip = write_scene(tmp_path / "a.avi", (("Red", 20.0),))
    with edge_har.events(str(clip), colour_bundle()) as events:
        assert next(events).type == "start"
        assert len(capture_threads()) == 1
    assert capture_threads() == [] and list(events) == []
    events.close()


def test_a_stream_that_nobody_closes_ends_with_its_last_reference(tmp_path: Path) -> None:
    clip = write_scene(tmp_path / "a.avi", (("Red", 20.0),))
    for event in edge_har.events(str(clip), colour_bundle()):
        assert event.type == "start"
        break
    wait_until(lambda: capture_threads() == [])


def test_a_program_that_closes_nothing_ends_well(tmp_path: Path) -> None:
    model = tmp_path / "colours.ehar"
    model.write_bytes(colour_bytes())
    code = (
        "import sys, edge_har\n"
        "events = edge_har.events(sys.argv[1], edge_har.load_bundle(sys.argv[2], trial=False))\n"
        "print(next(events).type)"
    )
    with steady() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, server.url, str(model)],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG_S,
            env=environment(),
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "start\n", "")


def test_what_is_never_iterated_opens_nothing() -> None:
    with edge_har.events("no-such-file.avi", colour_bundle()) as events:
        pass
    assert list(events) == []


def when_frames_come(server: MjpegServer, do: Callable[[], None]) -> threading.Thread:
    """A thread that does it once the camera has sent some."""

    def wait_and_do() -> None:
        wait_until(lambda: server.sent > 5)
        do()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["stop", "close"])
def test_another_thread_may_stop_or_close_it(how: str) -> None:
    with steady(GREY) as server, edge_har.events(server.url, colour_bundle()) as events:
        ender = when_frames_come(server, getattr(events, how))
        assert list(events) == []
        ender.join(LONG_S)
        assert not ender.is_alive() and capture_threads() == []


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_handler_of_signals_may_stop_or_close_it(how: str) -> None:
    with steady(GREY) as server, edge_har.events(server.url, colour_bundle()) as events:
        before = signal.signal(signal.SIGUSR1, lambda *_: getattr(events, how)())
        sender = when_frames_come(server, partial(signal.raise_signal, signal.SIGUSR1))
        try:
            assert list(events) == []
        finally:
            sender.join(LONG_S)
            signal.signal(signal.SIGUSR1, before)


def test_threads_may_take_the_events_of_one_stream_in_turn() -> None:
    found: list[list[edge_har.Event]] = [[], []]
    with edge_har.events(RED_THEN_GREEN, colour_bundle()) as events:
        takers = [threading.Thread(target=lambda part=part: part.extend(events)) for part in found]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join(LONG_S)
    together = sorted(found[0] + found[1], key=lambda e: (int(e.id.partition("-")[2]), e.time))
    assert sorted(map(str, lines(iter(together)))) == sorted(map(str, followed(RED_THEN_GREEN)))


def test_a_recording_waits_for_a_slow_reader(tmp_path: Path) -> None:
    clip = write_scene(tmp_path / "a.avi")
    taken = []
    with edge_har.events(str(clip), colour_bundle()) as events:
        for event in events:
            taken.append(event)
            threading.Event().wait(0.2)
    assert lines(iter(taken)) == followed(str(clip))


def test_a_source_that_is_given_open_stays_open(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.avi", numbered(100), 25.0)
    with edge_har.open_source(str(clip)) as source:
        with edge_har.events(
            source, colour_bundle(), name="door", options=RunOptions(duration_s=1.0)
        ) as events:
            list(events)
        assert capture_threads() == []
        left = list(source.frames())
    assert left and left[-1].time_s == pytest.approx(99 / 25)


def test_an_open_source_that_is_lost_is_an_error_after_its_events() -> None:
    source, found = ScriptedSource(until_frame=60), []
    with pytest.raises(SourceError, match="cam: lost"), edge_har.events(source, colour_bundle()) as events:
        found.extend(events)
    assert [(e.type, e.reason) for e in found if e.type != "update"] == [
        ("start", None),
        ("end", "lost"),
        ("source_lost", None),
    ]
    assert not source.closed.is_set() and capture_threads() == []


def test_frames_with_times_are_a_source() -> None:
    found = followed(RED_THEN_GREEN, name="door")
    assert [(e["type"], e["label"], e["source"]) for e in found if e["type"] != "update"] == [
        ("start", "Red", "door"),
        ("end", "Red", "door"),
        ("start", "Green", "door"),
        ("end", "Green", "door"),
    ]


def test_a_buffer_may_be_used_again_for_the_next_frame() -> None:
    def reused() -> Iterator[tuple[float, Pixels]]:
        buffer = np.empty_like(RED_THEN_GREEN[0][1])
        for time_s, frame in RED_THEN_GREEN:
            buffer[:] = frame
            yield time_s, buffer

    assert followed(reused()) == followed(RED_THEN_GREEN)


def failing() -> Iterator[tuple[float, Pixels]]:
    yield from RED_THEN_GREEN[:50]
    raise KeyError("camera")


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("", MisuseError, "address"),
        ("no name=synthetic:demo", MisuseError, "a source's name is"),
        ("gopher://host/", MisuseError, "no source is called"),
        ("no-such-file.avi", SourceError, "no-such-file.avi"),
        (Path("clip.avi"), MisuseError, "got PosixPath"),
        (0, MisuseError, "got int"),
        ([painted("Red", 1)[0]], MisuseError, "a pair of seconds and pixels"),
        ([(painted("Red", 1)[0], 0.0)], MisuseError, r"got \(ndarray, float\)"),
        ([(0.0, None)], MisuseError, "got NoneType"),
        (failing(), SourceError, "frames: KeyError: 'camera'"),
    ],
)
def test_a_source_that_cannot_be_is_one_line(source: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        followed(source)
    assert isinstance(caught.value, edge_har.EdgeHarError) and "\n" not in str(caught.value)


def test_what_was_open_ends_before_an_error() -> None:
    found = []
    with pytest.raises(SourceError), edge_har.events(failing(), colour_bundle()) as events:
        for event in events:
            found.append(event.type)
    assert found[0] == "start" and found[-1] == "end"


@pytest.mark.parametrize("bundle", ["colours.ehar", None])
def test_a_path_is_no_bundle(bundle: Any) -> None:
    with pytest.raises(MisuseError, match="load_bundle"):
        edge_har.events(DEMO, bundle)
    with pytest.raises(MisuseError, match="load_bundle"):
        edge_har.Recognizer(bundle)


def test_a_name_or_option_that_cannot_be() -> None:
    with pytest.raises(MisuseError, match="name"):
        edge_har.events(DEMO, colour_bundle(), name="front door")
    with pytest.raises(MisuseError, match="no reject threshold"):
        edge_har.events(DEMO, colour_bundle(), options=RunOptions(unknown=True))


def test_settings_of_the_process_are_left_alone() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        followed(RED_THEN_GREEN)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


# Bundles ----------------------------------------------------------------------------------------------------


def test_the_shipped_bundle_is_the_default() -> None:
    assert edge_har.load_bundle() == open_bundle(default_bundle_path())


def test_a_bundle_of_ones_own_is_tried_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))
    good, bad = tmp_path / "good.ehar", tmp_path / "bad.ehar"
    good.write_bytes(colour_bytes())
    bad.write_bytes(with_graph_recipe("head.tflite", "smallest_by_minus_one"))
    assert edge_har.load_bundle(good).manifest.labels == LABELS
    with pytest.raises(BundleError, match="its graphs crash"):
        edge_har.load_bundle(bad)
    assert edge_har.load_bundle(str(bad), trial=False).manifest.labels == LABELS
    with pytest.raises(BundleError, match="no such bundle"):
        edge_har.load_bundle(tmp_path / "none.ehar")
