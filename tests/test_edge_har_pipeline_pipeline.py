"""From a source to events: the pixels and times of training, live cameras that come and go,
a model that changes.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.model.bundle import Bundle, open_bundle, read_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.manifest import Smoothing
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer, WholeClip
from edge_har.pipeline.capture import Capture, Ended, Failed, Lost, Opened, TickQueue
from edge_har.pipeline.events import Event
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.pipeline import Pipeline, Summary
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.stream import Stream
from edge_har.sources import open_source
from edge_har.sources.base import Source
from edge_har.sources.named import NamedSource
from edge_har.sources.synthetic import render_clip
from tests.helpers.bundles import SHIPPED
from tests.helpers.colours import FRAMES, GREY, INTERVAL_MS, colour_bundle, colour_bytes, painted
from tests.helpers.frames import frames
from tests.helpers.fuzz_bundle import with_graph_recipe
from tests.helpers.mjpeg import MjpegServer, decoded, jpeg
from tests.helpers.need import need_clips, need_program
from tests.helpers.running import LONG_S, RED_THEN_GREEN, Kept, Running, camera, wait_until, write_scene
from tests.helpers.videos import noise, write_video
from train.data.videos import decode_prepared, tick_indices

SPEC = FrameSpec((16, 12))
CONTRACT = TemporalContract(20, INTERVAL_MS)
INTERVAL_S = INTERVAL_MS / 1000


def device_ticks(open_it: Callable[[], Source], spec: FrameSpec = SPEC) -> list[Ticks]:
    """All ticks that a capture thread hands over, from the open source to its end or loss."""
    ready = threading.Condition()
    capture = Capture(NamedSource("cam", open_it), lambda: Sampler(spec, CONTRACT), ready)
    capture.start()
    made: list[Ticks] = []
    while True:
        with ready:
            assert ready.wait_for(lambda: capture.queue, LONG_S), "neither a tick nor the end"
        item = capture.queue.pop()
        if isinstance(item, Ticks):
            made.append(item)
        elif isinstance(item, Ended | Lost):
            capture.stop()
            return made
        elif isinstance(item, Failed):
            raise item.error


def assert_as_trained(made: list[Ticks], times_s: np.ndarray, prepared: Pixels) -> None:
    """The device's ticks are those that training takes from these frames: equal bytes at equal times."""
    indices = tick_indices(times_s, INTERVAL_MS)
    device = np.stack([ticks.frame for ticks in made for _ in ticks.times_s])
    assert device.tobytes() == prepared[indices].tobytes()
    assert [t for ticks in made for t in ticks.times_s] == [
        times_s[0] + k * INTERVAL_S for k in range(len(indices))
    ]


def run(uri: str | Path, **options: object) -> tuple[Kept, Summary]:
    """Run a source to its end with the bundle that tells colours."""
    sink = Kept()
    (summary,) = Pipeline(colour_bundle(), [str(uri)], [sink], RunOptions(**options)).run()
    return sink, summary


# Training and device see the same ---------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [10, 25, 30000 / 1001, 30])
def test_a_lossless_file_gives_training_and_device_the_same(tmp_path: Path, rate_hz: float) -> None:
    path = write_video(tmp_path / "a.avi", noise(round(rate_hz * 3), (34, 26)), rate_hz)
    assert_as_trained(device_ticks(lambda: open_source(str(path))), *decode_prepared(path, SPEC))


def test_a_variable_rate_file_with_b_frames_gives_training_and_device_the_same(tmp_path: Path) -> None:
    path = tmp_path / "variable.mkv"
    made_by = [
        need_program("ffmpeg"),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=96x64:rate=50:duration=4",
    ]
    drop = "select='lt(t,1)+lt(random(1),0.3)'"  # 50 fps, then about 15 with holes
    subprocess.run(
        [*made_by, "-vf", drop, "-vsync", "vfr", "-c:v", "libx264", "-bf", "3", str(path)], check=True
    )
    times_s, prepared = decode_prepared(path, SPEC)
    assert len(set(np.round(np.diff(times_s), 3))) > 3
    made = device_ticks(lambda: open_source(str(path)))
    assert_as_trained(made, times_s, prepared)
    assert max(len(ticks.times_s) for ticks in made) > 1


