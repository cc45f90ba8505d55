"""Write the workstation's small files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edge_har.errors import DataError
from edge_har.system.files import write_atomically


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
