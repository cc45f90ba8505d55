"""`edge-har status`: what is on devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_har.cli._hosts import local_option, report, report_local, ssh_options
from edge_har.cli.command import Command

if TYPE_CHECKING:
    from edge_har.deploy.send import Ssh


@click.command(
    name="status",
    cls=Command,
    examples={
        "The machine this is typed on": "edge-har status",
        "Two devices": "edge-har status pi@camera-1 pi@camera-2",
    },
)
@click.argument("hosts", metavar="[USER@HOST...]", nargs=-1)
@ssh_options
@local_option
@click.pass_context
def command(
    ctx: click.Context,
    hosts: tuple[str, ...],
    ssh: Ssh,
    as_json: bool,
    local: bool,
) -> None:
    """Report which bundle is current on devices, and which one a rollback would make current.

    Without a host: on the machine this is typed on.
    """
    if local and hosts:
        raise click.UsageError("--local is this device: leave out the hosts, or --local")
    if not hosts:
        from edge_har.deploy import receive
        from edge_har.deploy.account import enter_service_store

        reply = enter_service_store() or receive.status()
        ctx.exit(0 if report_local(reply, as_json) else 1)
    from edge_har.deploy import send

    ctx.exit(0 if report(send.status(hosts, ssh), len(set(hosts)), as_json) else 1)
