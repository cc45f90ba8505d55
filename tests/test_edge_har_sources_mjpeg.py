"""Cameras over HTTP, against a real server: logins, addresses and stills."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from urllib.parse import quote

import pytest

from edge_har.errors import SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from edge_har.pipeline.sampler import Sampler
from edge_har.sources import open_source
from edge_har.sources.mjpeg import MjpegSource
from tests.helpers.http_auth import LoginGate, digest
from tests.helpers.mjpeg import MjpegServer, decoded, jpeg
from tests.helpers.running import LONG_S
from tests.helpers.videos import noise

PICTURES = [jpeg(frame) for frame in noise(4, (32, 24))]
BASIC = 'Basic realm="x"'


def with_login(url: str, user: str = "me", password: str = "s3cret") -> str:
    """The address with a user part."""
    return url.replace("//", f"//{quote(user, safe='')}:{quote(password, safe='')}@", 1)


@pytest.mark.parametrize(
    ("challenges", "wanted"),
    [
        ([BASIC], "Basic"),
        ([digest("SHA-256")], "Digest,SHA-256"),
        ([digest("MD5"), digest("SHA-256"), BASIC], "Digest,SHA-256"),
        ([f"Negotiate, {BASIC}, {digest('MD5')}"], "Digest,MD5"),
        (["Bearer", BASIC], "Basic"),
    ],
)
@pytest.mark.parametrize("path", ["", "/my cam/größe?a=ü b"])
def test_a_camera_is_logged_in_to_as_it_asks(challenges: list[str], wanted: str, path: str) -> None:
    gate = LoginGate(challenges, wanted)
    with (
        MjpegServer(PICTURES, 50.0, gate=gate) as server,
        open_source(with_login(server.url) + path) as source,
    ):
        assert source.grab() is not None
        assert server.asked == ["/video" + quote(path, safe="/?=")]
    assert len(gate.given) == 2


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
@pytest.mark.parametrize("challenge", [BASIC, digest("MD5")])
def test_a_password_may_have_any_letters(charset: str, challenge: str) -> None:
    user, password, scheme = "jürgen", "ä ß", challenge.split()[0]
    gate = LoginGate([challenge], scheme, user=user.encode(charset), password=password.encode(charset))
    with (
        MjpegServer(PICTURES, 50.0, gate=gate) as server,
        open_source(with_login(server.url, user, password)) as source,
    ):
        assert source.grab() is not None


def test_what_cannot_be_answered_is_named() -> None:
    with (
        MjpegServer(PICTURES, 50.0, gate=LoginGate(["Negotiate", "Bearer realm=x"], "Bearer")) as server,
        pytest.raises(
            SourceError, match="401 Unauthorized; it asks for negotiate, bearer, not for basic"
        ) as raised,
    ):
        open_source(with_login(server.url))
    assert "s3cret" not in str(raised.value)


def test_a_password_is_not_sent_to_another_server() -> None:
    gate = LoginGate([BASIC], "Basic")
    with MjpegServer(PICTURES, 50.0, gate=gate) as other, MjpegServer(PICTURES, 50.0) as server:
        server.redirect = other.url
        with pytest.raises(SourceError, match="401"):
            open_source(with_login(server.url))
    assert gate.given == [None]


@pytest.mark.parametrize("kind", ["video/mjpeg", "video/x-mjpeg", "video/x-motion-jpeg"])
def test_motion_jpeg_has_many_names(kind: str) -> None:
    with MjpegServer(PICTURES, 50.0, content_type=kind) as server, open_source(server.url) as source:
        assert sum(source.grab() is not None for _ in PICTURES) == 4


@pytest.mark.parametrize("lengths", [True, False])
def test_a_still_picture_is_fetched_at_the_models_rate(lengths: bool) -> None:
    gate = LoginGate([digest("SHA-256")], "Digest", uses=5)
    with (
        MjpegServer(
            PICTURES, 50.0, gate=gate, content_type="image/jpeg", lengths=lengths, loop=True
        ) as server,
        open_source(f"{with_login(server.url)}#rotate=180") as source,
    ):
        sampler = Sampler(FrameSpec(size_wh=(16, 12)), TemporalContract(frames=4, interval_ms=100))
        times_s, ticks = [], 0
        while len(times_s) < 12:
            time_s = source.grab()
            assert time_s is not None
            ticks += sampler.offer(source, time_s) is not None
            expected = decoded(PICTURES[len(times_s) % 4])[::-1, ::-1]
            assert source.retrieve().tobytes() == expected.tobytes()
            times_s.append(time_s)
        assert (source.live, source.ends) == (True, False)
    passed_s = times_s[-1] - times_s[0]
    assert 1.0 <= passed_s < 5 and min(b - a for a, b in pairwise(times_s[1:])) > 0.02
    assert server.sent == 12 and ticks >= 6


def test_a_camera_of_stills_may_go_and_its_wait_ends_with_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_har.sources.mjpeg.MAX_STILL_INTERVAL_S", 2 * LONG_S)
    with MjpegServer(PICTURES, 50.0, content_type="image/jpeg", loop=True) as server:
        with open_source(server.url) as source:
            assert source.grab() is not None
            server.stop()
            with pytest.raises(SourceError, match="cannot be reached: Connection refused"):
                source.grab()
        server.start()
        with open_source(server.url) as source:
            source.want_every(2 * LONG_S)
            assert source.grab() is not None
            closing = threading.Timer(0.1, source.close)
            closing.start()
            began_s = time.monotonic()
            assert source.grab() is None
            assert time.monotonic() - began_s < LONG_S
            closing.join(20)


def test_a_camera_of_empty_stills_is_given_up() -> None:
    with (
        MjpegServer([b""], 50.0, content_type="image/jpeg", loop=True) as server,
        MjpegSource(server.url, read_timeout_s=0.5) as source,
        pytest.raises(SourceError, match="no whole picture"),
    ):
        source.want_every(0.05)
        source.grab()
