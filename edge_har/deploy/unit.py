"""The service of a device: its systemd unit, its user, and where it keeps and reads what."""

from __future__ import annotations

import re
from pathlib import Path

NAME = "edge-har"  # of the unit, its user and its group
UNIT = Path("/etc/systemd/system/edge-har.service")
CONFIG = Path("/etc/edge-har.toml")
STATE = Path("/var/lib/edge-har")  # EDGE_HAR_HOME of the service: the store that it reads bundles from
FOLDER = Path("/etc/edge-har")  # home of its user, which only root writes to: keys of senders, secrets
KEYS = FOLDER / ".ssh" / "authorized_keys"
LINK = Path("/usr/local/bin/edge-har")  # puts the program on the PATH of logins over ssh, and of sudo

PACKAGED_UNIT = Path(__file__).with_name("edge-har.service")
PROGRAM = "/opt/edge-har/bin/edge-har"  # in the packaged unit
PLAIN_WORD = re.compile(r"[\w/.+@:=,-]+")
# A Jetson's camera daemon has its socket in /tmp, and its devices have no class of their own.
JETSON_CHANGES = (
    (re.compile(r"^PrivateTmp=yes\n", re.MULTILINE), ""),
    (re.compile(r"^DevicePolicy=closed\n", re.MULTILINE), ""),
    (re.compile(r"^DeviceAllow=.*\n", re.MULTILINE), ""),
    (re.compile(r"^# What vcgencmd .*\n", re.MULTILINE), ""),
)


def unit_text(program: tuple[str, ...], config: Path = CONFIG, *, jetson: bool = False) -> str:
    """The unit that runs `program`, the words that call edge-har, on the settings in `config`."""
    text = PACKAGED_UNIT.read_text(encoding="utf-8")
    words = " ".join(map(unit_word, program))
    text = text.replace(f"ExecStart={PROGRAM} ", f"ExecStart={words} ")
    text = text.replace(f"--config {CONFIG} ", f"--config {unit_word(str(config))} ")
    for pattern, instead in JETSON_CHANGES if jetson else ():
        text = pattern.sub(instead, text)
    return text


def unit_word(word: str) -> str:
    """A word of a command as systemd reads it (systemd.service(5), command lines)."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return word if PLAIN_WORD.fullmatch(word) else f'"{word}"'
