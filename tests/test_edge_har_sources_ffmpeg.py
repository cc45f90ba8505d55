"""Decoding through FFmpeg: interlaced video, colours, covers of music, what a file may open."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_har.classify import Classifier
from edge_har.errors import SourceError
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.model.preprocess import Pixels
from edge_har.sources.ffmpeg import Decoder
from edge_har.sources.files import FileSource
from edge_har.sources.rtsp import RtspSource
from tests.helpers.need import need_program
from tests.helpers.rtsp import rtsp_camera
from tests.helpers.videos import numbered, write_video

# By name: arguments of ffmpeg for the progressive copy, and those that make it interlaced.
INTERLACED = {
    "h264.mts": ("-c:v libx264", "-x264-params tff=1"),
    "hevc.mkv": ("-c:v libx265 -x265-params log-level=none", "-x265-params log-level=none:interlace=tff"),
    "mpeg2.mpg": ("-c:v mpeg2video -b:v 2M", "-flags +ilme+ildct"),
    "mpeg4.avi": ("-c:v mpeg4 -b:v 2M", "-flags +ilme+ildct"),
    "prores.mov": ("-pix_fmt yuv422p10le -c:v prores_ks", "-flags +ilme+ildct"),
    "ffv1.mkv": ("-c:v ffv1", "-vf setfield=tff"),
    "dv.avi": ("-c:v dvvideo -s 720x576", "-top 1"),
}
MATRICES = ["bt709", "smpte170m", "bt470bg", "fcc", "smpte240m", "bt2020nc", "ycgco", "ictcp", "bt2020c"]
CONVERTED = MATRICES[:6]


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg; it must succeed."""
    subprocess.run([need_program("ffmpeg"), "-v", "error", "-y", *map(str, arguments)], check=True)


def pictures(path: Path) -> Pixels:
    """All frames of a file: uint8 [n, h, w, 3], BGR."""
    with FileSource(path) as source:
        shown = []
        while source.grab() is not None:
            shown.append(source.retrieve())
    return np.stack(shown)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a picture that moves everywhere, lossless, 160x128 at 25 frames a second."""
    path = tmp_path_factory.mktemp("moving") / "moving.mkv"
    source = "testsrc2=size=160x128:rate=25:duration=2"
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "ffv1", path)
    return path


@pytest.mark.parametrize("grabbed", [0, 1])
def test_after_close_no_frame_comes(tmp_path: Path, grabbed: int) -> None:
    path = write_video(tmp_path / "a.avi", numbered(50), 25.0)
    with FileSource(path) as source:
        for _ in range(grabbed):
            assert source.grab() is not None
    assert source.grab() is None and list(source.frames()) == []
    with pytest.raises(SourceError, match="no frame was grabbed"):
        source.retrieve()
    decoder = Decoder(str(path), "a.avi")
    assert decoder.next_frame() is not None
    decoder.close()
    assert decoder.next_frame() is None and decoder.stamps_ahead(4) == []


@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_video_gives_the_pictures_of_its_progressive_copy(
    moving: Path, tmp_path: Path, name: str
) -> None:
    usual, interlaced = INTERLACED[name]
    ffmpeg("-i", moving, *usual.split(), tmp_path / f"plain_{name}")
    ffmpeg("-i", moving, *usual.split(), *interlaced.split(), tmp_path / name)
    plain, got = pictures(tmp_path / f"plain_{name}").astype(int), pictures(tmp_path / name).astype(int)
    assert got.shape == plain.shape
    assert np.abs(got - plain).mean() < 6 < np.abs(np.diff(got, axis=0)).mean()


def test_an_interlaced_recording_is_recognised_as_its_progressive_copy(tmp_path: Path) -> None:
    made = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "320x240", "-r", "25", "-i", "-"]
    from edge_har.sources import open_source

    with open_source("synthetic:WaveTwoHands?duration=4&seed=3") as source:
        drawn = []
        while source.grab() is not None:
            drawn.append(source.retrieve())
    assert source.color == "rgb" and drawn[0].shape == (240, 320, 3)
    for name, arguments in (("plain.mts", ()), ("interlaced.mts", ("-x264-params", "tff=1"))):
        command = [need_program("ffmpeg"), "-v", "error", *made, "-pix_fmt", "yuv420p", "-c:v", "libx264"]
        subprocess.run([*command, *arguments, tmp_path / name], input=b"".join(map(bytes, drawn)), check=True)
    classifier = Classifier(open_bundle(default_bundle_path()))
    plain, got = (classifier.file(str(tmp_path / name)) for name in ("plain.mts", "interlaced.mts"))
    assert got.label == plain.label == "WaveTwoHands" and got.warning is None
    assert got.scores == pytest.approx(plain.scores, abs=0.1)


@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_right_or_one_line_says_why_not(moving: Path, tmp_path: Path, matrix: str) -> None:
    path = tmp_path / "colours.mp4"
    ffmpeg("-i", moving, "-c:v", "libx264", "-colorspace", matrix, path)
    if matrix in CONVERTED:
        assert np.abs(pictures(path).astype(int) - pictures(moving)).mean() < 10
    else:
        with pytest.raises(
            SourceError, match=f"colours.mp4: colours of this kind.*matrix {matrix}\\); record"
        ):
            pictures(path)


def test_an_interlaced_camera_moves() -> None:
    with rtsp_camera("ball", 20, interlaced=True) as url, RtspSource(url) as source:
        shown = []
        for _ in range(20):
            assert source.grab() is not None
            shown.append(source.retrieve().astype(int))
    assert min(np.abs(b - a).max() for a, b in pairwise(shown)) > 50


def test_the_cover_of_a_piece_of_music_is_no_video(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", 1, tmp_path / "cover.png")
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-i", tmp_path / "cover.png", "-map", "0", "-map", "1"]
    ffmpeg(*sound, "-c:v", "png", "-disposition:v", "attached_pic", tmp_path / "song.mp4")
    with pytest.raises(SourceError, match="sound only"):
        FileSource(tmp_path / "song.mp4")


def test_a_file_opens_nothing_but_itself(moving: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.avi"
    playlist.write_bytes(b"\0ffconcat version 1.0\nfile " + str(moving).encode())
    reference = tmp_path / "reference.mov"
    reference.write_bytes(b"#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1:1/a.ts\n#\0")
    for path in (playlist, reference):
        with pytest.raises(SourceError, match="not a video"):
            FileSource(path)


def test_a_stream_that_was_cut_out_is_not_damaged(moving: Path, tmp_path: Path) -> None:
    """It begins with frames that hang on those before."""
    ffmpeg("-i", moving, "-c:v", "libx264", "-g", 25, "-bf", 2, tmp_path / "whole.ts")
    content = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[len(content) // 188 // 4 * 188 :])
    with FileSource(tmp_path / "cut.ts") as source:
        frames = 0
        while source.grab() is not None:
            frames += 1
    assert 20 <= frames < 50 and source.warning is None


def test_whatever_opens_is_closed_twice_without_harm(moving: Path) -> None:
    decoder = Decoder(str(moving), "moving")
    assert decoder.next_frame() is not None
    decoder.close()
    decoder.close()
