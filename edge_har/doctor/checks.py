"""All checks of the doctor, in the order in which they are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_har.deploy import unit
from edge_har.doctor.clock import check_clock
from edge_har.doctor.finding import Finding, Level, Machine
from edge_har.doctor.runtime import check_cpu, check_glibc, check_libraries, check_python
from edge_har.options.secrets import CREDENTIALS_VARIABLE

if TYPE_CHECKING:
    from edge_har.config.file import Config

NOT_CHECKED = "camera, csi, power, disk, unit, keys, store, network"


def diagnose(machine: Machine, config_path: Path | None = None) -> Iterator[Finding]:
    """Look at a machine; findings come as they are made.

    config_path: a configuration of `run`, whose cameras, folders and servers are looked at too; None: there
    is none. What needs libraries that cannot be loaded is left out, and a finding says so.
    """
    runtime = []
    for check in (check_python, check_libraries, check_cpu, check_glibc):
        for finding in check(machine):
            runtime.append(finding)
            yield finding
    yield from check_clock(machine)
    if any(found.check == "libraries" and found.level is Level.PROBLEM for found in runtime):
        advice = "mend the libraries first, then run this again"
        yield Finding("libraries", Level.NOTE, f"not looked at without them: {NOT_CHECKED}", advice)
        return
    yield from _with_libraries(machine, config_path)


def _with_libraries(machine: Machine, config_path: Path | None) -> Iterator[Finding]:
    from edge_har.doctor.cameras import check_cameras, check_csi
    from edge_har.doctor.machine import check_disk, check_power
    from edge_har.doctor.network import check_network
    from edge_har.doctor.runtime import check_model
    from edge_har.doctor.service import check_keys, check_store, check_unit

    yield from check_model(machine)
    config = None
    if config_path is not None:
        config, findings = read_settings(config_path)
        yield from findings
    yield from check_cameras(machine, config)
    yield from check_csi(machine, config)
    yield from check_power(machine)
    yield from check_disk(machine, config)
    yield from check_unit(machine)
    yield from check_keys(machine)
    yield from check_store(machine)
    yield from check_network(machine, config)


def read_settings(path: Path) -> tuple[Config | None, list[Finding]]:
    """A configuration, where it can be used, and what is wrong in it."""
    from edge_har.config.check import checked
    from edge_har.config.file import ConfigError

    try:
        config, _ = checked(path)
    except ConfigError as error:
        return None, [_settings_finding(path, line) for line in error.problems]
    names = ", ".join(source.name for source in config.sources)
    return config, [Finding("config", Level.OK, f"{path}: it can be run; sources: {names}")]


def _settings_finding(path: Path, line: str) -> Finding:
    """A line of what is wrong in the settings. A secret that systemd hands over, or that belongs to the
    service, is no fault of theirs.
    """
    if CREDENTIALS_VARIABLE in line:
        advice = f"journalctl -u {unit.NAME} says whether the service found it"
        return Finding("config", Level.WARNING, f"{line} (only systemd hands it over)", advice)
    if os.strerror(errno.EACCES) in line:
        return Finding("config", Level.WARNING, line, "run this with sudo")
    advice = f"edge-har config check {path}; keys and values: docs/config.md"
    return Finding("config", Level.PROBLEM, line, advice)
