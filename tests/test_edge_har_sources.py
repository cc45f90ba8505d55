"""Sources: what a URI names, files of every kind and state, cameras on the network,
and no password in sight.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import BundleError, MisuseError, SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.options.addresses import mask_uri, split_credentials
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.sources import open_source
from edge_har.sources.base import Source
from edge_har.sources.files import FileSource
from edge_har.sources.mjpeg import MjpegSource
from edge_har.sources.paced import PacedSource
from edge_har.sources.pictures import JpegSplitter
from edge_har.sources.rtsp import RtspSource, StreamClock
from tests.helpers.frames import frames
from tests.helpers.mjpeg import MjpegServer, decoded, jpeg
from tests.helpers.need import need_program
from tests.helpers.rtsp import rtsp_camera
from tests.helpers.running import LONG_S, ScriptedSource
from tests.helpers.videos import noise, numbered, write_text_as_video, write_video


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg; it must succeed."""
    subprocess.run(
        [need_program("ffmpeg"), "-v", "error", "-y", *map(str, arguments)], check=True, capture_output=True
    )


def read_all(path: Path | str) -> tuple[list[float], list[Pixels], str | None]:
    """Times, frames (BGR) and warning of a file."""
    times_s, pictures = [], []
    with FileSource(path) as source:
        while (time_s := source.grab()) is not None:
            times_s.append(time_s)
            pictures.append(source.retrieve())
        return times_s, pictures, source.warning


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2 s H.264 clip with B-frames, 64x48 at 25 fps."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=2",
        "-c:v",
        "libx264",
        "-bf",
        3,
        "-g",
        12,
        path,
    )
    return path


# URIs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://me:s3cret@cam/1", "rtsp://me:***@cam/1"),
        ("http://me:p@ss@cam:80/x", "http://me:***@cam:80/x"),
        ("http://me@cam/x", "http://me@cam/x"),
        ("http://cam/x?user=a&pwd=b&size=3", "http://cam/x?user=a&pwd=***&size=3"),
        ("http://cam/x?Password=b#t", "http://cam/x?Password=***#t"),
        ("http://cam/x?access_token=b", "http://cam/x?access_token=***"),
        ("http://cam/a@b", "http://cam/a@b"),
        ("/videos/a:b@c.avi", "/videos/a:b@c.avi"),
        ("0", "0"),
    ],
)
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown
    assert mask_uri(shown) == shown


def test_credentials_are_taken_out_of_a_url() -> None:
    assert split_credentials("http://me:a%40b@cam:81/x?y=1") == ("http://cam:81/x?y=1", "me", "a@b")
    with pytest.raises(ValueError, match="host"):
        split_credentials("http://")


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("0", SourceError, "no camera /dev/video0"),
        ("/dev/video7", SourceError, "no camera /dev/video7"),
        ("nowhere.avi", SourceError, "nowhere.avi: no such file"),
        ("file:///no%20where.avi", SourceError, "/no where.avi: no such file"),
        ("ftp://me:s3cret@host/x", MisuseError, "expected a camera"),
        ("synthetic:Juggling", MisuseError, "Juggling"),
    ],
)
def test_a_uri_that_names_nothing_is_one_line(uri: str, error: type[Exception], says: str) -> None:
    if "video" in uri and Path(uri).exists():
        pytest.skip(f"this machine has a camera at {uri}")
    with pytest.raises(error) as raised:
        open_source(uri)
    assert says in str(raised.value) and "\n" not in str(raised.value) and "s3cret" not in str(raised.value)


