"""Power and heat, disks."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_har.deploy import unit
from edge_har.deploy.account import store_root
from edge_har.doctor.finding import Finding, Level, Machine, read_text
from edge_har.errors import MisuseError

if TYPE_CHECKING:
    from edge_har.config.file import Config
    from edge_har.sinks.options import SinkOptions

HOT_C = 80.0  # where a Raspberry Pi begins to slow down
HOME_FREE_BYTES = 64_000_000  # a bundle is received beside the two that are there, events may wait
POWER_ADVICE = (
    "use the board's own power supply and a short cable; take USB devices off, or onto a powered hub"
)
HEAT_ADVICE = "give it a heat sink or a fan, and air"
FLAG_ADVICE = {
    "under-voltage": POWER_ADVICE,
    "frequency-capped": HEAT_ADVICE,
    "throttled": HEAT_ADVICE,
    "soft-temperature-limit": HEAT_ADVICE,
}


def check_power(machine: Machine) -> Iterator[Finding]:
    """What slows the processor down: low voltage, heat, a setting."""
    from edge_har.web.machine import MachineMonitor

    readings = MachineMonitor(time.monotonic, sys=machine.sysfs, proc=machine.proc).read()
    now, before = readings.throttled, readings.was_throttled
    for flag in now or ():
        yield Finding("power", Level.PROBLEM, f"{flag} now", FLAG_ADVICE[flag])
    for flag in before or ():
        if flag not in (now or ()):
            yield Finding("power", Level.WARNING, f"{flag} since the machine started", FLAG_ADVICE[flag])
    hottest = readings.hottest_c
    if hottest is not None and hottest >= HOT_C:
        yield Finding("power", Level.WARNING, f"{hottest:.0f} degrees Celsius", HEAT_ADVICE)
    governors = sorted(machine.sysfs.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    if any(read_text(path).strip() == "powersave" for path in governors):
        yield Finding(
            "power",
            Level.WARNING,
            "the processor keeps its lowest frequency (governor powersave)",
            "sudo apt install linux-cpupower; sudo cpupower frequency-set -g ondemand",
        )
    if not now and not before:
        heat = "" if hottest is None else f"{hottest:.0f} degrees Celsius; "
        if now is None and "Raspberry Pi" in machine.board:
            text, advice = (
                f"{heat}vcgencmd gives no answer",
                "put this user into the group video, or use sudo",
            )
            yield Finding("power", Level.NOTE, text, advice)
        else:
            what = "no low voltage and no throttling" if now is not None else "voltage is not measured here"
            yield Finding("power", Level.OK if now is not None else Level.NOTE, f"{heat}{what}")


def check_disk(machine: Machine, config: Config | None) -> Iterator[Finding]:
    """Room and permission where the store, the spools and recordings lie."""
    try:
        places = {store_root(): ("the home of edge_har", HOME_FREE_BYTES)}
    except MisuseError as error:
        yield Finding("disk", Level.PROBLEM, str(error), "export EDGE_HAR_HOME=/var/lib/edge-har")
        places = {}
    for sink, folder in written_folders(config) if config else ():
        places[folder] = (f"the folder of {sink.called}", getattr(sink, "min_free_bytes", 0))
    for path, (name, needed) in places.items():
        yield _disk_finding(path, name, needed)
    if config is not None and config.path == unit.CONFIG and unit.UNIT.is_file():
        for line in closed_to_service(config):
            advice = f"choose a folder below {unit.STATE}, or name it as ReadWritePaths= (systemctl edit)"
            yield Finding("disk", Level.WARNING, line, advice)


def written_folders(config: Config) -> Iterator[tuple[SinkOptions, Path]]:
    """The sinks that write files, and the folder of each."""
    for sink in config.sinks:
        path = getattr(sink, "path", None)
        if isinstance(path, str) and path != "-":
            yield sink, Path(path).parent if sink.kind == "jsonl" else Path(path)


def closed_to_service(config: Config) -> list[str]:
    """For each folder that the unit of the service does not let it write to, a line that says so."""
    return [
        f"{folder}, the folder of {sink.called}: the service may write below {unit.STATE} alone"
        for sink, folder in written_folders(config)
        if not folder.is_relative_to(unit.STATE)
    ]


def _disk_finding(path: Path, name: str, needed: int) -> Finding:
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))
    about = f"{name}, {path}"
    try:
        facts, usage = os.statvfs(there), shutil.disk_usage(there)
    except OSError as error:
        return Finding("disk", Level.PROBLEM, f"{about}: {error.strerror}", f"see what is wrong with {there}")
    if facts.f_flag & os.ST_RDONLY:
        advice = "a card that fails is switched to reading alone: see `dmesg`, restart, replace the card"
        return Finding("disk", Level.PROBLEM, f"{about}: its disk cannot be written to", advice)
    if usage.free <= needed or (facts.f_files and not facts.f_favail):
        return Finding(
            "disk",
            Level.PROBLEM,
            f"{about}: {_size(usage.free)} free, {_size(needed)} and more are needed",
            "delete what is old, such as recordings, or lower `keep` of the sink that records",
        )
    if not os.access(there, os.W_OK | os.X_OK):
        owner = "root" if there.stat().st_uid == 0 else str(there.stat().st_uid)
        advice = f"it belongs to {owner}; where it is the service's, run this with sudo"
        return Finding("disk", Level.WARNING, f"{about}: this user may not write there", advice)
    return Finding("disk", Level.OK, f"{about}: {_size(usage.free)} free")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
