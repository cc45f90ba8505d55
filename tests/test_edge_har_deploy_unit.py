"""The unit that the package carries: systemd takes it, and it runs a command that there is."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_har.cli import run
from edge_har.deploy import unit
from tests.helpers.need import need_program

PROGRAM = ("/opt/edge-har/bin/edge-har",)


def command_of(text: str) -> list[str]:
    return shlex.split(text.split("ExecStart=")[1].splitlines()[0])


@pytest.mark.parametrize("jetson", [False, True])
def test_systemd_takes_it(tmp_path: Path, jetson: bool) -> None:
    made = tmp_path / unit.UNIT.name
    made.write_text(unit.unit_text((sys.executable,), jetson=jetson))
    done = subprocess.run(
        [need_program("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=no", made],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_packaged_unit_is_that_of_the_default_places() -> None:
    assert unit.unit_text(PROGRAM) == unit.PACKAGED_UNIT.read_text()
    assert (unit.PROGRAM,) == PROGRAM


def test_it_runs_a_command_that_there_is_on_the_store_that_flash_writes() -> None:
    text = unit.unit_text(("/usr/bin/python3", "-m", "edge_har"), Path("/srv/my settings.toml"))
    words = command_of(text)
    assert words[:4] == ["/usr/bin/python3", "-m", "edge_har", "run"]
    with run.command.make_context("run", words[4:]) as context:
        assert context.params["config_path"] == Path("/srv/my settings.toml")
        assert context.params["model"] == str(unit.STATE / "current")
        assert context.params["wait_for_source"]
    assert f"Environment=EDGE_HAR_HOME={unit.STATE}\n" in text
    assert f"StateDirectory={unit.STATE.relative_to('/var/lib')}\n" in text
    assert f"User={unit.NAME}\n" in text


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/a-b_c.d/x", "/opt/a-b_c.d/x"),
        ("/a b", '"/a b"'),
        ("/a%b", '"/a%%b"'),
        ("/a$b", '"/a$$b"'),
        ('/a"b', '"/a\\"b"'),
        ("/a\\b", '"/a\\\\b"'),
    ],
)
def test_words_are_written_as_systemd_reads_them(word: str, written: str) -> None:
    assert unit.unit_word(word) == written


def test_a_jetsons_camera_daemon_can_be_reached() -> None:
    lines = unit.unit_text(PROGRAM, jetson=True).splitlines()
    assert not [line for line in lines if line.startswith(("PrivateTmp", "DevicePolicy", "DeviceAllow"))]
    assert "ProtectSystem=strict" in lines
