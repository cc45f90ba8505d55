"""Sinks of pictures: annotated video, event clips, the window;
and that nothing is a picture unless it was asked for.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge_har.errors import MisuseError, RuntimeMissingError
from edge_har.model.preprocess import Pixels
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import Picture
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.status import SinkState
from edge_har.sinks.clips import Clips, ClipsOptions
from edge_har.sinks.options import SinkContext
from edge_har.sinks.pictures import Worker, draw_label, in_ascii, small_copy
from edge_har.sinks.recorder import ENDINGS, keep_newest, new_path, part_of
from edge_har.sinks.video import Video, VideoOptions
from edge_har.sinks.window import Window, WindowOptions
from tests.helpers.colours import colour_bundle, painted
from tests.helpers.command import environment
from tests.helpers.sinks import made_event, setting, small_disk, wait_until
from tests.helpers.videos import write_video

SIZE_WH = (64, 48)


def picture(
    time_s: float, level: int = 100, *, source: str = "door", size_wh: tuple[int, int] = SIZE_WH
) -> Picture:
    """A flat grey picture."""
    pixels = np.full((size_wh[1], size_wh[0], 3), level, np.uint8)
    return Picture(source, time_s, pixels, "bgr", None, None)


def read_video(path: Path) -> tuple[float, list[Pixels]]:
    """Rate and frames (BGR) of a file, as any player finds them."""
    video = cv2.VideoCapture(str(path))
    assert video.isOpened(), path
    frames = []
    while (read := video.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    return float(video.get(cv2.CAP_PROP_FPS)), frames


def recorded(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.*"), key=lambda path: path.stat().st_mtime_ns)


def video(folder: Path, **more: object) -> Video:
    """A video that loses nothing."""
    return Video(
        VideoOptions(path=str(folder), min_free_bytes=0, **more), SinkState("video"), waits=lambda: True
    )


def clips(folder: Path, **more: object) -> Clips:
    """Clips that lose nothing, of 5 pictures a second, with 2 s before and 1 s after."""
    options = {"pre_s": 2.0, "post_s": 1.0, "rate_hz": 5.0, "min_free_bytes": 0, **more}
    return Clips(ClipsOptions(path=str(folder), **options), SinkState("clips"), waits=lambda: True)


def about(kind: str, number: int, start_s: float, end_s: float | None = None, label: str = "Walk") -> Event:
    return replace(made_event(number, kind, label=label), start_s=start_s, end_s=end_s)


def test_a_small_copy_is_a_copy_with_even_sides() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (101, 203, 3), np.uint8)
    assert small_copy(Picture("a", 0.0, pixels, "rgb", None, None), 1000).pixels.shape == (100, 202, 3)
    even = np.ascontiguousarray(pixels[:100, :200])
    for color in ("rgb", "bgr"):
        copied = small_copy(Picture("a", 0.0, even, color, None, None), 1000)
        assert (copied.pixels == even).all() and not np.shares_memory(copied.pixels, even)
        assert copied.color == color
        assert (copied.in_bgr().pixels == (even[..., ::-1] if color == "rgb" else even)).all()
        assert copied.in_bgr().color == "bgr"
    assert small_copy(Picture("a", 0.0, even, "bgr", None, None), 100).pixels.shape == (50, 100, 3)


def test_a_label_is_drawn_at_the_top_and_nothing_without_one() -> None:
    pixels = np.full((240, 320, 3), 90, np.uint8)
    draw_label(pixels, None, None)
    assert (pixels == 90).all()
    draw_label(pixels, "Gehöft läuft 走", 0.973)
    assert (pixels[:30, :100] == 0).any() and (pixels[:30, :100] == 255).any()
    assert (pixels[60:] == 90).all()
    assert in_ascii("Gehöft läuft 走") == "Gehoft lauft ?"


@pytest.mark.parametrize(("codec", "ending"), ENDINGS.items())
def test_a_video_shows_each_picture_at_its_time(tmp_path: Path, codec: str, ending: str) -> None:
    sink = video(tmp_path, codec=codec, rate_hz=10.0)
    levels = {0.0: 20, 0.1: 60, 0.2: 100, 0.51: 160, 0.6: 220}  # nothing came between .2 and .51
    for time_s, level in levels.items():
        sink.consume(picture(1000 + time_s, level))
    sink.close()
    (path,) = recorded(tmp_path)
    assert path.name.startswith("door-") and path.suffix == ending
    rate_hz, frames = read_video(path)
    assert rate_hz == 10.0
    found = [int(frame.mean()) for frame in frames]
    assert np.abs(np.array(found) - [20, 60, 100, 100, 100, 160, 220]).max() < 8
    assert sink.state.delivered == 5


@pytest.mark.parametrize("codec", ENDINGS)
def test_a_folder_whose_name_is_not_utf8_is_recorded_to(tmp_path: Path, codec: str) -> None:
    folder = tmp_path / os.fsdecode(b"vid\xe9")
    sink = video(folder, codec=codec)
    sink.consume(picture(1.0))
    sink.close()
    (path,) = recorded(folder)
    _, frames = read_video(path.rename(tmp_path / f"moved{path.suffix}"))
    assert len(frames) == 1 and sink.state.failed == 0


def test_the_label_is_in_the_video(tmp_path: Path) -> None:
    sink = video(tmp_path, rate_hz=5.0)
    shot = picture(0.0, 128, size_wh=(320, 240))
    for number in range(5):
        sink.consume(replace(shot, time_s=number / 5, label="Walk", score=0.9))
    sink.close()
    _, frames = read_video(recorded(tmp_path)[0])
    assert len(frames) == 5
    assert all(frame[:20, :60].min() < 40 and frame[:20, :60].max() > 200 for frame in frames)
    assert all(abs(int(frame[120:].mean()) - 128) < 8 for frame in frames)
    assert (shot.pixels == 128).all()  # what others see is left alone


def test_a_new_file_after_the_longest_time_a_gap_and_another_size(tmp_path: Path) -> None:
    sink = video(tmp_path, rate_hz=5.0, rotate_s=2.0)
    for number in range(25):
        sink.consume(picture(number / 5))  # 5 s: three files
    sink.consume(picture(60.0))
    sink.consume(picture(60.2))
    sink.consume(picture(60.4, size_wh=(96, 64)))
    sink.consume(picture(10.0, size_wh=(96, 64)))  # its clock went back
    sink.consume(picture(0.0, source="yard"))
    sink.close()
    files = {path.name: len(read_video(path)[1]) for path in recorded(tmp_path)}
    assert sorted(files.values()) == [1, 1, 1, 2, 5, 10, 10]
    assert sum(name.startswith("yard-") for name in files) == 1


def test_the_file_of_a_silent_source_is_finished_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_har.sinks.video.SILENT_S", 0.2)
    monkeypatch.setattr("edge_har.sinks.pictures.IDLE_S", 0.05)
    sink = Video(VideoOptions(path=str(tmp_path), min_free_bytes=0), SinkState("video"))
    sink.consume(picture(0.0))
    wait_until(lambda: recorded(tmp_path) and not list(tmp_path.glob("*.part.*")), "a finished file")
    sink.consume(picture(0.1))  # it is back
    sink.close()
    assert [len(read_video(path)[1]) for path in recorded(tmp_path)] == [1, 1]


def test_the_newest_files_stay_and_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "door-2020.mp4").write_text("somebody's")
    sink = video(tmp_path, rate_hz=5.0, rotate_s=1.0, keep=2)
    for number in range(40):
        sink.consume(picture(number / 5))
    sink.close()
    assert len(recorded(tmp_path)) == 3
    assert (tmp_path / "door-2020.mp4").exists()
    keep_newest(tmp_path, "door", 0)
    assert [path.name for path in recorded(tmp_path)] == ["door-2020.mp4"]


def test_names_never_meet(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        path = new_path(tmp_path, "door", "mp4v", "Walk-1")
        path.touch()
        names.add(path)
    unfinished = new_path(tmp_path, "door", "mp4v", "Walk-1")
    part_of(unfinished).touch()
    assert new_path(tmp_path, "door", "mp4v", "Walk-1") not in {*names, unfinished}
    assert len(names) == 3


def test_videos_leave_room_on_the_disk_and_go_on_when_there_is_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with small_disk(tmp_path / "disk", 1000) as disk:
        (disk / "ballast").write_bytes(bytes(500_000))
        options = VideoOptions(path=str(disk), min_free_bytes=600_000, rate_hz=5.0)
        sink = Video(options, SinkState("video"), waits=lambda: True)
        sink.consume(picture(0.0))
        wait_until(lambda: sink.state.dropped == 1, "the picture that found no room")
        (disk / "ballast").unlink()
        sink._disk._looked_s = -1e9  # a second later
        sink.consume(picture(1.0))
        sink.close()
        assert sink.state.delivered == 1
        assert len(recorded(disk)) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"video: cannot record to {disk}: the disk is full; it waits until it can",
        f"video: records to {disk} again",
    ]


def test_a_folder_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    sink = video(tmp_path / "file")
    for number in range(3):
        sink.consume(picture(float(number)))
    sink.close()
    assert sink.state.delivered == 0
    assert len(caplog.records) == 1 and "cannot record to" in caplog.text


@pytest.mark.parametrize("codec", ENDINGS)
def test_what_is_recorded_is_its_owners_alone(tmp_path: Path, codec: str) -> None:
    before = os.umask(0o022)
    try:
        for folder, sink in (
            (tmp_path / "video", video(tmp_path / "video", codec=codec)),
            (tmp_path / "clips", clips(tmp_path / "clips", codec=codec)),
        ):
            sink.consume(picture(0.0))
            if isinstance(sink, Clips):
                sink.write(about("start", 1, 0.0))
            wait_until(lambda folder=folder: recorded(folder), "a file that is not finished")
            modes = {path.stat().st_mode & 0o777 for path in recorded(folder)}
            sink.consume(picture(1.0))
            sink.close()
            (path,) = recorded(folder)
            assert modes | {path.stat().st_mode & 0o777} == {0o600}
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(read_video(path)[1]) > 1
    finally:
        os.umask(before)


def test_a_worker_that_should_wait_no_more_holds_up_neither_who_gives_nor_who_closes() -> None:
    """A run of files waits for its video, until it has to end."""
    begun, waiting, ending, free = (threading.Event() for _ in range(4))

    def work(item: int) -> None:
        begun.set()
        free.wait()

    def waits() -> bool:
        waiting.set()
        return not ending.is_set()

    worker = Worker[int](SinkState("x"), work, lambda: None, capacity=1, waits=waits)
    worker.submit(0)
    wait_until(begun.is_set, "it works")

    def give_and_close() -> None:
        worker.submit(1)
        worker.submit(2)
        worker.close()

    giver = threading.Thread(target=give_and_close, daemon=True)
    giver.start()
    wait_until(waiting.is_set, "it is full")
    ending.set()
    wait_until(lambda: not giver.is_alive(), "nobody waits")
    free.set()


def test_recognition_never_waits_for_an_encoder_that_hangs(tmp_path: Path) -> None:
    free = threading.Event()
    state = SinkState("slow")
    worker = Worker[int](state, lambda item: free.wait(), lambda: None, capacity=3)
    taken = 0
    for number in range(100):
        if worker.has_room():
            worker.submit(number)
            taken += 1
    assert 3 <= taken <= 4 and state.dropped == 100 - taken
    worker.stop()
    worker._until_s = 0.0  # no patience left
    worker.close()
    assert not worker.has_room()
    free.set()


def test_a_clip_has_its_seconds_before_and_after(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    for number in range(100):  # 20 s
        time_s = number / 5
        if time_s == 8.0:
            sink.write(about("start", 1, 7.0))  # told a second late
        if time_s == 10.0:
            sink.write(about("end", 1, 7.0, 9.4))
        sink.consume(picture(time_s, 2 * number))
    sink.close()
    (path,) = recorded(tmp_path)
    assert "-Walk-" in path.name and path.name.endswith(f"{made_event(1).id}.mp4")
    rate_hz, frames = read_video(path)
    assert rate_hz == 5.0
    # From 5.0 (2 s before 7.0) to 10.4 (1 s after 9.4).
    assert len(frames) == 28
    assert abs(frames[0].mean() - 50) < 8 and abs(frames[-1].mean() - 104) < 8
    assert sink.state.delivered == 1


def test_only_some_labels_and_no_clip_without_an_event(tmp_path: Path) -> None:
    sink = clips(tmp_path, labels=("Run",))
    for number in range(50):
        if number == 20:
            sink.write(about("start", 1, 3.0, label="Walk"))
        sink.consume(picture(number / 5))
    sink.close()
    assert recorded(tmp_path) == []
    with pytest.raises(MisuseError, match="knows no 'Fly'"):
        ClipsOptions(path=str(tmp_path), labels=("Fly",)).open(setting())


def test_events_close_together_share_a_clip_and_one_without_end_is_cut(tmp_path: Path) -> None:
    sink = clips(tmp_path, max_s=6.0)
    for number in range(150):
        time_s = number / 5
        if time_s == 4.0:
            sink.write(about("start", 1, 4.0))
        if time_s == 5.0:
            sink.write(about("end", 1, 4.0, 5.0))
            sink.write(about("start", 2, 5.0, label="Run"))
        if time_s == 6.0:
            sink.write(about("end", 2, 5.0, 6.0, label="Run"))
        if time_s == 20.0:
            sink.write(about("start", 3, 20.0))
        sink.consume(picture(time_s))
    sink.close()
    lengths = [len(read_video(path)[1]) for path in recorded(tmp_path)]
    assert lengths == [26, 31]  # 2.0 to 7.0, and 18.0 to 24.0


def test_the_clip_of_an_event_is_known_once_it_is_whole(tmp_path: Path) -> None:
    run = setting()
    opened = ClipsOptions(path=str(tmp_path), post_s=1.0, rate_hz=5.0, min_free_bytes=0).open(run)
    assert isinstance(opened.events, Clips)
    sink = opened.events
    lines = {
        1.0: [about("start", 1, 1.0)],
        2.0: [about("end", 1, 1.0, 2.0), about("start", 2, 2.0)],  # in the same clip
        3.0: [about("end", 2, 2.0, 3.0)],
        6.0: [about("start", 3, 6.0)],
    }
    for number in range(35):
        for event in lines.get(number / 5, []):
            sink.write(event)
        sink.consume(picture(number / 5))
        wait_until(lambda: sink.state.queued == 0, "it is handled")
    first, second = about("start", 1, 1.0).id, about("start", 2, 2.0).id
    third = about("start", 3, 6.0).id
    wait_until(lambda: run.run_status.clip(first), "the first clip")
    assert run.run_status.clip(third) is None
    sink.close()
    shared, alone = run.run_status.clip(first), run.run_status.clip(third)
    assert shared is not None and shared is run.run_status.clip(second) and shared.plays
    assert shared.events == (first, second)
    assert alone is not None and [shared.path, alone.path] == recorded(tmp_path)


def test_browsers_play_what_h264_records(tmp_path: Path) -> None:
    sink = video(tmp_path, codec="h264", rate_hz=5.0)
    for number in range(15):
        sink.consume(picture(number / 5, 10 * number))
    sink.close()
    with av.open(str(recorded(tmp_path)[0])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert len(packets) == 15 and sum(packet.is_keyframe for packet in packets) == 2  # each 2 s


def test_losing_a_source_ends_its_clip(tmp_path: Path) -> None:
    sink = clips(tmp_path)
    for number in range(30):
        if number == 20:
            sink.write(about("start", 1, 4.0))
        sink.consume(picture(number / 5))
    sink.write(about("source_lost", 2, 6.0))
    for number in range(500, 510):
        sink.consume(picture(number / 5))
    sink.close()
    (path,) = recorded(tmp_path)
    assert len(read_video(path)[1]) == 20


def test_the_ring_is_bounded(tmp_path: Path) -> None:
    sink = clips(tmp_path, pre_s=1.0)
    for number in range(500):
        sink.consume(picture(number / 5))
    sink.close()
    lane = sink._lanes["door"]
    assert len(lane.ring) <= 5 * 11 + 1
    assert lane.ring_bytes == sum(len(jpeg) for _, jpeg in lane.ring)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: VideoOptions(),
        lambda: VideoOptions(path="x", codec="H264"),
        lambda: VideoOptions(path="x", rate_hz=0.1),
        lambda: VideoOptions(path="x", keep=0),
        lambda: VideoOptions(path="x", width=3),
        lambda: ClipsOptions(),
        lambda: ClipsOptions(path="x", pre_s=-1.0),
        lambda: ClipsOptions(path="x", pre_s=100.0),
        lambda: ClipsOptions(path="x", rate_hz=float("nan")),
        lambda: WindowOptions(width=1),
    ],
)
def test_options_that_cannot_be_are_refused(wrong) -> None:
    with pytest.raises(MisuseError):
        wrong()


def test_a_run_is_recorded_with_its_labels_and_events(tmp_path: Path) -> None:
    scene = [painted(colour, 80, (64, 48)) for colour in ("Red", "Green")]
    source = write_video(tmp_path / "scene.mkv", np.concatenate(scene), 25.0)
    pipeline = Pipeline(colour_bundle(), [f"door={source}"], [])
    how = SinkContext(pipeline.run_status, waits=lambda: True)
    whole = VideoOptions(path=str(tmp_path / "video"), min_free_bytes=0).open(how).frames
    events = (
        ClipsOptions(path=str(tmp_path / "clips"), min_free_bytes=0, pre_s=0.5, post_s=0.5).open(how).events
    )
    pipeline.sinks = [events]
    for viewer in (whole, events):
        pipeline.frame_sinks.add(viewer)
    pipeline.run()
    whole.close()
    events.close()
    assert [state.name for state in pipeline.run_status.sinks] == ["video", "clips"]
    (path,) = recorded(tmp_path / "video")
    rate_hz, frames = read_video(path)
    assert abs(len(frames) / rate_hz - 6.4) < 0.3
    red, green = frames[len(frames) // 4][30:], frames[-len(frames) // 4][30:]
    assert red[..., 2].mean() > 4 * red[..., 1].mean()  # BGR
    assert green[..., 1].mean() > 4 * green[..., 2].mean()
    assert {path.name.split("-")[3] for path in recorded(tmp_path / "clips")} <= {"Red", "Green"}
    assert recorded(tmp_path / "clips")


class Paper:
    """A screen for tests: keeps what is shown; `quit` is what a user does."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Pixels]] = []
        self.quit = False
        self.closed = False

    def show(self, name: str, pixels: Pixels) -> None:
        self.shown.append((name, pixels))

    def goes_on(self) -> bool:
        return not self.quit

    def close(self) -> None:
        self.closed = True


