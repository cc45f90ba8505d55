"""`edge-har run --web` in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.helpers.colours import colour_bytes, painted
from tests.helpers.command import edge_har, environment, start_edge_har
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.need import need_module

need_module("tornado", "pip install -e '.[test]'")

TOKEN = "0123456789abcdef"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "colours.ehar"
    path.write_bytes(colour_bytes())
    return path


def page_of(running: subprocess.Popen[str]) -> str:
    """Where it says that the page is."""
    while True:
        line = running.stderr.readline()
        assert line, "it ended"
        if found := re.search(r"the live page is at (http://\S+/)$", line.strip()):
            return found[1]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (
            "0.0.0.0:0",
            (
                "error: 0.0.0.0:0 can be reached from other machines: give the page a token, in "
                "EDGE_HAR_WEB_TOKEN"
            ),
        ),
        ("8080", "error: the page cannot listen on '8080'; expected HOST:PORT"),
    ],
)
def test_what_must_not_be_is_misuse_in_one_line(bundle: Path, address: str, says: str) -> None:
    done = edge_har("run", "--model", bundle, "--source", "none.avi", "--web", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1


def test_a_port_that_is_taken_fails_in_one_line(bundle: Path) -> None:
    with MjpegServer([], 1.0) as other:
        address = other.url.split("/")[2]
        done = edge_har("run", "--model", bundle, "--source", "none.avi", "--web", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert "in use" in done.stderr and done.stderr.count("\n") == 1


def test_the_page_lives_as_long_as_the_run_although_somebody_looks(bundle: Path) -> None:
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as camera:
        running = start_edge_har(
            "run", "--model", bundle, "--source", f"door={camera.url}", "--web", "127.0.0.1:0"
        )
        page = page_of(running)
        with urllib.request.urlopen(f"{page}stream/door.mjpg", timeout=TIMEOUT_S) as stream:
            assert stream.read(20_000).count(b"\xff\xd8\xff") > 1
            running.send_signal(signal.SIGTERM)
            _, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0
    assert "Traceback" not in errors and "1 source" not in errors and "door: " in errors.splitlines()[-1]


def test_a_terminal_gets_a_link_that_opens_the_page(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "&+%/0123456789?#"  # an address must not cut it
    monkeypatch.setenv("EDGE_HAR_WEB_TOKEN", token)
    ours, terminal = pty.openpty()
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as camera:
        arguments = ("run", "--model", bundle, "--source", camera.url, "--web", "127.0.0.1:0")
        running = subprocess.Popen(
            [sys.executable, "-m", "edge_har", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            env=environment(),
        )
        os.close(terminal)
        try:
            with open(ours, encoding="utf-8") as lines:
                for line in lines:
                    if found := re.search(r"holds the token: (http://127\.0\.0\.1:\d+/\?token=\S+)$", line):
                        break
                with urllib.request.urlopen(found[1], timeout=TIMEOUT_S) as answer:
                    assert (answer.status, b"<main>" in answer.read()) == (200, True)
        finally:
            running.send_signal(signal.SIGINT)
            assert running.wait(TIMEOUT_S) == 0


def test_the_token_comes_from_the_environment_and_shows_nowhere(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_HAR_WEB_TOKEN", TOKEN)
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as camera:
        running = start_edge_har("run", "--model", bundle, "--source", camera.url, "--web", "0.0.0.0:0", "-v")
        port = page_of(running).rstrip("/").rpartition(":")[2]
        address = f"http://127.0.0.1:{port}"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/api/state", timeout=TIMEOUT_S)
        with urllib.request.urlopen(f"{address}/?token={TOKEN}", timeout=TIMEOUT_S) as answer:
            assert answer.status == 200
        command = Path(f"/proc/{running.pid}/cmdline").read_bytes()
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0
    assert TOKEN not in out + errors + os.fsdecode(command) and "GET /: 200" in errors
