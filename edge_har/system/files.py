"""Files that are whole or absent, also after a power cut; what lies at a path; where edge_har keeps its
own.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from edge_har.errors import EdgeHarError, MisuseError, printable

FILE_MODE = 0o644
PRIVATE_FILE_MODE, PRIVATE_FOLDER_MODE = 0o600, 0o700  # what was seen and where is its owner's business
HOME_VARIABLE = "EDGE_HAR_HOME"
DEFAULT_HOME = "~/.local/share/edge-har"


class PathKind(Enum):
    """What lies at a path, links followed."""

    ABSENT = "absent"
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a device, a pipe, a socket


def path_kind(
    path: str | os.PathLike[str], error: type[EdgeHarError], shown: str | os.PathLike[str] | None = None
) -> PathKind:
    """What lies at `path`. shown: what the message calls it; None: by its path.

    Raises `error`, in one line, where the system refuses to look: no permission for a folder above, a name
    that is too long, links in a circle, a NUL. Methods of pathlib raise whatever the system reports there.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return PathKind.ABSENT
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or "it is no path"
        raise error(f"{printable(os.fspath(shown or path))}: cannot be used: {why}") from problem
    if stat.S_ISDIR(mode):
        return PathKind.FOLDER
    return PathKind.FILE if stat.S_ISREG(mode) else PathKind.OTHER


def is_utf8(text: str) -> bool:
    """Whether `text` can be written as UTF-8; names of files that hold other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def utf8_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """An absolute path in UTF-8 that leads to `path` while the block runs: itself, else a link in a private
    folder. For libraries that take no other and crash the process at one. Raises OSError where none can be
    made.
    """
    text = os.path.abspath(path)
    if is_utf8(text):
        yield text
        return
    with tempfile.TemporaryDirectory(prefix="edge-har-") as folder:
        suffix = os.path.splitext(text)[1]  # libraries choose formats by it
        link = os.path.join(folder, "link" + suffix * is_utf8(suffix))
        if not is_utf8(link):
            raise OSError(f"the name of the folder for temporary files is not UTF-8: {folder}")
        os.symlink(text, link)
        yield link


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


def take_lock(path: Path, flags: int = 0) -> int:
    """Lock a file, which is made where it is absent; the lock is held until the descriptor that comes back,
    which may read and write, is closed, at the latest by the end of the process. flags: of `os.open` besides.

    Raises BlockingIOError where it is held, OSError.
    """
    descriptor = open_private(path, os.O_RDWR | flags)
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
    """Root of this device's store: $EDGE_HAR_HOME, else ~/.local/share/edge-har. Raises MisuseError where
    the user has no home folder.
    """
    named = os.environ.get(HOME_VARIABLE)
    if not named and not _user_folder("~"):
        raise MisuseError(f"this user has no home folder; set {HOME_VARIABLE} to a folder of its own")
    return Path(named or expand_user(DEFAULT_HOME)).absolute()


def expand_user(path: str | os.PathLike[str]) -> Path:
    """`path` with the folder of a user for `~` or `~NAME` at its beginning. Raises MisuseError where there is
    none: nothing may be written to a folder that is called `~`.
    """
    user, _, rest = os.fspath(path).partition("/")
    if not user.startswith("~"):
        return Path(path)
    folder = _user_folder(user)
    if not folder:
        why = "this user has no home folder" if user == "~" else f"there is no user {user[1:]}"
        raise MisuseError(f"{os.fspath(path)}: {why}; write the whole path")
    return Path(folder, rest)


def _user_folder(user: str) -> str | None:
    """The home folder of `~` or `~NAME`; None where it has none, as in a container with a user of its own."""
    if user == "~" and not os.environ.get("HOME", "/"):
        return None
    folder = os.path.expanduser(user)
    return folder if os.path.isabs(folder) else None


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