def test_a_file_and_a_drawing_play_unpaced_unless_asked(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", noise(3))
    for uri in (str(path), f"file://{path}", "synthetic:Walk?duration=0.2"):
        with open_source(uri) as source:
            assert (source.live, source.ends) == (False, True)
        with open_source(uri, realtime=True) as source:
            assert isinstance(source, PacedSource) and (source.live, source.ends) == (True, True)
    with open_source("synthetic:Walk?duration=0.2&live=yes") as source:
        assert isinstance(source, PacedSource)


# Files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [10, 25, 30000 / 1001, 30])
def test_a_lossless_file_gives_its_pixels_and_times(tmp_path: Path, rate_hz: float) -> None:
    rgb = noise(12, (34, 22))
    times_s, pictures, warning = read_all(write_video(tmp_path / "a.avi", rgb, rate_hz))
    assert np.array_equal(np.stack(pictures)[..., ::-1], rgb)
    assert times_s == pytest.approx([i / rate_hz for i in range(12)], abs=1e-4)
    assert warning is None


@pytest.mark.parametrize("form", ["bgr24", "rgb24", "bgr0", "gbrp"])
def test_pixels_that_are_red_green_and_blue_already(tmp_path: Path, form: str) -> None:
    """AVI keeps such pictures upside down."""
    rgb = noise(3, (34, 22))
    write_video(tmp_path / "lossless.avi", rgb)
    for name in ("a.avi", "a.nut"):
        if name == "a.avi" and form != "bgr24":
            continue  # AVI has codes for no other
        ffmpeg("-i", tmp_path / "lossless.avi", "-c:v", "rawvideo", "-pix_fmt", form, tmp_path / name)
        assert np.array_equal(np.stack(read_all(tmp_path / name)[1])[..., ::-1], rgb), name


def test_frames_gives_rgb_and_closes(tmp_path: Path) -> None:
    rgb = numbered(5)
    source = FileSource(write_video(tmp_path / "a.avi", rgb))
    made = list(frames(source))
    assert np.array_equal(np.stack([f.rgb for f in made]), rgb)
    with pytest.raises(SourceError, match="no frame was grabbed"):
        source.retrieve()


@pytest.mark.parametrize(
    "name", ["with space.avi", "имя.avi", "名前.avi", "a:b.avi", "100%.avi", "-dash.avi"]
)
def test_any_name_will_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.avi", noise(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_all(name)[0]) == 3


KINDS = {
    "grey.mkv": ["-pix_fmt", "gray", "-c:v", "ffv1"],
    "ten_bit.mkv": ["-pix_fmt", "yuv420p10le", "-c:v", "ffv1"],
    "odd.mkv": ["-vf", "scale=33:21", "-pix_fmt", "yuv444p", "-c:v", "ffv1"],
    "small.mkv": ["-vf", "scale=2:2", "-pix_fmt", "yuv444p", "-c:v", "ffv1"],
    "b_frames.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "b_frames.mpg": ["-c:v", "mpeg2video", "-bf", "2"],
    "no_times.h264": ["-c:v", "libx264", "-f", "h264"],
    "a.gif": [],
    "a.ts": ["-c:v", "libx264"],
    "a.webm": ["-c:v", "libvpx"],
}


@pytest.mark.parametrize("name", KINDS)
def test_ordinary_and_odd_kinds(clip: Path, tmp_path: Path, name: str) -> None:
    ffmpeg("-i", clip, *KINDS[name], tmp_path / name)
    times_s, pictures, warning = read_all(tmp_path / name)
    assert len(times_s) == 50 and warning is None
    assert times_s == pytest.approx([times_s[0] + i / 25 for i in range(50)], abs=0.01)
    assert all(picture.dtype == np.uint8 and picture.shape[2] == 3 for picture in pictures)


def test_a_joined_stream_whose_times_begin_again_runs_on(clip: Path, tmp_path: Path) -> None:
    ffmpeg("-i", clip, "-c", "copy", tmp_path / "one.ts")
    (tmp_path / "two.ts").write_bytes((tmp_path / "one.ts").read_bytes() * 2)
    times_s, _, _ = read_all(tmp_path / "two.ts")
    assert len(times_s) == 100
    assert [b - a for a, b in pairwise(times_s)] == pytest.approx([0.04] * 99, abs=0.01)


def test_a_phones_video_is_upright(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    try:
        ffmpeg("-display_rotation", 90, "-i", clip, "-c", "copy", path)  # ffmpeg 6 and later
    except subprocess.CalledProcessError:
        ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v", "rotate=270", path)
    ffmpeg("-i", path, "-frames:v", 1, tmp_path / "shown.png")
    _, pictures, _ = read_all(path)
    assert pictures[0].shape == (64, 48, 3)
    shown = cv2.imread(str(tmp_path / "shown.png")).astype(int)
    assert np.abs(pictures[0] - shown).mean() < 3 < np.abs(pictures[0][::-1, ::-1] - shown).mean()


def test_what_is_no_video_is_one_clear_line(clip: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:2000])
    empty = tmp_path / "empty.avi"
    empty.touch()
    no_frames = tmp_path / "no_frames.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 0, "-c:v", "mjpeg", no_frames)
    text = write_text_as_video(tmp_path / "text.avi")
    long_text = tmp_path / "long_text.avi"
    long_text.write_text("ein Text, kein Video: äöü €\n" * 500)
    for path, says in [
        (sound, "sound only"),
        (cut, "not a video"),
        (empty, "empty file"),
        (no_frames, "not a video|no frame"),
        (text, "text file"),
        (long_text, "text file"),
        (tmp_path, "not a file"),
    ]:
        with pytest.raises(SourceError, match=says) as raised:
            read_all(path)
        assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_damage_in_the_middle_is_stepped_over(clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 1500] = b"\x5a" * 1500
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    times_s, _, warning = read_all(damaged)
    assert 25 <= len(times_s) < 50 and times_s[-1] == pytest.approx(1.96)
    assert warning is not None and "damaged" in warning


def test_a_file_that_was_cut_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.avi", noise(50, (64, 48)))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    times_s, _, warning = read_all(cut)
    assert 15 < len(times_s) < 30
    assert warning is not None and "ends after" in warning and "2.0 s" in warning


def test_the_decoders_own_messages_stay_off_stderr(clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 1500] = b"\x5a" * 1500
    (tmp_path / "damaged.mp4").write_bytes(content)
    code = "import sys; from tests.helpers.frames import frames; from edge_har.sources import open_source\n"
    code += "print(sum(1 for _ in frames(open_source(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "damaged.mp4"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 20 and done.stderr == ""


def test_a_paced_file_comes_by_the_clock(tmp_path: Path) -> None:
    source = PacedSource(FileSource(write_video(tmp_path / "a.avi", noise(6), 20.0)))
    began_s = time.monotonic()
    times_s = [source.grab() for _ in range(6)]
    assert times_s == pytest.approx([i / 20 for i in range(6)]) and source.grab() is None
    assert time.monotonic() - began_s >= 0.25
    source.close()


def test_a_paced_source_that_waits_stops_at_once() -> None:
    class Distant(ScriptedSource):
        """Two frames, the second of which is not due while this test runs."""

        times_s = iter((0.0, 2 * LONG_S))

        def grab(self) -> float | None:
            return next(self.times_s)

    slow = PacedSource(Distant())
    assert slow.grab() == 0.0
    closing = threading.Timer(0.1, slow.close)
    closing.start()
    began_s = time.monotonic()
    assert slow.grab() is None and time.monotonic() - began_s < LONG_S
    closing.join(LONG_S)


# Ticks ------------------------------------------------------------------------------------------------------


class Watched(Source):
    """Counts what is converted; fails to convert the frames in `damaged`."""

    def __init__(self, source: Source, damaged: tuple[int, ...] = ()) -> None:
        self.source, self.damaged, self.color = source, damaged, source.color
        self.grabbed, self.converted = 0, 0

    def grab(self) -> float | None:
        self.grabbed += 1
        return self.source.grab()

    def retrieve(self) -> Pixels:
        if self.grabbed - 1 in self.damaged:
            raise SourceError("damaged")
        self.converted += 1
        return self.source.retrieve()

    def close(self) -> None:
        self.source.close()


def test_frames_that_no_tick_needs_are_not_converted(tmp_path: Path) -> None:
    source = Watched(FileSource(write_video(tmp_path / "a.avi", numbered(100))))
    sampler = Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0))
    made = list(ticks_of(source, sampler))
    assert (len(made), source.converted) == (50, 50)
    assert (sampler.frames, sampler.unused, sampler.repeated, sampler.damaged) == (100, 50, 0, 0)
    assert [int(ticks.frame[0, 0, 0]) for ticks in made] == list(range(0, 100, 2))
    assert [t for ticks in made for t in ticks.times_s] == pytest.approx([0.08 * k for k in range(50)])


