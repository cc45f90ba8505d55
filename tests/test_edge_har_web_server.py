"""The page's server over real sockets: what it tells, whom,
and that nobody can slow it down or fill it up.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest

from edge_har.errors import EdgeHarError
from edge_har.pipeline.outputs import EventSink, Picture
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.status import Clip
from edge_har.sources import open_source
from edge_har.web import WebOptions, start_web
from tests.helpers.colours import colour_bundle, painted
from tests.helpers.command import environment
from tests.helpers.live import COLOUR_RGB, SIZE_WH, WAIT_S, LiveRun, viewers_of, wait_for
from tests.helpers.mjpeg import decoded
from tests.helpers.need import need_module
from tests.helpers.videos import write_video

need_module("tornado", "pip install -e '.[test]'")

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from edge_har.web import limits, server
from edge_har.web.limits import MAX_CONNECTIONS
from edge_har.web.snapshot import STUCK_S

TOKEN = "0123456789abcdef"
DATA = (
    "/api/state",
    "/api/events",
    "/still/door.jpg",
    "/clip/recorded",
    "/healthz",
    "/readyz",
    "/metrics",
    "/stream/door.mjpg",
    "/events",
)
RSS_LIMIT_BYTES = 7e6
ODD_NAME = "rtsp://me:***@cam/a b?c=<d>"


@pytest.fixture(scope="module")
def run() -> Iterator[LiveRun]:
    with LiveRun("door", ODD_NAME) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    """A run whose page asks for a token; it has a clip of the event `recorded`."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    path.write_bytes(b"a video")
    with LiveRun(options=WebOptions("127.0.0.1:0", token=TOKEN, rate_hz=30.0)) as made:
        made.run_status.record_clip(Clip(path, ("recorded",), plays=True))
        wait_for(lambda: made.run_status.ticks > 0)  # before, it is not ready
        yield made


@pytest.fixture
def closed(guarded: LiveRun) -> LiveRun:
    """The same, and no wrong token was tried yet."""
    guarded.web.access._wrong = limits.WrongTokens()
    return guarded


class Answer:
    def __init__(self, got: http.client.HTTPResponse, body: bytes) -> None:
        self.status, self.headers, self.body = got.status, got.headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(run: LiveRun, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    """One request; header names with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=WAIT_S)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        got = connection.getresponse()
        streams = got.status == 200 and path.startswith("/stream/")
        answer = Answer(got, b"" if streams or got.status == 101 else got.read())
        got.close()
        return answer
    finally:
        connection.close()


def handshake(run: LiveRun, **headers: str) -> Answer:
    return ask(
        run,
        "/events",
        Connection="Upgrade",
        Upgrade="websocket",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
        **headers,
    )


async def page(run: LiveRun, *watched: str, **headers: str) -> WebSocketClientConnection:
    """A WebSocket as the page has one."""
    request = HTTPRequest(f"ws://127.0.0.1:{run.port}/events", headers=headers, request_timeout=WAIT_S)
    socket = await websocket_connect(request)
    await socket.write_message(json.dumps({"watch": watched}))
    return socket


async def heard(socket: WebSocketClientConnection, *, binary: bool) -> Any:
    """The next message of its kind: a state, or a picture's header and bytes."""

    async def listen() -> Any:
        while True:
            message = await socket.read_message()
            assert message is not None, "the server closed the connection"
            if binary and isinstance(message, bytes):
                length = int.from_bytes(message[:4], "big")
                return json.loads(message[4 : 4 + length]), message[4 + length :]
            if not binary and isinstance(message, str):
                return json.loads(message)

    return await asyncio.wait_for(listen(), WAIT_S)


async def left(*sockets: WebSocketClientConnection) -> None:
    """Close them."""
    for one in sockets:
        one.close()
        while await asyncio.wait_for(one.read_message(), WAIT_S) is not None:
            pass


def test_the_page_and_its_files_are_served_with_their_types_and_guards(run: LiveRun) -> None:
    answer = ask(run, "/")
    assert answer.status == 200 and b"<title>edge_har</title>" in answer.body
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Server"] == "edge_har" and "Set-Cookie" not in answer.headers
    script = ask(run, "/static/page.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    again = ask(run, "/static/page.js", If_None_Match=script.headers["Etag"])
    assert again.status == 304 and again.body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/static/none.js",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/index.html",
        "/stream/none.mjpg",
        "/still/none.jpg",
        "/clip/none",
        "/clip/..%2fserver.py",
        "/stream/",
        "//evil.example",
    ],
)
def test_what_is_not_there_is_one_line(run: LiveRun, path: str) -> None:
    answer = ask(run, path)
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(run: LiveRun, method: str) -> None:
    assert {ask(run, path, method).status for path in ("/", "/api/state", "/healthz", "/metrics")} == {405}


