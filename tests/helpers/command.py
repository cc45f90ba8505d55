"""The command as its users run it, in a process of its own; its peak memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

# VmHWM is of this process alone; ru_maxrss would also count the parent's memory before exec.
MEASURED = """
import atexit, sys

def tell():
    with open("/proc/self/status") as status:
        kib = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(f"peak {kib} KiB", file=sys.stderr)

atexit.register(tell)
from edge_har.cli import main
sys.argv[0] = "edge-har"
main()
"""


def edge_har(
    *arguments: object, timeout_s: float = 60, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `edge-har` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edge_har", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=cwd,
        env=environment(),
    )


def start_edge_har(*arguments: object) -> subprocess.Popen[str]:
    """Run `edge-har` until it is stopped."""
    return subprocess.Popen(
        [sys.executable, "-m", "edge_har", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def peak_mb(*arguments: object, timeout_s: float = 120) -> float:
    """Run `edge-har`, which must succeed; its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=timeout_s,
        env=environment(),
    )
    found = re.search(r"peak (\d+) KiB", done.stderr)
    assert found, done.stderr
    return int(found[1]) * 1024 / 1e6


def environment() -> dict[str, str]:
    """This environment without what changes the output; the checkout is found from any folder."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "OPENCV_LOG_LEVEL")}
    return kept | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
