"""What a test needs from outside the project; where it is absent the test is skipped by name."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

CLIPS_VARIABLE = "EDGE_HAR_CLIPS"
NO_SKIP_VARIABLE = "EDGE_HAR_NO_SKIP"  # set where everything is there: an absence is then a failure
ENCODERS_VARIABLE = "EDGE_HAR_ENCODERS"
SHARED_CLIPS = Path(__file__).resolve().parents[2].parent / "shared" / "clips"


def _absent(what: str) -> NoReturn:
    if os.environ.get(NO_SKIP_VARIABLE):
        pytest.fail(what, pytrace=False)
    pytest.skip(what, allow_module_level=True)


def need_clips(name: str = "weizmann") -> Path:
    """Folder of the clip set `name`; skips where the clips are not on this machine."""
    root = Path(os.environ.get(CLIPS_VARIABLE, SHARED_CLIPS))
    if not (root / name / "clips.csv").is_file():
        _absent(f"real clips '{name}' are absent: put them under {CLIPS_VARIABLE}")
    return root / name


def need_encoders() -> Path:
    """Folder of the weights of pretrained encoders; skips where they are not on this machine."""
    folder = Path(os.environ.get(ENCODERS_VARIABLE, SHARED_CLIPS.parent / "encoders"))
    if not (folder / "mobilenet_v1_0.25_224.h5").is_file():
        _absent(f"the weights of mobilenet_v1_0.25 are absent: put them into {ENCODERS_VARIABLE}")
    return folder


def need_program(name: str, package: str | None = None) -> str:
    """Path of the program `name`; skips where the Debian package that holds it is not installed."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=search)
    if found is None:
        _absent(f"the program '{name}' is absent: apt install {package or name}")
    return found


def need_module(name: str, install: str) -> None:
    """Skip where the Python module `name` cannot be found."""
    if importlib.util.find_spec(name) is None:
        _absent(f"the Python module '{name}' is absent: {install}")


def need_gstreamer() -> str:
    """The system's Python, which has GStreamer's RTSP server;
    skips where its Debian packages are not installed.
    """
    python = "/usr/bin/python3"
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if (
        not os.access(python, os.X_OK)
        or subprocess.run([python, "-c", check], check=False, capture_output=True).returncode
    ):
        _absent("GStreamer's RTSP server is absent: apt install python3-gst-1.0 gir1.2-gst-rtsp-server-1.0")
    return python


def need_history(commit: str, path: str) -> bytes:
    """The file `path` as it was in `commit`; skips where the checkout does not have that commit."""
    root = Path(__file__).resolve().parents[2]
    try:
        shown = subprocess.run(
            ["git", "show", f"{commit}:{path}"], cwd=root, capture_output=True, check=False
        )
    except FileNotFoundError:
        _absent("the program 'git' is absent: apt install git")
    if shown.returncode:
        _absent(f"commit {commit} is absent from this checkout: git fetch --unshallow, or clone the project")
    return shown.stdout
