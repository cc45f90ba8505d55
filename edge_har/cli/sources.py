"""`edge-har sources`: the cameras of this machine, and what they can do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Command

if TYPE_CHECKING:
    from edge_har.sources.machine import MachineCamera
    from edge_har.sources.v4l2 import Mode

NONE = "no camera on this machine; rtsp://, http://, files and synthetic:demo need none"


@click.command(
    "sources",
    cls=Command,
    examples={
        "The cameras, and what to write behind run --source": "edge-har sources",
    },
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of text.")
def command(as_json: bool) -> None:
    """List the cameras of this machine: their name for `run --source`, their formats, sizes and rates."""
    from edge_har.sources.machine import cameras_of_this_machine

    cameras = cameras_of_this_machine()
    if as_json:
        click.echo(json.dumps([camera.to_json() for camera in cameras], ensure_ascii=False))
        return
    for camera in cameras:
        click.echo("\n".join(_lines(camera)))
    if not cameras:
        click.echo(NONE)


def _lines(camera: MachineCamera) -> list[str]:
    """A camera for people: a line about it, and one for each of its formats."""
    about = ", ".join(part for part in (camera.driver, camera.location) if part)
    lines = [f"{camera.source}  {camera.name}" + (f"  ({about})" if about else "")]
    if camera.problem is not None:
        lines.append(f"    {camera.problem}")
    for name in dict.fromkeys(mode.format for mode in camera.modes):
        modes = "; ".join(_mode(mode) for mode in camera.modes if mode.format == name)
        lines.append(f"    {name}  {modes}")
    return lines


def _mode(mode: Mode) -> str:
    size = "x".join(map(str, mode.size))
    if mode.to_size is not None:
        size += " to " + "x".join(map(str, mode.to_size))
    rates = (" to " if mode.to_size is not None else ", ").join(f"{rate:g}" for rate in mode.rates_hz)
    return f"{size} at {rates}" if rates else size
