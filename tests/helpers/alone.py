"""One process at a time, where several of a test run would make the same files."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same `lock`, a file beside what is made."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go with the file, however this process ends
        yield


def made_once(path: Path, make: Callable[[], object]) -> Path:
    """`path`, which `make` writes whole or not at all unless it is there."""
    with alone(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            make()
    return path