def test_a_live_8_fps_stream_gives_training_and_device_the_same() -> None:
    pictures = [jpeg(p) for p in noise(20, (48, 40))]
    seen_s: list[float] = []

    class Noted(Source):
        """Notes when each frame came."""

        live, ends = True, False

        def __init__(self, source: Source) -> None:
            self.source = source

        def grab(self) -> float | None:
            time_s = self.source.grab()
            if time_s is not None:
                seen_s.append(time_s)
            return time_s

        def retrieve(self) -> Pixels:
            return self.source.retrieve()

        def close(self) -> None:
            self.source.close()

    with MjpegServer(pictures, 8.0) as server:
        made = device_ticks(lambda: Noted(open_source(server.url)))
    assert len(seen_s) == 20
    prepared = np.stack([prepare_frame(decoded(p), SPEC, color="bgr") for p in pictures])
    assert_as_trained(made, np.array(seen_s), prepared)
    assert sum(len(ticks.times_s) for ticks in made) == pytest.approx(19 * 12.5 / 8, abs=3)


# Streams and windows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stateful", [False, True])
def test_every_result_is_the_whole_clips_on_its_own_window(stateful: bool) -> None:
    bundle = colour_bundle(stateful)
    hop = bundle.manifest.temporal.hop_ticks
    shown = noise(30, (8, 8))
    recognizer, whole = TickRecognizer(bundle), WholeClip(bundle)
    for offset in range(5):
        recognizer.reset()
        for tick, frame in enumerate(shown[offset:]):
            scores = recognizer.tick(frame)
            first = tick - FRAMES + 1
            assert (scores is None) == (first < 0 or first % hop != 0)
            if scores is not None:
                window = shown[offset + first : offset + first + FRAMES]
                assert np.abs(scores - whole.clip(window)).max() < 1e-5


def test_nothing_is_told_before_a_whole_window(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink, summary = run(write_scene(tmp_path / "a.avi", (("Red", 0.2),)))
    assert sink.events == [] and summary.ticks == 3
    assert "shorter than the model's window" in caplog.text


@pytest.mark.parametrize("rate_hz", [12.5, 25, 30000 / 1001, 30, 50])
@pytest.mark.parametrize("stateful", [False, True])
def test_the_same_scene_gives_the_same_events_at_any_rate(
    tmp_path: Path, rate_hz: float, stateful: bool
) -> None:
    path = write_scene(tmp_path / "a.avi", rate_hz=rate_hz)
    sink = Kept()
    bundle = colour_bundle(stateful)
    (summary,) = Pipeline(bundle, [str(path)], [sink]).run()
    assert sink.types_and_labels == [("start", "Red"), ("end", "Red"), ("start", "Green"), ("end", "Green")]
    red, green = (e for e in sink.events if e.type == "end")
    # A window of colour tips at its second tick; a hop more where results come every other tick.
    slack_s = max(INTERVAL_S * bundle.manifest.temporal.hop_ticks, 1 / rate_hz) + 1e-6
    expected = ((red.start_s, 2.44), (red.end_s, 5.72), (green.start_s, 5.76), (green.end_s, 8.92))
    assert all(abs(at_s - told_s) <= slack_s for at_s, told_s in expected)
    assert (summary.skipped, summary.repeated, summary.ticks) == (0, 0, 140)
    assert summary.events == {"Red": 1, "Green": 1}


def write_encoded(path: Path, shown: Pixels, rate_hz: float, *, drop: bool = False) -> Path:
    """A video as cameras record it (H.264); drop: leave out frames at random, at most two in a row,
    so the rate varies.
    """
    height, width = shown.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate_hz), "-i", "-"]
    fewer = [
        "-vf",
        "select='isnan(prev_selected_n)+lt(random(1),0.4)+gte(n-prev_selected_n,3)'",
        "-vsync",
        "vfr",
    ]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-pix_fmt", "yuv420p", str(path)]
    command = [need_program("ffmpeg"), "-v", "error", *raw, *(fewer if drop else []), *coded]
    subprocess.run(command, input=shown.tobytes(), check=True)
    return path


RATES = [(10, False), (25, False), (30, False), (50, True)]  # frames a second, and whether some are left out