def test_a_tick_whose_frame_is_damaged_takes_the_next(tmp_path: Path) -> None:
    source = Watched(FileSource(write_video(tmp_path / "a.avi", numbered(10))), damaged=(2,))
    sampler = Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0))
    made = list(ticks_of(source, sampler))
    assert [int(ticks.frame[0, 0, 0]) for ticks in made] == [0, 3, 4, 6, 8]
    assert [len(ticks.times_s) for ticks in made] == [1] * 5 and sampler.damaged == 1


def test_a_model_that_does_not_sample_by_time_is_refused() -> None:
    with pytest.raises(BundleError, match="spread"):
        Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0, sampling="spread"))


# Motion JPEG ------------------------------------------------------------------------------------------------

PICTURES = [jpeg(p) for p in noise(4, (16, 8))]


def cut_up(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(pieces[-1]), turn + 1
    return pieces


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5),
    between=st.binary(max_size=40).filter(lambda b: b"\xff" not in b),
)
def test_pictures_come_whole_however_they_are_cut(sizes: list[int], between: bytes) -> None:
    splitter = JpegSplitter()
    data = between + b"".join(picture + between for picture in PICTURES)
    assert [p for piece in cut_up(data, sizes) for p in splitter.feed(piece)] == PICTURES


def test_a_picture_that_was_cut_off_costs_no_other() -> None:
    splitter = JpegSplitter()
    got = splitter.feed(PICTURES[0] + PICTURES[1][:-40] + b"\r\n--frame\r\n\r\n" + PICTURES[2] + PICTURES[3])
    assert got == [PICTURES[0], *PICTURES[2:]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([b"\xff\xd8\xff", b"\xff\xd9", *PICTURES])),
        max_size=20,
    )
)
def test_any_bytes_do_no_harm(pieces: list[bytes]) -> None:
    splitter = JpegSplitter()
    for piece in pieces:
        for picture in splitter.feed(piece):
            assert picture.startswith(b"\xff\xd8\xff") and picture.endswith(b"\xff\xd9")


