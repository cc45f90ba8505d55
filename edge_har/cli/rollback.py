"""`edge-har rollback`: take devices back to the bundle before."""

from __future__ import annotations

from pathlib import Path

import click

from edge_har.cli._hosts import report, report_local, ssh_options


@click.command(name="rollback")
@click.argument("hosts", metavar="[USER@HOST...]", nargs=-1)
@ssh_options
@click.option("--local", is_flag=True, help="This device, instead of hosts.")
@click.pass_context
def command(
    ctx: click.Context,
    hosts: tuple[str, ...],
    ssh_config: Path | None,
    port: int | None,
    identity: Path | None,
    remote_command: str,
    timeout: float,
    parallel: int,
    as_json: bool,
    local: bool,
) -> None:
    """Make the previous bundle of devices current again.

    A second rollback returns to where the first one started.
    """
    if local == bool(hosts):
        raise click.UsageError("name hosts, or --local for this device")
    if local:
        from edge_har.deploy import receive

        ctx.exit(0 if report_local(receive.roll_back(), as_json) else 1)
    from edge_har.deploy import send

    ssh = send.Ssh(ssh_config, port, identity, remote_command, timeout)
    ctx.exit(0 if report(send.roll_back(hosts, ssh, parallel=parallel), len(set(hosts)), as_json) else 1)