@pytest.mark.parametrize(("rate_hz", "drop"), RATES)
def test_recordings_at_any_rate_give_the_same_labels_in_the_same_order(
    tmp_path: Path, rate_hz: int, drop: bool
) -> None:
    shown = [painted(colour, round(seconds * rate_hz), (32, 24)) for colour, seconds in RED_THEN_GREEN]
    path = write_encoded(tmp_path / "a.mkv", np.concatenate(shown), rate_hz, drop=drop)
    sink, summary = run(path)
    assert sink.types_and_labels == [("start", "Red"), ("end", "Red"), ("start", "Green"), ("end", "Green")]
    red, green = (e for e in sink.events if e.type == "end")
    frame_s = (3 if drop else 1) / rate_hz
    # Slower than the model: a tick's frame may be a whole one late.
    slack_s = 1e-3 + (max(INTERVAL_S, frame_s) if rate_hz > 12.5 else INTERVAL_S + frame_s)
    expected = ((red.start_s, 2.44), (red.end_s, 5.72), (green.start_s, 5.76), (green.end_s, 8.92))
    assert all(abs(at_s - told_s) <= slack_s for at_s, told_s in expected), expected
    assert summary.skipped == 0 and (summary.repeated > 0) == (rate_hz == 10)


def test_what_the_shipped_model_is_sure_of_does_not_hang_on_the_rate(tmp_path: Path) -> None:
    labels = ["WaveTwoHands", "JumpingJack", "JumpInPlace"]
    told = []
    for rate_hz, drop in RATES:
        pieces = []
        for label in labels:
            clip = render_clip(label, 2, 5 * rate_hz, rate_hz, (160, 120))
            pieces += [clip, np.repeat(clip[-1:], 3 * rate_hz, 0)]
        path = write_encoded(tmp_path / f"{rate_hz}.mkv", np.concatenate(pieces), rate_hz, drop=drop)
        sink = Kept()
        Pipeline(open_bundle(SHIPPED), [str(path)], [sink]).run()
        told.append([e for e in sink.events if e.type == "end"])
    for events, (rate_hz, drop) in zip(told, RATES, strict=True):
        assert [e.label for e in events] == labels
        slack_s = max(INTERVAL_S, (3 if drop else 1) / rate_hz) + 1e-3
        for event, at_25 in zip(events, told[1], strict=True):
            assert rate_hz == 10 or abs(event.start_s - at_25.start_s) <= slack_s
            assert rate_hz == 10 or abs(event.end_s - at_25.end_s) <= slack_s


def test_a_file_gives_every_tick_once_however_slow_the_recognizer(tmp_path: Path) -> None:
    class Slow(Kept):
        def write(self, event: Event) -> None:
            super().write(event)
            time.sleep(0.05)

    path, sink = write_scene(tmp_path / "a.avi"), Slow()
    (summary,) = Pipeline(colour_bundle(), [str(path)], [sink]).run()
    assert (summary.ticks, summary.skipped, summary.frames, summary.unused) == (140, 0, 280, 140)


def stream_of(**changes: object) -> Stream:
    return Stream("cam", colour_bundle(**changes), RunOptions(), (f"e{n}" for n in count(1)))


def ticks_at(times_s: list[float], colour: object, reset: bool = False) -> Iterator[Ticks]:
    sampler = Sampler(FrameSpec((8, 8)), CONTRACT)
    for number, time_s in enumerate(times_s):
        yield Ticks((time_s,), painted(colour, 1)[0], reset and number == 0, 0.0, sampler)


def found(stream: Stream, all_ticks: Iterable[Ticks]) -> list[Event]:
    """The events that come of the ticks."""
    for ticks in all_ticks:
        stream.recognise(ticks)
    return stream.take_events()


@pytest.mark.parametrize("by_clock", [True, False])
def test_a_gap_ends_what_is_open_and_starts_a_new_window(by_clock: bool) -> None:
    """Shown by the tick clock, or because the ticks between were skipped."""
    stream = stream_of()
    before = found(stream, ticks_at([k * INTERVAL_S for k in range(10)], "Red", True))
    assert [e.type for e in before] == ["start"]
    after = found(stream, ticks_at([3 + k * INTERVAL_S for k in range(3)], "Red", by_clock))
    assert [(e.type, e.reason) for e in after] == [("end", "gap")]
    assert after[0].end_s == pytest.approx(9 * INTERVAL_S)
    (again,) = found(stream, ticks_at([3 + 3 * INTERVAL_S], "Red"))
    assert (again.type, again.start_s) == ("start", pytest.approx(3 + 3 * INTERVAL_S))


