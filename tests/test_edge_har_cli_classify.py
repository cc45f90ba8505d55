"""`edge-har classify` in a process of its own: a table, JSON lines, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.colours import COLOURS, colour_bytes, painted
from tests.helpers.command import edge_har, environment
from tests.helpers.videos import write_text_as_video, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a clip of each colour, one of two, and a text that calls itself a video."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "colours.ehar").write_bytes(colour_bytes())
    for colour in COLOURS:
        write_video(folder / "one" / f"{colour}.avi", painted(colour, 50, (32, 24)))
    write_video(
        folder / "two ünd.avi", np.concatenate([painted("Red", 50, (32, 24)), painted("Blue", 50, (32, 24))])
    )
    write_text_as_video(folder / "text.avi")
    return folder


def test_json_lines_come_in_order_with_the_paths_as_found(folder: Path) -> None:
    done = edge_har("classify", "one", "two ünd.avi", "--model", "colours.ehar", "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["path"], line["label"]) for line in found[:3]] == [
        ("one/Blue.avi", "Blue"),
        ("one/Green.avi", "Green"),
        ("one/Red.avi", "Red"),
    ]
    assert found[3]["path"] == "two ünd.avi"
    assert [s["label"] for s in found[3]["segments"]] == ["Red", "Blue"]
    for line in found:
        assert sum(line["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert line["rejected"] is False and line["score"] == line["scores"][line["label"]]


def test_a_file_that_cannot_be_read_has_its_line_and_the_rest_go_on(folder: Path) -> None:
    done = edge_har("classify", "none.avi", ".", "--model", "colours.ehar", "--json", cwd=folder)
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[0] == {"path": "none.avi", "error": "no such file"}
    assert {"path": "./text.avi", "error": "a text file, not a video"} in found
    assert sum("label" in line for line in found) == 4
    assert done.stderr == ".: passed over 1 .ehar\n2 of 6 could not be read\n"


def test_a_table_for_people(folder: Path) -> None:
    done = edge_har("classify", "one", "two ünd.avi", "text.avi", "--model", "colours.ehar", cwd=folder)
    rows = done.stdout.splitlines()
    assert done.returncode == 1 and len(rows) == 5
    assert rows[0].split() == ["one/Blue.avi", "Blue", "1.00"]
    assert "0.0-2.0 s Red, 2.0-4.0 s Blue" in rows[3]
    assert rows[4].split(maxsplit=1) == ["text.avi", "error: a text file, not a video"]


def test_nothing_to_do_is_misuse(folder: Path, tmp_path: Path) -> None:
    for arguments in ([], [tmp_path]):
        done = edge_har("classify", *arguments, "--model", folder / "colours.ehar")
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_folder_without_videos_says_what_it_holds(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").touch()
    done = edge_har("classify", tmp_path, "--model", folder / "colours.ehar")
    assert done.returncode == 2
    assert done.stderr == f"error: no videos in {tmp_path}; {tmp_path}: passed over 1 .jpg\n"


def test_a_bundle_that_cannot_be_used_is_one_line(folder: Path) -> None:
    done = edge_har("classify", "one", "--model", "text.avi", cwd=folder)
    assert done.returncode == 1 and "not a whole bundle" in done.stderr and done.stderr.count("\n") == 1


def named(name: bytes, folder: Path, original: str) -> str:
    """A copy of a file under a name of any bytes, as Python hands such names on."""
    copy = os.fsdecode(name)
    (folder / copy).write_bytes((folder / original).read_bytes())
    return copy


def test_a_name_that_is_not_utf8_is_read_and_shown_as_escapes(folder: Path) -> None:
    name = named(b"caf\xe9.avi", folder, "one/Red.avi")
    done = edge_har("classify", name, "one/Blue.avi", "--model", "colours.ehar", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row.split()[:2] for row in done.stdout.splitlines()] == [
        [r"caf\udce9.avi", "Red"],
        ["one/Blue.avi", "Blue"],
    ]
    done = edge_har("classify", name, "--model", "colours.ehar", "--json", cwd=folder)
    assert json.loads(done.stdout)["path"] == name, "a program gets the name back"


def test_control_characters_of_a_name_do_not_reach_the_terminal(folder: Path) -> None:
    name = named(b"a\x1b[31m\nb.avi", folder, "one/Red.avi")
    done = edge_har("classify", name, "c\x1b\n.avi", "--model", "colours.ehar", cwd=folder)
    assert done.stdout.splitlines() == [
        r"a\x1b[31m\nb.avi  Red            1.00",
        r"c\x1b\n.avi       error: no such file",
    ]
    for wrong in (("run", "--config", name), ("classify", f"--{name}"), (name,)):
        done = edge_har(*wrong, cwd=folder)
        assert done.returncode == 2 and "\x1b" not in done.stdout + done.stderr, wrong


def test_a_path_that_the_system_refuses_has_its_line_and_the_rest_go_on(folder: Path) -> None:
    for refused in ("n" * 300, "n" * 300 + "*.avi"):
        done = edge_har("classify", refused, "one", "--model", "colours.ehar", "--json", cwd=folder)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert found[0] == {"path": refused, "error": "cannot be used: File name too long"}
        assert [line["label"] for line in found[1:]] == ["Blue", "Green", "Red"] and done.returncode == 1


def test_an_error_of_the_system_about_a_file_is_one_line_wherever_it_comes_from() -> None:
    script = (
        "from edge_har import cli\n"
        "def fail(*_, **__): raise PermissionError(13, 'Permission denied', 'a\\x1bb')\n"
        "cli.cli.main = fail\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (1, "error: a\\x1bb: Permission denied\n")
