"""Notifications through apprise itself, to a real receiver on loopback."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_har.errors import MisuseError
from edge_har.pipeline.events import Event
from edge_har.pipeline.status import SinkState
from edge_har.sinks import options_of_text
from edge_har.sinks.notify import AppriseDestination, AppriseOptions, NotifySink, notification
from edge_har.sinks.spool import Spool
from tests.helpers.command import environment
from tests.helpers.hooks import HookServer
from tests.helpers.need import need_module
from tests.helpers.sinks import QUICK, made_event, setting, wait_until

INSTALL = "pip install -e '.[notify]'"


@pytest.fixture
def server() -> Iterator[HookServer]:
    need_module("apprise", INSTALL)
    with HookServer() as running:
        running.status = 200
        yield running


def options(server: HookServer, **more: object) -> AppriseOptions:
    url = server.url.replace("http://", "json://")
    return AppriseOptions(**{"url": url, "spool": "off", **more})


def opened(how: AppriseOptions, spool: Path | None = None) -> NotifySink:
    """The sink that these options mean, but quick to try again."""
    kept = None if spool is None else Spool(spool)
    target = AppriseDestination(how)
    return NotifySink(how, target, SinkState("apprise"), spool=kept, updates=how.updates, retries=QUICK)


def titles(server: HookServer) -> list[str]:
    return [json.loads(body)["title"] for body in server.bodies()]


def test_an_event_that_begins_is_a_title_and_a_body(server: HookServer) -> None:
    sink = options(server).open(setting("door")).events
    for kind in ("start", "update", "end"):
        sink.write(made_event(3, kind))
    sink.write(Event("x-9", "source_lost", "yard", None, None, 3.0, None, "2026-11-21T00:00:09.000Z", "m@1"))
    wait_until(lambda: sink.state.delivered == 1, "the notification")
    sink.close()
    (post,) = server.bodies()
    title, body = notification(made_event(3))
    assert (title, body[:20]) == ("Walk: door", "Walk at door, 53%, 2")
    assert {"title": title, "message": body}.items() <= json.loads(post).items()


def test_labels_and_scores_choose(server: HookServer) -> None:
    sink = opened(options(server, labels=("Walk",), min_score=0.6))
    sink.write(made_event(20, label="Run"))
    sink.write(made_event(5))
    sink.write(made_event(10, source="yard"))
    wait_until(lambda: sink.state.delivered == 1, "the notification")
    sink.close()
    assert titles(server) == ["Walk: yard"]


def test_an_outage_loses_nothing_and_is_one_line_without_the_address(
    server: HookServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.status = 503
    how = options(server, url=f"{server.url.replace('http', 'json')}?+X-Token=s3cret")
    sink = opened(how, tmp_path / "spool")
    for number in range(3):
        sink.write(made_event(number, source=f"door{number}"))
    wait_until(lambda: sink.state.failed > 2, "tries in vain")
    assert sink.state.delivered == 0 and "JSON did not take the notification" in str(sink.state.last_error)
    server.posts.clear()
    server.status = 200
    wait_until(lambda: sink.state.delivered == 3, "all of them")
    sink.close()
    wanted = [f"Walk: door{number}" for number in range(3)]
    assert [title for title in dict.fromkeys(titles(server))] == wanted
    warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warned) == 1, warned
    assert "s3cret" not in caplog.text and "s3cret" not in repr(how)


def test_what_waits_is_notified_by_the_next_run(server: HookServer, tmp_path: Path) -> None:
    server.stop()
    sink = opened(options(server), tmp_path / "spool")
    sink.write(made_event(1))
    wait_until(lambda: sink.state.failed > 0, "a try in vain")
    sink.close()
    server.start()
    sink = opened(options(server), tmp_path / "spool")
    wait_until(lambda: sink.state.delivered == 1, "the notification")
    sink.close()
    assert titles(server) == ["Walk: door"]


def test_a_line_says_it_and_what_belongs_to_apprise_stays() -> None:
    assert options_of_text(
        "apprise:ntfy://topic?priority=high#labels=Walk,Run&min_score=0.8"
    ) == AppriseOptions(url="ntfy://topic?priority=high", labels=("Walk", "Run"), min_score=0.8)
    with pytest.raises(MisuseError, match="list of processes") as caught:
        options_of_text("apprise:json://me:hunter2@h")
    assert "hunter2" not in str(caught.value)
    for text in ("apprise:", "apprise:topic"):
        with pytest.raises(MisuseError, match="url is"):
            options_of_text(text)


def test_what_cannot_be_notified_is_refused_at_once() -> None:
    need_module("apprise", INSTALL)
    with pytest.raises(MisuseError, match="apprise: url is no address that apprise knows") as caught:
        AppriseOptions(url="pigeon://s3cret", spool="off").open(setting())
    assert "s3cret" not in str(caught.value)
    with pytest.raises(MisuseError, match="the model knows no 'Fly', but Run, Walk"):
        AppriseOptions(url="json://h", spool="off", labels=("Fly",)).open(setting())


def test_a_missing_library_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('no apprise here')")
    env = environment()
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"
    command = [sys.executable, "-m", "edge_har", "run", "--demo", "--sink", "apprise:ntfy://topic"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith(
        "notifications need a library: pip install 'edge-har[notify]'"
    )