def test_options_stand_above_the_bundles_smoothing() -> None:
    of_bundle = Smoothing(0.5, 0.6, 0.4)
    assert RunOptions().smoothing(of_bundle) == of_bundle
    assert RunOptions(enter=0.3).smoothing(of_bundle) == Smoothing(0.5, 0.3, 0.3)
    assert RunOptions(leave=0.7, smooth_s=0).smoothing(of_bundle) == Smoothing(0, 0.7, 0.7)
    with pytest.raises(MisuseError):
        RunOptions(enter=0.2, leave=0.3).smoothing(of_bundle)


# Handing over -----------------------------------------------------------------------------------------------


def one_tick(time_s: float, reset: bool = False) -> Ticks:
    return next(ticks_at([time_s], GREY, reset))


def taken(queue: TickQueue) -> list[object]:
    items = []
    while (item := queue.pop()) is not None:
        items.append(item.times_s[0] if isinstance(item, Ticks) else item)
    return items


def test_a_hiccup_costs_no_tick_and_more_than_that_keeps_the_newest() -> None:
    queue = TickQueue(threading.Condition(), capacity=3)
    for time_s in (1, 2, 3):
        queue.push(one_tick(time_s))
    assert taken(queue) == [1, 2, 3] and queue.skipped == 0
    for time_s in (1, 2, 3, 4):
        queue.push(one_tick(time_s))
    assert taken(queue) == [4] and queue.skipped == 3
    for time_s in (5, 6):  # too slow a moment ago: only the newest waits
        queue.push(one_tick(time_s))
    assert taken(queue) == [6] and queue.skipped == 4


def test_news_is_never_skipped_and_a_skipped_reset_is_handed_on() -> None:
    queue = TickQueue(threading.Condition(), capacity=1)
    lost = Lost(1.0, "gone")
    for item in (one_tick(1), lost, one_tick(2, reset=True), Opened(True), one_tick(3)):
        queue.push(item)
    first, second, last = (queue.pop() for _ in range(3))
    assert (first, second) == (lost, Opened(True))
    assert isinstance(last, Ticks) and last.times_s == (3,) and last.reset


@pytest.mark.parametrize(("lossless", "gives"), [(False, [3, 4]), (True, [1, 2, 3, 4])])
def test_once_the_recognizer_is_too_slow_what_waits_already_is_passed_over_but_of_a_file(
    lossless: bool, gives: list[int]
) -> None:
    queue = TickQueue(threading.Condition(), capacity=4)
    for item in (one_tick(1, reset=True), one_tick(2), one_tick(3), Opened(True), one_tick(4)):
        queue.push(item, lossless=lossless)
    queue.newest_only = True
    got = [item for item in (queue.pop() for _ in range(6)) if isinstance(item, Ticks)]
    assert [item.times_s[0] for item in got] == gives and got[0].reset
    assert queue.skipped == 4 - len(gives)


