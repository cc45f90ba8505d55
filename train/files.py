"""Write the workstation's small files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from edge_har.errors import DataError


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Put `text` at `path` as UTF-8: a reader sees the old file or the new one, never a part.

    Raises DataError when it cannot be written (no such folder, no permission, a full disk); nothing is left then.
    """
    target = Path(path)
    partial = target.parent / f".{target.name}.{os.getpid()}.partial"
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from error
