"""All commands, those below groups too."""

from __future__ import annotations

from collections.abc import Iterator

import click

from edge_har.cli.command import HELP_NAMES


def commands_below(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group below `group`, such as `("model", "inspect")`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands_below(command, (*path, name))


def parsed_command(group: click.Group, words: list[str]) -> click.Context:
    """What a command line, without the name of the program, calls and gives it; nothing is executed.

    Raises UsageError for an option that there is not, or a value that is of another kind.
    """
    command: click.Command = group
    context = click.Context(group, **HELP_NAMES)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]!r}"
        command, words = found, words[1:]
    return command.make_context(command.name, list(words), parent=context)