def test_what_never_ends_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_har.sources.pictures.MAX_JPEG_BYTES", 10_000)
    splitter = JpegSplitter()
    for _ in range(100):
        assert splitter.feed(b"\xff\xd8\xff\xda\x00\x02" + b"\x01" * 1000) == []
    assert len(splitter._held) <= 12_000
    assert splitter.feed(PICTURES[0]) == [PICTURES[0]]


@pytest.mark.parametrize("lengths", [True, False])
def test_motion_jpeg_comes_with_arrival_times(lengths: bool) -> None:
    sent_s: list[float] = []

    def sent(number: int) -> bytes | None:
        sent_s.append(time.monotonic())
        return PICTURES[number] if number < len(PICTURES) else None

    with MjpegServer(sent, 20.0, lengths=lengths) as server, MjpegSource(server.url) as source:
        times_s, given_s, pictures = [], [], []
        while (time_s := source.grab()) is not None:
            times_s.append(time_s)
            given_s.append(time.monotonic())
            pictures.append(source.retrieve())
        assert [p.tobytes() for p in pictures] == [decoded(p).tobytes() for p in PICTURES]
        assert all(a <= b <= c for a, b, c in zip(sent_s, times_s, given_s, strict=False))
        assert (source.live, source.ends) == (True, False)


def test_a_password_is_sent_and_never_shown() -> None:
    with MjpegServer(PICTURES, 50.0, user_password="me:s3 cret") as server:
        url = server.url.replace("//", "//me:s3%20cret@")
        with MjpegSource(url) as source:
            assert source.grab() is not None and "s3" not in source.name
        for wrong in (server.url, server.url.replace("//", "//me:wr0ng@")):
            with pytest.raises(SourceError, match="401") as raised:
                MjpegSource(wrong)
            assert "wr0ng" not in str(raised.value)


