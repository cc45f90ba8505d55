"""Run a bundle's golden clips in a process of its own, so that a bad graph takes down nothing but itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from edge_har.deploy.replies import DeploymentFailed, Outcome, plain

MAX_MEMORY_BYTES = 384 * 1024 * 1024  # what it allocates (measured: 75 MB); mapped libraries do not count
MAX_CPU_S = 120


def run_selftest(folder: Path, *, cwd: Path, timeout_s: float) -> None:
    """Check the golden clips of the unpacked bundle in `folder` with this very interpreter.

    cwd: a folder that holds nothing to import. Raises DeploymentFailed (SELFTEST_FAILED) with the first line
    that says why.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edge_har.deploy.selftest", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=_environment(),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(f"the golden clips took longer than {timeout_s:.0f} s") from None
    if done.returncode < 0:
        raise _failed(f"the process was killed by signal {-done.returncode} (out of memory?)")
    if done.returncode > 0:
        lines = [plain(line) for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise _failed(lines[-1] if lines else f"exit code {done.returncode}")


def _environment() -> dict[str, str]:
    """This process's own, made to import this very edge_har from anywhere."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    # Each thread of OpenBLAS would take 64 MB of the limit.
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}


def _failed(why: str) -> DeploymentFailed:
    return DeploymentFailed(Outcome.SELFTEST_FAILED, f"self-test on the device: {why}")


def limit_this_process() -> None:
    """What a graph can take from the device: memory and time, and no core file."""
    for limit, amount in (
        (resource.RLIMIT_DATA, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(limit, (amount, amount))


def main(folder: str) -> int:
    """Run the clips under the limits; 1 and one line on stderr where they do not pass."""
    limit_this_process()
    from edge_har.errors import EdgeHarError
    from edge_har.model.bundle import open_bundle
    from edge_har.model.recognizer import check_golden

    try:
        check_golden(open_bundle(folder))
    except EdgeHarError as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print(f"needs more than {MAX_MEMORY_BYTES >> 20} MiB of memory", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
