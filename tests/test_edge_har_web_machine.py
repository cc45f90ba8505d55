"""The machine's state, read from a made-up one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_har.web.machine import KEPT_S, MachineMonitor


class Clock:
    s = 0.0

    def __call__(self) -> float:
        return self.s


def zone(root: Path, number: int, kind: str, temp: str) -> None:
    folder = root / "class" / "thermal" / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(kind + "\n")
    (folder / "temp").write_text(temp + "\n")


def tool(path: Path, does: str) -> str:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def test_temperatures_are_read_and_sensors_that_fail_are_left_out(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "48312")
    zone(tmp_path, 1, "gpu-thermal", "51000")
    zone(tmp_path, 2, "cpu-thermal", "47000")
    zone(tmp_path, 3, "modem", "none")
    readings = MachineMonitor(Clock(), sys=tmp_path, vcgencmd="/nowhere/vcgencmd").read()
    assert readings.temperatures_c == {"cpu-thermal": 48.312, "gpu-thermal": 51.0, "thermal_zone2": 47.0}
    assert readings.hottest_c == 51.0
    assert readings.throttled is None and readings.was_throttled is None


@pytest.mark.parametrize(
    ("says", "now", "ever"),
    [
        ("throttled=0x0", (), ()),
        ("throttled=0x50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("throttled=0xA0008", ("soft-temperature-limit",), ("frequency-capped", "soft-temperature-limit")),
    ],
)
def test_a_raspberry_pi_says_what_slows_it_down(
    tmp_path: Path, says: str, now: tuple[str, ...], ever: tuple[str, ...]
) -> None:
    vcgencmd = tool(tmp_path / "vcgencmd", f'[ "$*" = get_throttled ] && echo {says}')
    readings = MachineMonitor(Clock(), sys=tmp_path, vcgencmd=vcgencmd).read()
    assert (readings.throttled, readings.was_throttled) == (now, ever)


@pytest.mark.parametrize("does", ["exit 255", "echo VCHI initialization failed", "printf '\\377'"])
def test_a_tool_that_fails_says_nothing(tmp_path: Path, does: str) -> None:
    readings = MachineMonitor(Clock(), sys=tmp_path, vcgencmd=tool(tmp_path / "vcgencmd", does)).read()
    assert readings.throttled is None


def test_memory_is_this_processes_own_and_unknown_where_it_is_hidden(tmp_path: Path) -> None:
    here = MachineMonitor(Clock(), sys=tmp_path, vcgencmd="/nowhere").read().memory_bytes
    assert here is not None and 5e6 < here < 1e10
    assert (
        MachineMonitor(Clock(), sys=tmp_path, proc=tmp_path, vcgencmd="/nowhere").read().memory_bytes is None
    )
    assert MachineMonitor(Clock(), sys=tmp_path, vcgencmd="/nowhere").read().hottest_c is None


def test_the_tool_is_not_asked_all_the_time(tmp_path: Path) -> None:
    clock, asked = Clock(), tmp_path / "asked"
    machine = MachineMonitor(clock, sys=tmp_path, vcgencmd=tool(tmp_path / "vcgencmd", f"echo >> {asked}"))
    for clock.s in (0.0, 1.0, KEPT_S - 0.1, KEPT_S, KEPT_S + 1):
        machine.read()
    assert asked.read_text() == "\n\n"
