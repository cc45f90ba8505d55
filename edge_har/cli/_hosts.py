"""What the commands that talk to devices share: options of ssh, progress, the table."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_har.deploy import MAX_PARALLEL

if TYPE_CHECKING:
    from edge_har.deploy.replies import DeviceReply
    from edge_har.deploy.send import HostResult

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COLUMNS = ("HOST", "OUTCOME", "MODEL", "RELEASE", "SECONDS", "DETAIL")


def ssh_options(function: F) -> F:
    """Options that say how to reach hosts; the command gets them as `ssh_config`, `port`, ..."""
    options = (
        click.option("--ssh-config", type=FILE, help="Configuration file for ssh, instead of your own."),
        click.option("--port", type=click.IntRange(1, 65535), help="Port of the hosts' ssh."),
        click.option("--identity", type=FILE, help="Private key to log in with."),
        click.option(
            "--remote-command",
            default="edge-har",
            show_default=True,
            metavar="CMD",
            help="How edge-har is called on the hosts, where it is not on their PATH.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=1),
            default=900,
            show_default=True,
            metavar="S",
            help="Seconds for one host as a whole.",
        ),
        click.option(
            "--parallel",
            type=click.IntRange(1, MAX_PARALLEL),
            default=4,
            show_default=True,
            help="Hosts at a time.",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a host on stdout."),
    )
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), function)


def report(results: Iterable[HostResult], count: int, as_json: bool) -> bool:
    """Print progress on stderr and the results on stdout; whether every host came out well."""
    done: list[HostResult] = []
    for result in results:
        done.append(result)
        if as_json:
            click.echo(json.dumps(result.to_json()))
        click.echo(f"[{len(done)}/{count}] {result.host}: {result.outcome.value}", err=True)
    if not as_json:
        _print_table([COLUMNS, *(_row(result) for result in done)])
    return all(result.outcome.good for result in done)


def report_local(answer: DeviceReply, as_json: bool) -> bool:
    """Print this device's own answer; whether it is a good one."""
    if as_json:
        click.echo(answer.to_line())
    else:
        _print_table([COLUMNS[1:4] + COLUMNS[5:], _cells(answer)])
    return answer.outcome.good


def _row(result: HostResult) -> tuple[str, ...]:
    outcome, model, release, detail = _cells(result.answer)
    return (result.host, outcome, model, release, f"{result.seconds:.1f}", detail)


def _cells(answer: DeviceReply) -> tuple[str, ...]:
    release = "-" if answer.release is None else str(answer.release)
    return (answer.outcome.value, answer.model or "-", release, answer.detail or _previous(answer))


def _previous(answer: DeviceReply) -> str:
    previous = (answer.store or {}).get("previous")
    if not isinstance(previous, dict):
        return ""
    return f"previous: {previous.get('name', '?')}@{str(previous.get('digest'))[:12]}"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
