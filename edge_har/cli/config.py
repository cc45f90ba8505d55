"""`edge-har config`: writes, checks and shows a configuration file of `run`, without opening a camera;
its JSON Schema.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Group

if TYPE_CHECKING:
    from edge_har.config.draft import Draft
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
    """Write a configuration file of run, check it, show its settings; its JSON Schema."""


@command.command(
    "init",
    examples={
        "From questions": "edge-har config init",
        "From options": "edge-har config init /etc/edge-har.toml --source door=0 --sink mqtt://broker.local",
    },
)
@click.argument("path", metavar="[FILE]", default="edge-har.toml", type=click.Path(path_type=Path))
@click.option(
    "--source", "sources", metavar="[NAME=]URI", multiple=True, help="As of run; may be given several times."
)
@click.option("--sink", "sinks", metavar="SINK", multiple=True, help="As of run; may be given several times.")
@click.option("--web", metavar="HOST:PORT", help="Serve a live page there; beyond 127.0.0.1 it gets a token.")
@click.option("--model", metavar="PATH", help="A bundle; without it the shipped one.")
@click.option("--force", is_flag=True, help="Replace FILE where it is there.")
def init(
    path: Path,
    sources: tuple[str, ...],
    sinks: tuple[str, ...],
    web: str | None,
    model: str | None,
    force: bool,
) -> None:
    """Write FILE, edge-har.toml by default: a configuration with every key and what it means.

    Without --source the terminal shows questions. Passwords and the page's token are written to private files
    in a folder beside FILE. Nothing is written unless `config check` passes.
    """
    from edge_har.cli._init import fill_from_questions
    from edge_har.config.draft import Draft
    from edge_har.errors import MisuseError

    if path.exists() and not force:
        raise MisuseError(f"{path} is there already: --force replaces it")
    draft = Draft(path, model=str(Path(model).absolute()) if model else None)
    if sources:
        for text in sources:
            draft.add_source(text)
        for text in sinks:
            draft.add_sink(text)
        if web is not None:
            draft.set_web(web)
    elif sinks or web is not None or not sys.stdin.isatty():
        raise MisuseError("name a source with --source [NAME=]URI; without any option a terminal is needed")
    else:
        fill_from_questions(draft)
    written = _write(draft)
    click.echo("\n".join(["wrote", *(f"  {name}" for name in written)]))
    click.echo(
        f"next: edge-har run --config {path}; as a service: sudo edge-har service install --config {path}"
    )


def _write(draft: Draft) -> list[Path]:
    """Write a new file and its secrets where it passes the check; else nothing, and ConfigError is raised."""
    from edge_har.config.check import checked
    from edge_har.config.file import ConfigError
    from edge_har.system.files import FILE_MODE, replaced_file

    draft.path.absolute().parent.mkdir(parents=True, exist_ok=True)
    secret_files: list[Path] = []
    try:
        with replaced_file(draft.path) as partial:
            secret_files += draft.write_secrets()
            partial.write_text(draft.text(), encoding="utf-8")
            partial.chmod(FILE_MODE)
            try:
                checked(partial)
            except ConfigError as error:
                problems = [line.removeprefix(f"{partial}: ") for line in error.problems]
                raise ConfigError(draft.path, problems) from None
    except BaseException:
        for secret in secret_files:
            secret.unlink()
        raise
    return [draft.path, *secret_files]


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
    from edge_har.config.check import checked
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
