"""Graphs tried in a process of their own before ours runs them: a bad one crashes, hangs or fills nothing but
that.

What passed is remembered in `tried`, in the home of edge_har where there is one: a line for each bundle, part
and runtime.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import platform
import resource
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from enum import Enum
from pathlib import Path

import numpy as np

from edge_har.errors import BundleError, EdgeHarError, MisuseError
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle
from edge_har.model.interpreter import runtime_name
from edge_har.model.manifest import MANIFEST, Manifest
from edge_har.model.recognizer import TickRecognizer, WholeClip, check_golden
from edge_har.system.files import home, write_atomically

# Of data; mapped libraries do not count. The shipped model needs 70 MiB, and a process that runs a graph of
# just so much stays below 400 MB.
MAX_MEMORY_BYTES = 320 * 1024 * 1024
START_S = 30.0  # for the process to start and load the graphs, on a slow device that does much else
WINDOW_S = (
    3.0,
    10.0,
)  # for a window: as long as it lasts, within these; who needs more keeps up with nothing
RECORD = "tried"
MAX_RECORDS = 64  # lines
NOISE_SEED = 0
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; the thread that started the process counts as its parent
VMSTAT = Path("/proc/vmstat")


class Part(Enum):
    """What of a bundle is tried."""

    STREAM = "stream"  # one window through the graphs of a stream
    ALL = "all"  # and through the whole clip's graph
    GOLDEN = "golden"  # the golden clips through the graphs of a stream


def ensure_tried(bundle: Bundle, path: str | os.PathLike[str], part: Part = Part.STREAM) -> None:
    """Try a bundle unless it passed on this machine before with this runtime, or is the shipped one.

    path: where `bundle` was opened. Raises BundleError, in one line that names the bundle, where its graphs
    do not run.
    """
    if bundle.digest == _shipped_digest() or _key(bundle, part) in _records():
        return
    try:
        try_bundle(bundle, path, part)
    except BundleError as error:
        raise BundleError(f"{bundle.model_id}: {error}") from error


def try_bundle(
    bundle: Bundle, path: str | os.PathLike[str], part: Part, *, timeout_s: float | None = None
) -> float:
    """Run a bundle's graphs in a process with limits on memory and time, whatever is known of it.

    path: where `bundle` was opened; the process opens it again. timeout_s: None: as the part may need.
    Returns the largest difference of a probability over the golden clips, 0 where these are not run. Raises
    BundleError, in one line, where the graphs do not run or the golden clips do not pass.
    """
    timeout_s = timeout_s or time_limit_s(bundle.manifest, part)
    killed_before = _killed_for_memory()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "edge_har.model.trial"),
                *(os.path.realpath(path), bundle.digest, part.value, str(math.ceil(timeout_s))),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",  # a folder of the user's could hold what is imported by name
            env=_environment(),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(_too_slow(part, timeout_s)) from None
    except OSError as error:
        raise BundleError(f"its graphs cannot be tried: {error.strerror}") from error
    if done.returncode < 0:
        raise BundleError(
            _of_signal(-done.returncode, done.stderr, part, timeout_s, _killed_for_memory() - killed_before)
        )
    try:
        reply = json.loads(done.stdout.strip().rpartition(b"\n")[2])  # a library may have written before
        worst = reply.get("worst")
    except (ValueError, AttributeError):
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise BundleError(
            f"its graphs cannot be tried: {lines[-1] if lines else f'exit code {done.returncode}'}"
        ) from None
    if worst is None:
        raise BundleError(str(reply.get("error")))
    _record(bundle, part)
    return float(worst)


def time_limit_s(manifest: Manifest, part: Part) -> float:
    """How long a trial of the part may take, in seconds: a graph may hold a loop without an end."""
    windows = max(1, len(manifest.golden)) if part is Part.GOLDEN else 1
    return START_S + windows * min(max(manifest.temporal.window_s, WINDOW_S[0]), WINDOW_S[1])


def _of_signal(number: int, stderr: bytes, part: Part, timeout_s: float, killed: int) -> str:
    """Why a process that a signal ended did not pass."""
    if number == signal.SIGXCPU:
        return _too_slow(part, timeout_s)
    if b"bad_alloc" in stderr:
        return f"its graphs need more than {MAX_MEMORY_BYTES >> 20} MiB of memory"
    if number == signal.SIGKILL and killed:
        return "the system ran out of memory while its graphs were tried"
    return f"its graphs crash {runtime_name()} ({signal.Signals(number).name})"


def _too_slow(part: Part, timeout_s: float) -> str:
    what = "the golden clips" if part is Part.GOLDEN else "one window"
    return f"its graphs took longer than {timeout_s:.0f} s for {what}"


def _killed_for_memory() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it is hidden."""
    with suppress(OSError, ValueError):
        for line in VMSTAT.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _environment() -> dict[str, str]:
    """This process's own, made to import this very edge_har from anywhere."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    # Each thread of OpenBLAS would take 64 MB of the limit.
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}


# What is remembered -----------------------------------------------------------------------------------------


def _shipped_digest() -> str | None:
    """The digest of the bundle that comes with the package, whose graphs its own tests have run."""
    try:
        with zipfile.ZipFile(default_bundle_path()) as archive:
            return hashlib.sha256(archive.read(MANIFEST)).hexdigest()
    except (BundleError, OSError, KeyError, zipfile.BadZipFile):
        return None


def _key(bundle: Bundle, part: Part) -> str:
    """The line of the record. What passed on another kind of processor proves nothing here."""
    return f"{bundle.digest} {part.value} {platform.machine()} {runtime_name()}"


def _records() -> list[str]:
    with suppress(OSError, ValueError, MisuseError):
        return (home() / RECORD).read_text(encoding="utf-8").splitlines()
    return []


def _record(bundle: Bundle, part: Part) -> None:
    """Remember what passed, where edge_har has its home already: a run that is asked to keep nothing makes no
    folder. Where it cannot be kept it is tried again the next time.
    """
    parts = {part} if part is Part.STREAM else {part, Part.STREAM}
    keys = sorted(_key(bundle, one) for one in parts if one is not Part.GOLDEN)
    with suppress(OSError, MisuseError):
        kept = [line for line in _records() if line not in keys][-MAX_RECORDS:]
        write_atomically(home() / RECORD, "".join(f"{line}\n" for line in [*kept, *keys]).encode())


# In the process ---------------------------------------------------------------------------------------------


def limit_this_process(cpu_s: int) -> None:
    """Limit what a graph can take from the machine: memory, time, no core file; end with the parent."""
    with suppress(OSError, AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for limit, soft, more in (
        (resource.RLIMIT_DATA, MAX_MEMORY_BYTES, 0),
        (resource.RLIMIT_CPU, cpu_s, 1),  # SIGXCPU at the first, SIGKILL at the second
        (resource.RLIMIT_CORE, 0, 0),
    ):
        allowed = resource.getrlimit(limit)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, more = min(soft, allowed), min(more, max(0, allowed - soft))
        resource.setrlimit(limit, (soft, soft + more))


def run_part(bundle: Bundle, part: Part) -> float:
    """Run a part of a bundle in this process; see `try_bundle`."""
    if part is Part.GOLDEN:
        return check_golden(bundle)
    (width, height), frames = bundle.manifest.frame.size_wh, bundle.manifest.temporal.frames
    noise = np.random.default_rng(NOISE_SEED).integers(0, 256, (frames, height, width, 3), np.uint8)
    TickRecognizer(bundle).clip(noise)
    if part is Part.ALL:
        WholeClip(bundle).clip(noise)
    return 0.0


def main(path: str, digest: str, part: str, cpu_s: str) -> None:
    """Run the part under the limits, and write a JSON object: `worst`, or `error` where it does not pass."""
    limit_this_process(int(cpu_s))
    try:
        bundle = open_bundle(path)
        if bundle.digest != digest:
            raise BundleError("the bundle was replaced while it was tried")
        reply: dict[str, object] = {"worst": run_part(bundle, Part(part))}
    except EdgeHarError as error:
        reply = {"error": str(error)}
    except MemoryError:
        reply = {"error": f"it needs more than {MAX_MEMORY_BYTES >> 20} MiB of memory"}
    print(json.dumps(reply))


if __name__ == "__main__":
    main(*sys.argv[1:])