def test_the_state_has_sources_and_events(run: LiveRun) -> None:
    name = run.tell("start")
    run.tell("end", name=name, end_s=2.5, reason="left")
    answer = ask(run, "/api/state")
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json
    assert [source["name"] for source in told["sources"]] == ["door", ODD_NAME]
    (event,) = [event for event in told["events"] if event["id"] == name]
    assert (event["label"], event["lasted_s"], event["reason"]) == ("Walk", 2.5, "left")
    assert 0 <= event["began_s"] <= event["ended_s"] <= told["now_s"]


def test_at_the_end_a_page_gets_the_last_state_and_a_stream_its_end() -> None:
    async def watch(run: LiveRun) -> tuple[Any, int | None]:
        socket = await page(run)
        assert not (await heard(socket, binary=False))["state"]["over"]
        run.run_status.source("door").turn("ended")
        await asyncio.get_running_loop().run_in_executor(None, run.web.close)
        while not (last := await heard(socket, binary=False))["state"]["over"]:
            pass
        assert await asyncio.wait_for(socket.read_message(), WAIT_S) is None
        return last, socket.close_code

    with LiveRun() as run:
        connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=WAIT_S)
        connection.request("GET", "/stream/door.mjpg")
        stream = connection.getresponse()
        assert b"--picture" in stream.read(200)  # it has begun
        last, code = asyncio.run(watch(run))
        assert (last["state"]["sources"][0]["state"], code) == ("ended", 1001)
        stream.read()  # to a whole end: no IncompleteRead
        assert stream.isclosed()
        connection.close()


def test_a_still_is_the_next_picture_and_needs_no_page(run: LiveRun) -> None:
    for name in ("door", quote(ODD_NAME, safe="")):
        answer = ask(run, f"/still/{name}.jpg")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        pixels = decoded(answer.body)
        assert pixels.shape[1::-1] == SIZE_WH
    wait_for(lambda: not viewers_of(run.web.broadcaster, "door"))  # pictures are passed on for it alone


def test_no_still_of_a_source_that_is_away_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STILL_S", 0.2)
    with LiveRun("door", "attic") as run:
        run.run_status.source("door").turn("lost", "no answer in time")
        lost = ask(run, "/still/door.jpg")
        assert (lost.status, lost.body) == (503, b"503 no picture: lost: no answer in time\n")
        run.still.add("attic")
        assert ask(run, "/still/attic.jpg").body == b"503 no picture: none came in time\n"
        wait_for(lambda: not run.web.clients)


def test_programs_choose_among_the_events(run: LiveRun) -> None:
    run.tell("start", "Walk", "door", name="first")
    run.tell("end", "Walk", "door", name="first", end_s=2.0, reason="left")
    run.tell("start", "Run", ODD_NAME, name="second")

    def listed(query: str) -> list[str]:
        return [event["id"] for event in ask(run, f"/api/events{query}").json["events"]]

    assert listed("?limit=1") == ["second"] and listed("")[:2] == ["second", "first"]
    assert listed(f"?source={quote(ODD_NAME, safe='')}&label=Run") == ["second"]
    assert listed("?source=door&limit=1") == ["first"]
    for query, says in (
        ("?limit=0", b"400 limit must be a whole number from 1 to 1000\n"),
        ("?limit=x", b"400 limit must be"),
        ("?source=garden", b"400 no source is called 'garden'; there are door, "),
    ):
        answer = ask(run, f"/api/events{query}")
        assert answer.status == 400 and answer.body.startswith(says)


