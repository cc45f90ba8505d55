"""Addresses: what is typed logs in, and no password is shown, however it was typed."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import MisuseError
from edge_har.options.addresses import (
    TWO_WAYS,
    holds_password,
    mask_text,
    mask_uri,
    parse_url,
    split_credentials,
    with_password,
)
from edge_har.pipeline.capture import _as_source_error
from edge_har.sinks import options_of_text
from edge_har.sources import parse_address
from edge_har.sources.mjpeg import MjpegSource
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.videos import noise

SECRET = "s3cret"

# As people write them by hand. A percent sign is left out: before two digits it would be a quoted character.
SIGNS = "/?#@:;&=!$'\"()*+,[]{}<>\\^`|~_.- \t"
TYPED = st.text(st.sampled_from(SIGNS + "aB19ßé名"), min_size=1, max_size=12)
USERS = TYPED.filter(lambda user: ":" not in user)
HOSTS = st.sampled_from(["cam", "cam.local:554", "10.0.0.5", "10.0.0.5:8080", "[fe80::1]", "[::1]:80"])
RESTS = st.sampled_from(["", "/", "/stream", "/a/b?channel=1&sub=2", "/x#rotate=90"])
SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https"])


def reveals(password: str, shown: str, around: str) -> bool:
    """Whether what is shown gives a password away that does not stand in the rest of the address."""
    return len(password) >= 3 and password not in around and password in shown


# One parser -------------------------------------------------------------------------------------------------


@settings(max_examples=1500, deadline=None)
@given(SCHEMES, USERS, TYPED, HOSTS, RESTS)
def test_what_was_typed_logs_in_or_nothing_does(
    scheme: str, user: str, password: str, host: str, rest: str
) -> None:
    uri = f"{scheme}://{user}:{password}@{host}{rest}"
    try:
        url = parse_url(uri)
    except ValueError as error:
        assert "two ways" in str(error)
        return
    if "://" not in f"{user}:{password}":
        assert (*url.credentials, url.authority, url.rest) == (user, password, host, rest)


@settings(max_examples=700, deadline=None)
@given(SCHEMES, st.text(min_size=1), st.text(min_size=1), HOSTS, RESTS)
def test_what_is_quoted_always_logs_in(scheme: str, user: str, password: str, host: str, rest: str) -> None:
    uri = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{host}{rest}"
    url = parse_url(uri)
    assert (*url.credentials, url.authority, url.rest) == (user, password, host, rest)
    without = f"{scheme}://{quote(user, safe='')}@{host}{rest}"
    assert with_password(without, password) == url.text == uri
    for text in (password, quote(password, safe="")):
        assert not reveals(text, mask_uri(uri), mask_uri(without) + ":***@")


@settings(max_examples=1500, deadline=None)
@given(SCHEMES, USERS, TYPED, HOSTS, RESTS, st.sampled_from(["://", ":/", "//", ":", ":///", "/", ""]))
def test_no_password_is_shown_however_it_was_typed(
    scheme: str, user: str, password: str, host: str, rest: str, between: str
) -> None:
    uri = f"{scheme}{between}{user}:{password}@{host}{rest}"
    around = f"{scheme}{between}{user}:***@{host}{rest}"
    for text in (uri, f" {uri}", f"door={uri}", f"gst:rtspsrc location={uri} ! x", f"http://h/?a={uri}"):
        shown = mask_uri(text)
        assert not reveals(password, shown, around + text.partition(uri)[0] + " ! x"), shown
        assert mask_uri(shown) == shown


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["rtsp", "ftp"]), USERS, TYPED, HOSTS, RESTS)
def test_no_name_and_no_message_of_a_source_holds_a_password(
    scheme: str, user: str, password: str, host: str, rest: str
) -> None:
    uri = f"{scheme}://{user}:{password}@{host}{rest}"
    try:
        address = parse_address(uri)
    except MisuseError as error:
        # The password may by chance be a sign that the rest of the message has.
        shown = str(error).partition(f"{TWO_WAYS}; expected")[0].partition("; expected a camera")[0]
        assert not reveals(password, shown, f"{scheme}://{user}@{host}{rest}:***@no source is called '")
    else:
        assert not reveals(password, address.name, f"{scheme}://{user}@{host}{rest}:***@")


@pytest.mark.parametrize(
    ("uri", "credentials"),
    [
        (f"http://me:12/{SECRET}@cam/x", ("http://cam/x", "me", f"12/{SECRET}")),
        (f"http://me@home:{SECRET}@cam", ("http://cam/", "me@home", SECRET)),
        (f"http://my name:a b\t{SECRET}@cam:81/x?y", ("http://cam:81/x?y", "my name", f"a b\t{SECRET}")),
        ("http://me:50%@cam/", ("http://cam/", "me", "50%")),
        ("http://me:a%40b@cam/", ("http://cam/", "me", "a@b")),
        ("http://me:a[b]@[::1]:80/", ("http://[::1]:80/", "me", "a[b]")),
        ("http://10.0.0.5:80/x?mail=a@b.c", ("http://10.0.0.5:80/x?mail=a@b.c", "", "")),
        ("http://me:pw@10.0.0.5/x?mail=a@b.c", ("http://10.0.0.5/x?mail=a@b.c", "me", "pw")),
        ("http://cam/x?mail=a@b.c", ("http://cam/x?mail=a@b.c", "", "")),
        ("http://cam:80/x?pwd=a@b.c", ("http://cam:80/x?pwd=a@b.c", "", "")),
        ("http://cam:80/x?src=rtsp://a:b@c/y", ("http://cam:80/x?src=rtsp://a:b@c/y", "", "")),
    ],
)
def test_user_and_password_end_at_the_last_at_sign_that_can_be_theirs(
    uri: str, credentials: tuple[str, str, str]
) -> None:
    assert split_credentials(uri) == credentials


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://", "no host"),
        ("cam/x", "word and ://"),
        (f"http://me:{SECRET}@cam:99999/", "no possible port"),
        (f"http://me:{SECRET}", "no possible port"),
        ("http://cam:/x", "no possible port"),
        # Read the one way it would send the password of one server to another.
        (f"http://me:{SECRET}@cam/x?mail=me@example.com", "two ways"),
        (f"http://me:{SECRET}@b/c@cam/", "two ways"),
    ],
)
def test_what_cannot_be_read_is_a_mistake_that_shows_nothing(uri: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        parse_url(uri)
    assert SECRET not in str(raised.value) + mask_uri(uri)


def test_every_other_parser_reads_the_same_in_what_is_handed_on() -> None:
    address = parse_address(f"rtsp://me@home:12/ #{SECRET}%@cam/x#transport=udp")
    assert address.target == f"rtsp://me%40home:12%2F%20%23{SECRET}%25@cam/x"
    assert address.options.transport == "udp"
    # Bytes that are no UTF-8 stay what they are.
    assert parse_address("rtsp://me:%E9 %ff@cam/x").target == "rtsp://me:%E9%20%FF@cam/x"


@pytest.mark.parametrize(
    ("user", "password"), [("me@home", "12/ab"), ("my name", "a b#c?d@e"), ("me", "50% [x]")]
)
def test_what_was_typed_reaches_the_camera(user: str, password: str) -> None:
    with MjpegServer([jpeg(noise(1, (16, 8))[0])], 50.0, user_password=f"{user}:{password}") as server:
        uri = server.url.replace("//", f"//{user}:{password}@")
        with MjpegSource(parse_address(uri).target) as source, MjpegSource(uri) as same:
            assert source.grab() is not None and same.grab() is not None
            assert password not in source.name and same.name == server.url.replace("//", f"//{user}:***@")


# Showing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"rtsp:/me:{SECRET}@h/x", "***@h/x"),
        (f"rtsp//me:{SECRET}@h/x", "***@h/x"),
        (f"rtsp:me:{SECRET}@h/x", "***@h/x"),
        (f"//me:{SECRET}@h/x", "***@h/x"),
        (f"me:{SECRET}@h/x", "***@h/x"),
        (f"/rtsp://me:{SECRET}@h/x", "***@h/x"),
        (f"rtsp://me:{SECRET}", "rtsp://***"),
        (f"rtsp://me:{SECRET}%40h/x", "rtsp://***"),
        (f"rtsp://me:1/{SECRET}@/x", "***@/x"),
        (f"rtsp://me:1/{SECRET}@h h/x", "***@h h/x"),
        (f"http://cam:80/x?pwd=a@{SECRET}&b=1", "http://cam:80/x?pwd=***&b=1"),
        (f"http://cam/x?pwd=a {SECRET}&b=1", "http://cam/x?pwd=***&b=1"),
        (f"http://h:1/x?src=rtsp://me:{SECRET}@c/y", "http://h:1/x?src=rtsp://me:***@c/y"),
        (f"http://h/x?src=rtsp%3A%2F%2Fme%3A{SECRET}%40c", "http://h/x?src=rtsp%3A%2F%2F***%40c"),
        (f"gst:a location=rtsp:/me:{SECRET}@h/x ! b", "gst:***@h/x ! b"),
        (f'gst:a location="rtsp://me:a {SECRET}@h" ! b', 'gst:a location="rtsp://me:***@h" ! b'),
        (f"gst:a user-pw='a {SECRET}' ! b", "gst:a user-pw=*** ! b"),
        (f"gst:a user-pw = a\\ {SECRET} ! b", "gst:a user-pw = *** ! b"),
        (f"gst:a location=rtsp://h/x user-pw=a@{SECRET} ! b", "gst:a location=rtsp://h/x user-pw=*** ! b"),
        (f"rtsp:/me:{SECRET}&token=@h/x", "***"),
        ("http://cam:80/x?token=a:b&c=1", "http://cam:80/x?token=***&c=1"),
        ("http://me@cam/x?token=a:b", "http://me@cam/x?token=***"),
        (f"gst:a location=rtsp:/me:{SECRET} pw=x@h", "gst:***"),
        (f"http://token=me:{SECRET}@h/x", "http://token=me:***@h/x"),
        ("./12:30@home.avi", "./12:30@home.avi"),
        ("file:///videos/12:30@home.avi", "file:///videos/12:30@home.avi"),
        ("usb:Logi@2", "usb:Logi@2"),
    ],
)
def test_what_cannot_be_parsed_is_shown_from_its_last_at_sign_on(uri: str, shown: str) -> None:
    assert mask_uri(uri) == shown
    assert mask_uri(shown) == shown


@pytest.mark.parametrize(
    "uri",
    [
        # The value of what looks like a secret holds the colon that ends the user ...
        f'gst:a location=rtsp://pwd=d"[:\t{SECRET}@x.y:554/s',
        f"rtsp//pwd=2:#2a{SECRET}@cam:80/s",
        f"http://token=a:;{SECRET}@2d?@10.0.0.5/s",
        f"http://q/?a=rtsp://token=?&ctoken=:;#{SECRET}@cam/x?a=1",
        f"http://q/?a=rtsp://pwd=2:#{SECRET}%40@cam",
        # ... or a piece of the password reads as another address, or as a secret with an @ in it.
        f'gst:a location=rtsp:/]:=token=c://#"{SECRET}@cam:80',
        f"rtsp://c:/]{SECRET}=c://@10.0.0.5",
        f"rtsp://'@:@bd://{SECRET}pwd=@10.0.0.5/s",
        f"http://.b?:[{SECRET}\ttoken=[@cam/s",
        f"http://1?:&#d.{SECRET}&pwd=?[@10.0.0.5/s",
        f"http://b/token=%40a:# {SECRET}]@x.y:554/x?a=1",
    ],
)
def test_a_password_among_what_looks_like_secrets_is_not_shown(uri: str) -> None:
    shown = mask_uri(uri)
    assert SECRET not in shown and mask_uri(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"Got unexpected extra argument (rtsp://me:12/{SECRET}@h/x)",
            "Got unexpected extra argument (rtsp://me:***@h/x)",
        ),
        (f"Got unexpected extra argument (me:{SECRET}@h)", "Got unexpected extra argument (***@h)"),
        (
            f"Invalid value for '--camera': 'rtsp://me:{SECRET}@h/x' is no integer.",
            "Invalid value for '--camera': 'rtsp://me:***@h/x' is no integer.",
        ),
        (f"[Errno 5] no answer: 'rtsp:/me:a {SECRET}@h'", "[Errno 5] no answer: '***@h'"),
        ("Got unexpected extra argument: a", "Got unexpected extra argument: a"),
    ],
)
def test_a_sentence_that_quotes_an_address_shows_no_password(text: str, shown: str) -> None:
    assert mask_text(text) == shown


def test_what_a_library_quotes_is_masked_and_in_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError(f"cannot open 'rtsp://me:12/{SECRET}@h/x'")
    except RuntimeError as error:
        with caplog.at_level("DEBUG", "edge_har"):
            shown = _as_source_error("door", error)
    assert str(shown) == "door: RuntimeError: cannot open 'rtsp://me:***@h/x'"
    assert "line " in caplog.text and f"12/{SECRET}@" not in caplog.text.replace("{SECRET}", "")


def test_a_file_that_is_there_is_shown_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mask_uri("12:30@home.avi") == "***@home.avi"
    (tmp_path / "12:30@home.avi").touch()
    assert mask_uri("12:30@home.avi") == "12:30@home.avi"


# Where a password must not stand ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https", "mqtt", "mqtts"])
@pytest.mark.parametrize(
    "rest",
    [
        f"//me:12/{SECRET}@h/x",
        f"//me@home:{SECRET}@h/x",
        f"//my name:{SECRET}@h/x",
        f"//me:a b{SECRET}@h/x",
        f"//me:a\t{SECRET}@h/x",
        f"//me:a#{SECRET}@h/x",
        f"//me:a?{SECRET}@h/x",
        f"//me:{SECRET}@b/c@h/x",
        f"//me:{SECRET}@",
        f"//me:{SECRET}",
        f"/me:{SECRET}@h/x",
        f"me:{SECRET}@h/x",
        f"//:{SECRET}@h/x",
    ],
)
def test_a_sink_with_a_password_in_its_line_is_refused(scheme: str, rest: str) -> None:
    with pytest.raises(MisuseError) as raised:
        options_of_text(f"{scheme}:{rest}")
    assert SECRET not in str(raised.value)
    if "@" in rest:
        assert re.search("password in the address .* use (?:url_env|password_env)", str(raised.value))


@pytest.mark.parametrize(
    ("uri", "holds"),
    [
        ("rtsp://me@cam/x", False),
        ("rtsp://me@home@cam/x", False),
        ("http://10.0.0.5:80/x?mail=a@b.c", False),
        ("http://cam/x?token=a", False),
        ("12:30@home.avi", False),
        (f"rtsp://me:12/{SECRET}@cam/x", True),
        (f"rtsp:/me:{SECRET}@cam/x", True),
        (f"gst:a location=rtsp://me:{SECRET}@cam/x ! b", True),
        (f"http://h/?src=rtsp://me:{SECRET}@cam/x", True),
        ("rtsp://me:@cam/x", True),
    ],
)
def test_an_address_holds_a_password(uri: str, holds: bool) -> None:
    assert holds_password(uri) is holds
