"""`edge-har receive`: the device's side of flash, by hand or as the forced command of a key."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from edge_har.cli.command import Command

if TYPE_CHECKING:
    from edge_har.deploy.replies import DeviceReply

ORIGINAL_VARIABLE = "SSH_ORIGINAL_COMMAND"  # set by sshd where a key has a forced command
LOCAL = ["--local", "--json"]
STDIN = 0


@click.command(
    name="receive",
    cls=Command,
    examples={
        "By hand, without flash": "edge-har receive --length 81920 --sha256 5891b5b522d5df08 < mine.ehar",
    },
)
@click.option("--length", type=int, metavar="N", help="Bytes of the bundle that comes on standard input.")
@click.option("--sha256", metavar="HEX", help="Their sha256.")
@click.option("--digest", metavar="HEX", help="Sha256 of its manifest: read nothing where that is current.")
@click.option("--allow-downgrade", is_flag=True, help="Take an older release than the current one.")
@click.option(
    "--shipped",
    is_flag=True,
    help="Take the bundle that ships with the package, where the device has none yet.",
)
@click.pass_context
def command(
    ctx: click.Context,
    length: int | None,
    sha256: str | None,
    digest: str | None,
    allow_downgrade: bool,
    shipped: bool,
) -> None:
    """Take a bundle from standard input, check it and make it current on this device.

    `edge-har flash` calls this over ssh. Prints one line of JSON. As the forced command of a key
    (command="edge-har receive" in authorized_keys) it lets that key flash, roll back and request the status,
    and nothing else. Where `edge-har service install` made a service, it works on the store of that service,
    and as its user.
    """
    original = os.environ.pop(ORIGINAL_VARIABLE, None)
    if length is None and sha256 is None and original is not None:
        ctx.exit(_run_forced(ctx, original))
    from edge_har.deploy.account import enter_service_store

    if shipped:
        from edge_har.deploy.receive import ReceiveLimits, install_shipped

        limits = ctx.find_object(ReceiveLimits) or ReceiveLimits()
        ctx.exit(_print(enter_service_store() or install_shipped(limits)))
    if length is None or sha256 is None:
        raise click.UsageError(
            "--length and --sha256 are needed; `edge-har flash` on another machine gives them"
        )
    from edge_har.deploy.receive import Offer, ReceiveLimits, receive

    offer = Offer(length, sha256, digest, allow_downgrade)
    limits = ctx.find_object(ReceiveLimits) or ReceiveLimits()
    ctx.exit(_print(enter_service_store() or receive(offer, STDIN, limits)))


def _run_forced(ctx: click.Context, original: str) -> int:
    """Do what the sender requested where it is one of three things; its options are the sender's own."""
    from edge_har.deploy import receive
    from edge_har.deploy.account import enter_service_store
    from edge_har.deploy.replies import DeviceReply, Outcome

    try:
        words = shlex.split(original)
    except ValueError:
        words = []
    # What comes before is the sender's own name for edge-har, which is ignored.
    at = next((i for i, word in enumerate(words) if word in ("receive", "rollback", "status")), len(words))
    name, options = words[at : at + 1], words[at + 1 :]
    if name == ["receive"] and options:
        code = command.main(options, prog_name="edge-har receive", standalone_mode=False, obj=ctx.obj)
        return code if isinstance(code, int) else 0
    if name == ["rollback"] and options == LOCAL:
        limits = ctx.find_object(receive.ReceiveLimits) or receive.ReceiveLimits()
        return _print(enter_service_store() or receive.roll_back(limits))
    if name == ["status"] and options == LOCAL:
        return _print(enter_service_store() or receive.status())
    return _print(
        DeviceReply(Outcome.REFUSED, "this key may flash, roll back and request the status, nothing else")
    )


def _print(reply: DeviceReply) -> int:
    click.echo(reply.to_line())
    return 0 if reply.outcome.good else 1
