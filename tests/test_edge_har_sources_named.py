"""What `--source` means: a name where one is given, and the address."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.sources import parse_address
from edge_har.sources.named import check_names, named_source
from tests.helpers.videos import moving_square, write_video


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("door=rtsp://me:s3cret@10.0.0.5/stream?profile=1", "door"),
        ("back_door-2=0", "back_door-2"),
        ("rtsp://me:s3cret@10.0.0.5/stream?profile=1", "rtsp://me:***@10.0.0.5/stream?profile=1"),
        ("http://10.0.0.5/?token=abc", "http://10.0.0.5/?token=***"),
        ("synthetic:Walk?seed=3", "synthetic:Walk?seed=3"),
        ("./a=b.avi", "./a=b.avi"),
        ("0", "0"),
    ],
)
def test_only_a_plain_word_before_the_first_equals_sign_is_a_name(text: str, name: str) -> None:
    feed = named_source(text)
    assert feed.name == name and "s3cret" not in repr(feed)


def test_what_follows_the_name_is_the_address(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a=b.avi", moving_square(0, 3, size_wh=(32, 24)), 25.0)
    with named_source(f"door={path}").open() as source:
        assert source.name == str(path) and source.grab() == 0.0
    with named_source(f"door={path}", realtime=True).open() as source:
        assert source.live


@pytest.mark.parametrize("text", ["", " ", "door= "])
def test_an_address_is_needed(text: str) -> None:
    with pytest.raises(MisuseError, match="needs an address"):
        named_source(text)


@pytest.mark.parametrize("name", ["", "cam.1", "my cam", "Tür", "a:b"])
def test_a_word_that_is_no_name_is_told_without_the_password(name: str) -> None:
    for address in ("rtsp://me:s3cret@h/x", "synthetic:Walk", "0", "/dev/video0"):
        with pytest.raises(MisuseError, match="a source's name is letters, digits, _ and -") as caught:
            named_source(f"{name}={address}")
        assert "s3cret" not in str(caught.value)


def test_an_address_within_one_is_no_misnamed_source() -> None:
    for text in (
        "gst:rtspsrc location=rtsp://h/x ! decodebin",
        "http://h/?of=rtsp://h/x",
        "./a.b=0",
        "a.b=c.avi",
    ):
        assert named_source(text).name == text


def test_a_source_without_a_name_is_called_by_text() -> None:
    for given, called in ((b"caf\xe9.avi", r"caf\udce9.avi"), (b"a\x1b[31m\nb", r"a\x1b[31m\nb")):
        source = named_source(os.fsdecode(given))
        assert source.name == called
        with pytest.raises(SourceError, match="no such file"):
            source.open()


@pytest.mark.parametrize(
    "address",
    [
        b"rtsp://127.0.0.1:9/caf\xe9",
        b"http://127.0.0.1:9/caf\xe9",
        b"https://127.0.0.1:9/?x=caf\xe9",
        b"http://caf\xe9:9/x",
        b"rtsp://me:s3cret@caf\xe9/x",
        b"http://127.0.0.1:9/x#rotate=\xe9",
    ],
)
def test_a_stream_whose_address_is_not_utf8_is_one_line(address: bytes) -> None:
    with pytest.raises(MisuseError) as caught:
        named_source(os.fsdecode(address)).open()
    message = str(caught.value)
    assert message.endswith(": it holds bytes that are not UTF-8; in a URL write them as %XX")
    assert message.isascii() and "s3cret" not in message


def test_a_password_may_be_any_bytes() -> None:
    assert parse_address(os.fsdecode(b"http://me:\xe9@h/x")).target == "http://me:\udce9@h/x"


def test_a_mistyped_address_shows_no_password() -> None:
    with pytest.raises(SourceError, match="no such file") as caught:
        named_source(" rtsp://me:s3cret@h/x").open()
    assert "s3cret" not in str(caught.value)


def test_two_of_one_name_are_refused() -> None:
    check_names([named_source("a=0"), named_source("b=0"), named_source("0")])
    with pytest.raises(MisuseError, match="2 sources are called 0; give each a name"):
        check_names([named_source("0"), named_source("0")])
