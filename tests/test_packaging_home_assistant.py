"""The Home Assistant add-on: its options become a configuration for `run`; its secrets stay out of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_har import __version__
from tests.helpers.need import need_module

need_module("yaml", "pip install -e '.[dev]'")
import yaml

ADDON = Path(__file__).resolve().parents[1] / "packaging" / "home-assistant"
CONFIG: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text(encoding="utf-8"))
BROKER = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "addons", "password": "hunter2"}
SHOWS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.execve = lambda _, command, environment: print(json.dumps([command[1:], environment]))
import run
run.main()
"""


@pytest.fixture
def supervisor() -> Iterator[HTTPServer]:
    """Home Assistant's Supervisor as far as add-ons ask it for the broker; `answer` None: there is none."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == "Bearer supervisor-token"
            answer = self.server.answer if known and self.path == "/services/mqtt" else None  # type: ignore[attr-defined]
            body = {"result": "error"} if answer is None else {"result": "ok", "data": answer}
            self.send_response(400 if answer is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answer = BROKER  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def addon(tmp_path: Path, supervisor: HTTPServer) -> dict[str, str]:
    """The environment of an add-on: its folders and its Supervisor."""
    for name in ("data", "config"):
        (tmp_path / name).mkdir()
    return {
        **os.environ,
        "EDGE_HAR_ADDON_DATA": str(tmp_path / "data"),
        "EDGE_HAR_ADDON_CONFIG": str(tmp_path / "config"),
        "EDGE_HAR_HOME": str(tmp_path / "data" / "edge-har"),
        "EDGE_HAR_SUPERVISOR": f"http://127.0.0.1:{supervisor.server_port}",
        "SUPERVISOR_TOKEN": "supervisor-token",
    }


def started(addon: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """What run.py would start with these options: its arguments and environment, as JSON."""
    Path(addon["EDGE_HAR_ADDON_DATA"], "options.json").write_text(json.dumps(options), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", SHOWS, ADDON], env=addon, capture_output=True, text=True, check=False
    )


def test_the_version_is_the_packages() -> None:
    assert CONFIG["version"] == __version__


def test_options_have_a_schema_a_default_or_a_question_mark_and_an_explanation() -> None:
    explained = yaml.safe_load((ADDON / "translations" / "en.yaml").read_text(encoding="utf-8"))
    page = (ADDON / "DOCS.md").read_text(encoding="utf-8")
    assert set(CONFIG["options"]) <= set(CONFIG["schema"]) == set(explained["configuration"])
    assert all(f"| `{name}` |" in page for name in CONFIG["schema"])
    optional = {name for name, kind in CONFIG["schema"].items() if str(kind).endswith("?")}
    assert set(CONFIG["schema"]) - optional == set(CONFIG["options"])


def test_its_processors_are_those_that_have_wheels() -> None:
    assert CONFIG["arch"] == ["aarch64", "amd64"]


@pytest.mark.parametrize("token", [None, "token-of-16-or-more"])
def test_options_become_a_configuration_that_check_takes(addon: dict[str, str], token: str | None) -> None:
    need_module("paho", "pip install -e '.[mqtt]'")
    sources = [
        {"name": "door", "uri": 'rtsp://u:pa"ss@192.0.2.1/s'},
        {"name": "demo", "uri": "synthetic:demo"},
    ]
    done = started(addon, sources=sources, mqtt=True, **({"page_token": token} if token else {}))
    assert (done.returncode, done.stderr) == (0, "")
    arguments, environment = json.loads(done.stdout)
    assert arguments[:4] == ["-m", "edge_har", "run", "--config"] and arguments[5:] == ["--wait-for-source"]
    written = Path(arguments[4]).read_text(encoding="utf-8")
    assert not any(secret in written for secret in ("rtsp", "hunter2", token or "hunter2"))
    checked = subprocess.run(
        [sys.executable, "-m", "edge_har", "config", "check", "--json", arguments[4]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    settings = json.loads(checked.stdout)["settings"]
    assert [source["name"] for source in settings["source"]] == ["door", "demo"]
    (broker,) = settings["sink"]
    assert (broker["host"], broker["user"], broker["port"]) == ("core-mosquitto", "addons", 1883)
    assert settings["web"]["listen"] == ("0.0.0.0:8080" if token else "127.0.0.1:8080")


def test_without_a_broker_it_runs_all_the_same(addon: dict[str, str], supervisor: HTTPServer) -> None:
    supervisor.answer = None  # type: ignore[attr-defined]
    done = started(addon, **CONFIG["options"])
    assert done.returncode == 0
    assert (
        done.stderr.startswith("warning: Home Assistant names no broker (") and done.stderr.count("\n") == 1
    )
    assert "[[sink]]" not in Path(json.loads(done.stdout)[0][4]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "error: sources: there is none; add one with a name and an address"),
        ({"sources": []}, "error: sources: there is none; add one with a name and an address"),
        ({"config_file": "absent.toml"}, "error: config_file: there is no 'absent.toml'"),
        ({"config_file": "../data/options.json"}, "error: config_file: there is no '../data/options.json'"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(
    addon: dict[str, str], options: dict[str, Any], line: str
) -> None:
    done = started(addon, **options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_a_file_of_the_users_replaces_the_options(addon: dict[str, str]) -> None:
    Path(addon["EDGE_HAR_ADDON_CONFIG"], "mine.toml").write_text("", encoding="utf-8")
    arguments, _ = json.loads(started(addon, config_file="mine.toml", mqtt=True).stdout)
    assert arguments[4] == str(Path(addon["EDGE_HAR_ADDON_CONFIG"], "mine.toml"))


def test_it_becomes_a_run_that_a_signal_ends(addon: dict[str, str]) -> None:
    need_module("tornado", "pip install -e '.[web]'")
    Path(addon["EDGE_HAR_ADDON_CONFIG"], "mine.toml").write_text(
        'realtime = true\n[[source]]\nuri = "synthetic:demo"\n', encoding="utf-8"
    )
    Path(addon["EDGE_HAR_ADDON_DATA"], "options.json").write_text(
        '{"config_file": "mine.toml"}', encoding="utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, ADDON / "run.py"],
        env=addon,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert json.loads(process.stdout.readline())["type"] == "start"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait() == 0
