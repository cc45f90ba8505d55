"""The settings, the installed service, its keys and its bundles."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edge_har.deploy import unit
from edge_har.deploy.account import store_root
from edge_har.deploy.receive import status
from edge_har.deploy.replies import Outcome
from edge_har.deploy.store import BundleStore
from edge_har.doctor.finding import Finding, Level, Machine, read_text
from edge_har.errors import EdgeHarError

INSTALL = "sudo edge-har service install"
SHOWN = ("ActiveState", "SubState", "Result", "NRestarts", "UnitFileState", "NeedDaemonReload")
SYSTEMCTL_S = 10.0
MANY_RESTARTS = 3
FORCED = re.compile(r'command="((?:\\.|[^"\\])*)"')
SSHD = (Path("/usr/sbin/sshd"), Path("/usr/bin/sshd"), Path("/usr/local/sbin/sshd"))
GROUP_AND_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_unit(machine: Machine) -> Iterator[Finding]:
    """The unit that is installed, and what systemd reports of it."""
    text = read_text(unit.UNIT)
    if not text:
        if unit.UNIT.exists():
            yield Finding("unit", Level.PROBLEM, f"{unit.UNIT} cannot be read", "run this with sudo")
        else:
            yield Finding("unit", Level.NOTE, "no service is installed", f"to have one: {INSTALL}")
        return
    if "DynamicUser=yes" in text.splitlines():
        text_found = f"{unit.UNIT} is an older one (DynamicUser=): it cannot read what flash writes"
        yield Finding("unit", Level.PROBLEM, text_found, INSTALL)
        return
    program = _program(text)
    if program is None or not os.access(program, os.X_OK):
        shown = program or "no program"
        yield Finding("unit", Level.PROBLEM, f"{unit.UNIT} runs {shown}, which is not there", INSTALL)
        return
    yield _state(_systemctl())


def _program(text: str) -> str | None:
    """What the unit runs."""
    found = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    try:
        return shlex.split(found[1])[0].replace("%%", "%").replace("$$", "$") if found else None
    except (ValueError, IndexError):
        return None


def _systemctl() -> dict[str, str]:
    """What systemd reports of the service; nothing where it does not answer."""
    if shutil.which("systemctl") is None:
        return {}
    try:
        done = subprocess.run(
            ["systemctl", "show", unit.UNIT.name, *(f"--property={name}" for name in SHOWN)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SYSTEMCTL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def _state(shown: dict[str, str]) -> Finding:
    log = f"journalctl -u {unit.NAME} -n 50"
    active = shown.get("ActiveState")
    if active is None:
        return Finding(
            "unit", Level.NOTE, "systemd does not answer here: the state of the service is unknown"
        )
    if active != "active":
        result = shown.get("Result", "")
        why = f"{active}, {shown.get('SubState', '')}" + f", result {result}" * (
            result not in ("", "success")
        )
        advice = f"{log} says why; sudo systemctl restart {unit.NAME}"
        return Finding("unit", Level.PROBLEM, f"the service does not run ({why})", advice)
    restarts = shown.get("NRestarts", "0")
    if restarts.isdecimal() and int(restarts) >= MANY_RESTARTS:
        text = f"the service runs, but was restarted {restarts} times"
        return Finding("unit", Level.WARNING, text, f"{log} says why: often a camera that sends nothing")
    if shown.get("NeedDaemonReload") == "yes":
        advice = f"sudo systemctl daemon-reload; sudo systemctl restart {unit.NAME}"
        return Finding("unit", Level.WARNING, "the unit was changed since the service started", advice)
    if shown.get("UnitFileState") != "enabled":
        advice = f"sudo systemctl enable {unit.NAME}"
        return Finding("unit", Level.WARNING, "the service runs, but does not start at boot", advice)
    return Finding("unit", Level.OK, "the service runs, and starts at boot")


def check_keys(machine: Machine) -> Iterator[Finding]:
    """Who may flash to the service, and whether sshd and the store let them."""
    if not unit.UNIT.is_file():
        yield Finding("keys", Level.NOTE, "no service is installed: flash uses your own login")
        return
    lines = [line for line in read_text(unit.KEYS).splitlines() if line.strip() and line[0] != "#"]
    if not lines:
        advice = f"{INSTALL} --deploy-key id_ed25519.pub; or flash with --remote-command 'sudo edge-har'"
        yield Finding("keys", Level.NOTE, f"no key may flash to {unit.NAME}@ this machine", advice)
        return
    if not any(path.exists() for path in SSHD):
        yield Finding("keys", Level.PROBLEM, "no sshd is installed here", "sudo apt install openssh-server")
    for path in (unit.KEYS, unit.KEYS.parent, unit.FOLDER):
        if path.stat().st_mode & GROUP_AND_OTHERS_WRITE:
            text = f"others may write {path}: sshd takes no key from it"
            yield Finding("keys", Level.PROBLEM, text, f"sudo chmod go-w {path}")
    for number, line in enumerate(lines, 1):
        yield _key_finding(number, line)


def _key_finding(number: int, line: str) -> Finding:
    which = f"key {number} of {unit.KEYS}"
    forced = FORCED.search(line)
    if forced is None:
        text = f"{which} has no command of its own: it opens a shell"
        return Finding("keys", Level.PROBLEM, text, f"remove it, then {INSTALL} --deploy-key FILE")
    try:
        program = shlex.split(forced[1].replace('\\"', '"').replace("\\\\", "\\"))[0]
    except (ValueError, IndexError):
        program = ""
    if not os.access(program, os.X_OK):
        text = f"{which} calls {program or 'nothing'}, which is not there"
        return Finding("keys", Level.PROBLEM, text, INSTALL)
    return Finding("keys", Level.OK, f"{which} may flash, and nothing else")


def check_store(machine: Machine) -> Iterator[Finding]:
    """The bundles of this machine: whole, and whether it takes new ones."""
    store = BundleStore(store_root())
    if not store.root.is_dir():
        yield Finding("store", Level.NOTE, f"nothing was flashed yet to {store.root}")
        return
    reply = status(store.root)
    if reply.outcome is Outcome.BROKEN:
        yield Finding(
            "store", Level.PROBLEM, reply.detail, "flash a good bundle, or `edge-har rollback --local`"
        )
    elif reply.outcome is not Outcome.OK:
        yield Finding("store", Level.WARNING, reply.detail, "run this with sudo")
        return
    elif (reply.store or {}).get("pending"):
        text, advice = reply.detail, "wait; where no flash is under way, flash again: it repairs what is left"
        yield Finding("store", Level.WARNING, text, advice)
    else:
        yield Finding("store", Level.OK, f"{store.root}: {reply.model or reply.detail}")
    try:
        allowed = store.allows_unsigned()
    except (EdgeHarError, OSError) as error:
        advice = f"correct {store.root / 'config.toml'}: allow_unsigned = true or false"
        yield Finding("store", Level.PROBLEM, str(error), advice)
        return
    if not allowed:
        advice = f"{INSTALL} --allow-unsigned; without a service: docs/deploy.md"
        yield Finding(
            "store", Level.NOTE, "it takes no bundles that nobody signed, so flash is refused", advice
        )
