"""`edge-har flash`: put a bundle on devices over ssh."""

from __future__ import annotations

from pathlib import Path

import click

from edge_har.cli._hosts import report, ssh_options


@click.command(name="flash")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("hosts", metavar="USER@HOST...", nargs=-1, required=True)
@ssh_options
@click.option("--allow-downgrade", is_flag=True, help="Let an older release replace a newer one.")
@click.pass_context
def command(
    ctx: click.Context,
    bundle: Path,
    hosts: tuple[str, ...],
    ssh_config: Path | None,
    port: int | None,
    identity: Path | None,
    remote_command: str,
    timeout: float,
    parallel: int,
    as_json: bool,
    allow_downgrade: bool,
) -> None:
    """Put BUNDLE on devices over ssh.

    Each device checks it, runs its golden clips, makes it current and keeps the one before for `edge-har rollback`.
    Exit code 0 only where every host ends in OK or UNCHANGED.
    """
    from edge_har.deploy import send

    ssh = send.Ssh(ssh_config, port, identity, remote_command, timeout)
    results = send.flash(bundle, hosts, ssh, parallel=parallel, allow_downgrade=allow_downgrade)
    ctx.exit(0 if report(results, len(set(hosts)), as_json) else 1)
