"""`edge-har doctor`: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Command
from edge_har.errors import printable

if TYPE_CHECKING:
    from edge_har.doctor.finding import Finding

COLOURS = {"ok": "green", "note": None, "warning": "yellow", "problem": "red"}


@click.command(
    "doctor",
    cls=Command,
    examples={
        "This machine": "edge-har doctor",
        "And every server of a configuration": "edge-har doctor --config edge-har.toml",
    },
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings of run, whose cameras, folders and servers are looked at too.  [default: the service's, "
    "where it has some]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def command(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Find what is wrong with this machine, and say what to do.

    Looks at Python and its libraries, the processor, cameras and who may use them, power, disks, the clock,
    the service with its keys and bundles, and the network to every server of the settings. Nothing is
    changed, no camera is opened for pictures, nothing is published or posted. Exit 1 where anything is a
    problem; warnings and notes are none. With sudo it sees what belongs to the service.
    """
    from edge_har.deploy import unit
    from edge_har.doctor.checks import diagnose
    from edge_har.doctor.finding import Level, Machine

    if config_path is None and unit.CONFIG.is_file():
        config_path = unit.CONFIG
    findings = []
    for finding in diagnose(Machine(), config_path):
        findings.append(finding)
        if not as_json:
            _print(finding)
    problems = [finding for finding in findings if finding.level is Level.PROBLEM]
    warnings = [finding for finding in findings if finding.level is Level.WARNING]
    if as_json:
        report = {"ok": not problems, "findings": [finding.to_json() for finding in findings]}
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        click.echo(f"{_count(len(problems), 'problem')}, {_count(len(warnings), 'warning')}")
    ctx.exit(1 if problems else 0)


def _print(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:<8}", fg=COLOURS[finding.level.value])
    click.echo(f"{level} {finding.check:<10} {printable(finding.text)}")
    if finding.advice:
        click.echo(f"{'':<19} -> {printable(finding.advice)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)
