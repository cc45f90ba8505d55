"""`edge-har status`: what is on devices."""

from __future__ import annotations

from pathlib import Path

import click

from edge_har.cli._hosts import report, report_local, ssh_options


@click.command(name="status")
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
    """Say which bundle is current on devices, and which one a rollback would take."""
    if local == bool(hosts):
        raise click.UsageError("name hosts, or --local for this device")
    if local:
        from edge_har.deploy import receive

        ctx.exit(0 if report_local(receive.status(), as_json) else 1)
    from edge_har.deploy import send

    ssh = send.Ssh(ssh_config, port, identity, remote_command, timeout)
    ctx.exit(0 if report(send.status(hosts, ssh, parallel=parallel), len(set(hosts)), as_json) else 1)
