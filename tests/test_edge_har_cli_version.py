"""`edge-har --version`: the package, the runtime under it and the model that ships with it."""

from __future__ import annotations

import pytest

from edge_har import __version__
from edge_har.cli._version import version_lines
from edge_har.errors import RuntimeMissingError
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.model.interpreter import runtime_name
from tests.helpers.command import edge_har


def test_it_names_package_runtime_and_model() -> None:
    done = edge_har("--version")
    package, runtime, model = done.stdout.splitlines()
    assert (done.returncode, done.stderr, package) == (0, "", f"edge-har {__version__}")
    assert runtime.startswith(f"runtime  {runtime_name()}, numpy ")
    assert model.startswith(f"model    {open_bundle(default_bundle_path()).model_id}, ")


def test_what_is_not_installed_is_said_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> str:
        raise RuntimeMissingError("no runtime: pip install ai-edge-litert")

    monkeypatch.setattr("edge_har.bench.runtime_name", absent)
    package, runtime, _ = version_lines()
    assert (package, runtime) == (
        f"edge-har {__version__}",
        "runtime  no runtime: pip install ai-edge-litert",
    )
