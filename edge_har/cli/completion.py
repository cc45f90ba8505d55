"""`edge-har completion`: what makes a shell complete commands, options and files at the Tab key."""

from __future__ import annotations

import click

from edge_har.cli import PROGRAM
from edge_har.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_EDGE_HAR_COMPLETE"  # as click calls it, by the program's name


@click.command(
    "completion",
    cls=Command,
    examples={
        "Bash, for every new shell": "edge-har completion bash >> ~/.bashrc",
        "Zsh": "edge-har completion zsh >> ~/.zshrc",
        "Fish": "edge-har completion fish > ~/.config/fish/completions/edge-har.fish",
    },
)
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the code that lets SHELL (bash, zsh or fish) complete what you type at the Tab key."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
