"""The machine's own state: temperatures, memory of this process, and what slows a Raspberry Pi down."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
PROC = Path("/proc")
VCGENCMD = "vcgencmd"  # the Raspberry Pi's own tool
VCGENCMD_TIMEOUT_S = 2.0
KEPT_S = 10.0  # how long a reading serves
SINCE_START = 16  # bits: each flag is there a second time, as "happened since start"
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
FLAGS = {0: "under-voltage", 1: "frequency-capped", 2: "throttled", 3: "soft-temperature-limit"}
THROTTLED = re.compile(r"throttled=0x([0-9A-Fa-f]+)")


@dataclass(frozen=True)
class Readings:
    """What was read. temperatures_c: degrees Celsius by sensor. throttled: flags that hold now, and that held
    since the machine started; None twice where it is no Raspberry Pi. memory_bytes: resident; None where the
    system hides it.
    """

    temperatures_c: dict[str, float]
    throttled: tuple[str, ...] | None
    was_throttled: tuple[str, ...] | None
    memory_bytes: int | None

    @property
    def hottest_c(self) -> float | None:
        """The highest temperature."""
        return max(self.temperatures_c.values(), default=None)


class MachineMonitor:
    """Reads the machine's state at most each KEPT_S. now: a clock in seconds. sys, proc: where the kernel
    shows it.
    """

    def __init__(
        self, now: Callable[[], float], *, sys: Path = SYS, proc: Path = PROC, vcgencmd: str | None = None
    ) -> None:
        self._now = now
        self._sys = sys
        self._proc = proc
        self._vcgencmd = vcgencmd or shutil.which(VCGENCMD)
        self._latest: tuple[float, Readings] | None = None

    def read(self) -> Readings:
        """What holds now, or did KEPT_S ago. Takes milliseconds on a Raspberry Pi, where it asks a
        program.
        """
        if self._latest is None or self._now() - self._latest[0] >= KEPT_S:
            flags = self._flags()
            readings = Readings(
                temperatures_c=self._temperatures_c(),
                throttled=_names(flags, 0),
                was_throttled=_names(flags, SINCE_START),
                memory_bytes=self._memory_bytes(),
            )
            self._latest = (self._now(), readings)
        return self._latest[1]

    def _temperatures_c(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for zone in sorted(self._sys.glob("class/thermal/thermal_zone*")):
            with suppress(OSError, ValueError):  # a sensor that is off cannot be read
                celsius = int((zone / "temp").read_text()) / 1000
                name = (zone / "type").read_text().strip() or zone.name
                found[name if name not in found else zone.name] = celsius
        return found

    def _flags(self) -> int | None:
        if self._vcgencmd is None:
            return None
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [self._vcgencmd, "get_throttled"],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=VCGENCMD_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )
            found = THROTTLED.search(done.stdout)
            return int(found[1], 16) if found else None
        return None

    def _memory_bytes(self) -> int | None:
        with suppress(OSError):
            for line in (self._proc / "self" / "status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return None


def _names(flags: int | None, shift: int) -> tuple[str, ...] | None:
    if flags is None:
        return None
    return tuple(name for bit, name in FLAGS.items() if flags >> (bit + shift) & 1)
