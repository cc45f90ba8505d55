"""Pictures on standard input: motion JPEG and raw frames, live and recorded, and what is neither."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.options import SourceOptions
from edge_har.sources.pictures import RAW_FORMATS, raw_frames
from edge_har.sources.stdin import StdinSource
from tests.helpers.colours import colour_bytes, painted
from tests.helpers.command import environment
from tests.helpers.mjpeg import decoded, jpeg
from tests.helpers.need import need_program
from tests.helpers.videos import noise, write_video

RGB = noise(6, (64, 48))
JPEGS = [jpeg(p) for p in RGB]


@pytest.fixture(autouse=True)
def nothing_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StdinSource, "_had_pictures", False)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe."""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            assert end == writing  # a test closed it


def write_and_close(descriptor: int, *pieces: bytes) -> None:
    def work() -> None:
        for piece in pieces:
            os.write(descriptor, piece)
        os.close(descriptor)

    threading.Thread(target=work, daemon=True).start()


def read_all(source: StdinSource) -> tuple[list[float], list[Pixels]]:
    times_s, pictures = [], []
    with source:
        while (time_s := source.grab()) is not None:
            times_s.append(time_s)
            pictures.append(source.retrieve())
    return times_s, pictures


def test_motion_jpeg_is_live_and_its_end_is_the_end(pipe: tuple[int, int]) -> None:
    write_and_close(pipe[1], b"--frame\r\n\r\n", *JPEGS)
    source = StdinSource(SourceOptions(), descriptor=pipe[0])
    assert (source.live, source.ends) == (True, False)  # a silence is a loss
    began_s = time.monotonic()
    times_s, pictures = read_all(source)
    assert [p.tobytes() for p in pictures] == [decoded(p).tobytes() for p in JPEGS]
    assert began_s <= times_s[0] <= times_s[-1] <= time.monotonic()
    assert source.ends  # and this was none


def test_with_a_rate_it_is_a_recording(pipe: tuple[int, int]) -> None:
    write_and_close(pipe[1], *JPEGS)
    source = StdinSource(SourceOptions(rate=20.0), descriptor=pipe[0])
    assert (source.live, source.ends) == (False, True)
    assert read_all(source)[0] == pytest.approx([i / 20 for i in range(6)])


def test_a_recording_is_waited_for(pipe: tuple[int, int]) -> None:
    source = StdinSource(SourceOptions(rate=20.0), descriptor=pipe[0], read_timeout_s=0.05)
    got: list[float | None] = []
    reader = threading.Thread(target=lambda: got.append(source.grab()), daemon=True)
    reader.start()
    reader.join(0.3)
    assert reader.is_alive()
    os.write(pipe[1], JPEGS[0])
    reader.join(20)
    assert got == [0.0]
    source.close()


def test_a_silence_is_a_loss_after_which_the_same_input_goes_on(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], JPEGS[0] + JPEGS[1][:50])
    with StdinSource(SourceOptions(), descriptor=pipe[0], read_timeout_s=0.2) as source:
        assert source.grab() is not None
        with pytest.raises(SourceError, match=r"no whole picture for 0\.2 s"):
            source.grab()
        assert not source.ends
    os.write(pipe[1], JPEGS[2])
    with StdinSource(SourceOptions(), descriptor=pipe[0], read_timeout_s=0.2) as source:
        assert source.grab() is not None
        assert np.array_equal(source.retrieve(), decoded(JPEGS[2]))
    os.close(pipe[1])
    with StdinSource(SourceOptions(), descriptor=pipe[0]) as source:
        assert source.grab() is None and source.ends


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "held nothing"), (b"no picture at all", "held 17 bytes without a whole picture")],
)
def test_an_input_without_pictures_is_one_line(pipe: tuple[int, int], content: bytes, says: str) -> None:
    write_and_close(pipe[1], content)
    with StdinSource(SourceOptions(), descriptor=pipe[0]) as source:
        with pytest.raises(SourceError, match=says):
            source.grab()
        assert source.ends


def test_two_readers_would_tear_it_apart(pipe: tuple[int, int]) -> None:
    with (
        StdinSource(SourceOptions(), descriptor=pipe[0]),
        pytest.raises(MisuseError, match="only once"),
    ):
        StdinSource(SourceOptions(), descriptor=pipe[0])
    StdinSource(SourceOptions(), descriptor=pipe[0]).close()


@pytest.mark.parametrize(
    ("path", "flags", "says"), [(".", os.O_RDONLY, "Is a directory"), (os.devnull, os.O_WRONLY, "Bad file")]
)
def test_what_can_never_be_read_is_refused(path: str, flags: int, says: str) -> None:
    descriptor = os.open(path, flags)
    with pytest.raises(MisuseError, match=says):
        StdinSource(SourceOptions(), descriptor=descriptor)
    os.close(descriptor)
    StdinSource(SourceOptions()).close()  # nothing is held on to


