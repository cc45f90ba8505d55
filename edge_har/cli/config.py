"""`edge-har config`: checks and shows a configuration file of `run`, without opening a camera;
its JSON Schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Group

if TYPE_CHECKING:
    from edge_har.config.file import Config
    from edge_har.model.bundle import Bundle


@click.group(
    "config",
    cls=Group,
    examples={
        "What run would do with a file": "edge-har config check edge-har.toml",
    },
)
def command() -> None:
    """Check a configuration file of run, show its settings, write its JSON Schema."""


@command.command(
    "check",
    examples={
        "A file": "edge-har config check edge-har.toml",
    },
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every setting; secrets as ***.")
def check(path: Path, as_json: bool) -> None:
    """Say what `run --config FILE` would do, or all that is wrong in the file.

    The bundle is opened, names of labels and sources are looked up in it, secrets are looked up where the
    file says; no camera is opened and nothing is sent. Exit 2 where anything is wrong; what has no effect is
    a warning.
    """
    from edge_har.config.file import ConfigError

    try:
        config, bundle = checked(path)
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": list(error.problems)}, ensure_ascii=False))
        click.get_current_context().exit(error.exit_code)
    if as_json:
        report = {"ok": True, "problems": [], "bundle": bundle.model_id, "settings": config.to_json()}
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        click.echo("\n".join(summary_lines(config, bundle)))
    for line in config.options.without_effect(bundle.manifest):
        click.echo(f"warning: {line}", err=True)


@command.command(
    "show",
    examples={
        "A file with every setting and its default, to begin with": "edge-har config show > edge-har.toml",
        "What a file sets": "edge-har config show edge-har.toml",
    },
)
@click.argument("path", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of TOML.")
def show(path: Path | None, as_json: bool) -> None:
    """Print every setting, defaults included, secrets as ***; without a FILE the defaults alone.

    The file is read as `run` reads it, with the secrets that it names. Exit 2 where anything is wrong in it.
    """
    from edge_har.config.file import Config, read_config
    from edge_har.config.toml import to_toml

    settings = (read_config(path) if path else Config()).to_json()
    click.echo(json.dumps(settings, ensure_ascii=False) if as_json else to_toml(settings), nl=as_json)


@command.command(
    "schema",
    examples={
        "Into a file that an editor reads": "edge-har config schema > edge-har.schema.json",
    },
)
def schema() -> None:
    """Print the JSON Schema of a configuration file, which editors complete keys from."""
    from edge_har.config.schema import config_schema

    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))


def checked(path: Path) -> tuple[Config, Bundle]:
    """The settings of a file and the bundle that it names, which go together. Raises ConfigError."""
    from edge_har.config.file import ConfigError
    from edge_har.config.plan import CommandLine, plan
    from edge_har.errors import BundleError
    from edge_har.model.bundle import default_bundle_path, open_bundle

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


def summary_lines(config: Config, bundle: Bundle) -> list[str]:
    """What would run, for people."""
    from edge_har.sinks import with_standard_output

    manifest = bundle.manifest
    lines = [f"model   {bundle.model_id}, {len(manifest.labels)} labels: {', '.join(manifest.labels)}"]
    for source in config.sources:
        named = [name for name in source.address.options.named if name != "password"]
        more = f" ({', '.join(named)})" if named else ""
        lines.append(f"source  {source.name}: {source.address.name}{more}")
    options = config.options
    smoothing = options.smoothing(manifest.smoothing)
    lines.append(
        f"events  enter {smoothing.enter:g}, leave {smoothing.leave:g}, smooth {smoothing.smooth_s:g} s, "
        f"at least {smoothing.min_s:g} s, cool-down {options.cooldown_s:g} s"
        + (", unknown" if options.unknown else "")
    )
    for label, rule in options.rules.labels.items():
        parts = [] if rule.enabled else ["off"]
        parts += [] if rule.enter is None else [f"enter {rule.enter:g}"]
        parts += [] if rule.cooldown_s is None else [f"cool-down {rule.cooldown_s:g} s"]
        parts += [f"at {', '.join(map(str, rule.hours))}"] if rule.hours else []
        parts += [f"only {', '.join(rule.sources)}"] if rule.sources else []
        lines.append(f"label   {label}: {'; '.join(parts) or 'as all'}")
    lines += [f"sink    {sink.called} ({sink.kind})" for sink in with_standard_output(config.sinks)]
    lines += ["sink    window"] if config.display else []
    if config.web is not None:
        guarded = "with a token" if config.web.token else "without a token"
        lines.append(f"web     {config.web.listen}, {guarded}")
    return lines
