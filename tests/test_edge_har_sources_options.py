"""Addresses and options: one grammar, every mistake one line, no password in sight;
pictures turned as asked.
"""

from __future__ import annotations

import logging
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import FrameSpec, prepare_frame
from edge_har.options.addresses import mask_uri
from edge_har.sources import open_source, parse_address
from edge_har.sources.files import FileSource
from edge_har.sources.options import SourceOptions
from edge_har.sources.paced import PacedSource
from edge_har.sources.turned import TurnedSource
from tests.helpers.frames import frames
from tests.helpers.videos import noise, write_video

SECRET = "s3cret"


# Addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind", "target", "options"),
    [
        ("0", "camera", "0", SourceOptions()),
        (
            "/dev/video2?size=1280x720&rate=30&format=MJPG",
            "camera",
            "/dev/video2",
            SourceOptions(size=(1280, 720), rate=30.0, format="MJPG"),
        ),
        ("/dev/v4l/by-id/usb-x?flip", "camera", "/dev/v4l/by-id/usb-x", SourceOptions(flip=True)),
        ("usb:Logi C920?mirror=yes", "camera", "usb:Logi C920", SourceOptions(mirror=True)),
        ("csi:1?rotate=180", "csi", "csi:1", SourceOptions(rotate=180)),
        (
            "-?format=bgr24&size=64x48&rate=25",
            "stdin",
            "-",
            SourceOptions(size=(64, 48), rate=25.0, format="bgr24"),
        ),
        ("rtsp://h/a?b=c#transport=udp", "rtsp", "rtsp://h/a?b=c", SourceOptions(transport="udp")),
        ("RTSPS://h/a", "rtsp", "RTSPS://h/a", SourceOptions()),
        ("http://h/a?size=1x1&rotate=5", "http", "http://h/a?size=1x1&rotate=5", SourceOptions()),
        (
            "https://h/a?x#crop=1,2,3,4&rotate=90",
            "http",
            "https://h/a?x",
            SourceOptions(crop=(1, 2, 3, 4), rotate=90),
        ),
        ("clip.avi", "files", "clip.avi", SourceOptions()),
        ("clip.avi?rotate=90&flip=no", "files", "clip.avi", SourceOptions(rotate=90)),
        ("clips/???.avi", "files", "clips/???.avi", SourceOptions()),
        ("clips/???.avi?mirror", "files", "clips/???.avi", SourceOptions(mirror=True)),
        ("what?why=1.avi", "files", "what?why=1.avi", SourceOptions()),
        ("file:///a%20b.avi#flip=yes", "files", "/a b.avi", SourceOptions(flip=True)),
        ("gst:videotestsrc ! x", "gst", "videotestsrc ! x", SourceOptions()),
        ("gst:a location=b#c ! d#rotate=270", "gst", "a location=b#c ! d", SourceOptions(rotate=270)),
        (
            "synthetic:Walk?seed=3&size=320x240&rotate=90&rate=10",
            "synthetic",
            "synthetic:Walk?seed=3&size=320x240&rate=10",
            SourceOptions(rotate=90),
        ),
    ],
)
def test_an_address_means(uri: str, kind: str, target: str, options: SourceOptions) -> None:
    address = parse_address(uri)
    assert (address.kind, address.target, address.options) == (kind, target, options)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "empty address"),
        ("ftp://h/x", "expected a camera"),
        ("csi:front", "csi:0"),
        ("0?spin=90", "no option 'spin' of a source; choose from size, rate"),
        ("0?rotate=45", "rotate must be 0, 90, 180 or 270, got '45'"),
        ("0?rotate=left", "rotate must be 0, 90, 180 or 270, got 'left'"),
        ("0?size=big", "size must be like 640x480, got 'big'"),
        ("0?size=4x4", "16 to 16384 px"),
        ("0?rate=0", "above 0"),
        ("0?rate=nan", "above 0"),
        ("0?flip=maybe", "true or false, got 'maybe'"),
        ("0?crop=1,2,3", "crop must be x,y,width,height in px"),
        ("0?crop=1,2,0,4", "crop is x,y,width,height in px"),
        ("0?rotate=90&rotate=180", "'rotate' is given twice"),
        ("0?transport=udp", "'transport' is no option of such a source; it takes size, rate"),
        ("rtsp://h/x#transport=pigeon", '"tcp" or "udp", got \'pigeon\''),
        ("rtsp://h/x#size=640x480", "'size' is no option of such a source; it takes transport"),
        ("http://h/x#password=s3cret", "stands in the address itself"),
        ("rtsp://h/x#rotate=90@h", "in a password # is written %23"),
        (f"rtsp://me:a#{SECRET}&b=c", "expected rtsp://HOST:PORT/PATH"),
        (f"rtsp://me:{SECRET}@b/c@h/x", "it can be read in two ways"),
        ("synthetic:Walk?speed=3", "no option 'speed'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_opened(uri: str, says: str) -> None:
    with pytest.raises(MisuseError) as raised:
        parse_address(uri)
    assert says in str(raised.value) and "\n" not in str(raised.value) and SECRET not in str(raised.value)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60),
    st.sampled_from(["", "0?", "rtsp://", "gst:", "-?", "csi:", "usb:", "file://", "http://h#"]),
)
def test_any_text_is_an_address_or_a_mistake(text: str, start: str) -> None:
    try:
        address = parse_address(start + text)
    except MisuseError as error:
        assert "\n" not in str(error)
    else:
        assert address.kind and mask_uri(address.name) == address.name