def test_a_window_shows_the_newest_picture_of_each_source() -> None:
    paper, ended = Paper(), threading.Event()
    window = Window(WindowOptions(width=64), SinkState("window"), lambda: paper, quit=ended.set)
    window.consume(replace(picture(0.0, 50, size_wh=(320, 240)), label="Walk", score=0.9))
    window.consume(picture(0.0, 90, source="yard"))
    wait_until(lambda: {name for name, _ in paper.shown} == {"door", "yard"}, "both sources")
    assert all(pixels.shape == (48, 64, 3) for _, pixels in paper.shown)
    paper.quit = True
    assert ended.wait(30)
    assert not window.wants("door")
    window.close()
    wait_until(lambda: paper.closed, "the end of the thread")


def test_a_window_that_hangs_holds_up_nobody() -> None:
    hangs, entered = threading.Event(), threading.Event()

    class Hanging(Paper):
        def show(self, name: str, pixels: Pixels) -> None:
            entered.set()
            hangs.wait()

    state = SinkState("window")
    window = Window(WindowOptions(), state, Hanging, quit=lambda: None)
    window.consume(picture(0.0))
    assert entered.wait(30)
    for number in range(50):
        window.consume(picture(float(number)))
    assert state.dropped == 49
    window.stop()
    hangs.set()
    window.close()


