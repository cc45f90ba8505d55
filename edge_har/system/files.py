"""Files that are whole or absent, also after a power cut, and where edge_har keeps its own."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_MODE = 0o644
PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE = 0o600, 0o700  # what was seen and where is its owner's business
HOME_VARIABLE = "EDGE_HAR_HOME"
DEFAULT_HOME = "~/.local/share/edge-har"


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path to write to, which replaces `path` when the block ends: readers see the old file or the new
    one, never a part of it. Where the block raises nothing is left. Raises OSError.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.partial{path.suffix}")
    try:
        yield partial
        _sync(partial, os.O_RDONLY)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole of `path`, or nothing; see `replaced_file`."""
    with replaced_file(path) as partial:
        partial.write_bytes(content)


def make_private_folder(path: Path) -> None:
    """Have a folder at `path`; where there was none, one that only its owner may look into.

    Raises OSError.
    """
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER_MODE)


def open_private(path: str | Path, flags: int) -> int:
    """A descriptor of the file `path`; where there was none, of a new one that only its owner may read. A
    file that was there keeps its mode. flags: of `os.open`, in addition to O_CREAT and O_CLOEXEC.

    Raises OSError.
    """
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE_MODE)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, synced to disk. Raises FileExistsError, also for a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def take_lock(path: Path) -> int:
    """Lock a file, which is made where it is absent; the lock is held until the descriptor that comes back is
    closed, at the latest by the end of the process. Raises BlockingIOError where it is held, OSError.
    """
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sync_directory(path: Path) -> None:
    """Make a rename or a new name in `path` survive a power cut."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def home() -> Path:
    """Root of this device's store: $EDGE_HAR_HOME, else ~/.local/share/edge-har."""
    return Path(os.environ.get(HOME_VARIABLE) or os.path.expanduser(DEFAULT_HOME)).absolute()


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
