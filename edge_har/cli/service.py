"""`edge-har service`: this machine as a service of systemd, which flash puts bundles on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Group
from edge_har.deploy import unit
from edge_har.errors import DeployError, MisuseError

if TYPE_CHECKING:
    from edge_har.deploy.install import Wanted


@click.group(
    "service",
    cls=Group,
    examples={
        "What it would do": "edge-har service install --dry-run",
    },
)
def command() -> None:
    """Run edge-har as a service of systemd: install it."""


@command.command(
    "install",
    examples={
        "What it would do": "edge-har service install --dry-run",
        "A service that takes bundles from the holder of a key": "sudo edge-har service install "
        "--deploy-key id_ed25519.pub --allow-unsigned",
    },
)
@click.option(
    "--config",
    "config",
    metavar="FILE",
    default=unit.CONFIG,
    show_default=True,
    type=click.Path(path_type=Path),
    help="The settings it runs with; `edge-har config init` writes them.",
)
@click.option(
    "--deploy-key",
    "key_files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A public key, such as id_ed25519.pub, that may flash to this machine and do nothing else; may be "
    "given several times.",
)
@click.option(
    "--allow-unsigned",
    is_flag=True,
    help="Take unsigned bundles. No other kind exists yet: without this the device refuses each one.",
)
@click.option("--start/--no-start", default=True, help="Start the service now, or only at the next boot.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
def install(
    config: Path, key_files: tuple[Path, ...], allow_unsigned: bool, start: bool, dry_run: bool
) -> None:
    """Make the service: its user, its folders, its systemd unit, and a first bundle.

    What is there already stays; a second call does what is missing. The service runs the bundle that was last
    flashed, as the user edge-har. Flash to edge-har@HOST with a key of --deploy-key; or, with a login that
    may use sudo, to USER@HOST with --remote-command 'sudo edge-har'.
    """
    from edge_har.deploy.install import Wanted, check_readable, read_keys, steps, this_program
    from edge_har.sources.csi import JETSON

    if not dry_run and os.geteuid() != 0:
        raise MisuseError("it writes below /etc and makes a user: run it with sudo, or with --dry-run")
    keys = read_keys(key_files)
    wanted = Wanted(this_program(), config.absolute(), keys, allow_unsigned, start, JETSON.exists())
    if not config.is_file():
        raise DeployError(
            f"there are no settings at {config}: write them first with `sudo edge-har config init {config}`"
        )
    _warn_of_settings(wanted)
    check_readable(wanted)
    for step in steps(wanted):
        click.echo(f"would {step.text}" if dry_run else step.text)
        if dry_run:
            for line in step.detail.splitlines():
                click.echo(f"    {line}".rstrip())
        else:
            step.do()
    if not dry_run:
        click.echo(f"done; see: systemctl status {unit.NAME}, journalctl -u {unit.NAME}, edge-har doctor")


def _warn_of_settings(wanted: Wanted) -> None:
    """Warn of settings that the service cannot use, or does not."""
    from edge_har.cli.logs import write_line
    from edge_har.config.check import checked
    from edge_har.config.file import ConfigError
    from edge_har.doctor.machine import closed_to_service

    try:
        found, _ = checked(wanted.config)
    except ConfigError as error:
        # Secrets that only systemd hands over cannot be looked up here, so it is not refused.
        for line in error.problems:
            write_line(f"warning: {line}")
        return
    for line in closed_to_service(found):
        write_line(f"warning: {line}")
    if found.model not in (None, str(unit.STATE / "current")):
        write_line(
            f"warning: {wanted.config}: model has no effect: the service runs what was last flashed; remove "
            "that line and flash the bundle"
        )
