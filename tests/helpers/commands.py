"""All commands, those below groups too."""

from __future__ import annotations

from collections.abc import Iterator

import click


def commands_below(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group below `group`, such as `("model", "inspect")`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands_below(command, (*path, name))
