"""What a walk through folders takes for a recording, what it passes over, and how numbered pictures play."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import SourceError
from edge_har.sources import open_source
from edge_har.sources.recordings import (
    ABOVE,
    EMPTY,
    MAX_EXAMPLES,
    NOWHERE,
    SEARCHED,
    VIDEO_SUFFIXES,
    PassedOver,
    content_sha256,
    find_recordings,
    listed,
    open_recording,
    walk,
)
from tests.helpers.videos import noise, write_pictures, write_text_as_video, write_video

OTHER_SUFFIXES = "h264 264 h265 265 hevc asf divx mpe vob mxf nut 3g2 dv f4v qt y4m m2v"


@pytest.mark.parametrize("suffix", OTHER_SUFFIXES.split())
def test_suffixes_of_containers_and_bare_streams_are_searched_for(tmp_path: Path, suffix: str) -> None:
    assert f".{suffix}" in VIDEO_SUFFIXES
    write_text_as_video(tmp_path / f"a.{suffix.upper()}")
    assert walk(str(tmp_path)).recordings == (str(tmp_path / f"a.{suffix.upper()}"),)


def test_links_are_followed_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    outside = write_text_as_video(tmp_path / "outside" / "far.avi")
    root = tmp_path / "root"
    write_text_as_video(root / "z" / "own.avi")
    (root / "a").symlink_to("z")  # before z in the order of names: what is in place goes first
    (root / "circle").symlink_to("..")
    (root / "far").symlink_to(outside.parent)
    (root / "far2").symlink_to("../outside")
    (root / "file.avi").symlink_to(outside)
    (root / "lost.avi").symlink_to("nowhere")
    (root / "itself").symlink_to("itself")
    found = walk(str(root))
    relative = [os.path.relpath(path, root) for path in found.recordings]
    assert relative == ["file.avi", "far/far.avi", "z/own.avi"]
    assert {(os.path.relpath(one.path, root), one.kind) for one in found.passed_over} == {
        ("a", SEARCHED),
        ("circle", ABOVE),
        ("far2", SEARCHED),
        ("itself", NOWHERE),
        ("lost.avi", NOWHERE),
    }


def test_what_was_passed_over_is_counted_by_kind_and_named_where_the_kind_is_no_suffix() -> None:
    passed_over = [PassedOver(f"x/{i}.jpg", ".jpg") for i in range(9)]
    passed_over += [PassedOver(f"e{i}", EMPTY) for i in range(MAX_EXAMPLES + 1)]
    passed_over += [PassedOver("bad\x1b[2J", "unreadable", "Permission denied")]
    assert listed(passed_over) == (
        "9 .jpg, 4 empty (e0, e1, e2, ...), 1 unreadable (bad\\x1b[2J: Permission denied)"
    )


def test_a_folder_of_numbered_pictures_is_one_recording_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    pixels = noise(12)
    folder = write_pictures(tmp_path / "all" / "clip", pixels, first=3)
    (folder / "notes.txt").touch()
    lines: list[str] = []
    assert find_recordings(str(tmp_path / "all"), lines.append) == [str(folder)]
    assert lines == [f"{tmp_path / 'all'}: passed over 1 .txt"]
    assert find_recordings(str(folder)) == [str(folder)]
    with open_recording(folder) as source:
        for i, frame in enumerate(pixels):
            assert source.grab() == i / 25
            assert np.array_equal(source.retrieve(), frame[..., ::-1])
        assert source.grab() is None and source.warning is None
    with open_source(str(folder)) as source:
        assert source.grab() == 0.0 and source.name == str(folder)
    (folder / "frame_8.png").unlink()
    with open_recording(folder) as source:
        while source.grab() is not None:
            pass
        assert source.warning == "between its first and its last picture, numbers are absent: 1"


def test_what_is_no_picture_is_stepped_over_and_counted(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", noise(4))
    (folder / "frame_2.png").write_bytes(b"")
    (folder / "frame_4.png").write_bytes(b"text")
    with open_recording(folder) as source:
        assert [source.grab() for _ in range(3)] == [0.0, 2 / 25, None]
        assert source.warning == "2 of its 4 pictures cannot be read"
    for picture in folder.iterdir():
        picture.write_bytes(b"")
    with open_recording(folder) as source, pytest.raises(SourceError, match="no picture of it"):
        source.grab()


def test_folders_that_a_pattern_matches_are_searched_as_named_ones_are(tmp_path: Path) -> None:
    for name in ("b/2.avi", "a/1.avi", "a/deep/3.avi", "a/x.txt"):
        write_text_as_video(tmp_path / name)
    (tmp_path / "*.avi").symlink_to("nowhere")  # matches its own name
    lines: list[str] = []
    found = find_recordings(f"{tmp_path}/?", lines.append)
    assert found == [f"{tmp_path}/{name}" for name in ("a/1.avi", "a/deep/3.avi", "b/2.avi")]
    assert lines == [f"{tmp_path}/a: passed over 1 .txt"]
    assert find_recordings(f"{tmp_path}/b/**") == [f"{tmp_path}/b/2.avi"]
    assert find_recordings(f"{tmp_path}/*.avi") == [f"{tmp_path}/*.avi"]


@pytest.mark.parametrize("other", ["cover.png", "other_1.png", "frame_1.jpg"])
def test_pictures_that_are_not_one_series_are_no_recording(tmp_path: Path, other: str) -> None:
    write_pictures(tmp_path, noise(3))
    (tmp_path / other).touch()
    assert walk(str(tmp_path)).recordings == () and len(walk(str(tmp_path)).passed_over) == 4
    with pytest.raises(SourceError, match="one series of numbered pictures"):
        open_recording(tmp_path)


def test_pictures_beside_a_video_are_no_recording(tmp_path: Path) -> None:
    write_pictures(tmp_path, noise(3))
    video = write_video(tmp_path / "a.avi", noise(3))
    assert walk(str(tmp_path)).recordings == (str(video),)
    assert listed(walk(str(tmp_path)).passed_over) == "3 .png"


def test_a_picture_that_claims_too_many_pixels_is_damaged_before_it_is_decoded(tmp_path: Path) -> None:
    write_pictures(tmp_path, noise(2))
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "frame_2.png").write_bytes(bomb)
    (tmp_path / "frame_3.png").write_bytes(b"\x89PNG\r\n\x1a\ntext")
    with open_recording(tmp_path) as source:
        assert source.grab() == 0.0 and source.retrieve().shape == (24, 32, 3)
        for _ in range(2):
            source.grab()
            with pytest.raises(SourceError, match="not a picture that can be decoded"):
                source.retrieve()


def test_the_hash_of_pictures_follows_their_content_and_order(tmp_path: Path) -> None:
    one, other = (write_pictures(tmp_path / name, noise(3), first=i) for i, name in ((1, "a"), (9, "b")))
    assert content_sha256(one) == content_sha256(other)
    (one / "frame_1.png").rename(one / "frame_4.png")
    assert content_sha256(one) != content_sha256(other)