def test_a_clip_is_served_whole_and_in_parts_as_long_as_it_is_kept(run: LiveRun, tmp_path: Path) -> None:
    path = tmp_path / "door-20260101-000000-Walk-e1.mp4"
    path.write_bytes(bytes(range(256)))
    name = run.tell("start")
    assert ask(run, f"/clip/{name}").status == 404
    run.run_status.record_clip(Clip(path, (name,), plays=True))
    (event,) = [event for event in ask(run, "/api/events").json["events"] if event["id"] == name]
    assert event["clip"] == {"path": f"clip/{name}", "plays": True}
    whole = ask(run, f"/{event['clip']['path']}")
    assert (whole.status, whole.body, whole.headers["Content-Type"]) == (200, bytes(range(256)), "video/mp4")
    assert whole.headers["Cache-Control"] == "no-store" and whole.headers["Server"] == "edge_har"
    assert "door-20260101" in whole.headers["Content-Disposition"]
    part = ask(run, f"/clip/{name}", Range="bytes=16-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (
        206,
        bytes([16, 17, 18, 19]),
        "bytes 16-19/256",
    )
    path.unlink()
    assert ask(run, f"/clip/{name}").status == 404


def test_the_link_of_a_page_for_all_machines_has_the_address_of_this_one() -> None:
    with LiveRun(options=WebOptions("0.0.0.0:0", token=TOKEN)) as run:
        address = urlsplit(run.web.link)
        assert address.hostname not in ("0.0.0.0", None) and address.query == f"token={TOKEN}"
        connection = http.client.HTTPConnection(address.netloc, timeout=WAIT_S)
        connection.request("GET", f"/?{address.query}")
        assert connection.getresponse().status == 200
        connection.close()


def test_health_and_readiness(run: LiveRun) -> None:
    wait_for(lambda: ask(run, "/readyz").status == 200)
    assert ask(run, "/readyz").json == {"ready": True, "loop": None, "sources": {}}
    assert ask(run, "/healthz").body == b"ok\n" and ask(run, "/healthz", "HEAD").status == 200


def test_a_lost_source_is_not_ready_and_a_loop_that_hangs_not_healthy() -> None:
    with LiveRun("door", "attic") as run:
        wait_for(lambda: ask(run, "/readyz").status == 200)
        run.run_status.source("attic").turn("lost", "no answer in time")
        answer = ask(run, "/readyz")
        assert (answer.status, answer.json["sources"]) == (503, {"attic": "lost: no answer in time"})
        run._stop.set()
        run._thread.join()
        run.run_status.turned_s -= STUCK_S + 1
        assert ask(run, "/healthz").status == 503 and b"stood still for" in ask(run, "/healthz").body
        assert "stood still" in ask(run, "/readyz").json["loop"]


def test_metrics_are_served(run: LiveRun) -> None:
    need_module("prometheus_client", "pip install -e '.[test]'")
    answer = ask(run, "/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain")
    assert b'edge_har_source_ticks_total{source="door"}' in answer.body


def test_without_the_extra_metrics_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "edge_har.web.metrics", raising=False)
    with LiveRun() as run:
        answer = ask(run, "/metrics")
        assert answer.status == 501 and b"pip install 'edge-har[metrics]'\n" in answer.body
        assert ask(run, "/healthz").status == 200


