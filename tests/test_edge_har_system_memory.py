"""The peak is read from the system; what is given back was not needed,
and everything still works after it.
"""

import subprocess
import sys

import numpy as np
import pytest

from edge_har.system import memory
from tests.helpers.command import environment

# Before and after: resident bytes, what was given back,
# and a picture computed by the library whose pages went.
RELEASE = """
import re
import numpy as np
import cv2
from edge_har.system.memory import release_startup_memory

def resident(kind):
    return int(re.search(kind + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
expected = cv2.resize(picture, (16, 12), interpolation=cv2.INTER_AREA)
files, own = resident("RssFile"), resident("RssAnon")
freed = release_startup_memory()
print(files, own, freed, resident("RssFile"), resident("RssAnon"))
np.testing.assert_array_equal(cv2.resize(picture, (16, 12), interpolation=cv2.INTER_AREA), expected)
import numpy.fft, sqlite3, decimal  # libraries still load
"""
NOISE_BYTES = 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists pages and takes them back")
def test_pages_of_libraries_are_given_back_and_nothing_of_our_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True, env=environment()
    )
    files, own, freed, files_left, own_left = map(int, done.stdout.split())
    assert freed > files / 2
    assert files_left <= files - freed + NOISE_BYTES * 4  # what is used at once comes back
    assert abs(own_left - own) < NOISE_BYTES


def test_only_unchanged_mappings_of_libraries_count(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mapping(addresses: str, permissions: str, name: str, anonymous_kb: int) -> str:
        return (
            f"{addresses} {permissions} 00000000 fe:00 77 {name}\nRss: 8 kB\nAnonymous: {anonymous_kb} kB\n"
        )

    smaps = tmp_path / "smaps"
    smaps.write_text(
        mapping("1000-3000", "r-xp", "/usr/lib/lib a.so.6", 0)
        + mapping("3000-5000", "r--p", "/usr/lib/liba.so", 0)
        + mapping("5000-7000", "r--p", "/usr/lib/liba.so", 4)  # relocated: changed by this process
        + mapping("7000-9000", "rw-p", "/usr/lib/liba.so", 0)
        + mapping("9000-b000", "r--s", "/usr/lib/liba.so", 0)
        + mapping("b000-d000", "r--p", "/data/frames.npy", 0)
        + "d000-f000 r-xp 00000000 00:00 0 [vdso]\nRss: 8 kB\nAnonymous: 0 kB\n"
    )
    monkeypatch.setattr(memory, "SMAPS", smaps)
    assert list(memory._untouched_libraries()) == [(0x1000, 0x3000, 8192), (0x3000, 0x5000, 8192)]


def test_where_the_system_hides_it_nothing_happens(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SMAPS", tmp_path / "smaps")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert memory.release_startup_memory() == 0
    assert memory.peak_memory_mb() is None


def test_the_peak_never_falls() -> None:
    before = memory.peak_memory_mb()
    held = np.ones(20_000_000, np.uint8)
    after = memory.peak_memory_mb()
    assert before is not None and after is not None and after >= before and held[0]
