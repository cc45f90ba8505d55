"""Older runtimes in their own environments: found, made, tried, listed;
a promise that is broken is an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_har.errors import ConversionError, EdgeHarError, MisuseError, RuntimeMissingError
from edge_har.model.bundle import default_bundle_path, open_bundle
from tests.helpers.bundles import failing_golden
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify import runtimes
from convert.verify.runtimes import (
    ENVIRONMENTS,
    LITERT,
    TFLITE,
    check_promised,
    interpreters,
    runtimes_that_agree,
)


def silent(line: str) -> None:
    """Progress is not looked at here."""


@pytest.fixture(scope="module")
def environments() -> None:
    """All of them, made once and kept under .cache."""
    try:
        runtimes.make_environments(silent)
    except RuntimeMissingError as error:
        if os.environ.get("EDGE_HAR_NO_SKIP"):
            raise
        pytest.skip(str(error))


def test_the_shipped_bundle_runs_in_all_of_them(environments: None) -> None:
    lines: list[str] = []
    tried = interpreters((), lines.append)
    agreed = runtimes_that_agree(default_bundle_path().read_bytes(), tried, lines.append)
    assert lines == [] and len(agreed) == 3
    for environment in ENVIRONMENTS:
        assert any(name.startswith(environment.runtime + ".") for name in agreed)
    check_promised(open_bundle(default_bundle_path()).manifest, tried, agreed)


def test_one_that_does_not_agree_is_told_and_left_out(environments: None) -> None:
    lines: list[str] = []
    assert runtimes_that_agree(failing_golden(2), [LITERT.python()], lines.append) == []
    assert len(lines) == 1 and "does not run this bundle" in lines[0] and "golden clip" in lines[0]


def test_one_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="its runtime cannot be tried"):
        runtimes_that_agree(b"", [tmp_path / "absent"], silent)


def stand_in(environment: runtimes.Environment, root: Path) -> None:
    """What `is_made` looks at."""
    environment.python(root).parent.mkdir(parents=True)
    environment.python(root).touch()
    environment._stamp(root).touch()


def test_absent_environments_are_one_line(tmp_path: Path) -> None:
    lines: list[str] = []
    requested = tmp_path / "python"
    assert len(interpreters((requested,), lines.append, tmp_path)) == 2
    assert lines == ["not checked with litert-1.4, tflite-2.14: make runtimes"]
    stand_in(TFLITE, tmp_path)
    assert interpreters((requested,), lines.append, tmp_path)[1:] == (TFLITE.python(tmp_path), requested)
    assert lines[1:] == ["not checked with litert-1.4: make runtimes"]


def test_other_packages_mean_another_environment(tmp_path: Path) -> None:
    stand_in(LITERT, tmp_path)
    assert LITERT.is_made(tmp_path)
    assert not replace(LITERT, packages=("numpy<2",)).is_made(tmp_path)


def test_a_promise_that_is_broken(tmp_path: Path) -> None:
    manifest = open_bundle(default_bundle_path()).manifest
    newest, oldest = "ai-edge-litert 2.3.0", "tflite-runtime 2.14.0"
    tried = interpreters((), silent, tmp_path)
    stand_in(TFLITE, tmp_path)
    check_promised(manifest, tried, [newest], tmp_path)  # it was made only after the runtimes were tried
    tried = interpreters((), silent, tmp_path)
    with pytest.raises(ConversionError, match=r"tflite-runtime 2\.14 does not compute"):
        check_promised(manifest, tried, [newest], tmp_path)
    check_promised(replace(manifest, precision="int8-weights"), tried, [newest], tmp_path)
    stand_in(LITERT, tmp_path)
    tried = interpreters((), silent, tmp_path)
    with pytest.raises(ConversionError, match=r"ai-edge-litert 1\.4 does not compute"):
        check_promised(manifest, tried, [oldest], tmp_path)


def one_line(call: Callable[[], object], error: type[EdgeHarError], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_python_is_found_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PYTHON311", str(shim))
    one_line(runtimes.find_python, RuntimeMissingError, r"no Python 3\.11 in \$PYTHON311")
    shim.write_text("#!/bin/sh\necho 3.11\n")
    assert runtimes.find_python() == shim
    monkeypatch.delenv("PYTHON311")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtimes.find_python() == shim
    monkeypatch.setenv("HOME", str(tmp_path))
    shim.unlink()
    one_line(runtimes.find_python, RuntimeMissingError, "set PYTHON311")


def test_packages_that_cannot_be_installed_are_one_line(tmp_path: Path) -> None:
    shim = tmp_path / "base"
    shim.write_text("#!/bin/sh\necho 'no room' >&2\nexit 1\n")
    shim.chmod(0o755)
    one_line(lambda: LITERT.make(shim, tmp_path), RuntimeMissingError, "no room")
    assert not LITERT.is_made(tmp_path)
