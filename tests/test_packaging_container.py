"""The container: its instructions name files that exist, it runs without rights, its command is one of ours,
its health check judges a real answer.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest

from edge_har.cli import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGING = ROOT / "packaging"
CONTAINERFILE, ADDON = PACKAGING / "Containerfile", PACKAGING / "home-assistant" / "Dockerfile"
TOKEN = "token-of-16-or-more"
KNOWN = {
    *("ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE"),
    *("HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def values(path: Path, keyword: str) -> list[str]:
    return [arguments for word, arguments in instructions(path) if word == keyword]


def copied(path: Path) -> list[str]:
    """What an image takes from the folder that it is built in."""
    return [
        name
        for arguments in values(path, "COPY")
        if not arguments.startswith("--from=")
        for name in arguments.split()[:-1]
    ]


@pytest.mark.parametrize("path", [CONTAINERFILE, ADDON], ids=lambda path: path.name)
def test_the_instructions_are_known_ones_and_begin_with_a_base(path: Path) -> None:
    words = [word for word, _ in instructions(path)]
    assert set(words) <= KNOWN
    assert next(word for word in words if word != "ARG") == "FROM"
    assert all("\\" not in arguments for _, arguments in instructions(path))


def test_every_file_that_the_container_copies_exists() -> None:
    names = copied(CONTAINERFILE)
    assert [name for name in names if not (ROOT / name).exists()] == []
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    metadata = declared["metadata"]
    building = {"setup.cfg", "pyproject.toml", "edge_har", "README.md", *metadata["license_files"].split()}
    assert building <= set(names), "pip install would fail, or the wheel would lack its licences"
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(names) & set(ignored)


def test_the_add_on_copies_what_make_addon_puts_beside_it() -> None:
    done = subprocess.run(
        ["make", "-n", "addon"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = [line for line in done.splitlines() if line.startswith("cp dist/*.whl")]
    beside = {Path(name).name for name in line.split()[1:-1]} | {path.name for path in ADDON.parent.iterdir()}
    assert {name.replace("edge_har-*.whl", "*.whl") for name in copied(ADDON)} <= beside


def test_the_python_of_the_base_is_the_one_of_the_constraints() -> None:
    """Debian 12 has Python 3.11."""
    for path in (CONTAINERFILE, ADDON):
        base = " ".join([*values(path, "ARG"), *values(path, "FROM")])
        assert "docker.io/library/debian:bookworm-slim" in base
        assert any("constraints-3.11.txt" in name for name in copied(path))


def test_the_container_ends_as_a_user_without_rights() -> None:
    words = instructions(CONTAINERFILE)
    last_stage = words[max(number for number, (word, _) in enumerate(words) if word == "FROM") :]
    (user,) = [arguments for word, arguments in last_stage if word == "USER"]
    assert int(user) > 1000  # a number: Kubernetes' runAsNonRoot reads no names


def test_its_command_parses() -> None:
    (entry,), (arguments,) = values(CONTAINERFILE, "ENTRYPOINT"), values(CONTAINERFILE, "CMD")
    assert json.loads(entry) == ["edge-har"]
    name, *words = json.loads(arguments)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.make_context(name, words).params


@pytest.fixture
def page() -> Iterator[HTTPServer]:
    """Answers 200 at /healthz to who has the token, 503 at /frozen, and 401 to others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            self.send_response((503 if self.path == "/frozen" else 200) if known else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "token", "code"),
    [("/healthz", TOKEN, 0), ("/frozen", TOKEN, 1), ("/healthz", "another", 1), ("/healthz", None, 1)],
)
def test_the_health_check_is_the_pages_answer(
    page: HTTPServer, path: str, token: str | None, code: int
) -> None:
    done = check_health(f"http://127.0.0.1:{page.server_port}{path}", token)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == code and TOKEN not in done.stderr


def test_no_page_is_ill_health(page: HTTPServer) -> None:
    address = f"http://127.0.0.1:{page.server_port}/healthz"
    page.server_close()
    assert check_health(address, TOKEN).returncode == 1


def test_the_health_check_asks_where_the_default_command_listens() -> None:
    (arguments,), (port,) = values(CONTAINERFILE, "CMD"), values(CONTAINERFILE, "EXPOSE")
    assert f"127.0.0.1:{port}" in json.loads(arguments)
    assert f'"http://127.0.0.1:{port}/healthz"' in (PACKAGING / "healthcheck.py").read_text(encoding="utf-8")
    (check,) = values(CONTAINERFILE, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2])[1] == "/opt/edge-har/healthcheck.py"
    assert "packaging/healthcheck.py /opt/edge-har/healthcheck.py" in values(CONTAINERFILE, "COPY")


def check_health(url: str, token: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGE_HAR_HEALTH_URL": url}
    environment.pop("EDGE_HAR_WEB_TOKEN", None)
    if token is not None:
        environment["EDGE_HAR_WEB_TOKEN"] = token
    return subprocess.run(
        [sys.executable, PACKAGING / "healthcheck.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
