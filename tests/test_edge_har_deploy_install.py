"""What `service install` would do, and what it refuses; test_edge_har_systemd.py carries it out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_har.deploy import install, unit
from edge_har.deploy.install import Wanted, read_keys, steps
from edge_har.errors import DeployError, MisuseError
from tests.helpers.command import edge_har
from tests.helpers.folders import quick_folder

PROGRAM = ("/opt/edge-har/bin/edge-har",)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFdvcmtzdGF0aW9u me@workstation"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE90aGVy other"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a service, whose folders lie below a folder of the test."""
    for name in ("UNIT", "STATE", "FOLDER", "KEYS", "LINK"):
        monkeypatch.setattr(unit, name, tmp_path / getattr(unit, name).relative_to("/"))
    monkeypatch.setattr(unit, "NAME", "edge-har-test-user")
    monkeypatch.setattr(install, "SYSTEMD_RUNS", tmp_path / "run")
    (tmp_path / "run").mkdir()
    return tmp_path


def texts(wanted: Wanted) -> list[str]:
    return [step.text for step in steps(wanted)]


def test_the_steps_in_order(machine: Path) -> None:
    config = machine / "edge-har.toml"
    config.write_text('[[source]]\nuri = "0"\n')
    wanted = Wanted(PROGRAM, config, (KEY,), allow_unsigned=True)
    begins = [
        "make the user edge-har-test-user",
        f"make the folder {unit.FOLDER}",
        f"make the folder {unit.STATE}",
        "take bundles that nobody signed",
        f"write {unit.KEYS}",
        f"write {unit.UNIT}",
        f"link {unit.LINK} to {PROGRAM[0]}",
        "make the bundle that ships with the package current",
        "let systemd read its units again",
        "start the service at each boot",
        "start the service now",
    ]
    found = texts(wanted)
    assert [text[: len(begin)] for text, begin in zip(found, begins, strict=True)] == begins
    details = {step.text.split()[-1]: step.detail for step in steps(wanted) if step.detail}
    assert details[str(unit.UNIT)] == unit.unit_text(PROGRAM, config)
    assert texts(Wanted(PROGRAM, config, start=False))[-1].startswith("start the service at each boot")


def test_only_what_is_missing_is_done(machine: Path) -> None:
    config = machine / "edge-har.toml"
    unit.UNIT.parent.mkdir(parents=True)
    unit.UNIT.write_text(unit.unit_text(PROGRAM, config))
    unit.LINK.parent.mkdir(parents=True)
    unit.LINK.symlink_to(PROGRAM[0])
    (unit.STATE / "versions").mkdir(parents=True)
    (unit.STATE / "current").symlink_to("versions/" + "a" * 64)
    (unit.STATE / "config.toml").write_text("allow_unsigned = true\n")
    unit.FOLDER.mkdir(parents=True)
    (machine / "run").rmdir()  # systemd does not run, as in an image
    found = texts(Wanted(PROGRAM, config, allow_unsigned=True))
    assert [text.split(" (")[0] for text in found if not text.startswith("make the")] == [
        "start the service at each boot"
    ]


def test_a_file_of_others_at_the_links_place_stays(machine: Path) -> None:
    unit.LINK.parent.mkdir(parents=True)
    unit.LINK.write_text("#!/bin/sh\n")
    assert not [text for text in texts(Wanted(PROGRAM)) if text.startswith("link")]


def test_keys_that_were_there_stay_and_a_moved_program_is_followed(machine: Path) -> None:
    unit.KEYS.parent.mkdir(parents=True)
    unit.KEYS.write_text(f'# kept\nrestrict,command="/old/edge-har receive" {KEY}\n{OTHER}\n')
    (step,) = [step for step in steps(Wanted(PROGRAM, keys=(KEY,))) if str(unit.KEYS) in step.text]
    # Without the key as well.
    (again,) = [step for step in steps(Wanted(PROGRAM)) if str(unit.KEYS) in step.text]
    assert again.detail == step.detail
    expected = f'# kept\nrestrict,command="/opt/edge-har/bin/edge-har receive" {KEY}\n{OTHER}\n'
    assert step.detail == expected
    step.do()
    assert unit.KEYS.read_text() == expected and unit.KEYS.stat().st_mode & 0o777 == 0o644


