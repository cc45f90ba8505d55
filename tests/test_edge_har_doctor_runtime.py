"""Python, its libraries, the processor and the C library: each planted fault is found, with what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_har.doctor import runtime
from edge_har.doctor.finding import Level
from tests.helpers.doctor import found, machine, only, write

X86 = "ssse3 sse4_1 sse4_2 popcnt avx2"


def cpuinfo(root: Path, line: str) -> None:
    write(root / "proc" / "cpuinfo", f"processor\t: 0\n{line}\nbugs\t\t:\n")


@pytest.mark.parametrize(
    ("changes", "level", "text", "advice"),
    [
        ({"version": (3, 9)}, Level.PROBLEM, "Python 3.9, aarch64, 64 bits: too old", "install Python 3.10"),
        ({"bits": 32, "arch": "armv7l"}, Level.PROBLEM, "has no wheel", "64-bit system"),
        ({"bits": 32}, Level.PROBLEM, "has no wheel", "64-bit system"),
        ({"version": (3, 99)}, Level.WARNING, "newer than any that was tried", "use an older one"),
        ({}, Level.OK, "Python 3.11, aarch64, 64 bits", ""),
    ],
)
def test_python(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    level: Level,
    text: str,
    advice: str,
) -> None:
    monkeypatch.setattr(runtime, "metadata", lambda name: {"Requires-Python": "<3.14,>=3.10"})
    made = machine(tmp_path, **{"version": (3, 11), "bits": 64, "arch": "aarch64", **changes})
    ((at, shown, what),) = found(runtime.check_python(made))
    assert at is level and text in shown and advice in what


def test_libraries_that_are_well(tmp_path: Path) -> None:
    listed = [
        (level, text.split()[0]) for level, text, _ in found(runtime.check_libraries(machine(tmp_path)))
    ]
    assert listed == [(Level.OK, name) for name in ("numpy", "cv2", "av", "click", "LiteRT")]


@pytest.mark.parametrize(
    ("code", "text", "advice"),
    [
        ("raise ModuleNotFoundError(\"No module named 'av'\")", "av: ModuleNotFoundError", "pip install av"),
        (
            "raise ImportError('libGL.so.1: cannot open shared object file')",
            "av: ImportError: libGL.so.1",
            "pip uninstall -y opencv-python",
        ),
        ("raise RuntimeError('built for another')", "av: RuntimeError: built for", "--force-reinstall av"),
        ("import os; os.kill(os.getpid(), 4)", "lacks an instruction", "an older av"),
        (
            "import os; os.kill(os.getpid(), 11)",
            "av crashes when it is imported (SIGSEGV)",
            "--force-reinstall",
        ),
    ],
)
def test_a_library_that_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, text: str, advice: str
) -> None:
    write(tmp_path / "packages" / "av" / "__init__.py", code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    shown, what = only(runtime.check_libraries(machine(tmp_path)), Level.PROBLEM)
    assert text in shown and advice in what and sys.executable in what


def test_two_opencvs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "packages" / "opencv_python-4.8.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.8.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    text, advice = only(runtime.check_libraries(machine(tmp_path)), Level.WARNING)
    assert text.startswith("opencv-python is installed beside") and "uninstall -y opencv-python " in advice


@pytest.mark.parametrize(
    ("arch", "line", "level", "text"),
    [
        ("x86_64", f"flags\t\t: fpu {X86}", Level.OK, "with avx2"),
        ("x86_64", "flags\t\t: fpu ssse3 sse4_1", Level.PROBLEM, "without sse4_2, popcnt"),
        ("x86_64", "flags\t\t: ssse3 sse4_1 sse4_2 popcnt", Level.NOTE, "without avx2"),
        ("aarch64", "Features\t: fp asimd evtstrm crc32", Level.NOTE, "without asimddp"),
        ("aarch64", "Features\t: fp asimd asimddp", Level.OK, "with asimddp"),
        ("aarch64", "Features\t: fp", Level.PROBLEM, "without asimd"),
        ("riscv64", "isa\t: rv64", Level.NOTE, "names no instructions"),
    ],
)
def test_cpu(tmp_path: Path, arch: str, line: str, level: Level, text: str) -> None:
    cpuinfo(tmp_path, line)
    ((at, shown, _),) = found(runtime.check_cpu(machine(tmp_path, arch=arch)))
    assert at is level and text in shown


@pytest.mark.parametrize(
    ("libc", "level", "text"),
    [
        (("glibc", "2.99"), Level.OK, "glibc 2.99"),
        (("glibc", "2.17"), Level.PROBLEM, "glibc 2.17; the wheel of"),
        (("", ""), Level.PROBLEM, "the C library is not glibc"),
    ],
)
def test_glibc(tmp_path: Path, libc: tuple[str, str], level: Level, text: str) -> None:
    ((at, shown, _),) = found(runtime.check_glibc(machine(tmp_path, libc=libc)))
    assert at is level and shown.startswith(text)


def test_the_shipped_bundle_runs_and_one_that_does_not_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((at, text, _),) = found(runtime.check_model(machine(tmp_path)))
    assert at is Level.OK and "golden clips" in text
    damaged = tmp_path / "damaged.ehar"
    damaged.write_bytes(b"PK")
    monkeypatch.setattr("edge_har.model.bundle.default_bundle_path", lambda: damaged)
    text, _ = only(runtime.check_model(machine(tmp_path)), Level.PROBLEM)
    assert text.startswith("the shipped bundle: ")
