"""Power and disks: each planted fault is found, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_har.config.file import config_of
from edge_har.deploy import unit
from edge_har.doctor import machine as checks
from edge_har.doctor.finding import Level
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.doctor import found, machine, on_path, only, write
from tests.helpers.sinks import small_disk


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0x0", [(Level.OK, "no low voltage and no throttling")]),
        ("0x1", [(Level.PROBLEM, "under-voltage now")]),
        (
            "0x50000",
            [(Level.WARNING, "under-voltage since the machine started"), (Level.WARNING, "throttled since")],
        ),
        ("0x40004", [(Level.PROBLEM, "throttled now")]),
    ],
)
def test_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: str, expected: list[tuple[Level, str]]
) -> None:
    on_path(monkeypatch, tmp_path / "bin", "vcgencmd", f"echo throttled={bits}")
    listed = found(checks.check_power(machine(tmp_path)))
    assert [level for level, *_ in listed] == [level for level, _ in expected]
    assert all(text.startswith(begin) for (_, text, _), (_, begin) in zip(listed, expected, strict=True))


def test_heat_and_a_slow_governor(tmp_path: Path) -> None:
    zone = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    write(zone / "temp", "86000\n")
    write(zone / "type", "cpu-thermal\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    texts = [(level, text) for level, text, _ in found(checks.check_power(machine(tmp_path)))]
    assert (Level.WARNING, "86 degrees Celsius") in texts
    assert any(level is Level.WARNING and "governor powersave" in text for level, text in texts)


def test_a_raspberry_pi_whose_tool_gives_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "proc" / "device-tree" / "model", "Raspberry Pi 4 Model B\0")
    on_path(monkeypatch, tmp_path / "bin", "vcgencmd", "echo VCHI initialization failed; exit 1")
    ((level, text, advice),) = found(checks.check_power(machine(tmp_path)))
    assert (level, text) == (Level.NOTE, "vcgencmd gives no answer") and "video" in advice


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_disk_with_room(home: Path, tmp_path: Path) -> None:
    ((level, text, _),) = found(checks.check_disk(machine(tmp_path), None))
    assert level is Level.OK and str(home) in text


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", 1000) as disk:
        monkeypatch.setenv(HOME_VARIABLE, str(disk / "home"))
        text, _ = only(checks.check_disk(machine(tmp_path), None), Level.PROBLEM)
    assert "the home of edge_har" in text and "64 MB and more are needed" in text


def test_a_disk_that_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        if os.system(f"mount -o remount,ro '{disk}'") != 0:
            pytest.skip("no disk may be mounted here")
        monkeypatch.setenv(HOME_VARIABLE, str(disk))
        text, advice = only(checks.check_disk(machine(tmp_path), None), Level.PROBLEM)
    assert "cannot be written to" in text and "card" in advice


def test_room_that_a_recording_leaves_free(home: Path, tmp_path: Path) -> None:
    text = f'[[sink]]\nkind = "clips"\npath = "{tmp_path / "clips"}"\nmin_free_bytes = 900000000000000\n'
    config = config_of(text.encode(), tmp_path / "e.toml")
    shown, _ = only(checks.check_disk(machine(tmp_path), config), Level.PROBLEM)
    assert shown.startswith(f"the folder of clips, {tmp_path / 'clips'}: ")


def test_the_disk_of_the_service_is_looked_at_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setattr(unit, "UNIT", write(tmp_path / "edge-har.service", "[Service]\n"))
    monkeypatch.setattr(unit, "STATE", tmp_path / "state")
    ((_, text, _),) = found(checks.check_disk(machine(tmp_path), None))
    assert str(tmp_path / "state") in text


def test_a_folder_that_the_service_may_not_write_to(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.toml"
    monkeypatch.setattr(unit, "UNIT", write(tmp_path / "edge-har.service", "[Service]\n"))
    monkeypatch.setattr(unit, "CONFIG", path)
    monkeypatch.setattr(unit, "STATE", tmp_path / "state")
    text = '[[sink]]\nkind = "jsonl"\npath = "{}/e.jsonl"\n'
    inside, outside = (
        config_of(text.format(tmp_path / name).encode(), path) for name in ("state", "elsewhere")
    )
    assert [level for level, *_ in found(checks.check_disk(machine(tmp_path), inside))] == [Level.OK] * 2
    shown, advice = only(checks.check_disk(machine(tmp_path), outside), Level.WARNING)
    assert shown.startswith(f"{tmp_path / 'elsewhere'}, the folder of jsonl") and "ReadWritePaths=" in advice
