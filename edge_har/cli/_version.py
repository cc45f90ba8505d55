"""What `edge-har --version` prints: this package, what it runs on, and the model that ships with it."""

from __future__ import annotations

from collections.abc import Callable

from edge_har import __version__
from edge_har.errors import EdgeHarError


def version_lines() -> list[str]:
    """A line each; what is not installed, or cannot be read, is reported on its line."""
    return [f"edge-har {__version__}", f"runtime  {_or_error(_runtime)}", f"model    {_or_error(_model)}"]


def _runtime() -> str:
    from edge_har.bench import versions

    known = versions()
    del known["edge_har"]
    return ", ".join(f"{name} {number}" for name, number in known.items())


def _model() -> str:
    from edge_har.model.bundle import default_bundle_path, open_bundle

    bundle = open_bundle(default_bundle_path())
    manifest = bundle.manifest
    return f"{bundle.model_id}, version {manifest.version}, release {manifest.release}"


def _or_error(read: Callable[[], str]) -> str:
    try:
        return read()
    except EdgeHarError as error:
        return str(error)
