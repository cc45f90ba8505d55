"""What the kernel reports of its video devices (V4L2): which are cameras, their names and modes."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from edge_har.errors import SourceError

SYSFS = Path("/sys/class/video4linux")
DEVICES = Path("/dev")
NODE = re.compile(r"video(\d+)")

# <linux/videodev2.h>: request numbers (the same on every 64-bit Linux) and the layout of what they fill in.
QUERYCAP, CAPABILITY = 0x80685600, struct.Struct("16s32s32sIII12x")
ENUM_FMT, FORMAT = 0xC0405602, struct.Struct("III32sI16x")
ENUM_FRAMESIZES, FRAME_SIZE = 0xC02C564A, struct.Struct("III6I8x")
ENUM_FRAMEINTERVALS, FRAME_INTERVAL = 0xC034564B, struct.Struct("IIIII6I8x")
CAN_CAPTURE, CAN_CAPTURE_PLANES, HAS_DEVICE_CAPS = 0x1, 0x1000, 0x80000000
CAPTURE, CAPTURE_PLANES = 1, 9  # enum v4l2_buf_type
DISCRETE = 1  # of v4l2_frmsizetypes and v4l2_frmivaltypes; else a range
MAX_REPLIES = 256  # to one request, against a driver that never ends its list

# Parts of a camera's way, or of a video decoder: no picture for us comes from them.
NO_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "pispbe", "rpivid", "rpi-hevc-dec")
BOARD_CAMERAS = ("unicam", "rp1-cfe", "tegra-video")  # raw sensors: their pictures come by csi:N


@dataclass(frozen=True)
class Mode:
    """What a camera can send. format: four letters. size: px. to_size: where any size up to it goes.

    rates_hz: frames a second, highest first; for a camera that takes any rate, its highest and its lowest.
    """

    format: str
    size: tuple[int, int]
    to_size: tuple[int, int] | None
    rates_hz: tuple[float, ...]


@dataclass(frozen=True)
class Device:
    """A node of a video device.

    path: of its file. name: as the kernel reports it. location: the bus and port where it sits. unit: the
    same for all nodes of one camera. modes: empty where they are not known. problem: why.
    """

    path: str
    name: str
    driver: str = ""
    location: str = ""
    unit: str = ""
    modes: tuple[Mode, ...] = ()
    problem: str | None = None

    @property
    def on_board(self) -> bool:
        """Whether it is a sensor on a board's ribbon cable."""
        return self.driver.startswith(BOARD_CAMERAS)


def find_cameras() -> list[Device]:
    """The nodes of this machine that pictures can be taken from, in the order of their numbers."""
    paths = {int(found[1]): entry for entry in _entries(SYSFS) if (found := NODE.fullmatch(entry))}
    paths |= {int(found[1]): entry for entry in _entries(DEVICES) if (found := NODE.fullmatch(entry))}
    found_devices = (_device(paths[number]) for number in sorted(paths))
    return [device for device in found_devices if device is not None]


def device_called(name: str) -> str:
    """Path of the camera whose name holds `name`, in any case.

    Raises SourceError where none does, or several cameras do; it lists the choices.
    """
    cameras = [device for device in find_cameras() if not device.on_board]
    requested = name.strip().lower()
    matching = [device for device in cameras if requested and requested in device.name.lower()]
    if not matching:
        raise SourceError(f"no camera is called {name!r}; cameras of this machine: {_choices(cameras)}")
    if len({device.unit for device in matching}) > 1:
        raise SourceError(
            f"several cameras are called {name!r}: {_choices(matching)}; name more of it, or the device"
        )
    return matching[0].path


def _choices(devices: list[Device]) -> str:
    return ", ".join(f"{device.path} ({device.name!r})" for device in devices) or "none"


def _entries(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _device(entry: str) -> Device | None:
    """What is known of the node `entry`, or None where it is no camera's."""
    path, known = str(DEVICES / entry), SYSFS / entry
    name, unit = _text(known / "name"), _unit(known) or path
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        # Of a camera's several nodes the first one gives its pictures.
        if not name or _text(known / "index") not in ("", "0"):
            return None
        return Device(path, name, unit=unit, problem=_why_not(error))
    try:
        return _query(descriptor, path, name, unit)
    finally:
        os.close(descriptor)


def _why_not(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission; add this user to the group 'video'"
    return f"cannot be opened: {os.strerror(error.errno or 0)}"


def _query(descriptor: int, path: str, name: str, unit: str) -> Device | None:
    reply = bytearray(CAPABILITY.size)
    try:
        ioctl(descriptor, QUERYCAP, reply)
    except OSError:
        return None
    driver, card, bus, _, caps, device_caps = CAPABILITY.unpack(reply)
    caps = device_caps if caps & HAS_DEVICE_CAPS else caps
    kind = CAPTURE if caps & CAN_CAPTURE else CAPTURE_PLANES if caps & CAN_CAPTURE_PLANES else None
    if kind is None or _cut(driver).startswith(NO_CAMERAS):
        return None
    modes = tuple(_modes(descriptor, kind))
    return Device(path, name or _cut(card), _cut(driver), _cut(bus), unit, modes)


def _modes(descriptor: int, kind: int) -> Iterator[Mode]:
    for reply in _replies(descriptor, ENUM_FMT, FORMAT, (kind, 0, b"", 0)):
        code = reply[4]
        four = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        sizes = _replies(descriptor, ENUM_FRAMESIZES, FRAME_SIZE, (code, *[0] * 7))
        for _, _, discrete, *size in sizes:
            if discrete == DISCRETE:
                rates = _rates(descriptor, code, size[0], size[1])
                yield Mode(four, (size[0], size[1]), None, rates)
            else:
                smallest_w, largest_w, _, smallest_h, largest_h, _ = size
                rates = _rates(descriptor, code, largest_w, largest_h)
                yield Mode(four, (smallest_w, smallest_h), (largest_w, largest_h), rates)
                break


def _rates(descriptor: int, code: int, width: int, height: int) -> tuple[float, ...]:
    rates = []
    arguments = (code, width, height, *[0] * 7)
    for _, _, _, _, discrete, *interval in _replies(
        descriptor, ENUM_FRAMEINTERVALS, FRAME_INTERVAL, arguments
    ):
        # Of a range: the shortest interval, the longest, the step.
        ends = [interval[:2]] if discrete == DISCRETE else [interval[:2], interval[2:4]]
        rates += [round(under / over, 3) for over, under in ends if over and under]
        if discrete != DISCRETE:
            break
    return tuple(sorted(set(rates), reverse=True))


def _replies(
    descriptor: int, request: int, layout: struct.Struct, arguments: tuple[object, ...]
) -> Iterator[tuple[int, ...]]:
    """The driver's replies to `request` for index 0, 1, ... until it has no more."""
    for index in range(MAX_REPLIES):
        reply = bytearray(layout.pack(index, *arguments))
        try:
            ioctl(descriptor, request, reply)
        except OSError:
            return
        yield layout.unpack(reply)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _unit(entry: Path) -> str:
    """The device in sysfs that a node belongs to: all nodes of one USB camera have the same."""
    device = entry / "device"
    return os.path.realpath(device) if device.exists() else ""


def _cut(text: bytes) -> str:
    return text.partition(b"\0")[0].decode("utf-8", "replace").strip()
