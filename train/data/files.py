"""Write the workstation's small files whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edge_har.errors import DataError
from edge_har.system.files import write_atomically


def check_can_write(path: str | os.PathLike[str]) -> None:
    """Raises DataError where `write_text` could not write `path`: for commands that work for long before."""
    folder = os.path.dirname(path) or os.curdir
    if not os.path.isdir(folder):
        raise DataError(f"{path}: cannot be written: {folder} is not a folder")
    if os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{path}: cannot be written: {os.strerror(errno.EACCES)}")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8: a reader sees the old file or the new one, never a part.

    Raises DataError when it cannot be written (no such folder, no permission, a full disk, a name in it that
    is not UTF-8); nothing is left then.
    """
    try:
        write_atomically(Path(path), text.encode())
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: cannot be written: a name in it is not UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
