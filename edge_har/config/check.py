"""Whether a configuration file can be run: all that is wrong in it, without opening a camera."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_har.config.file import Config, ConfigError
from edge_har.config.plan import CommandLine, plan
from edge_har.errors import BundleError
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle


def checked(path: Path) -> tuple[Config, Bundle]:
    """The settings of a file and the bundle that it names, which go together. Raises ConfigError."""
    planned = plan(CommandLine(path))
    config = planned.config
    problems: list[str] = []
    checks: list[Callable[[], None]] = [planned.check_installed]
    bundle = None
    try:
        bundle = open_bundle(config.model or default_bundle_path())
        checks.insert(0, partial(planned.check_fit, bundle.manifest))
    except BundleError as error:
        problems.append(f"model: {error}")
    if not config.sources:
        problems.append("source: there is none; add a [[source]] with its uri")
    for run_check in checks:
        try:
            run_check()
        except ConfigError as error:
            problems += [line.removeprefix(f"{path}: ") for line in error.problems]
    if problems or bundle is None:
        raise ConfigError(path, problems)
    return config, bundle
