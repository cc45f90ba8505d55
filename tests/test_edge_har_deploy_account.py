"""Who works on the store of a device: the user of the service where there is one, whoever calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_har.cli import receive as receive_command
from edge_har.cli import rollback, status
from edge_har.deploy import account, unit
from edge_har.deploy.replies import DeviceReply, Outcome
from edge_har.system.files import HOME_VARIABLE, home
from tests.helpers.command import environment

NOBODY = 65534
ENTER = """
import os, sys
from pathlib import Path
from edge_har.deploy import account, unit
unit.UNIT, unit.STATE = Path(sys.argv[1]), Path(sys.argv[2])
print(account.enter_service_store(), os.geteuid(), os.getgroups(), os.environ.get("EDGE_HAR_HOME"))
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service of this device; its store."""
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setattr(unit, "UNIT", tmp_path / "edge-har.service")
    monkeypatch.setattr(unit, "STATE", tmp_path / "state")
    unit.UNIT.write_text("[Service]\n")
    unit.STATE.mkdir()
    return unit.STATE


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a test enters stays for the next."""
    monkeypatch.setenv(HOME_VARIABLE, "")


def test_its_own_user_works_on_the_store_of_the_service(installed: Path) -> None:
    os.chown(installed, os.geteuid(), -1)
    assert account.enter_service_store() is None
    assert home() == installed


def test_root_becomes_the_user_of_the_service(installed: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.chown(installed, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", ENTER, unit.UNIT, installed],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in environment().items() if k != HOME_VARIABLE},
    )
    assert done.stdout == f"None {NOBODY} [{NOBODY}] {installed}\n"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (status.command, ["--local", "--json"]),
        (rollback.command, ["--local", "--json"]),
        (receive_command.command, ["--shipped"]),
        (receive_command.command, ["--length", "5", "--sha256", "0" * 64]),
    ],
)
def test_another_user_gets_a_line_that_says_what_to_do(
    installed: Path, monkeypatch: pytest.MonkeyPatch, command: object, arguments: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    reply = DeviceReply.from_line(result.output)
    assert reply is not None and reply.outcome is Outcome.REFUSED and result.exit_code == 1
    assert (
        f"flash to {installed.owner()}@HOST" in reply.detail
        and "--remote-command 'sudo edge-har'" in reply.detail
    )
    assert list(installed.iterdir()) == []


def test_a_service_without_its_store_is_reported(installed: Path) -> None:
    installed.rmdir()
    reply = account.enter_service_store()
    assert reply is not None and "sudo edge-har service install" in reply.detail


def test_a_home_that_is_named_wins_and_without_a_service_nothing_changes(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "mine"))
    assert account.enter_service_store() is None and home() == tmp_path / "mine"
    monkeypatch.delenv(HOME_VARIABLE)
    unit.UNIT.unlink()
    assert account.enter_service_store() is None and HOME_VARIABLE not in os.environ
