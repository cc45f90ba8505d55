"""Without being asked nothing that a camera saw is kept or sent: a run is watched call by call."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.colours import GREY, colour_bytes
from tests.helpers.command import environment
from tests.helpers.need import need_program
from tests.helpers.running import camera, write_scene

HARMLESS = re.compile(r"/dev/null|/dev/tty|/proc/self/.*|/dev/shm/sem\..*|pipe:.*")
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
OPENED = re.compile(r'\bopen(?:at)?2?\((?:AT_FDCWD, )?"(?P<path>[^"]*)", (?P<flags>[^)]*)\) = \d')
MADE = re.compile(
    r"\b(?:creat|mkdir(?:at)?|mknod(?:at)?|rename(?:at2?)?|(?:sym)?link(?:at)?|memfd_create)\(.*\) = \d"
)
SENT = re.compile(r"\bsend(?:to|msg|mmsg)\(.*\) = (?P<bytes>\d+)")
REQUEST_BYTES = 1000  # for a picture of 32x24 it would take as many
WATCHED = "trace=%file,%network,openat2,memfd_create"


def watched_run(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """Run `edge-har run` in empty folders to its end; what it wrote to its outputs, and its system calls."""
    strace, calls = need_program("strace"), folder / "calls.txt"
    bundle = folder / "colours.ehar"
    bundle.write_bytes(colour_bytes())
    empty = {name: folder / name for name in ("home", "tmp", "cwd")}
    for path in empty.values():
        path.mkdir()
    places = {"HOME": empty["home"], "TMPDIR": empty["tmp"], "PYTHONDONTWRITEBYTECODE": "1"}
    kept = {name: value for name, value in environment().items() if not name.startswith("XDG_")}
    command = [sys.executable, "-m", "edge_har", "run", "--model", str(bundle), *arguments]
    done = subprocess.run(
        [strace, "-f", "-qq", "-e", WATCHED, "-o", str(calls), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=empty["cwd"],
        env=kept | {name: str(value) for name, value in places.items()},
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        json.loads(line)
    assert '"label": "Red"' in done.stdout
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)
    left = [path for place in empty.values() for path in place.rglob("*")]
    assert left == [path for path in left if path.suffix == ".jsonl"]
    return done.stdout, calls.read_text(errors="replace").splitlines()


def written(calls: list[str]) -> set[str]:
    """Paths that were opened for writing, or the whole call where something else was made."""
    opened = {
        found["path"] for call in calls if (found := OPENED.search(call)) and WRITING.search(found["flags"])
    }
    made = {call for call in calls if MADE.search(call)}
    return {path for path in opened | made if not HARMLESS.fullmatch(path)}


def sent_bytes(calls: list[str]) -> int:
    return sum(int(found["bytes"]) for call in calls if (found := SENT.search(call)))


@pytest.mark.parametrize("live", [True, False])
def test_a_run_that_is_not_asked_to_writes_no_file_and_sends_no_picture(tmp_path: Path, live: bool) -> None:
    if live:
        with camera(((GREY, 12), ("Red", 5000))) as server:
            _, calls = watched_run(tmp_path, "--source", server.url, "--duration", "3")
        assert 0 < sent_bytes(calls) < REQUEST_BYTES
    else:
        _, calls = watched_run(tmp_path, "--source", str(write_scene(tmp_path / "scene.avi")))
        assert sent_bytes(calls) == 0
    assert any(OPENED.search(call) for call in calls)
    assert written(calls) == set()


def test_a_file_of_events_is_the_only_one_and_all_text(tmp_path: Path) -> None:
    events = tmp_path / "cwd" / "events.jsonl"
    source = str(write_scene(tmp_path / "scene.avi"))
    said, calls = watched_run(tmp_path, "--source", source, "--sink", f"jsonl:{events}")
    assert written(calls) == {str(events)}
    assert events.read_text(encoding="ascii") == said
