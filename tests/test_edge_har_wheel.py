"""The wheel holds the runtime and the shipped model alone,
and works in an environment that has nothing else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from edge_har.sources.synthetic import render_clip
from tests.helpers.need import need_module
from tests.helpers.videos import write_video

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".cache" / "envs" / "wheel"
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy that holds all packages of the checkout:
    building leaves traces beside its sources.
    """
    need_module("build", "pip install -e '.[test]'")
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for package in ("edge_har", "train", "convert", "benchmarks", "tests"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--wheel", "--outdir", copy / "dist", copy, cwd=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_edge_har_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"edge_har"}
    assert {"edge_har/default.ehar", "edge_har/py.typed", "edge_har/cli/run.py"} <= set(names)
    assert "edge_har/deploy/edge-har.service" in names
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