def test_where_there_are_no_windows_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    headless = "GUI:                           NONE" in cv2.getBuildInformation()
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeMissingError, match="headless" if headless else "neither DISPLAY") as caught:
        WindowOptions().open(setting())
    assert "\n" not in str(caught.value)


WATCHED = """
import os, sys
written = set()

def watch(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, bytes)):
        return
    if arguments[2] & (os.O_WRONLY | os.O_RDWR):
        written.add(os.path.abspath(os.fsdecode(arguments[0])))

sys.addaudithook(watch)
from pathlib import Path
from edge_har.pipeline.pipeline import Pipeline
from edge_har.sinks import open_outputs, options_of_text
from edge_har.sinks.options import SinkContext
from tests.helpers.colours import colour_bundle
source, hook, broker, folder = sys.argv[1:]
pipeline = Pipeline(colour_bundle(), [source], [])
texts = [
    f"jsonl:{folder}/events.jsonl?spool={folder}/file",
    f"{hook}#spool={folder}/hook",
    f"{broker}?spool={folder}/mqtt",
]
outputs = open_outputs(map(options_of_text, texts), SinkContext(pipeline.run_status, waits=lambda: True))
assert outputs.frame_sinks == []
pipeline.sinks = outputs.event_sinks
assert not pipeline.frame_sinks.wants(source)
pipeline.run()
outputs.close()
print(*sorted(written), sep="\\n")
"""


def test_a_run_with_every_sink_of_events_writes_no_picture(tmp_path: Path) -> None:
    scene = [painted(colour, 80, (64, 48)) for colour in ("Red", "Green")]
    source = write_video(tmp_path / "scene.mkv", np.concatenate(scene), 25.0)
    folder = tmp_path / "home"
    folder.mkdir()
    nowhere = ("http://127.0.0.1:1/", "mqtt://127.0.0.1:1")  # all events stay on the disk
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(source), *nowhere, str(folder)],
        capture_output=True,
        text=True,
        env=environment() | {"EDGE_HAR_HOME": str(folder)},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines() if not line.startswith(("/dev/", "/proc/"))]
    assert (folder / "events.jsonl") in written
    assert any(path.suffix == ".events" for path in written)
    elsewhere = [p for p in written if folder not in p.parents and "__pycache__" not in p.parts]
    assert elsewhere == []
    for root, _, names in os.walk(folder):
        for name in names:
            content = (Path(root) / name).read_bytes()
            content.decode("ascii")  # a picture is not text
            assert len(content) < 20_000
