"""The sdist holds the checkout; the wheel, built from it, holds the runtime and the shipped model alone,
and works in an environment that has nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

from edge_har.sources.synthetic import render_clip
from tests.helpers.need import need_module
from tests.helpers.videos import write_video

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".cache" / "envs" / "wheel"
NOT_SOURCE = (
    ".git",
    ".venv",
    ".cache",
    "build",
    "dist",
    "runs",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)
MADE_BY_BUILDING = ("PKG-INFO", "setup.cfg", "edge_har.egg-info/")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def source_files() -> list[str]:
    """Files of the checkout; of an unpacked sdist, which git does not know, all files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.stdout:
        return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    ignored = shutil.ignore_patterns(*NOT_SOURCE)
    files: list[str] = []
    for folder, below, names in os.walk(ROOT):
        below[:] = set(below) - ignored(folder, below)
        files += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return files


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an sdist and of the wheel that was built from it.

    The sdist is of a copy of the checkout: building leaves traces beside its sources.
    """
    need_module("build", "pip install -e '.[test]'")
    copy = tmp_path_factory.mktemp("checkout")
    for name in source_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    run(sys.executable, "-m", "build", "--outdir", copy / "dist", copy, cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


def test_the_sdist_holds_every_file_of_the_checkout(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2]: member for member in archive if not member.isdir()}
    made = {name for name in names if name.startswith(MADE_BY_BUILDING)}
    assert set(names) - made == {name for name in source_files() if not name.startswith(MADE_BY_BUILDING)}
    assert names[".ci/run"].mode & 0o100, "lost the right to run"


def test_the_metadata_names_pythons_and_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(name))
        licences = [
            archive.read(f"{Path(name).parent}/licenses/{file}") for file in ("LICENSE", "LICENSE-WEIGHTS")
        ]
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-Weizmann-research-only"
    assert licences[1].decode().startswith("LicenseRef-Weizmann-research-only\n")


def test_the_wheel_holds_edge_har_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"edge_har"}
    needed = {
        "edge_har/default.ehar",
        "edge_har/py.typed",
        "edge_har/cli/run.py",
        "edge_har/config/example.toml",
        "edge_har/deploy/edge-har.service",
    }
    assert needed <= set(names)
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "edge_har/web/static").iterdir()}
    assert len(page) > 5 and page <= set(names)


def test_it_classifies_a_clip_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    run(ENVIRONMENT / "bin" / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    command = ENVIRONMENT / "bin" / "edge-har"
    clip = tmp_path / "jacks.avi"
    write_video(clip, render_clip("JumpingJack", 5, 75), 25.0)
    (line,) = run(command, "classify", clip, "--json", cwd=tmp_path).stdout.splitlines()
    assert json.loads(line)["label"] == "JumpingJack"
    done = subprocess.run([str(command), "train"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install -e '.[workstation]'" in done.stderr
    packages = run(ENVIRONMENT / "bin" / "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    assert "tensorflow" not in packages