def test_what_is_no_motion_jpeg_or_not_there_is_one_line() -> None:
    with (
        MjpegServer(PICTURES, 50.0, content_type="video/mp4") as server,
        pytest.raises(SourceError, match="sends video/mp4, not motion JPEG"),
    ):
        MjpegSource(server.url)
    with pytest.raises(SourceError, match="Connection refused"):
        MjpegSource(server.url)
    with pytest.raises(MisuseError, match="expected http://HOST:PORT/PATH"):
        MjpegSource("http://host:notaport/")


def test_a_stalled_stream_is_given_up() -> None:
    with (
        MjpegServer(PICTURES, 50.0, loop=True) as server,
        MjpegSource(server.url, read_timeout_s=0.3) as source,
    ):
        assert source.grab() is not None
        server.stall()
        began_s = time.monotonic()
        with pytest.raises(SourceError, match="no answer in time"):
            while True:
                source.grab()
        assert time.monotonic() - began_s < 3


def test_a_stream_of_anything_else_is_given_up() -> None:
    with (
        MjpegServer([b"no picture" * 50], 50.0, loop=True) as server,
        MjpegSource(server.url, read_timeout_s=0.3) as source,
        pytest.raises(SourceError, match="no whole picture"),
    ):
        source.grab()


# RTSP -------------------------------------------------------------------------------------------------------


def clocked(positions_s: list[float], arrivals_s: list[float]) -> tuple[list[float], bool]:
    clock = StreamClock()
    return [clock.at(p, a) for p, a in zip(positions_s, arrivals_s, strict=True)], clock.trusted


def test_a_streams_own_times_are_taken_while_they_go_with_the_clock() -> None:
    jitter = [0.0, 0.03, 0.01, 0.04, 0.0, 0.02] * 50
    positions = [i / 10 for i in range(300)]
    times_s, trusted = clocked(positions, [100 + p + j for p, j in zip(positions, jitter, strict=True)])
    assert trusted
    assert [b - a for a, b in pairwise(times_s)] == pytest.approx([0.1] * 299, abs=0.001)


@pytest.mark.parametrize(
    ("name", "positions_s", "period_s"),
    [
        ("invented 25 fps", [i / 25 for i in range(600)], 0.1),
        ("no times at all", [0.0] * 600, 0.1),
        ("half the speed", [i / 20 for i in range(600)], 0.1),
    ],
)
def test_times_that_do_not_go_with_the_clock_are_arrivals(
    name: str, positions_s: list[float], period_s: float
) -> None:
    arrivals_s = [50 + i * period_s for i in range(600)]
    times_s, trusted = clocked(positions_s, arrivals_s)
    assert not trusted and times_s[-100:] == arrivals_s[-100:]
    assert all(b >= a for a, b in pairwise(times_s))


def test_a_jump_of_a_streams_times_is_survived() -> None:
    positions_s = [i / 10 for i in range(50)] + [4000 + i / 10 for i in range(50)]
    times_s, trusted = clocked(positions_s, [7 + i / 10 for i in range(100)])
    assert trusted and times_s == pytest.approx([7 + i / 10 for i in range(100)], abs=0.01)


def test_a_slightly_fast_camera_is_followed() -> None:
    positions_s = [i * 0.04 * 1.0002 for i in range(50_000)]
    times_s, trusted = clocked(positions_s, [i * 0.04 for i in range(50_000)])
    assert trusted and times_s[-1] == pytest.approx(49_999 * 0.04, abs=0.1)


def test_a_real_rtsp_camera() -> None:
    with rtsp_camera("red", 20) as url, RtspSource(url) as source:
        times_s = [source.grab() for _ in range(20)]
        picture = source.retrieve()
        assert time.monotonic() - times_s[-1] < LONG_S  # by this machine's clock, not by the stream's
    # A server that has no time to itself sends late, and then several at once.
    assert statistics.median(b - a for a, b in pairwise(times_s)) == pytest.approx(0.05, abs=0.005)
    assert picture.shape == (240, 320, 3) and picture[0, 0, 2] > 200 and picture[0, 0, 0] < 50


def test_no_rtsp_camera_is_one_line_without_the_password() -> None:
    with pytest.raises(SourceError, match="no stream could be opened") as raised:
        RtspSource("rtsp://me:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in str(raised.value) and "me:***@" in str(raised.value)