def test_a_table_says_the_same_as_an_address_which_wins() -> None:
    table = {"size": [640, 480], "rate": 25, "rotate": 90, "flip": True, "crop": [1, 2, 3, 4]}
    options = SourceOptions.from_table(table)
    assert options == parse_address("0?size=640x480&rate=25&rotate=90&flip=yes&crop=1,2,3,4").options
    both = parse_address("0?rotate=180", options).options
    assert (both.rotate, both.size, both.flip) == (180, (640, 480), True)
    for wrong in (
        {"rotate": True},
        {"size": [640]},
        {"rate": "fast"},
        {"flip": 2},
        {"format": 5},
        {"depth": 1},
    ):
        with pytest.raises(MisuseError, match=next(iter(wrong))):
            SourceOptions.from_table(wrong)
    with pytest.raises(MisuseError) as raised:
        SourceOptions.from_table({"password": [SECRET]})
    assert SECRET not in str(raised.value)


def test_a_password_of_a_table_is_put_into_the_address_and_shown_nowhere() -> None:
    options = SourceOptions.from_table({"password": "p@ss/#" + SECRET})
    address = parse_address("rtsp://me@cam:554/x?y=1#transport=tcp", options)
    assert address.target == f"rtsp://me:p%40ss%2F%23{SECRET}@cam:554/x?y=1"
    assert SECRET not in repr(address) + repr(options) + str(address)
    assert address.name == "rtsp://me@cam:554/x?y=1#transport=tcp"
    for uri, says in (
        ("rtsp://cam/x", "names no user"),
        ("rtsp://me:a@cam/x", "has a password already"),
        ("0", "'password' is no option of such a source"),
    ):
        with pytest.raises(MisuseError, match=says) as raised:
            parse_address(uri, options)
        assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"rtsp://me:{SECRET}/a#b?c@cam/x", "rtsp://me:***@cam/x"),
        (f"rtsp://me:12345@cam/{SECRET[:0]}x", "rtsp://me:***@cam/x"),
        ("rtsp://cam:554/a@b", "rtsp://cam:***@b"),
        ("rtsp://10.0.0.5:554/a@b", "rtsp://10.0.0.5:554/a@b"),
        ("rtsp://[fe80::1]:554/x", "rtsp://[fe80::1]:554/x"),
        (f"rtsp://cam:554/user=admin_password={SECRET}_channel=1", "rtsp://cam:554/user=admin_password=***"),
        (f"http://proxy/x?to=rtsp://me:{SECRET}@cam/y", "http://proxy/x?to=rtsp://me:***@cam/y"),
        (
            f"gst:rtspsrc location=rtsp://me:{SECRET}@h/x user-id=me user-pw={SECRET} ! y",
            "gst:rtspsrc location=rtsp://me:***@h/x user-id=me user-pw=*** ! y",
        ),
        (f'gst:a user-pw="{SECRET} {SECRET}" ! b', "gst:a user-pw=*** ! b"),
        ("/videos/token=3.avi", "/videos/token=3.avi"),
    ],
)
def test_passwords_are_masked_wherever_they_stand(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown
    assert mask_uri(shown) == shown


# Turning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotate", "flip", "mirror"), list(product((0, 90, 180, 270), (False, True), (False, True)))
)
@pytest.mark.parametrize("crop", [None, (3, 5, 12, 9)])
def test_pictures_are_cut_then_rotated_clockwise_then_flipped_and_mirrored(
    tmp_path: Path, rotate: int, flip: bool, mirror: bool, crop: tuple[int, int, int, int] | None
) -> None:
    rgb = noise(2, (34, 22))
    options = SourceOptions(rotate=rotate, flip=flip, mirror=mirror, crop=crop)
    source = TurnedSource(FileSource(write_video(tmp_path / "a.avi", rgb)), options)
    for picture, frame in zip(rgb, frames(source), strict=True):
        expected = picture if crop is None else picture[5:14, 3:15]
        expected = np.rot90(expected, -rotate // 90)
        expected = expected[::-1] if flip else expected
        expected = expected[:, ::-1] if mirror else expected
        assert np.array_equal(frame.rgb, expected)


def test_a_turned_source_is_what_it_turns_in_all_else(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", noise(3, (34, 22)))
    with open_source(f"{path}?rotate=90") as source, open_source(str(path)) as plain:
        assert (source.live, source.ends, source.color, source.name) == (False, True, "bgr", plain.name)
        assert [source.grab() for _ in range(4)] == [plain.grab() for _ in range(4)]
    with open_source(f"{path}?rotate=90", realtime=True) as paced:
        assert isinstance(paced, PacedSource)
    with open_source("synthetic:Walk?size=64x48&rotate=90") as drawn:
        drawn.grab()
        assert (drawn.retrieve().shape, drawn.color) == ((64, 48, 3), "rgb")


def test_a_cut_is_no_copy_and_the_model_takes_it(tmp_path: Path) -> None:
    rgb = noise(1, (34, 22))
    with TurnedSource(
        FileSource(write_video(tmp_path / "a.avi", rgb)), SourceOptions(crop=(4, 2, 16, 12))
    ) as source:
        source.grab()
        cut = source.retrieve()
        assert cut.base is not None
        whole = np.ascontiguousarray(rgb[0, 2:14, 4:20])
        prepared = prepare_frame(cut, FrameSpec((8, 6)), color="bgr")
        assert np.array_equal(prepared, prepare_frame(whole, FrameSpec((8, 6))))


def test_a_crop_outside_the_picture_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.avi", noise(3, (34, 22)))
    with caplog.at_level(logging.WARNING, "edge_har"), open_source(f"{path}?crop=30,20,10,10") as source:
        for _ in range(3):
            source.grab()
            assert source.retrieve().shape == (2, 4, 3)
    assert caplog.text.count("not wholly inside its picture of 34x22") == 1
    with open_source(f"{path}?crop=40,0,10,10") as source:
        source.grab()
        with pytest.raises(SourceError, match="nothing of its picture"):
            source.retrieve()
