"""The cameras of this machine, and what they can do."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from edge_har.sources.csi import INSTALL, JETSON
from edge_har.sources.v4l2 import Device, Mode, find_cameras

LISTERS = ("rpicam-hello", "libcamera-hello")
LIST_TIMEOUT_S = 15.0
# As in: 0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)
SENSOR = re.compile(r"\s*(\d+) : (\S+) \[\d+x\d+[^\]]*\] \((.*)\)\s*$")
# As in: Modes: 'SRGGB10_CSI2P' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]
SENSOR_MODE = re.compile(r"(?:'(\w+)' : )?(\d+)x(\d+) \[([\d.]+) fps")


@dataclass(frozen=True)
class MachineCamera:
    """A camera of this machine. source: what `--source` takes. location: bus and port.

    problem: why it cannot be used, or queried, as it is.
    """

    source: str
    name: str
    driver: str
    location: str
    modes: tuple[Mode, ...]
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The camera as one JSON object; `to_size` and `problem` only where they are set."""
        fields: dict[str, Any] = {
            "source": self.source,
            "name": self.name,
            "driver": self.driver,
            "place": self.location,
            "modes": [_mode_json(mode) for mode in self.modes],
        }
        return fields | ({} if self.problem is None else {"problem": self.problem})


def cameras_of_this_machine() -> list[MachineCamera]:
    """USB and other video devices first, then the cameras on the board's ribbon cables."""
    devices = find_cameras()
    plain = [
        MachineCamera(d.path, d.name, d.driver, d.location, d.modes, d.problem)
        for d in devices
        if not d.on_board
    ]
    return plain + _board_cameras([device for device in devices if device.on_board])


def sensors_in(text: str) -> list[MachineCamera]:
    """The cameras in what `rpicam-hello --list-cameras` writes."""
    found: list[MachineCamera] = []
    modes: list[Mode] = []
    name = ""
    for line in text.splitlines():
        if sensor := SENSOR.match(line):
            modes, name = [], ""
            found.append(MachineCamera(f"csi:{sensor[1]}", sensor[2], "libcamera", sensor[3], ()))
        elif found:
            for mode in SENSOR_MODE.finditer(line):
                name = mode[1] or name
                modes.append(Mode(name, (int(mode[2]), int(mode[3])), None, (float(mode[4]),)))
            last = found[-1]
            found[-1] = MachineCamera(last.source, last.name, last.driver, last.location, tuple(modes))
    return found


def _board_cameras(devices: list[Device]) -> list[MachineCamera]:
    lister = next((found for name in LISTERS if (found := shutil.which(name))), None)
    if lister is not None:
        return sensors_in(_output(lister))
    by_unit = {device.unit: device for device in reversed(devices)}
    problem = None if JETSON.exists() else f"its pictures need a program; {INSTALL}"
    return [
        MachineCamera(
            f"csi:{number}", d.name, d.driver, d.location, d.modes if problem is None else (), problem
        )
        for number, d in enumerate(sorted(by_unit.values(), key=lambda device: device.path))
    ]


def _output(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--list-cameras"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIST_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _mode_json(mode: Mode) -> dict[str, Any]:
    fields: dict[str, Any] = {"format": mode.format, "size": list(mode.size), "rates_hz": list(mode.rates_hz)}
    return fields | ({} if mode.to_size is None else {"to_size": list(mode.to_size)})
