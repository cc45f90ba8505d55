"""Options of a command from declarations: name, help, what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from edge_har.errors import MisuseError
from edge_har.options.fields import Option
from edge_har.options.kinds import TRUTH


def command_line_options(options: Mapping[str, Option]) -> Callable[[Any], Any]:
    """A decorator that gives a command those of `options` that have a name on the command line.

    It receives each under the name of the option; None where it is not given, 0 for no limit.
    """

    def add(command: Any) -> Any:
        for declared in reversed(list(options.values())):
            if declared.command_line is not None:
                command = _click_option(declared, declared.command_line)(command)
        return command

    return add


def _click_option(declared: Option, name: str) -> Callable[[Any], Any]:
    # Back-ticks are for the page; nobody should read a default twice.
    text = declared.help.replace("`", "")
    text = f"{text[0].upper()}{text[1:]}."
    if declared.kind is TRUTH:
        return click.option(f"{name}/--no-{name[2:]}", declared.name, default=None, help=text)
    if declared.otherwise:
        text += f"  [default: {declared.otherwise.replace('`', '')}]"
    elif isinstance(declared.default, (int, float)):
        text += f"  [default: {declared.default:g}]"
    if declared.kind.choices:
        return click.option(name, declared.name, type=click.Choice(declared.kind.choices), help=text)
    metavar = declared.kind.metavar or name[2:].upper()
    kind = click.Path() if declared.kind.is_path else None  # a shell completes files
    return click.option(
        name, declared.name, metavar=metavar, type=kind, callback=_reader(declared), help=text
    )


def _reader(declared: Option) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            found = declared.read_text(value)
        except MisuseError as error:
            raise click.BadParameter(f"{error}", context, parameter) from None
        except (TypeError, ValueError, OverflowError):
            raise click.BadParameter(f"{value!r} is not {declared.expected}.", context, parameter) from None
        return 0.0 if found is None else found

    return read
