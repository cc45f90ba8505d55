"""What `edge_har` exports: loaded when it is used, and typed for its users."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import edge_har
from tests.helpers.command import environment
from tests.helpers.need import need_module

PACKAGE = Path(edge_har.__file__).parent
EXAMPLES = sorted((PACKAGE.parent / "docs" / "examples").glob("*.py"))
HEAVY = {"numpy", "cv2", "av", "ai_edge_litert", "tflite_runtime"}


def in_a_fresh_interpreter(code: str) -> object:
    """What `code` prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    return json.loads(done.stdout)


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = (
        "import json, sys, edge_har; dir(edge_har); edge_har.EdgeHarError; print(json.dumps([*sys.modules]))"
    )
    loaded = in_a_fresh_interpreter(code)
    assert isinstance(loaded, list) and "edge_har.errors" in loaded
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


def test_all_names_are_there_and_listed() -> None:
    code = "import json, edge_har; before = dir(edge_har); from edge_har import *; print(json.dumps(before))"
    listed = in_a_fresh_interpreter(code)
    assert isinstance(listed, list) and set(edge_har.__all__) | {"__version__"} <= set(listed)
    for name in edge_har.__all__:
        assert getattr(edge_har, name).__name__ == name
        assert getattr(edge_har, name).__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Recogniser'"):
        edge_har.Recogniser  # noqa: B018


USER = """
import edge_har
bundle = edge_har.load_bundle()
reveal_type(bundle)
reveal_type(edge_har.Recognizer(bundle).push)
reveal_type(edge_har.open_source)
with edge_har.events("0", bundle) as events:
    for event in events:
        reveal_type(event.type)
edge_har.Recogniser
edge_har.Recognizer(bundle).push("a frame", 0.0)
"""


def test_a_type_checker_sees_the_types_where_it_is_installed(tmp_path: Path) -> None:
    """Installed beside its dependencies, as users have it; the documents' examples are strictly typed."""
    need_module("mypy", "pip install -e '.[dev]'")
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    shutil.copytree(PACKAGE, site / "edge_har", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "dependencies.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    (tmp_path / "user.py").write_text(USER)
    for example in EXAMPLES:
        shutil.copy(example, tmp_path)
    files = ["user.py", *(example.name for example in EXAMPLES)]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    done = subprocess.run(
        [*command, "--python-executable", str(tmp_path / "venv" / "bin" / "python"), *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    lines = done.stdout.splitlines()
    revealed = [line.partition("Revealed type is ")[2].strip('"') for line in lines if "Revealed" in line]
    assert revealed[0] == "edge_har.model.bundle.Bundle"
    assert re.search(r"time_s: (builtins\.)?float", revealed[1])
    assert revealed[1].endswith("list[edge_har.api.Prediction]")
    assert revealed[2].endswith("edge_har.sources.base.Source")
    assert "source_lost" in revealed[3]
    errors = [line for line in lines if "error:" in line]
    assert [line.partition(":")[0] for line in errors] == ["user.py"] * 2, done.stdout
    assert "[attr-defined]" in errors[0] and "[arg-type]" in errors[1]