def test_a_terminal_is_refused() -> None:
    ours, theirs = os.openpty()
    with pytest.raises(MisuseError, match="is a terminal"):
        StdinSource(SourceOptions(), descriptor=theirs)
    os.close(ours)
    os.close(theirs)


# Raw frames -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RAW_FORMATS)
def test_raw_frames_are_what_ffmpeg_means_by_their_name(
    tmp_path: Path, pipe: tuple[int, int], name: str
) -> None:
    """Against FFmpeg's own conversion, on pictures without sharp edges, where chroma is coarser."""
    small = noise(3, (8, 6)).astype(np.float32)
    smooth = np.stack([cv2.resize(p, (64, 48), interpolation=cv2.INTER_CUBIC) for p in small])
    rgb = np.clip(smooth, 0, 255).astype(np.uint8)
    if name == "gray":
        rgb = rgb[..., 1:2].repeat(3, 3)
    path = write_video(tmp_path / "a.avi", rgb)
    made = subprocess.run(
        [need_program("ffmpeg"), *("-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", name, "-")],
        capture_output=True,
        check=True,
    ).stdout
    write_and_close(pipe[1], *(made[i : i + 1000] for i in range(0, len(made), 1000)))
    options = SourceOptions(format=name, size=(64, 48), rate=25.0)
    times_s, pictures = read_all(StdinSource(options, descriptor=pipe[0]))
    assert times_s == pytest.approx([0, 0.04, 0.08])
    exact = name in ("bgr24", "rgb24")
    for picture, wanted in zip(pictures, rgb, strict=True):
        difference = np.abs(picture[..., ::-1].astype(int) - wanted)
        # Halved chroma costs some 5; luma of another range, or U for V, costs more than 10.
        assert difference.max() == 0 if exact else difference.mean() < 7


def test_a_frame_that_is_cut_off_is_left_out(pipe: tuple[int, int]) -> None:
    write_and_close(pipe[1], RGB.tobytes()[: -64 * 48])
    options = SourceOptions(format="rgb24", size=(64, 48))
    _, pictures = read_all(StdinSource(options, descriptor=pipe[0]))
    assert np.array_equal(np.stack(pictures)[..., ::-1], RGB[:5])


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("bgr25", (64, 48), "no format of raw frames is called 'bgr25'; choose from bgr24"),
        ("bgr24", None, "raw frames need their size"),
        ("nv12", (63, 48), "even sides, got 63x48"),
    ],
)
def test_raw_frames_that_cannot_be_are_one_line(
    name: str, size: tuple[int, int] | None, says: str, pipe: tuple[int, int]
) -> None:
    with pytest.raises(MisuseError, match=says):
        raw_frames(name, size)
    with pytest.raises(MisuseError, match=says):
        StdinSource(SourceOptions(format=name, size=size), descriptor=pipe[0])


def test_jpeg_has_its_own_size(pipe: tuple[int, int]) -> None:
    with pytest.raises(MisuseError, match="'size' goes with raw frames"):
        StdinSource(SourceOptions(size=(64, 48)), descriptor=pipe[0])


# The command ------------------------------------------------------------------------------------------------


def test_a_program_can_be_piped_into_run(tmp_path: Path) -> None:
    bundle = tmp_path / "colours.ehar"
    bundle.write_bytes(colour_bytes())
    frames = np.concatenate([painted("Red", 75, (32, 24)), painted("Green", 50, (32, 24))])
    path = write_video(tmp_path / "a.avi", frames)
    program = [need_program("ffmpeg"), "-v", "error", "-i", str(path)]
    command = [sys.executable, "-m", "edge_har", "run", "--model", str(bundle), "--source"]

    def run(arguments: list[str], source: str) -> str:
        with subprocess.Popen([*program, *arguments, "-"], stdout=subprocess.PIPE) as ffmpeg:
            done = subprocess.run(
                [*command, source],
                stdin=ffmpeg.stdout,
                capture_output=True,
                text=True,
                env=environment(),
                check=True,
            )
        return done.stderr

    raw = run(["-f", "rawvideo", "-pix_fmt", "bgr24"], "-?format=bgr24&size=32x24&rate=25")
    assert "125 frames, 63 ticks, 62 unused; events: Red 1, Green 1" in raw
    motion_jpeg = run(["-f", "mjpeg", "-q:v", "2"], "-?rate=25")
    assert "125 frames, 63 ticks, 62 unused; events: Red 1, Green 1" in motion_jpeg
    empty = subprocess.run(
        [*command, "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert (empty.returncode, empty.stdout) == (1, "") and "standard input held nothing" in empty.stderr
    assert "Traceback" not in empty.stderr
