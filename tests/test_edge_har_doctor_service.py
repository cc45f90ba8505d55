"""The unit, the keys and the store: each planted fault is found, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_har.deploy import unit
from edge_har.doctor import service
from edge_har.doctor.finding import Level
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.doctor import found, machine, on_path, only, write

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFdvcmtzdGF0aW9u me"
WELL = {
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "NRestarts": "0",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of a service, whose files lie below the test's folder; the unit is not there yet."""
    for name in ("UNIT", "STATE", "FOLDER", "KEYS"):
        monkeypatch.setattr(unit, name, tmp_path / getattr(unit, name).relative_to("/"))
    monkeypatch.setattr(service, "SSHD", (write(tmp_path / "sshd", ""),))
    monkeypatch.setenv(HOME_VARIABLE, "")
    made = write(tmp_path / "opt" / "edge-har", "#!/bin/sh\n")
    made.chmod(0o755)
    return made


@pytest.fixture
def installed(program: Path) -> Path:
    write(unit.UNIT, unit.unit_text((str(program),)))
    return program


def systemd(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: str) -> None:
    """systemctl reports a service that is well, but for the changes."""
    lines = "\n".join(f"{name}={value}" for name, value in {**WELL, **changes}.items())
    on_path(monkeypatch, folder / "bin", "systemctl", f"cat <<'END'\n{lines}\nEND")


def test_no_service_is_no_problem(program: Path, tmp_path: Path) -> None:
    made = machine(tmp_path)
    for check in (service.check_unit, service.check_keys):
        assert [level for level, *_ in found(check(made))] == [Level.NOTE]


@pytest.mark.parametrize(
    ("changes", "level", "text", "advice"),
    [
        ({}, Level.OK, "the service runs, and starts at boot", ""),
        (
            {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
            Level.PROBLEM,
            "(failed, failed, result exit-code)",
            "journalctl -u edge-har",
        ),
        ({"NRestarts": "7"}, Level.WARNING, "was restarted 7 times", "journalctl"),
        ({"NeedDaemonReload": "yes"}, Level.WARNING, "changed since", "daemon-reload"),
        ({"UnitFileState": "disabled"}, Level.WARNING, "does not start at boot", "systemctl enable edge-har"),
    ],
)
def test_what_systemd_reports(
    installed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    level: Level,
    text: str,
    advice: str,
) -> None:
    systemd(monkeypatch, tmp_path, **changes)
    ((at, shown, what),) = found(service.check_unit(machine(tmp_path)))
    assert at is level and text in shown and advice in what


def test_systemd_that_does_not_answer(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, tmp_path / "bin", "systemctl", "echo 'System has not been booted' >&2; exit 1")
    assert [level for level, *_ in found(service.check_unit(machine(tmp_path)))] == [Level.NOTE]


def test_an_older_unit_and_a_program_that_is_gone(installed: Path, tmp_path: Path) -> None:
    installed.unlink()
    text, advice = only(service.check_unit(machine(tmp_path)), Level.PROBLEM)
    assert str(installed) in text and advice == "sudo edge-har service install"
    unit.UNIT.write_text("[Service]\nExecStart=/bin/true\nDynamicUser=yes\n")
    text, advice = only(service.check_unit(machine(tmp_path)), Level.PROBLEM)
    assert "cannot read what flash writes" in text and advice == "sudo edge-har service install"


# Keys -------------------------------------------------------------------------------------------------------


def test_a_key_that_is_well(installed: Path, tmp_path: Path) -> None:
    write(unit.KEYS, f'# mine\nrestrict,command="{installed} receive" {KEY}\n')
    assert [level for level, *_ in found(service.check_keys(machine(tmp_path)))] == [Level.OK]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (KEY, "it opens a shell"),
        (f'restrict,command="/gone/edge-har receive" {KEY}', "calls /gone/edge-har, which is not there"),
    ],
)
def test_a_key_that_is_not(installed: Path, tmp_path: Path, line: str, text: str) -> None:
    write(unit.KEYS, line + "\n")
    shown, advice = only(service.check_keys(machine(tmp_path)), Level.PROBLEM)
    assert text in shown and advice.startswith(
        "remove it" if line == KEY else "sudo edge-har service install"
    )


def test_a_list_of_keys_that_others_may_write(installed: Path, tmp_path: Path) -> None:
    write(unit.KEYS, f'restrict,command="{installed} receive" {KEY}\n').chmod(0o664)
    text, advice = only(service.check_keys(machine(tmp_path)), Level.PROBLEM)
    assert "others may write" in text and advice == f"sudo chmod go-w {unit.KEYS}"


def test_no_key_and_no_sshd(installed: Path, tmp_path: Path) -> None:
    assert [level for level, *_ in found(service.check_keys(machine(tmp_path)))] == [Level.NOTE]
    write(unit.KEYS, f'restrict,command="{installed} receive" {KEY}\n')
    service.SSHD[0].unlink()
    text, advice = only(service.check_keys(machine(tmp_path)), Level.PROBLEM)
    assert "no sshd" in text and "openssh-server" in advice


# The store --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_store_that_is_not_there_takes_nothing_or_is_open(store: Path, tmp_path: Path) -> None:
    made = machine(tmp_path)
    assert [level for level, *_ in found(service.check_store(made))] == [Level.NOTE]
    store.mkdir()
    assert [level for level, *_ in found(service.check_store(made))] == [Level.OK, Level.NOTE]
    write(store / "config.toml", "allow_unsigned = true\n")
    assert [level for level, *_ in found(service.check_store(made))] == [Level.OK]


def test_a_store_that_is_damaged(store: Path, tmp_path: Path) -> None:
    write(store / "config.toml", "allow_unsigned = yes\n")
    (store / "versions" / ("a" * 64)).mkdir(parents=True)
    (store / "current").symlink_to("versions/" + "a" * 64)
    problems = [
        (text, advice)
        for level, text, advice in found(service.check_store(machine(tmp_path)))
        if level is Level.PROBLEM
    ]
    (damaged, repair), (not_toml, correct) = problems
    assert damaged.startswith("current is damaged") and "flash a good bundle" in repair
    assert "is not TOML" in not_toml and "allow_unsigned" in correct


def test_a_change_that_was_cut_off(store: Path, tmp_path: Path) -> None:
    write(store / "config.toml", "allow_unsigned = true\n")
    write(store / "pending.json", '{"digest": "' + "b" * 64 + '", "current": null, "previous": null}')
    text, advice = only(service.check_store(machine(tmp_path)), Level.WARNING)
    assert "cut off" in text and "flash again" in advice
