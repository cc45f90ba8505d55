"""What the commands that talk to devices share: options of ssh, progress, the table."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from edge_har.cli.logs import write_line
from edge_har.cli.progress import on_terminal, progress
from edge_har.deploy import HOST_TIMEOUT_S, MAX_PARALLEL, PARALLEL, REMOTE_COMMAND
from edge_har.errors import printable

if TYPE_CHECKING:
    from edge_har.deploy.replies import DeviceReply
    from edge_har.deploy.send import HostResult

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COLUMNS = ("HOST", "OUTCOME", "MODEL", "RELEASE", "SECONDS", "DETAIL")


def ssh_options(function: F) -> F:
    """Options that say how to reach hosts. The command gets them as one `ssh`, and --json as `as_json`."""

    @functools.wraps(function)
    def wrapped(
        *args: Any,
        ssh_config: Path | None,
        port: int | None,
        identity: Path | None,
        remote_command: str,
        timeout: float,
        parallel: int,
        **others: Any,
    ) -> Any:
        from edge_har.deploy.send import Ssh

        ssh = Ssh(ssh_config, port, identity, remote_command, timeout, parallel)
        return function(*args, ssh=ssh, **others)

    options = (
        click.option("--ssh-config", type=FILE, help="Configuration file for ssh, instead of your own."),
        click.option("--port", type=click.IntRange(1, 65535), help="Port of the hosts' ssh."),
        click.option("--identity", type=FILE, help="Private key to log in with."),
        click.option(
            "--remote-command",
            default=REMOTE_COMMAND,
            show_default=True,
            metavar="CMD",
            help="How edge-har is called on the hosts, where it is not on their PATH.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=1),
            default=HOST_TIMEOUT_S,
            show_default=True,
            metavar="S",
            help="Seconds for one host as a whole.",
        ),
        click.option(
            "--parallel",
            type=click.IntRange(1, MAX_PARALLEL),
            default=PARALLEL,
            show_default=True,
            help="Hosts at a time.",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a host on stdout."),
    )
    return cast(F, functools.reduce(lambda command, option: option(command), reversed(options), wrapped))


def local_option(function: F) -> F:
    """The option --local of a command that works on hosts or, without ssh, on this device."""
    return click.option("--local", is_flag=True, help="This device, instead of hosts.")(function)


def check_hosts_or_local(hosts: tuple[str, ...], local: bool) -> None:
    """Raise UsageError where there are both --local and hosts, or neither."""
    if local == bool(hosts):
        raise click.UsageError("name hosts, or --local for this device")


def report(results: Iterable[HostResult], count: int, as_json: bool) -> bool:
    """Print progress on stderr and the results on stdout; whether every host came out well.

    Progress is a bar on a terminal, unless JSON lines come between.
    """
    done: list[HostResult] = []
    with progress("devices") as advance:
        for result in results:
            done.append(result)
            if as_json:
                click.echo(json.dumps(result.to_json()))
            if as_json or not on_terminal():
                write_line(f"[{len(done)}/{count}] {result.host}: {result.outcome.value}")
            else:
                advance(len(done), count)
    if not as_json:
        _print_table([COLUMNS, *(_row(result) for result in done)])
    return all(result.outcome.good for result in done)


def report_local(reply: DeviceReply, as_json: bool) -> bool:
    """Print this device's own reply; whether it is a good one."""
    if as_json:
        click.echo(reply.to_line())
    else:
        _print_table([COLUMNS[1:4] + COLUMNS[5:], _cells(reply)])
    return reply.outcome.good


def _row(result: HostResult) -> tuple[str, ...]:
    outcome, model, release, detail = _cells(result.reply)
    return (printable(result.host), outcome, model, release, f"{result.seconds:.1f}", detail)


def _cells(reply: DeviceReply) -> tuple[str, ...]:
    release = "-" if reply.release is None else str(reply.release)
    return (reply.outcome.value, reply.model or "-", release, printable(reply.detail or _previous(reply)))


def _previous(reply: DeviceReply) -> str:
    previous = (reply.store or {}).get("previous")
    if not isinstance(previous, dict):
        return ""
    return f"previous: {previous.get('name', '?')}@{str(previous.get('digest'))[:12]}"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
