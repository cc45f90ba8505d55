"""A machine has one identity, made by whichever process is first, and one too where none can be kept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_har.system import identity
from edge_har.system.identity import machine_identity
from tests.helpers.command import environment

PRINT = "from edge_har.system.identity import machine_identity as made; print(made())"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of edge_har for this test alone."""
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def in_another_process(home: Path) -> subprocess.Popen[str]:
    environ = environment() | {"EDGE_HAR_HOME": str(home)}
    return subprocess.Popen([sys.executable, "-c", PRINT], env=environ, stdout=subprocess.PIPE, text=True)


def test_it_is_made_once_and_the_same_for_all_that_start_at_once(home: Path) -> None:
    processes = [in_another_process(home) for _ in range(6)]
    found = {process.communicate()[0].strip() for process in processes}
    assert len(found) == 1 and found == {machine_identity()} == {(home / "identity").read_text().strip()}
    assert re.fullmatch("[0-9a-f]{12}", machine_identity())
    assert [path.name for path in home.iterdir()] == ["identity"]


def test_another_home_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine_identity()
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "other"))
    assert machine_identity() != one


@pytest.mark.parametrize("content", [b"", b"3f9c2a", b"raspberrypi!\n", b"\0" * 13, b"a" * 1000])
def test_a_damaged_file_is_made_anew(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "identity").write_bytes(content)
    made = machine_identity()
    assert (home / "identity").read_text() == f"{made}\n"


def test_where_it_cannot_be_kept_it_holds_for_the_process_and_a_line_names_the_option(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file in the way")
    assert machine_identity() == machine_identity()
    assert len(caplog.records) == 1 and "or the option `node`" in caplog.text


def test_a_home_that_cannot_be_written_to_keeps_what_it_has(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    (home / "identity").write_text("0123456789ab\n")
    monkeypatch.setattr(identity, "_make", lambda path: pytest.fail("it was written"))
    assert machine_identity() == "0123456789ab" and not caplog.records
