"""A converter that crashes or hangs, through `edge-har convert`:
exit 1, one line with the log's place, no bundle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.command import environment
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

# Read by every Python as it starts: only the converter's child does what is planted.
PLANTED = """
import os, signal, sys, time
if "convert.tflite.worker" in sys.orig_argv:
    {fault}
"""


@pytest.fixture(scope="module")
def run(trained: Callable[..., Path]) -> Path:
    return trained("motion")


def convert_with(fault: str, run: Path, folder: Path, *options: str) -> str:
    """What stderr says last when the converter's child does `fault`; the log alone remains."""
    planted, out = folder / "planted", folder / "out" / "x.ehar"
    planted.mkdir()
    out.parent.mkdir()
    (planted / "sitecustomize.py").write_text(PLANTED.format(fault=fault))
    facts = ["convert", run, "--out", out, "--cache", run.parent / "cache", *options]
    done = subprocess.run(
        [sys.executable, "-m", "edge_har", *map(str, facts)],
        env=environment() | {"PYTHONPATH": os.pathsep.join([str(planted), environment()["PYTHONPATH"]])},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["x.convert.log"]
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and line.endswith(f"see {out.with_suffix('.convert.log')}")
    return line


def test_a_segmentation_fault(run: Path, tmp_path: Path) -> None:
    line = convert_with("os.kill(os.getpid(), signal.SIGSEGV)", run, tmp_path)
    assert "the converter crashed (SIGSEGV) on the graph 'clip as int8'" in line


def test_a_hang(run: Path, tmp_path: Path) -> None:
    line = convert_with("time.sleep(600)", run, tmp_path, "--timeout", "5")
    assert "the converter took longer than 5 s on the graph 'clip as int8' and was stopped" in line
