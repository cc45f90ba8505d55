"""Video devices without any: a tree like sysfs, files like /dev's, and what the kernel would answer.

The layouts come from the field lists of <linux/videodev2.h> through ctypes,
and the request numbers from their sizes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

U32 = ctypes.c_uint32


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", U32),
        ("capabilities", U32),
        ("device_caps", U32),
        ("reserved", U32 * 3),
    )


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("type", U32),
        ("flags", U32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", U32),
        ("mbus_code", U32),
        ("reserved", U32 * 3),
    )


class FrameSize(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("pixel_format", U32),
        ("type", U32),
        ("numbers", U32 * 6),  # width, height; or least, most, step of width, then of height
        ("reserved", U32 * 2),
    )


class FrameInterval(ctypes.Structure):
    _fields_ = (
        ("index", U32),
        ("pixel_format", U32),
        ("width", U32),
        ("height", U32),
        ("type", U32),
        ("numbers", U32 * 6),  # a fraction; or least, most, step
        ("reserved", U32 * 2),
    )


def _request(direction: int, number: int, layout: type[ctypes.Structure]) -> int:
    """_IOR (2) or _IOWR (3) of 'V'."""
    return direction << 30 | ctypes.sizeof(layout) << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, Capability)
ENUM_FMT = _request(3, 2, FormatDescription)
ENUM_FRAMESIZES = _request(3, 74, FrameSize)
ENUM_FRAMEINTERVALS = _request(3, 75, FrameInterval)
LAYOUTS = {
    QUERYCAP: Capability,
    ENUM_FMT: FormatDescription,
    ENUM_FRAMESIZES: FrameSize,
    ENUM_FRAMEINTERVALS: FrameInterval,
}
VIDEO_CAPTURE, VIDEO_CAPTURE_MPLANE, VIDEO_M2M_MPLANE = 0x1, 0x1000, 0x4000
META_CAPTURE, STREAMING, DEVICE_CAPS = 0x00800000, 0x04000000, 0x80000000
DISCRETE, CONTINUOUS, STEPWISE = 1, 2, 3


@dataclass
class FakeNode:
    """One /dev/videoN. sizes: per format, (numbers of a size, numbers of its intervals);
    two numbers are one size.
    """

    number: int
    name: str
    unit: str = ""
    index: int = 0
    driver: str = "uvcvideo"
    bus: str = "usb-0000:01:00.0-1.2"
    caps: int = VIDEO_CAPTURE
    formats: dict[str, Sequence[tuple[tuple[int, ...], Sequence[tuple[int, ...]]]]] = field(
        default_factory=dict
    )
    gone: bool = False


class FakeVideo:
    """The devices of a made machine; `ioctl` answers for them."""

    def __init__(self, root: Path, nodes: Sequence[FakeNode]) -> None:
        self.sysfs, self.devices = root / "sysfs", root / "dev"
        self.nodes = {f"video{node.number}": node for node in nodes}
        self.sysfs.mkdir(parents=True)
        self.devices.mkdir()
        for entry, node in self.nodes.items():
            folder, unit = self.sysfs / entry, root / "units" / (node.unit or entry)
            folder.mkdir()
            unit.mkdir(parents=True, exist_ok=True)
            (folder / "name").write_text(node.name + "\n")
            (folder / "index").write_text(f"{node.index}\n")
            (folder / "device").symlink_to(unit)
            (self.devices / entry).touch()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeVideo:
        """Put this machine in place of the real one."""
        monkeypatch.setattr("edge_har.sources.v4l2.SYSFS", self.sysfs)
        monkeypatch.setattr("edge_har.sources.v4l2.DEVICES", self.devices)
        monkeypatch.setattr("edge_har.sources.v4l2.ioctl", self.ioctl)
        return self

    def ioctl(self, descriptor: int, request: int, buffer: bytearray) -> int:
        """Answer as the kernel does; its errors are OSError."""
        node = self.nodes[os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))]
        layout = LAYOUTS.get(request)
        if layout is None or len(buffer) != ctypes.sizeof(layout):
            raise OSError(errno.ENOTTY, "not a request of ours")
        if node.gone:
            raise OSError(errno.ENODEV, "gone")
        answer = layout.from_buffer(buffer)
        if isinstance(answer, Capability):
            answer.driver, answer.card, answer.bus_info = (
                node.driver.encode(),
                node.name.encode()[:31],
                node.bus.encode(),
            )
            answer.device_caps = node.caps | STREAMING
            answer.capabilities = VIDEO_CAPTURE | META_CAPTURE | STREAMING | DEVICE_CAPS
        else:
            self._enumerate(node, answer)
        del answer  # lets go of the buffer
        return 0

    def _enumerate(self, node: FakeNode, answer: ctypes.Structure) -> None:
        codes = {int.from_bytes(name.encode(), "little"): sizes for name, sizes in node.formats.items()}
        if isinstance(answer, FormatDescription):
            expected = 1 if node.caps & VIDEO_CAPTURE else 9
            if answer.type != expected or answer.index >= len(codes):
                raise OSError(errno.EINVAL, "no more")
            answer.pixelformat = list(codes)[answer.index]
            return
        sizes = codes[answer.pixel_format]
        if isinstance(answer, FrameSize):
            if answer.index >= len(sizes):
                raise OSError(errno.EINVAL, "no more")
            numbers = sizes[answer.index][0]
            answer.type = DISCRETE if len(numbers) == 2 else STEPWISE
        else:
            assert isinstance(answer, FrameInterval)
            intervals = next(
                rates
                for size, rates in sizes
                if (answer.width, answer.height)
                in ((size[0], size[1]), (size[1], size[min(4, len(size) - 1)]))
            )
            if answer.index >= len(intervals):
                raise OSError(errno.EINVAL, "no more")
            numbers = intervals[answer.index]
            answer.type = DISCRETE if len(numbers) == 2 else CONTINUOUS
        for at, number in enumerate(numbers):
            answer.numbers[at] = number
