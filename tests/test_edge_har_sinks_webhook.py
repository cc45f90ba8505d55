"""The webhook with a real server: signed, in order, again until taken, never what is refused;
across restarts of both.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import Rejected, RetryLater, line_of
from edge_har.sinks.queued import QueuedSink, RetryPolicy
from edge_har.sinks.spool import Spool
from edge_har.sinks.webhook import (
    REFUSED_BYTES,
    REFUSED_FILE,
    DeadLetterFile,
    WebhookDestination,
    WebhookOptions,
)
from tests.helpers.certificates import self_signed
from tests.helpers.command import environment
from tests.helpers.hooks import HookServer
from tests.helpers.http_auth import answers
from tests.helpers.sinks import QUICK, WAIT_S, made_event, made_events, quick_path, setting, wait_until

__all__ = ["quick_path"]  # a fixture


@pytest.fixture
def server() -> Iterator[HookServer]:
    with HookServer() as running:
        yield running


def options(server: HookServer, **more: object) -> WebhookOptions:
    return WebhookOptions(**{"url": server.url, "spool": "off", **more})


def opened(how: WebhookOptions, spool: Path | None = None, **more: object) -> QueuedSink:
    """The sink that these options mean, but quick to try again."""
    return QueuedSink(
        WebhookDestination(how),
        SinkState("webhook"),
        spool=None if spool is None else Spool(spool),
        **{"retries": QUICK, **more},
    )


def lines(events: list[Event]) -> list[str]:
    return [line_of(event).decode() for event in events]


def test_events_are_posted_in_order_on_one_connection(server: HookServer) -> None:
    run, events = setting(), made_events(20)
    sink = options(server).open(run).events
    for event in events:
        sink.write(event)
    wait_until(lambda: sink.state.delivered == 20, "all events")
    sink.close()
    assert server.bodies() == lines(events)
    assert {post.connection for post in server.posts} == {1}
    assert [(s.name, s.delivered, s.failed) for s in run.run_status.sinks] == [("webhook", 20, 0)]
    assert server.posts[0].headers["Content-Type"] == "application/json"
    assert json.loads(server.posts[7].body) == events[7].to_json()


def test_a_receiver_can_check_who_sent_it_and_when(server: HookServer) -> None:
    sink = opened(options(server, secret="s3cret-ß"))
    sink.write(made_event(1))
    sink.close()
    (post,) = server.posts
    timestamp = post.headers["X-Edge-Har-Timestamp"]
    expected = hmac.new("s3cret-ß".encode(), f"{timestamp}.".encode() + post.body, hashlib.sha256)
    assert post.headers["X-Edge-Har-Signature"] == f"sha256={expected.hexdigest()}"
    assert abs(int(timestamp) - time.time()) < 300


def test_without_a_secret_nothing_is_signed(server: HookServer) -> None:
    sink = opened(options(server))
    sink.write(made_event(1))
    sink.close()
    assert "X-Edge-Har-Signature" not in server.posts[0].headers


def test_who_we_are(server: HookServer) -> None:
    user = server.url.replace("http://", "http://me:p%40ss@")
    for how in (options(server, token="abc"), WebhookOptions(url=f"{user}?a=b%20c&d=ü", spool="off")):
        sink = opened(how)
        sink.write(made_event(1))
        sink.close()
    assert [post.headers["Authorization"] for post in server.posts] == ["Bearer abc", "Basic bWU6cEBzcw=="]
    assert server.posts[1].path == "/hook?a=b%20c&d=%C3%BC"


@pytest.mark.parametrize("credentials", ["me@home:12/ab", "my name:a b#c?d@e", "me:50%"])
def test_user_and_password_of_the_address_are_sent_as_they_were_typed(
    server: HookServer, credentials: str
) -> None:
    sink = opened(WebhookOptions(url=server.url.replace("http://", f"http://{credentials}@"), spool="off"))
    sink.write(made_event(1))
    sink.close()
    expected = base64.b64encode(credentials.encode()).decode()
    assert server.posts[0].headers["Authorization"] == f"Basic {expected}"
    assert server.posts[0].path == "/hook"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 302, 401, 403, 407, 408, 421, 423, 425])
def test_what_may_pass_is_tried_again(server: HookServer, status: int) -> None:
    events = made_events(5)
    server.answers.extend([204, status, status, 204])
    sink = opened(options(server))
    for event in events:
        sink.write(event)
    wait_until(lambda: sink.state.delivered == 5, "all events")
    sink.close()
    assert server.bodies() == lines([events[0], events[1], events[1], *events[1:]])
    assert len({p.headers["X-Edge-Har-Delivery"] for p in server.posts[1:4]}) == 1  # doubles can be told
    assert len({p.headers["X-Edge-Har-Delivery"] for p in server.posts}) == 5
    assert sink.state.failed == 2 and str(status) in str(sink.state.last_error)


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
def test_what_is_refused_is_not_tried_again(
    server: HookServer, quick_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    events = made_events(6)
    server.answers.extend([204, status, status, 204])
    sink = opened(options(server), spool=quick_path, set_aside=DeadLetterFile(quick_path / REFUSED_FILE))
    for event in events:
        sink.write(event)
    wait_until(lambda: sink.state.queued == 0, "all events")
    sink.close()
    assert server.bodies() == lines(events)
    assert (sink.state.delivered, sink.state.refused) == (4, 2)
    aside = [json.loads(line) for line in (quick_path / REFUSED_FILE).read_text().splitlines()]
    assert [one["event"] for one in aside] == [event.to_json() for event in events[1:3]]
    assert all(str(status) in one["reason"] for one in aside)
    assert len(caplog.records) == 1


def test_a_token_that_was_changed_on_the_server_loses_no_event(
    server: HookServer, quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = made_events(20)
    server.status = 401
    sink = opened(options(server, token="old"), spool=quick_path)
    for event in events:
        sink.write(event)
    wait_until(lambda: sink.state.failed > 2, "tries in vain")
    sink.close()
    assert (sink.state.delivered, sink.state.refused) == (0, 0)
    assert "answers 401 Unauthorized; trying again until it works" in caplog.text
    server.status = 204
    server.posts.clear()
    sink = opened(options(server, token="new"), spool=quick_path)
    wait_until(lambda: sink.state.delivered == 20, "all events")
    sink.close()
    assert server.bodies() == lines(events)
    assert {post.headers["Authorization"] for post in server.posts} == {"Bearer new"}


def test_the_file_of_what_was_refused_is_bounded(quick_path: Path) -> None:
    aside = DeadLetterFile(quick_path / REFUSED_FILE)
    (quick_path / REFUSED_FILE).write_bytes(b"x" * REFUSED_BYTES)
    aside(made_event(1), "404")
    assert (quick_path / REFUSED_FILE).stat().st_mode & 0o077 == 0
    assert (quick_path / REFUSED_FILE).stat().st_size < 1000
    assert (quick_path / f"{REFUSED_FILE}.1").stat().st_size == REFUSED_BYTES


def test_a_server_says_when_to_come_again(server: HookServer) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    target = WebhookDestination(options(server))
    for status, said, low_s, high_s in ((429, "7", 7, 7), (503, soon, 50, 91), (429, "soon", None, None)):
        server.answers.append((status, {"Retry-After": said}))
        with pytest.raises(RetryLater) as caught:
            target.deliver(made_events(1))
        asked_s = caught.value.wait_s
        assert asked_s is None if low_s is None else low_s <= asked_s <= high_s
    server.answers.append((404, {"Retry-After": "7"}))
    with pytest.raises(Rejected):
        target.deliver(made_events(1))
    target.close()


def test_an_outage_of_the_server_loses_nothing(
    server: HookServer, quick_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    events = made_events(60)
    sink = opened(options(server), spool=quick_path)
    for event in events[:20]:
        sink.write(event)
    wait_until(lambda: sink.state.delivered > 5, "some events")
    server.stop()
    for event in events[20:]:
        sink.write(event)
    wait_until(lambda: sink.state.failed > 2, "tries in vain")
    server.start()
    wait_until(lambda: sink.state.delivered == 60, "all events")
    sink.close()
    assert list(dict.fromkeys(server.bodies())) == lines(events)
    assert len(server.posts) <= 62
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and told[1] == "webhook: works again", told


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(server: HookServer) -> None:
    sink = opened(options(server))
    sink.write(made_event(0))
    wait_until(lambda: sink.state.delivered == 1, "the first event")
    server.stop()
    server.start()
    sink.write(made_event(1))
    wait_until(lambda: sink.state.delivered == 2, "the second event")
    sink.close()
    assert sink.state.failed == 0


@pytest.mark.parametrize("fault", ["hang", "drip", "trickle"])
def test_a_server_that_does_not_finish_is_given_up_in_time(server: HookServer, fault: str) -> None:
    setattr(server, fault, True)
    target = WebhookDestination(options(server, timeout_s=0.3))
    with pytest.raises(RetryLater, match="no answer"):
        target.deliver(made_events(1))
    setattr(server, fault, False)
    target._timeout_s = WAIT_S
    target.deliver(made_events(1))
    target.close()
    assert len(server.posts) == 1


def test_a_server_that_hangs_holds_up_neither_write_nor_close_and_the_next_run_delivers(
    server: HookServer, quick_path: Path
) -> None:
    events = made_events(30)
    server.hang = True
    sink = opened(options(server), spool=quick_path, retries=RetryPolicy(close_s=0.3))
    for event in events:
        sink.write(event)
    wait_until(lambda: server.connections == 1 and sink.state.queued == 30, "the events on the disk")
    sink.close()
    assert sink.state.delivered == 0
    server.hang = False
    after = opened(options(server), spool=quick_path)
    wait_until(lambda: after.state.delivered == 30, "the events of the run before")
    after.close()
    assert server.bodies() == lines(events)


def test_a_server_that_asks_for_digest_gets_it_once_a_nonce(server: HookServer) -> None:
    """Its first answer refuses what came unasked; then each event is one request."""
    challenge = 'Digest realm="a, b", nonce="abc", opaque="0p", algorithm=SHA-256, qop="auth-int"'
    server.answers.append((401, {"WWW-Authenticate": f'Negotiate, {challenge}, Basic realm="x"'}))
    events = made_events(2)
    destination = WebhookDestination(options(server, url=server.url.replace("//", "//me:p%C3%A4@")))
    destination.deliver(events)
    destination.close()
    first, *digests = server.posts
    assert first.headers["Authorization"].startswith("Basic ")
    assert [post.body.decode() for post in digests] == [line_of(event).decode() for event in events]
    for post in digests:
        given = post.headers["Authorization"]
        assert given.startswith("Digest ")
        assert answers(given, "POST", post.path, b"me", "pä".encode(), body=post.body)


def test_what_is_no_web_server_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(30)
        target = WebhookDestination(WebhookOptions(url=f"http://127.0.0.1:{other.getsockname()[1]}/"))
        line = None

        def answer() -> None:
            nonlocal line
            line, _ = other.accept()
            line.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RetryLater, match="does not answer as a web server does"):
            target.deliver(made_events(1))
        thread.join()
        line.close()
        target.close()
    with pytest.raises(RetryLater, match="cannot be reached: Connection refused"):
        target.deliver(made_events(1))


def test_tls_is_checked(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    with HookServer(certificate, key) as server:
        target = WebhookDestination(options(server, ca_file=str(certificate)))
        target.deliver(made_events(3))
        target.close()
        assert len(server.posts) == 3
        target = WebhookDestination(options(server))
        with pytest.raises(RetryLater, match="certificate is not trusted"):
            target.deliver(made_events(1))
        target.close()


def test_secrets_are_never_shown(server: HookServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.url.replace("http://", "http://me:hunter2@") + "/hunter2?token=hunter2"
    how = WebhookOptions(url=url, secret="hunter2", token="hunter2", spool="off")
    server.answers.extend([500, 404])
    sink = opened(how)
    for event in made_events(3):
        sink.write(event)
    sink.close()
    server.stop()
    sink = opened(how)
    sink.write(made_event(4))
    wait_until(lambda: sink.state.failed, "a failure")
    sink.close()
    assert "127.0.0.1" in caplog.text
    assert "hunter2" not in caplog.text + repr(how) + str(sink.state)


def test_the_example_receiver_takes_each_event_once_and_nothing_unsigned() -> None:
    example = Path(__file__).resolve().parents[1] / "docs" / "examples" / "webhook_receiver.py"
    receiver = subprocess.Popen(
        [sys.executable, str(example)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment() | {"HOOK_SECRET": "hunter2", "HOOK_PORT": "0"},
    )
    try:
        assert receiver.stdout is not None
        url = f"http://127.0.0.1:{receiver.stdout.readline().split()[-1]}/"
        target = WebhookDestination(WebhookOptions(url=url, secret="hunter2"))
        for number in (1, 1, 2):
            target.deliver([made_event(number)])
        target.close()
        target = WebhookDestination(WebhookOptions(url=url, secret="wrong"))
        with pytest.raises(RetryLater, match="401"):
            target.deliver([made_event(3)])
        target.close()
    finally:
        receiver.terminate()
        told, _ = receiver.communicate(timeout=30)
    assert told.splitlines() == ["start door Walk 1.0", "start door Walk 2.0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": ""},
        {"url": "hunter2"},
        {"url": "ftp://hunter2/"},
        {"url": "http://"},
        {"url": "http://host:99999/hunter2"},
        {"url": "http://host/hunter2 x"},
        {"url": "http://host/\r\nX: hunter2"},
        {"url": "http://host/", "token": "hunter2\r\nX: y"},
        {"url": "http://host/", "ca_file": "x"},
        {"url": "http://host/", "timeout_s": 0.0},
        {"url": "http://host/", "timeout_s": float("nan")},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MisuseError) as caught:
        WebhookOptions(**wrong)
    assert "hunter2" not in str(caught.value)