def test_without_the_extra_the_page_is_one_line_and_the_options_still_load() -> None:
    code = """
import sys
sys.modules["tornado"] = sys.modules["prometheus_client"] = None
from edge_har.pipeline.status import RunStatus
from edge_har.errors import EdgeHarError
from edge_har.pipeline.outputs import FrameSinks
from edge_har.web import WebOptions, start_web
try:
    start_web(WebOptions(), RunStatus("m@1", ("A",), ["door"]), FrameSinks())
except EdgeHarError as error:
    print(error.exit_code, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout == "1 the live page needs tornado: pip install 'edge-har[web]'\n"


def test_a_port_that_is_taken_is_one_line(run: LiveRun) -> None:
    options = WebOptions(f"127.0.0.1:{run.port}")
    with pytest.raises(EdgeHarError, match=rf"cannot listen on 127\.0\.0\.1:{run.port}: .*in use") as told:
        start_web(options, run.run_status, run.frame_sinks)
    assert told.value.exit_code == 1 and "\n" not in str(told.value)


def test_ipv6_is_served_too() -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with LiveRun(options=WebOptions("[::1]:0")) as run:
        assert run.web.url == f"http://[::1]:{run.port}/"
        connection = http.client.HTTPConnection("::1", run.port, timeout=WAIT_S)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/nothing", *DATA])
def test_a_foreign_name_that_leads_here_is_refused(run: LiveRun, path: str) -> None:
    assert ask(run, path, Host="evil.example").status == 403


@pytest.mark.parametrize("path", DATA)
def test_another_sites_page_gets_no_data(run: LiveRun, path: str) -> None:
    assert ask(run, path, Sec_Fetch_Site="cross-site").status == 403


def test_another_sites_script_gets_no_socket(run: LiveRun) -> None:
    assert handshake(run, Origin="http://evil.example").status == 403
    assert handshake(run, Origin=f"http://127.0.0.1:{run.port}").status == 101


@pytest.mark.parametrize("path", DATA)
def test_with_a_token_nothing_is_told_without_it(closed: LiveRun, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong-wrong-wrong"},
        {"Cookie": f"{closed.web.access.cookie_name}={TOKEN}"},
    ):
        answer = ask(closed, path, **headers)
        assert (answer.status, answer.body) == (401, b"401 Unauthorized\n")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="edge_har"'
    if path != "/events":
        assert ask(closed, path, Authorization=f"Bearer {TOKEN}").status == 200
    assert handshake(closed).status == 401
    assert handshake(closed, Authorization=f"Bearer {TOKEN}").status == 101


def test_the_page_asks_for_the_token_and_takes_it_in_the_address(closed: LiveRun) -> None:
    for path in ("/", "/?token=", "/?token=wrong-wrong-wrong"):
        answer = ask(closed, path)
        assert answer.status == 401 and b'name="token"' in answer.body and "Set-Cookie" not in answer.headers
    answer = ask(closed, f"/?token={TOKEN}")
    assert answer.status == 200 and b'class="sources"' in answer.body
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    kept = cookie.partition(";")[0]
    assert ask(closed, "/", Cookie=kept).status == ask(closed, "/api/state", Cookie=kept).status == 200


def test_the_form_takes_the_token(closed: LiveRun) -> None:
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    wrong = ask(closed, "/login", "POST", "token=wrong", **form)
    assert wrong.status == 401 and "Set-Cookie" not in wrong.headers
    right = ask(closed, "/login", "POST", f"token={TOKEN}%20", **form)
    assert right.status == 303 and right.headers["Location"] == "." and "Set-Cookie" in right.headers
    assert ask(closed, "/login").status == 302
    with pytest.raises(ConnectionError):
        assert ask(closed, "/login", "POST", "token=" + "x" * 1_000_000, **form).status == 400
        raise ConnectionResetError


def test_the_token_is_not_told(closed: LiveRun, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/?token=" + TOKEN, "/none?token=" + TOKEN):
        assert TOKEN.encode() not in ask(closed, path).body
    assert TOKEN not in repr(closed.web.options) + "".join(capfd.readouterr())


def test_the_stream_is_motion_jpeg_that_our_own_source_reads(run: LiveRun) -> None:
    url = f"http://127.0.0.1:{run.port}/stream/{quote(ODD_NAME, safe='')}.mjpg"
    with open_source(url) as source:
        times = [source.grab() for _ in range(3)]
        pixels = source.retrieve()
    assert None not in times and pixels.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert np.abs(pixels[0, 0][::-1].astype(int) - COLOUR_RGB).max() <= 6
    wait_for(lambda: not run.web.clients and not run.frame_sinks.wants(ODD_NAME))


def test_the_socket_tells_everything_first_and_then_what_changed() -> None:
    async def look(run: LiveRun) -> None:
        old = run.tell("start", "Run")
        run.tell("end", name=old, end_s=3.0, reason="left")
        socket = await page(run)
        first = await heard(socket, binary=False)
        assert first["first"] and [event["id"] for event in first["events"]] == [old]
        new = run.tell("start")
        while not (fresh := await heard(socket, binary=False))["events"]:
            assert not fresh["first"]
        assert [(event["id"], event["ended_s"]) for event in fresh["events"]] == [(new, None)]
        await left(socket)

    with LiveRun() as run:
        asyncio.run(look(run))


def test_pictures_come_for_what_is_watched_and_stop_when_it_is_not() -> None:
    async def look(run: LiveRun) -> None:
        socket = await page(run, "door", "none")
        header, jpeg = await heard(socket, binary=True)
        assert header == {"source": "door", "label": "Walk", "score": 0.93}
        assert decoded(jpeg).shape == (SIZE_WH[1], SIZE_WH[0], 3)
        await socket.write_message('{"watch": ["attic"]}')
        while (await heard(socket, binary=True))[0]["source"] != "attic":
            pass
        await socket.write_message('{"watch": []}')
        wait_for(lambda: not viewers_of(run.web.broadcaster, "attic"))
        # A tick that began before may still show its picture.
        turned = run.turns
        wait_for(lambda: run.turns > turned)
        shown = run.shown
        for _ in range(3):
            await heard(socket, binary=False)
        assert run.shown == shown
        await left(socket)

    with LiveRun("door", "attic") as run:
        asyncio.run(look(run))
        wait_for(lambda: not run.web.clients)


@pytest.mark.parametrize(
    "message", ["", "[]", '{"watch": 3}', '{"watch": null}', "{}", "[" * 50_000, b"\xff\x00"]
)
def test_a_message_that_is_none_ends_that_connection_alone(run: LiveRun, message: str | bytes) -> None:
    async def look() -> None:
        bystander, socket = await page(run), await page(run)
        await socket.write_message(message, binary=isinstance(message, bytes))
        while await asyncio.wait_for(socket.read_message(), WAIT_S) is not None:
            pass
        await heard(bystander, binary=False)
        await left(bystander)
        socket.close()

    asyncio.run(look())


def test_too_many_viewers_are_refused_and_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(run: LiveRun) -> None:
        sockets = [await page(run) for _ in range(2)]
        with pytest.raises(HTTPClientError, match="503"):
            await page(run)
        assert ask(run, "/stream/door.mjpg").status == 503
        assert ask(run, "/healthz").status == 200
        await left(sockets.pop())
        wait_for(lambda: len(run.web.clients) < 2)
        await left(await page(run), *sockets)

    monkeypatch.setattr(server, "MAX_VIEWERS", 2)
    with LiveRun() as run:
        asyncio.run(look(run))


@pytest.mark.parametrize("addresses", [1, 8])
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_connections_that_wait_keep_nobody_out(addresses: int, begun: bytes) -> None:
    async def look(run: LiveRun) -> None:
        viewer = await page(run, "door")
        await heard(viewer, binary=True)
        with ExitStack() as idle:
            for number in range(2 * MAX_CONNECTIONS):
                where = (f"127.0.0.{2 + number % addresses}", 0)
                line = socket.create_connection(("127.0.0.1", run.port), WAIT_S, where)
                idle.enter_context(line)
                with suppress(ConnectionError):  # it had to go for another one
                    line.sendall(begun)
            for _ in range(3):
                assert ask(run, "/healthz").status == 200
            assert len(run.web.connections) <= MAX_CONNECTIONS
        assert await heard(viewer, binary=True), "who looks is not in the way of anyone"
        await left(viewer)

    with LiveRun() as run:
        asyncio.run(look(run))


def test_wrong_tokens_are_logged_and_slowed_and_a_cookie_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "PAUSE_S", 600.0)
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    with LiveRun(options=WebOptions("127.0.0.1:0", token=TOKEN)) as run:
        cookie = ask(run, f"/?token={TOKEN}").headers["Set-Cookie"].partition(";")[0]
        tries = (
            lambda: ask(run, "/healthz", Authorization="Bearer wrong-wrong-wrong"),
            lambda: ask(run, "/?token=wrong-wrong-wrong"),
            lambda: ask(run, "/login", "POST", "token=wrong", **form),
            lambda: handshake(run, Authorization="Bearer wrong-wrong-wrong"),
        )
        for number in range(limits.FREE_TRIES):
            assert tries[number % len(tries)]().status == 401
        for again in tries:
            answer = again()
            assert answer.status == 429 and 590 < int(answer.headers["Retry-After"]) <= 600
        assert ask(run, "/healthz", Authorization=f"Bearer {TOKEN}").status == 429
        assert ask(run, "/healthz", Cookie=cookie).status == 200
        assert ask(run, "/healthz").status == 401, "who gives no token tries none"
    assert caplog.messages == ["the live page refused a wrong token from 127.0.0.1"]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /stream/%ff%fe.mjpg HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /?token=%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"\r\n\r\n\r\n",
        os.urandom(2000) + b"\r\n\r\n",
    ],
)
def test_nonsense_is_survived_without_a_word(
    run: LiveRun, sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", run.port), WAIT_S) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:  # it hung up before it had all of it
            pass
    assert ask(run, "/healthz").status == 200
    assert capfd.readouterr() == ("", "")


def stalled(run: LiveRun, path: str) -> socket.socket:
    """A viewer that asks for pictures and reads none of them."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.connect(("127.0.0.1", run.port))
    upgrade = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    viewer.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade if path == '/events' else ''}\r\n".encode()
    )
    if path == "/events":
        text = b'{"watch":["door"]}'
        viewer.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    return viewer


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