def test_a_closed_folder_of_keys_is_opened_to_its_user_and_no_further(machine: Path) -> None:
    unit.FOLDER.mkdir(parents=True, mode=0o700)
    (step,) = [step for step in steps(Wanted(PROGRAM)) if "enter the folder" in step.text]
    step.do()
    assert unit.FOLDER.stat().st_mode & 0o777 == 0o701
    assert not [step for step in steps(Wanted(PROGRAM)) if "enter the folder" in step.text]


def test_only_secrets_that_lie_beside_the_settings_change_hands(machine: Path) -> None:
    config, beside, shared = machine / "e.toml", machine / "e" / "door", machine / "shared.key"
    beside.parent.mkdir()
    beside.write_text("hunter2\n")
    shared.write_text("a key of others\n")
    config.write_text(
        '[[source]]\nuri = "rtsp://u@h/"\npassword_file = "e/door"\n'
        f'[[sink]]\nkind = "mqtt"\nkey_file = "{shared}"\npassword_file = "e/absent"\n'
    )
    given = [text for text in texts(Wanted(PROGRAM, config)) if text.startswith("give")]
    assert given == [f"give the secret {beside} to edge-har-test-user"]


@pytest.mark.parametrize(
    "make",
    [lambda folder: Wanted((f"{folder}/edge-har",)), lambda folder: Wanted(PROGRAM, Path(folder, "e.toml"))],
)
@pytest.mark.parametrize("folder", install.HIDDEN)
def test_what_the_service_could_not_see_is_refused(make: Callable[[str], Wanted], folder: str) -> None:
    with pytest.raises(
        MisuseError, match=r"a service cannot see what lies there; .*/(opt/edge-har|etc/edge)"
    ):
        make(folder)


def test_a_folder_that_is_closed_to_others_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with quick_folder() as folder:
        program = folder / "closed" / "edge-har"
        program.parent.mkdir(mode=0o700)
        program.write_text("")
        program.chmod(0o755)
        folder.chmod(0o755)
        config = machine / "e.toml"
        config.write_text("")
        with pytest.raises(DeployError, match=f"sudo chmod o\\+x {program.parent}$"):
            install.check_readable(Wanted((str(program),), config))


def test_what_an_older_unit_left_is_named(machine: Path) -> None:
    private = machine / "var" / "lib" / "private"
    private.mkdir(parents=True)
    unit.STATE.symlink_to(private)
    with pytest.raises(DeployError, match=r"DynamicUser=.*sudo mv"):
        steps(Wanted(PROGRAM))


def test_keys_are_public_ones(tmp_path: Path) -> None:
    public, private = tmp_path / "k.pub", tmp_path / "k"
    public.write_text(f"{KEY}\n\n{OTHER}\n{KEY}\n")
    private.write_text("-----BEGIN PRIVATE KEY-----\nMC4C\n")
    assert read_keys([public]) == (KEY, OTHER)
    with pytest.raises(MisuseError, match="no public key"):
        read_keys([private])
    with pytest.raises(MisuseError, match="absent: the key cannot be read: No such file"):
        read_keys([tmp_path / "absent"])


def test_a_command_that_fails_is_a_line() -> None:
    with pytest.raises(DeployError, match=r"^ls /absent: ls: .*No such file"):
        install._run(("ls", "/absent"))
    with pytest.raises(DeployError, match="the program no-such-program is not on this machine"):
        install._run(("no-such-program",))


def test_the_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    absent = edge_har("service", "install", "--dry-run", "--config", tmp_path / "absent.toml")
    assert absent.returncode == 1 and "sudo edge-har config init" in absent.stderr
    assert len(absent.stderr.splitlines()) == 1


def test_without_root_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_har.cli.service import install as command

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MisuseError, match="run it with sudo, or with --dry-run"):
        command.main([], standalone_mode=False)
