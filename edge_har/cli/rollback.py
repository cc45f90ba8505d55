"""`edge-har rollback`: take devices back to the bundle before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_har.cli._hosts import check_hosts_or_local, local_option, report, report_local, ssh_options
from edge_har.cli.command import Command

if TYPE_CHECKING:
    from edge_har.deploy.send import Ssh


@click.command(
    name="rollback",
    cls=Command,
    examples={
        "One device": "edge-har rollback pi@camera-1",
        "The machine this is typed on": "edge-har rollback --local",
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
    """Make the previous bundle of devices current again.

    A second rollback returns to where the first one started.
    """
    check_hosts_or_local(hosts, local)
    if local:
        from edge_har.deploy import receive
        from edge_har.deploy.account import enter_service_store

        reply = enter_service_store() or receive.roll_back()
        ctx.exit(0 if report_local(reply, as_json) else 1)
    from edge_har.deploy import send

    ctx.exit(0 if report(send.roll_back(hosts, ssh), len(set(hosts)), as_json) else 1)