@pytest.mark.parametrize("path", ["/events", "/stream/door.mjpg"])
def test_a_viewer_that_does_not_read_holds_up_nobody_and_nothing_piles_up(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT_S", 20 * WAIT_S)
    noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)  # 200 kB as JPEG

    async def look(run: LiveRun) -> None:
        reader = await page(run, "door")
        wait_for(lambda: viewers_of(run.web.broadcaster, "door") == 2)
        grew_from, received = 0, 0
        for number in range(80):
            run.web.broadcaster.consume(Picture("door", float(number), noise, "rgb", "Walk", number / 1000))
            header, jpeg = await heard(reader, binary=True)
            assert header["score"] == number / 1000
            received += len(jpeg)
            if number == 10:
                grew_from = resident_bytes()
        assert received > 15e6
        assert resident_bytes() - grew_from < RSS_LIMIT_BYTES
        await left(reader)

    with LiveRun() as run:
        run.still.add("door")
        with stalled(run, path):
            wait_for(lambda: len(run.web.clients) == 1)
            asyncio.run(look(run))
            wait_for(lambda: len(run.web.clients) == 1)


@pytest.mark.parametrize("path", ["/events", "/stream/door.mjpg"])
def test_a_viewer_that_does_not_read_is_let_go(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_TIMEOUT_S", 0.2)
    with LiveRun(size_wh=(640, 480)) as run:
        run._pixels[:] = np.random.default_rng(1).integers(0, 256, run._pixels.shape, np.uint8)
        with stalled(run, path):
            wait_for(lambda: run.shown)
            wait_for(lambda: not run.web.clients and not run.frame_sinks.wants("door"))


def test_viewers_that_read_and_do_not_change_no_event(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.avi", np.concatenate([painted(c, 75, (64, 48)) for c in ("Red", "Green", "Red")])
    )

    class Kept(EventSink):
        def __init__(self) -> None:
            self.lines: list[tuple[object, ...]] = []

        def write(self, event: Any) -> None:
            self.lines.append((event.type, event.label, event.score, event.start_s, event.end_s))

        def close(self) -> None:
            pass

    alone = Kept()
    Pipeline(colour_bundle(), [f"door={path}"], [alone]).run()
    watched = Kept()
    pipeline = Pipeline(colour_bundle(), [f"door={path}"], [watched])
    web = start_web(WebOptions("127.0.0.1:0", rate_hz=30.0), pipeline.run_status, pipeline.frame_sinks)
    run = LiveRun()
    run.web, run.frame_sinks, run.run_status = web, pipeline.frame_sinks, pipeline.run_status
    with stalled(run, "/events"), stalled(run, "/stream/door.mjpg"):
        wait_for(lambda: viewers_of(web.broadcaster, "door") == 2)
        pipeline.run()
    web.close()
    assert len(watched.lines) > 4 and watched.lines == alone.lines


def test_a_fault_of_ours_is_one_line_and_the_page_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def look(run: LiveRun) -> None:
        run.still.add("door")
        socket = await page(run, "door")
        wait_for(lambda: viewers_of(run.web.broadcaster, "door"))
        run.web.broadcaster.consume(
            Picture("door", 0.0, np.zeros((1, 1, 3), np.uint8), "rgb", "Walk", float("nan"))
        )
        assert (await heard(socket, binary=True))[0]["score"] is None
        run.web._loop.call_soon_threadsafe(lambda: 1 / 0)
        run.web.history.record = None
        wait_for(lambda: len(caplog.records) > 1)
        run.still.clear()
        assert await heard(socket, binary=True)
        await left(socket)

    with caplog.at_level("ERROR"), LiveRun() as run:
        asyncio.run(look(run))
    told = {record.getMessage() for record in caplog.records}
    assert "the live page had a fault: ZeroDivisionError: division by zero" in told
    assert any(line.startswith("the live page misses a state: TypeError: ") for line in told)
    assert all(record.exc_info is None for record in caplog.records)


def test_closing_ends_the_thread_and_every_connection() -> None:
    async def look(run: LiveRun) -> None:
        socket = await page(run, "door")
        await heard(socket, binary=True)
        run.web.close()
        run.web.close()
        while await asyncio.wait_for(socket.read_message(), WAIT_S) is not None:
            pass

    with LiveRun() as run:
        asyncio.run(look(run))
        wait_for(lambda: not run.web._thread.is_alive())
        with pytest.raises(OSError):
            ask(run, "/healthz")
        assert not run.frame_sinks.wants("door")
