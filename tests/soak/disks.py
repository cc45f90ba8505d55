"""Disks that can be filled: a small tmpfs each where this process may mount one, else a limit on the
runtime's files.
"""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress
from pathlib import Path

FILLER = "filler"
BLOCK_BYTES = 4096


class Disk:
    """A folder on a disk of its own of `size_kb`, where that can be had. mounted: whether it is one."""

    def __init__(self, folder: Path, size_kb: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k,mode=700", "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
        except OSError:
            self.mounted = False

    def fill(self, pid: int) -> None:
        """Leave no room, or no process `pid` that may use it. Call it again to take what was given back."""
        if not self.mounted:
            _limit(pid, 0)
            return
        with suppress(OSError), open(self.folder / FILLER, "ab", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK_BYTES))

    def free(self, pid: int) -> None:
        """Give the room back."""
        if not self.mounted:
            _limit(pid, resource.RLIM_INFINITY)
            return
        (self.folder / FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        """Take the disk away."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)
            self.mounted = False


def _limit(pid: int, size_bytes: int) -> None:
    """Let the process write no file beyond `size_bytes`; only the soft limit, so that it can be given
    back.
    """
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        soft = hard if size_bytes == resource.RLIM_INFINITY else size_bytes
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
