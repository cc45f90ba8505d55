"""Cameras: which there are, who may use them, who does, and what a board's ribbon cable needs."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_har.deploy import unit
from edge_har.doctor.finding import Finding, Level, Machine, read_text
from edge_har.errors import SourceError

if TYPE_CHECKING:
    from edge_har.config.file import Config, SourceConfig

SERVICE_GROUPS = ("video", unit.NAME)  # of the unit
NODE = re.compile(r"video\d+")
OLD_STACK = re.compile(r"^\s*start_x\s*=\s*1", re.MULTILINE)
NO_DETECTION = re.compile(r"^\s*camera_auto_detect\s*=\s*0", re.MULTILINE)
GSTREAMER_CODE = "import cv2; print([l for l in cv2.getBuildInformation().splitlines() if 'GStreamer' in l])"
GSTREAMER_S = 60.0
READ_AND_WRITE = 0o6


def check_cameras(machine: Machine, config: Config | None) -> Iterator[Finding]:
    """The cameras of this machine, and those that the configuration names."""
    from edge_har.sources.camera import device_of
    from edge_har.sources.machine import cameras_of_this_machine

    wanted = _sources(config, "camera")
    cameras = [camera for camera in cameras_of_this_machine() if not camera.source.startswith("csi:")]
    for camera in cameras:
        path = Path(camera.source)
        closed = _closed_to_user(machine, path)
        holders = _holders(machine, path)
        if closed is not None:
            yield closed
        elif camera.problem is not None:
            advice = "plug it in again, or restart the machine"
            yield Finding("camera", Level.PROBLEM, f"{path} ({camera.name}): {camera.problem}", advice)
        elif holders:
            yield Finding(
                "camera",
                Level.WARNING,
                f"{path} ({camera.name}) is in use by {', '.join(holders)}",
                "fine where that is the service; else end that program: a camera serves one at a time",
            )
        else:
            yield Finding("camera", Level.OK, f"{path} ({camera.name})")
        yield from _closed_to_service(path)
    for source in wanted:
        try:
            device_of(source.address.target)
        except SourceError as error:
            advice = "plug it in, or name another: `edge-har sources` lists the cameras of this machine"
            yield Finding("camera", Level.PROBLEM, f"source {source.name}: {error}", advice)
    if not cameras and not wanted:
        yield Finding("camera", Level.NOTE, "no USB camera here; network sources and files need none")


def _sources(config: Config | None, kind: str) -> list[SourceConfig]:
    return [source for source in config.sources if source.address.kind == kind] if config else []


def _closed_to_user(machine: Machine, path: Path) -> Finding | None:
    """A problem where the user may not open a camera's file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    mode, shift = facts.st_mode, 0
    if machine.uid == 0:
        return None
    if machine.uid == facts.st_uid:
        shift = 6
    elif facts.st_gid in machine.groups:
        shift = 3
    if mode >> shift & READ_AND_WRITE == READ_AND_WRITE:
        return None
    group, user = _group(facts.st_gid), _user(machine.uid)
    if mode >> 3 & READ_AND_WRITE == READ_AND_WRITE and shift != 3:
        advice = f"sudo usermod -aG {group} {user}, then log in again"
    else:
        advice = (
            f"its mode is {stat.filemode(mode)}, which lets no group in: look for a udev rule of your own"
        )
    return Finding("camera", Level.PROBLEM, f"{path}: {user} may not open it", advice)


def _closed_to_service(path: Path) -> Iterator[Finding]:
    """A problem where the user of the installed service may not open a camera's file."""
    if not unit.UNIT.is_file():
        return
    try:
        facts = path.stat()
    except OSError:
        return
    group = _group(facts.st_gid)
    everyone = facts.st_mode & READ_AND_WRITE == READ_AND_WRITE
    if not everyone and group not in SERVICE_GROUPS:
        yield Finding(
            "camera",
            Level.PROBLEM,
            f"{path} belongs to the group {group}, in which the service is not",
            f"sudo systemctl edit {unit.NAME}, and write [Service], below it SupplementaryGroups={group}",
        )


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _holders(machine: Machine, path: Path) -> list[str]:
    """The processes that have a camera open, as far as this user may see."""
    found = []
    for process in machine.proc.glob("[0-9]*"):
        try:
            opened = any(os.readlink(entry) == str(path) for entry in (process / "fd").iterdir())
        except OSError:  # of another user, or gone
            continue
        if opened and process.name != str(os.getpid()):
            found.append(f"{read_text(process / 'comm').strip() or 'process'} ({process.name})")
    return sorted(found)


def check_csi(machine: Machine, config: Config | None) -> Iterator[Finding]:
    """What a camera on a ribbon cable needs, on boards that have such a connector."""
    from edge_har.sources import csi
    from edge_har.sources.machine import LISTERS, cameras_of_this_machine

    wanted = _sources(config, "csi")
    missing = Level.PROBLEM if wanted else Level.NOTE
    if csi.JETSON.exists():
        yield _jetson(machine, missing)
        return
    if "Raspberry Pi" not in machine.board:
        if wanted:
            text = f"source {wanted[0].name}: this machine is no Raspberry Pi and no Jetson"
            yield Finding("csi", Level.PROBLEM, text, "name a USB camera, rtsp:// or http:// instead")
        else:
            yield Finding("csi", Level.NOTE, "no Raspberry Pi, no Jetson: no ribbon cable")
        return
    settings = read_text(machine.boot / "config.txt")
    if OLD_STACK.search(settings):
        yield Finding(
            "csi",
            Level.PROBLEM,
            f"start_x=1 in {machine.boot}/config.txt switches the old camera system on",
            f"remove that line from {machine.boot}/config.txt and restart",
        )
    if csi.camera_program() is None:
        text = f"no program for its cameras ({', '.join(csi.PROGRAMS)})"
        yield Finding("csi", missing, text, "sudo apt install rpicam-apps")
        return
    found = [camera for camera in cameras_of_this_machine() if camera.source.startswith("csi:")]
    for camera in found:
        level = Level.OK if camera.problem is None else Level.PROBLEM
        yield Finding("csi", level, f"{camera.source} ({camera.name})", camera.problem or "")
    if not found:
        why = (
            "camera_auto_detect=0 in config.txt"
            if NO_DETECTION.search(settings)
            else f"{LISTERS[0]} finds none"
        )
        yield Finding(
            "csi",
            missing,
            f"no camera on the ribbon cable: {why}",
            f"switch off, seat the cable at both ends, see that {machine.boot}/config.txt has "
            "camera_auto_detect=1, start again",
        )


def _jetson(machine: Machine, missing: Level) -> Finding:
    try:
        done = subprocess.run(
            [machine.python, "-c", GSTREAMER_CODE],
            capture_output=True,
            text=True,
            timeout=GSTREAMER_S,
            check=False,
            cwd="/",
        )
        has = "YES" in done.stdout
    except (OSError, subprocess.TimeoutExpired):
        has = False
    if has:
        return Finding("csi", Level.OK, "Jetson; OpenCV has GStreamer")
    return Finding(
        "csi",
        missing,
        "Jetson, but this OpenCV has no GStreamer (those of pip have none)",
        "use the system's OpenCV: python3 -m venv --system-site-packages, without opencv-python-headless",
    )
