"""Cameras on the network, against real servers: RTSP over both transports, sizes that change, silences."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.sources import open_source
from edge_har.sources.files import FileSource
from edge_har.sources.options import SourceOptions
from edge_har.sources.rtsp import RtspSource
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.need import need_program
from tests.helpers.rtsp import rtsp_camera, rtsp_process
from tests.helpers.videos import noise


def udp_sockets() -> int:
    """How many UDP sockets this process has open."""
    table = [
        line for name in ("udp", "udp6") for line in Path("/proc/self/net", name).read_text().splitlines()[1:]
    ]
    inodes = {line.split()[9] for line in table}
    own = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # of the listing's own
            own |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/self/fd/{descriptor}")))
    return len(inodes & own)


@pytest.mark.parametrize(("transport", "sockets"), [(None, 0), ("tcp", 0), ("udp", 2)])
def test_rtsp_comes_over_the_transport_that_is_asked_for(transport: str | None, sockets: int) -> None:
    before = udp_sockets()
    with rtsp_camera("red", 20) as url:
        asked = url if transport is None else f"{url}#transport={transport}"
        with open_source(asked) as source:
            times_s = [source.grab() for _ in range(20)]
            picture = source.retrieve()
            assert udp_sockets() - before == sockets  # one for pictures, one for reports
    assert statistics.median(b - a for a, b in pairwise(times_s)) == pytest.approx(0.05, abs=0.005)
    assert picture.shape == (240, 320, 3) and picture[0, 0, 2] > 200 and picture[0, 0, 0] < 50


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stalled_rtsp_camera_is_lost(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_har.sources.rtsp.TIMEOUT_MS", 1500)
    with rtsp_process("red", 20) as (url, server), RtspSource(url, transport=transport) as source:
        assert source.grab() is not None
        server.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        while source.grab() is not None:
            assert time.monotonic() - began_s < 30


def test_a_rtsp_camera_that_is_not_there_says_over_what() -> None:
    with pytest.raises(SourceError, match="no stream could be opened over udp") as raised:
        open_source("rtsp://me:s3cret@127.0.0.1:1/x#transport=udp")
    assert "s3cret" not in str(raised.value)


# Sizes that change ------------------------------------------------------------------------------------------


def test_a_rtsp_camera_may_change_its_size() -> None:
    """Its pictures go on, whole and in their colours."""
    with rtsp_process("red", 20, "320x240,640x480") as (url, server), open_source(url) as source:
        changed = threading.Thread(target=lambda: [server.stdout.readline() for _ in range(3)], daemon=True)
        changed.start()
        until_s = time.monotonic() + 60
        after = 0
        while after < 20 and time.monotonic() < until_s:
            assert source.grab() is not None
            picture = source.retrieve()
            corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert picture.shape in ((240, 320, 3), (480, 640, 3))
            assert corners[:, 2].min() > 200 and corners[:, 0].max() < 50
            after += not changed.is_alive()
    assert after == 20


def test_a_motion_jpeg_camera_may_change_its_size() -> None:
    pictures = [jpeg(noise(1, size)[0]) for size in ((64, 48), (32, 24), (128, 96), (64, 48))]
    with MjpegServer(pictures, 50.0) as server, open_source(f"{server.url}#crop=0,0,40,30") as source:
        shapes = []
        while source.grab() is not None:
            shapes.append(source.retrieve().shape[:2])
    assert shapes == [(30, 40), (24, 32), (30, 40), (30, 40)]


def test_a_file_may_change_its_size(tmp_path: Path) -> None:
    ffmpeg = need_program("ffmpeg")
    joined = b""
    for colour, size in (("red", "64x48"), ("blue", "96x64")):
        part = tmp_path / f"{size}.ts"
        made_by = ["-f", "lavfi", "-i", f"color={colour}:size={size}:rate=25:duration=1", "-c:v", "libx264"]
        subprocess.run([ffmpeg, "-v", "error", *made_by, str(part)], check=True)
        joined += part.read_bytes()
    (tmp_path / "both.ts").write_bytes(joined)
    colours = []
    with FileSource(tmp_path / "both.ts") as source:
        while source.grab() is not None:
            corners = source.retrieve()[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
            colours.append("red" if (corners[:, 2] - corners[:, 0]).min() > 100 else "blue")
            assert colours[-1] == "red" or (corners[:, 0] - corners[:, 2]).min() > 100
    assert colours == ["red"] * 25 + ["blue"] * 25


# Addresses --------------------------------------------------------------------------------------------------


def test_the_query_is_the_servers_and_the_fragment_ours() -> None:
    with (
        MjpegServer([jpeg(noise(1, (64, 48))[0])], 50.0) as server,
        open_source(f"{server.url}?rotate=1&a=b#rotate=90") as source,
    ):
        assert source.grab() is not None
        assert source.retrieve().shape == (64, 48, 3)
        assert server.asked == ["/video?rotate=1&a=b"]


@pytest.mark.parametrize("url", ["http://", "http://me:s3cret@127.0.0.1:99999/", "http://127.0.0.1:0/"])
def test_an_address_that_cannot_be_is_misuse(url: str) -> None:
    with pytest.raises(MisuseError, match=r"expected http://HOST:PORT/PATH") as caught:
        open_source(url)
    assert "s3cret" not in str(caught.value)


def test_a_password_of_the_config_reaches_the_camera_and_no_message() -> None:
    options = SourceOptions(password="s3 cret/#?")
    with MjpegServer([jpeg(noise(1)[0])], 50.0, user_password="me:s3 cret/#?") as server:
        with open_source(server.url.replace("//", "//me@"), options=options) as source:
            assert source.grab() is not None and "s3" not in source.name
        wrong = SourceOptions(password="s3 wrong")
        with pytest.raises(SourceError, match="401") as raised:
            open_source(server.url.replace("//", "//me@"), options=wrong)
        assert "s3" not in str(raised.value)


# Hostile servers --------------------------------------------------------------------------------------------

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + jpeg(noise(1, (16, 8))[0])[:64] + b"\r\n0\r\n\r\n"
)
WORDS = (
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Location: file:///etc/passwd\r\n",
    b"WWW-Authenticate: Digest realm=\r\n",
    b"HTTP/1.1 302 Found\r\n",
    b"HTTP/1.1 401 Unauthorized\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"\r\n\r\n",
    b"\x00\xff",
)


def hostile_answer(seed: int) -> bytes:
    """A server's answer with some damage."""
    rng = random.Random(seed)
    answer = bytearray(ANSWER)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(answer) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            answer[at:at] = rng.choice(WORDS)
        elif kind == 1:
            del answer[at : at + rng.choice((1, 3, 20))]
        elif kind == 2:
            answer[at : at + 1] = rng.randbytes(rng.randrange(4))
        else:
            start = answer.find(b"\r\n", at)
            answer[start + 2 : start + 2] = rng.choice(WORDS)
    return bytes(answer)


def test_whatever_a_server_answers_is_pictures_or_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            answers: dict[bytes, bytes] = {}
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    path = connection.recv(65536).split()[1]
                    number = path.strip(b"/").partition(b"?")[0]
                    answers[number] = hostile_answer(int(number)) if number.isdigit() else b""
                    connection.sendall(answers[number])

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        outcomes = {"pictures": 0, "refused": 0}
        for number in range(300):
            try:
                with open_source(f"http://me:s3cret@127.0.0.1:{port}/{number}") as source:
                    while source.grab() is not None:
                        with suppress(SourceError):
                            source.retrieve()
                outcomes["pictures"] += 1
            except SourceError as error:
                outcomes["refused"] += 1
                assert "\n" not in str(error) and "s3cret" not in str(error)
        assert min(outcomes.values()) > 30, outcomes
        server.shutdown(socket.SHUT_RDWR)