def test_a_file_waits_for_room_until_nobody_takes() -> None:
    queue = TickQueue(threading.Condition(), capacity=1)
    queue.push(one_tick(1), lossless=True)
    waiting = threading.Thread(target=lambda: queue.push(one_tick(2), lossless=True), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert queue.pop().times_s == (1,)
    waiting.join(LONG_S)
    assert not waiting.is_alive() and queue.pop().times_s == (2,)
    queue.push(one_tick(3), lossless=True)
    queue.close()
    queue.push(one_tick(4), lossless=True)  # does not hang


# Live -------------------------------------------------------------------------------------------------------


def test_a_live_stream_gives_events_and_a_stop_closes_them() -> None:
    began_s = time.monotonic()
    with camera(((GREY, 12), ("Red", 500))) as server, Running(server.url) as running:
        start = running.sink.wait(lambda e: e.type == "start")
        assert began_s < start.start_s < time.monotonic()  # arrival times, by this clock
    assert [(e.type, e.reason) for e in running.sink.events if e.type == "end"] == [("end", "stop")]
    assert running.summary.skipped == 0 and running.summary.repeated <= 2


@pytest.mark.parametrize(("label", "name"), [("Bend", "g05"), ("JumpInPlace", "g05")])
def test_a_real_clip_over_http_gives_its_label(label: str, name: str) -> None:
    clips = need_clips() / label
    if not SHIPPED.is_file():
        pytest.skip("this checkout has no shipped model: make model")
    (path,) = sorted(clips.glob(f"v_{label}_{name}_*"))[:1]
    pictures = [jpeg(frame.rgb) for frame in frames(open_source(str(path)))]
    sink = Kept()
    with MjpegServer(pictures, 25.0) as server:
        limit = RunOptions(duration_s=len(pictures) / 25 + 0.3)
        Pipeline(open_bundle(SHIPPED), [server.url], [sink], limit).run()
    assert sink.types_and_labels[:2] == [("start", label), ("end", label)]


def test_a_lost_camera_is_told_and_opened_again() -> None:
    with camera((("Red", 500),)) as server, Running(server.url) as running:
        running.sink.wait(lambda e: e.type == "start")
        server.stop()
        lost = running.sink.wait(lambda e: e.type == "source_lost")
        server.start()
        back = running.sink.wait(lambda e: e.type == "source_back")
        running.sink.wait(lambda e: e.type == "start" and e.start_s > back.end_s)
    assert running.sink.types_and_labels == [
        ("start", "Red"),
        ("end", "Red"),
        ("source_lost", None),
        ("source_back", None),
        ("start", "Red"),
        ("end", "Red"),
    ]
    ends = [e for e in running.sink.events if e.type == "end"]
    assert [e.reason for e in ends] == ["lost", "stop"]
    assert lost.id == back.id and ends[0].end_s <= lost.start_s < back.end_s


def test_a_camera_that_is_not_there_ends_the_run_unless_it_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = camera((("Red", 500),))
    server.start()
    server.stop()
    with pytest.raises(SourceError, match="Connection refused"):
        run(server.url)
    with Running(server.url, wait_for_source=True) as running:
        wait_until(lambda: "trying again until it is there" in caplog.text)
        server.start()
        running.sink.wait(lambda e: e.type == "start")
    server.stop()


def test_a_slow_source_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    with camera((("Red", 30),), rate_hz=8.0) as server, Running(server.url) as running:
        running.sink.wait(lambda e: e.type == "source_lost")
    assert caplog.text.count("frames are repeated") == 1
    assert running.summary.repeated > 10 and running.summary.skipped == 0


def test_damaged_pictures_are_counted_and_stepped_over() -> None:
    pictures = [jpeg(p) for p in painted("Red", 50, (32, 24))]
    torn = pictures[0][:2] + b"\xff\xda\x00\x02" + b"torn" * 9 + b"\xff\xd9"
    with (
        MjpegServer([torn if i % 5 == 0 else p for i, p in enumerate(pictures)], 25.0) as server,
        Running(server.url) as running,
    ):
        running.sink.wait(lambda e: e.type == "source_lost")
    assert running.sink.types_and_labels[:2] == [("start", "Red"), ("end", "Red")]
    assert running.summary.damaged > 2


def test_a_duration_ends_a_file_and_a_live_source(tmp_path: Path) -> None:
    sink, summary = run(write_scene(tmp_path / "a.avi", (("Red", 10.0),)), duration_s=2.0)
    assert summary.ticks == 26 and sink.events[-1].reason == "stop"
    with camera((("Red", 500),)) as server:
        began_s = time.monotonic()
        sink, _ = run(server.url, duration_s=1.0)
        assert 0.9 < time.monotonic() - began_s < 15.0  # the camera goes on for 20 s
    assert sink.types_and_labels == [("start", "Red"), ("end", "Red")]


def test_realtime_plays_a_file_by_the_clock(tmp_path: Path) -> None:
    began_s = time.monotonic()
    sink, summary = run(write_scene(tmp_path / "a.avi", (("Red", 1.2),)), realtime=True)
    assert time.monotonic() - began_s > 1.1
    assert sink.types_and_labels == [("start", "Red"), ("end", "Red")] and summary.ticks == 15


# Another model ----------------------------------------------------------------------------------------------


class Store:
    """A folder with `current`, as a device has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = folder / "current"

    def activate(self, content: bytes) -> None:
        """Unpack a bundle and lead `current` to it, at once."""
        bundle = read_bundle(content)
        target = self.folder / bundle.digest
        target.mkdir()
        bundle.extract(target)
        self.lead_to(target)

    def lead_to(self, target: Path) -> None:
        """Let `current` be `target`."""
        link = self.folder / "new"
        link.symlink_to(target)
        os.replace(link, self.current)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.activate(colour_bytes())
    return made


@pytest.mark.parametrize("stateful", [False, True])
def test_a_new_model_takes_over_what_is_open(store: Store, stateful: bool) -> None:
    first = colour_bytes(stateful, name="first")
    store.activate(first)
    with camera((("Red", 1000),)) as server, Running(server.url, path=store.current) as running:
        start = running.sink.wait(lambda e: e.type == "start")
        store.activate(colour_bytes(stateful, name="second"))
        swapped_s = time.monotonic()
        taken_over = running.sink.wait(lambda e: e.model.startswith("second@"))
        assert time.monotonic() - swapped_s < 3.0  # two seconds to the swap, one to the next update
        assert (taken_over.type, taken_over.id) == ("update", start.id)
        assert server.opened == 1
    assert running.sink.types_and_labels == [("start", "Red"), ("end", "Red")]


def test_a_new_model_goes_on_in_the_middle_of_a_window() -> None:
    """The frames of the running window are shown to it:
    its results are those of a model that ran all along.
    """
    shown = noise(23, (8, 8))
    for stateful in (False, True):
        bundle, steady = colour_bundle(stateful), TickRecognizer(colour_bundle(stateful))
        for at in range(1, 20):
            stream, expected = Stream("cam", bundle, RunOptions(), iter("abc")), []
            sampler = Sampler(FrameSpec((8, 8)), CONTRACT)
            steady.reset()
            replacement = TickRecognizer(bundle)
            for tick, frame in enumerate(shown):
                if tick == at:
                    stream.swap(renamed(bundle), replacement)
                stream.recognise(Ticks((tick * INTERVAL_S,), frame, tick == 0, 0.0, sampler))
                expected.append(steady.tick(frame))
            probe = painted("Blue", 1)[0]
            got, wanted = replacement.tick(probe), steady.tick(probe)
            assert (got is None) == (wanted is None)
            if got is not None:
                assert np.abs(got - wanted).max() < 1e-6


def renamed(bundle: Bundle) -> Bundle:
    """The same bundle under another name."""
    return replace(bundle, manifest=replace(bundle.manifest, name="other"))


def test_a_model_with_other_labels_ends_what_is_open(store: Store) -> None:
    with camera((("Red", 1000),)) as server, Running(server.url, path=store.current) as running:
        running.sink.wait(lambda e: e.type == "start")
        store.activate(colour_bytes(labels=("Scarlet", "Lime", "Navy"), golden=()))
        running.sink.wait(lambda e: e.type == "start" and e.label == "Scarlet")
        assert server.opened == 1
    ends = [(e.label, e.reason) for e in running.sink.events if e.type == "end"]
    assert ends == [("Red", "swap"), ("Scarlet", "stop")]


def test_a_model_that_crashes_the_runtime_is_never_run(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with camera((("Red", 1000),)) as server, Running(server.url, path=store.current) as running:
        start = running.sink.wait(lambda e: e.type == "start")
        store.activate(with_graph_recipe("head.tflite", "smallest_by_minus_one"))
        wait_until(lambda: "the old one goes on" in caplog.text)
        running.sink.wait(lambda e: e.type == "update" and e.start_s == start.start_s)
    assert "its graphs crash" in caplog.text


def test_a_model_with_another_contract_starts_anew_on_the_same_source(store: Store) -> None:
    with camera((("Red", 1000),)) as server, Running(server.url, path=store.current) as running:
        running.sink.wait(lambda e: e.type == "start")
        store.activate(colour_bytes(name="slower", temporal=TemporalContract(FRAMES, 160.0)))
        again = running.sink.wait(lambda e: e.type == "start" and e.model.startswith("slower@"))
        assert server.opened == 1
    first, last = (e for e in running.sink.events if e.type == "end")
    assert (first.reason, last.reason) == ("swap", "stop")
    assert again.start_s >= first.end_s + 3 * 0.16 - 1e-6  # a whole window of the new cadence came between


def test_a_model_that_cannot_be_used_changes_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    broken = store.folder / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    with camera((("Red", 1000),)) as server, Running(server.url, path=store.current) as running:
        start = running.sink.wait(lambda e: e.type == "start")
        store.lead_to(broken)
        wait_until(lambda: "old one goes on" in caplog.text)
        running.sink.wait(lambda e: e.type == "update" and e.start_s == start.start_s)
        store.activate(colour_bytes(name="mended"))
        running.sink.wait(lambda e: e.model.startswith("mended@"))
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1 and "manifest.json is not JSON" in told[0].getMessage()
    assert running.sink.types_and_labels == [("start", "Red"), ("end", "Red")]
