"""Where the page may listen, and when it needs a token."""

from __future__ import annotations

import pytest

from edge_har.errors import MisuseError
from edge_har.web import WebOptions

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("127.9.8.7:1", ("127.9.8.7", 1)),
        ("localhost:0", ("localhost", 0)),
        ("LOCALHOST:80", ("LOCALHOST", 80)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_this_machine_alone_needs_no_token(listen: str, address: tuple[str, int]) -> None:
    assert WebOptions(listen).address == address


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8080", "[::]:8080", "192.168.1.5:80", "pi.local:80", "[::ffff:10.0.0.1]:8080"]
)
def test_beyond_this_machine_a_token_is_required(listen: str) -> None:
    with pytest.raises(
        MisuseError, match="can be reached from other machines: give the page a token"
    ) as told:
        WebOptions(listen)
    assert listen in str(told.value) and told.value.exit_code == 2 and "\n" not in str(told.value)
    assert WebOptions(listen, token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "listen",
    ["", "8080", "localhost", ":8080", "127.0.0.1:", "127.0.0.1:65536", "::1:8080", "a b:80", "http://x:80"],
)
def test_what_is_no_address_is_told_with_an_example(listen: str) -> None:
    with pytest.raises(MisuseError, match=r"expected HOST:PORT, as 127\.0\.0\.1:8080"):
        WebOptions(listen, token=TOKEN)


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-letters", "with spaces in it ok", "ümläut-ümläut-ümläut", "x" * 257]
)
def test_a_token_that_is_none_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(MisuseError, match="16 to 256 printable") as told:
        WebOptions(token=token)
    assert not token or token not in str(told.value)


def test_the_token_does_not_show() -> None:
    assert TOKEN not in repr(WebOptions(token=TOKEN))


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 31.0, float("nan")])
def test_the_rate_is_bounded(rate_hz: float) -> None:
    with pytest.raises(MisuseError, match=r"rate_hz must be a number, 0\.1 to 30"):
        WebOptions(rate_hz=rate_hz)


@pytest.mark.parametrize("picture_px", [0, 63, 4097])
def test_the_size_is_bounded(picture_px: int) -> None:
    with pytest.raises(MisuseError, match="picture_px must be a whole number, 64 to 4096"):
        WebOptions(picture_px=picture_px)
