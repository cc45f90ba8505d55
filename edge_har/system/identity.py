"""Which machine this is: host names repeat (every fresh Raspberry Pi is called the same), this does not."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import re
import secrets
from pathlib import Path

from edge_har.system.files import FILE_MODE, home, sync_directory

FILE = "identity"
RANDOM_BYTES = 6
FORM = re.compile(rb"([0-9a-f]{%d})\n" % (2 * RANDOM_BYTES))
READ_BYTES = 64

log = logging.getLogger("edge_har")


def machine_identity() -> str:
    """Twelve hexadecimal digits, made at random once and kept in the home of edge_har.

    Where they cannot be kept they hold for this process alone, and a warning says so.
    """
    return _identity_in(home())


@functools.cache
def _identity_in(folder: Path) -> str:
    path = folder / FILE
    try:
        return _read(path) or _make(path)
    except OSError as error:
        log.warning(
            "%s cannot be kept (%s): other programs will take each run for another device; "
            "set EDGE_HAR_HOME to a folder that can be written to, or the option `node`",
            path,
            error.strerror,
        )
        return secrets.token_hex(RANDOM_BYTES)


def _read(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            kept = FORM.fullmatch(file.read(READ_BYTES))
    except FileNotFoundError:
        return None
    return kept[1].decode() if kept else None


def _make(path: Path) -> str:
    """Write the file, unless another process was first: under a lock, as a reader takes it whole or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        kept = _read(path)
        if kept is None:
            kept = secrets.token_hex(RANDOM_BYTES)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{kept}\n".encode(), 0)
            os.fsync(descriptor)
            sync_directory(path.parent)
    finally:
        os.close(descriptor)
    return kept
