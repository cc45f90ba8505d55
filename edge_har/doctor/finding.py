"""What a check finds, and where checks look."""

from __future__ import annotations

import os
import platform
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"  # nothing to do, or nothing that applies here
    WARNING = "warning"  # it works, but not as well, or not for long
    PROBLEM = "problem"  # it does not work


@dataclass(frozen=True)
class Finding:
    """What a check found. check: its name; text: what is so; advice: what to do, where there is anything."""

    check: str
    level: Level
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; `advice` only where there is any."""
        fields = {"check": self.check, "level": self.level.value, "text": self.text}
        return fields | ({"advice": self.advice} if self.advice else {})


@dataclass(frozen=True)
class Machine:
    """Where checks look; the real machine by default.

    proc, sysfs, dev, boot: folders of the system. python: the interpreter that libraries are tried with.
    version, bits, arch, libc: of Python, its pointers, the processor, the C library (name and version; empty
    where it is not glibc). uid, groups: of the user. time_s: the clock, in seconds since 1970. synchronised:
    whether a time server keeps that clock right; None where it is not known.
    """

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    boot: Path = Path("/boot/firmware")
    python: str = sys.executable
    version: tuple[int, int] = (sys.version_info.major, sys.version_info.minor)
    bits: int = struct.calcsize("P") * 8
    arch: str = field(default_factory=platform.machine)
    libc: tuple[str, str] = field(default_factory=platform.libc_ver)
    uid: int = field(default_factory=os.geteuid)
    groups: frozenset[int] = field(default_factory=lambda: frozenset((*os.getgroups(), os.getegid())))
    time_s: Callable[[], float] = time.time
    synchronised: Callable[[], bool | None] | None = None

    @property
    def board(self) -> str:
        """What the board calls itself, such as `Raspberry Pi 5 Model B Rev 1.0`; empty where it does not."""
        return read_text(self.proc / "device-tree" / "model").strip("\0\n ")


def read_text(path: Path) -> str:
    """The text of a file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
