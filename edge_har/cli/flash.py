"""`edge-har flash`: put a bundle on devices over ssh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli._hosts import report, ssh_options
from edge_har.cli.command import Command

if TYPE_CHECKING:
    from edge_har.deploy.send import Ssh

# What people write elsewhere.
INSTEAD = {
    **dict.fromkeys(
        ("--host", "--hosts", "--user", "--to", "--device"), "hosts need none: flash BUNDLE USER@HOST"
    ),
    **dict.fromkeys(("--bundle", "--model"), "the bundle needs none: flash BUNDLE USER@HOST"),
    **dict.fromkeys(("--key", "-i"), "did you mean --identity?"),
    "-p": "did you mean --port?",
}


@click.command(
    name="flash",
    cls=Command,
    instead=INSTEAD,
    examples={
        "Two devices": "edge-har flash mine.ehar pi@camera-1 pi@camera-2",
        "With a key and a port of their own": "edge-har flash mine.ehar pi@camera-1 --identity ~/.ssh/camera"
        " --port 2222",
    },
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("hosts", metavar="USER@HOST...", nargs=-1, required=True)
@ssh_options
@click.option("--allow-downgrade", is_flag=True, help="Let an older release replace a newer one.")
@click.pass_context
def command(
    ctx: click.Context,
    bundle: Path,
    hosts: tuple[str, ...],
    ssh: Ssh,
    as_json: bool,
    allow_downgrade: bool,
) -> None:
    """Put BUNDLE on devices over ssh.

    Each device checks it, runs its golden clips, makes it current and keeps the one before, for
    `edge-har rollback`. Exit code 0 only where every host ends in OK or UNCHANGED.
    """
    from edge_har.deploy import send

    results = send.flash(bundle, hosts, ssh, allow_downgrade=allow_downgrade)
    ctx.exit(0 if report(results, len(set(hosts)), as_json) else 1)
