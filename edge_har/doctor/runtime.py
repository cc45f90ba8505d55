"""Python, the libraries, and what they need of the processor and the C library."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path

from edge_har.doctor.finding import Finding, Level, Machine, read_text

DISTRIBUTION = "edge-har"
# What is imported, and what it is installed as.
LIBRARIES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "av": "av",
    "click": "click",
}
RUNTIME = "LiteRT"
RUNTIME_CODE = "from edge_har.model.interpreter import runtime_name; print(runtime_name().split()[-1])"
LIBRARY_CODE = "import {0}; print({0}.__version__)"
OTHER_OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
IMPORT_S = 120.0
MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_")
# Instructions by processor, as /proc/cpuinfo calls them: those that wheels need, and those that only help.
NEEDED = {"x86_64": ("ssse3", "sse4_1", "sse4_2", "popcnt"), "aarch64": ("asimd",)}
HELPFUL = {"x86_64": ("avx2",), "aarch64": ("asimddp",)}


def check_python(machine: Machine) -> Iterator[Finding]:
    """The version, and whether there are wheels for this processor at all."""
    shown = f"Python {'.'.join(map(str, machine.version))}, {machine.arch}, {machine.bits} bits"
    lowest, above = _python_range()
    if lowest is not None and machine.version < lowest:
        needed = ".".join(map(str, lowest))
        yield Finding("python", Level.PROBLEM, f"{shown}: too old", f"install Python {needed} or newer")
    elif machine.bits < 64 or machine.arch not in NEEDED:
        yield Finding(
            "python",
            Level.PROBLEM,
            f"{shown}: {RUNTIME} has no wheel for it",
            "install a 64-bit system, such as Raspberry Pi OS (64-bit)",
        )
    elif above is not None and machine.version >= above:
        yield Finding("python", Level.WARNING, f"{shown}: newer than any that was tried", "use an older one")
    else:
        yield Finding("python", Level.OK, shown)


def _python_range() -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """The lowest version that the package takes, and the first that it does not."""
    try:
        rule = metadata(DISTRIBUTION)["Requires-Python"] or ""
    except (PackageNotFoundError, KeyError):
        return None, None
    lowest, above = (re.search(rf"{sign}\s*(\d+)\.(\d+)", rule) for sign in (">=", r"<(?!=)"))
    return (
        (int(lowest[1]), int(lowest[2])) if lowest else None,
        (int(above[1]), int(above[2])) if above else None,
    )


def check_libraries(machine: Machine) -> Iterator[Finding]:
    """Each library is imported in a process of its own: one that crashes is a finding."""
    codes = {name: LIBRARY_CODE.format(name) for name in LIBRARIES} | {RUNTIME: RUNTIME_CODE}
    processes = {name: _start(machine.python, code) for name, code in codes.items()}
    for name, process in processes.items():
        yield _import_finding(machine, name, process)
    present = [name for name in OTHER_OPENCV if _wheel_of(name) is not None]
    if present:
        yield Finding(
            "libraries",
            Level.WARNING,
            f"{' and '.join(present)} is installed beside opencv-python-headless: one overwrites the other",
            f"{machine.python} -m pip uninstall -y {' '.join(present)} opencv-python-headless, then "
            f"{machine.python} -m pip install opencv-python-headless",
        )


def _start(python: str, code: str) -> subprocess.Popen[str]:
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), here]))
    return subprocess.Popen(
        [python, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd="/",  # a folder of the user's could hold what is imported by name
        env={**os.environ, "PYTHONPATH": path},
    )


def _import_finding(machine: Machine, name: str, process: subprocess.Popen[str]) -> Finding:
    installed = LIBRARIES.get(name, "ai-edge-litert")
    again = f"{machine.python} -m pip install --force-reinstall {installed}"
    try:
        output, errors = process.communicate(timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Finding("libraries", Level.PROBLEM, f"{name}: not imported within {IMPORT_S:g} s", again)
    if process.returncode == 0:
        return Finding("libraries", Level.OK, f"{name} {(output.split() or ['?'])[-1]}")
    if process.returncode == -signal.SIGILL:
        return Finding(
            "libraries",
            Level.PROBLEM,
            f"{name}: this processor lacks an instruction that the wheel of {installed} uses",
            f"{machine.python} -m pip install an older {installed}, or use the system's package",
        )
    if process.returncode < 0:
        crash = signal.Signals(-process.returncode).name
        return Finding("libraries", Level.PROBLEM, f"{name} crashes when it is imported ({crash})", again)
    lines = [line for line in errors.splitlines() if line.strip()] or ["it cannot be imported"]
    if "ModuleNotFoundError" in lines[-1]:
        again = f"{machine.python} -m pip install {installed}"
    elif "libGL" in lines[-1]:
        again = f"{machine.python} -m pip uninstall -y opencv-python; {again}"
    return Finding("libraries", Level.PROBLEM, f"{name}: {lines[-1].strip()}", again)


def check_cpu(machine: Machine) -> Iterator[Finding]:
    """The instructions that wheels need, and those that make integer graphs fast."""
    text = read_text(machine.proc / "cpuinfo")
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    if found is None or machine.arch not in NEEDED:
        yield Finding("cpu", Level.NOTE, f"{machine.arch}: {machine.proc}/cpuinfo names no instructions")
        return
    has = set(found[1].split())
    missing = [name for name in NEEDED[machine.arch] if name not in has]
    slow = [name for name in HELPFUL[machine.arch] if name not in has]
    if missing:
        yield Finding(
            "cpu",
            Level.PROBLEM,
            f"{machine.arch} without {', '.join(missing)}: wheels of NumPy 2.4 and newer do not load",
            f"{machine.python} -m pip install 'numpy<2.4'; in a virtual machine choose a newer CPU model",
        )
    elif slow:
        yield Finding("cpu", Level.NOTE, f"{machine.arch} without {', '.join(slow)}: int8 graphs gain less")
    else:
        yield Finding("cpu", Level.OK, f"{machine.arch} with {', '.join(HELPFUL[machine.arch])}")


def check_glibc(machine: Machine) -> Iterator[Finding]:
    """The C library against what the installed wheels were built for."""
    name, number = machine.libc
    if name != "glibc":
        yield Finding(
            "glibc",
            Level.PROBLEM,
            "the C library is not glibc",
            "use a system with glibc, such as Debian, Raspberry Pi OS or Ubuntu; Alpine has none",
        )
        return
    needed, library = max(_glibc_needed(), default=((0, 0), ""))
    here = tuple(map(int, re.findall(r"\d+", number)[:2]))
    if here < needed:
        yield Finding(
            "glibc",
            Level.PROBLEM,
            f"glibc {number}; the wheel of {library} needs {needed[0]}.{needed[1]}",
            "use a newer system (Debian 12, Raspberry Pi OS bookworm, Ubuntu 22.04)",
        )
    else:
        yield Finding("glibc", Level.OK, f"glibc {number}")


def _glibc_needed() -> Iterator[tuple[tuple[int, int], str]]:
    """For each library the lowest version of glibc that one of its wheel's tags names."""
    for name in (*LIBRARIES.values(), "ai-edge-litert", "tflite-runtime"):
        tags = MANYLINUX.findall(_wheel_of(name) or "")
        if tags:
            yield min((int(major), int(minor)) for major, minor in tags), name


def _wheel_of(name: str) -> str | None:
    """The WHEEL file of an installed distribution; None where it is not installed."""
    try:
        return distribution(name).read_text("WHEEL") or ""
    except PackageNotFoundError:
        return None


def check_model(machine: Machine) -> Iterator[Finding]:
    """The shipped bundle's golden clips, through the runtime of this machine."""
    from edge_har.errors import EdgeHarError
    from edge_har.model.bundle import default_bundle_path, open_bundle
    from edge_har.model.trial import Part, try_bundle

    path = default_bundle_path()
    try:
        bundle = open_bundle(path)
        try_bundle(bundle, path, Part.GOLDEN)
    except EdgeHarError as error:
        yield Finding("model", Level.PROBLEM, f"the shipped bundle: {error}", "see libraries and cpu above")
    else:
        yield Finding("model", Level.OK, f"{bundle.model_id}: its golden clips come out right here")
