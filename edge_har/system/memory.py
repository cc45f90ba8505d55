"""Memory of this process: the most it held, and giving back what only start-up needed."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SMAPS = Path("/proc/self/smaps")
STATUS = Path("/proc/self/status")
MADV_DONTNEED = 4  # <bits/mman-linux.h>; the same on every architecture of Linux
# Of a shared library, mapped for this process alone, that it may read or run but not write.
LIBRARY = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +\S.*\.so[.\d]*$")


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far (VmHWM), in MB of 10^6 bytes;
    None where the system hides it.
    """
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def release_startup_memory() -> int:
    """Give back what only start-up needed; bytes of library pages freed.

    That is pages of loaded libraries, which come back by themselves where they are used, and freed memory
    that the C library keeps.

    Loading OpenCV and LiteRT leaves some 60 MB of library code resident that runs no more (twice that on
    kernels that map a large folio whole when one of its pages is touched). Only mappings that cannot be
    written and hold no page of this process's own are given back: the file still has all of it. Without
    Linux, nothing happens and 0 is returned.
    """
    if not sys.platform.startswith("linux"):
        return 0
    try:
        c_library = ctypes.CDLL(None)
        madvise = c_library.madvise
        if hasattr(c_library, "malloc_trim"):  # of glibc
            c_library.malloc_trim(0)
        libraries = list(_untouched_libraries())
    except (OSError, AttributeError):  # a C library without madvise, a system without /proc
        return 0
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(
        resident for start, end, resident in libraries if madvise(start, end - start, MADV_DONTNEED) == 0
    )


def _untouched_libraries() -> Iterator[tuple[int, int, int]]:
    """(start, end, resident bytes) of every mapping of a library in which this process has changed
    nothing.
    """
    start = end = resident = 0
    for line in SMAPS.read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name:  # the first line of a mapping: addresses, permissions, file
            library = LIBRARY.match(line)
            start, end = (int(library[1], 16), int(library[2], 16)) if library else (0, 0)
        elif end and name == "Rss":
            resident = int(value.split()[0]) * 1024
        elif end and name == "Anonymous" and value.split()[0] == "0":
            yield start, end, resident
