"""What is wrong with a command line, in one line that says what to do."""

from __future__ import annotations

import re

import click

from edge_har.cli.command import Command, Group, did_you_mean, options_of_command, suggestions

NUMBERS = (click.types.IntParamType, click.types.FloatParamType)
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")  # an argument that may be left out


def usage_line(error: click.ClickException) -> str:
    """An error of click as one line, which names the command whose help has more."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return _sentence(error.format_message())
    return f"{_sentence(_what(error, context))} (help: {context.command_path} -h)"


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _what(error: click.ClickException, context: click.Context) -> str:
    if isinstance(error, click.NoSuchOption):
        return _no_such_option(error.option_name, context)
    if isinstance(error, click.BadOptionUsage):
        return _without_value(error, context)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return _missing(error.param, context)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad_value(error.message, error.param)
    return error.format_message()


def _no_such_option(name: str, context: click.Context) -> str:
    what, command = f"no option {name}", context.command
    meant = command.instead.get(name) if isinstance(command, Command) else None
    if meant is not None:
        return f"{what}; {meant}"
    if isinstance(command, Group):
        owner = command.command_with_option(context, name)
        if owner is not None:
            return f"{what} before a command; did you mean {context.command_path} {owner} {name}?"
    found = suggestions(name, options_of_command(command))
    return f"{what}; {did_you_mean(found)}" if found else what


def _without_value(error: click.BadOptionUsage, context: click.Context) -> str:
    name = error.option_name
    for parameter in context.command.params:
        if name in (*parameter.opts, *parameter.secondary_opts) and isinstance(parameter, click.Option):
            if parameter.is_flag:
                return f"{name} takes no value"
            return f"{name} needs a value: {name} {_placeholder(parameter)}"
    return error.format_message()


def _missing(parameter: click.Parameter, context: click.Context) -> str:
    if isinstance(parameter, click.Option):
        text = parameter.help or ""
        text = text if text[:2].isalpha() and text[:2].isupper() else text[:1].lower() + text[1:]
        about = f": {text}" if text else ""
        return f"{_name(parameter)} {_placeholder(parameter)} is missing{about}"
    usage = " ".join(context.command.collect_usage_pieces(context))
    return f"{_placeholder(parameter)} is missing: {context.command_path} {usage}"


def _bad_value(message: str, parameter: click.Parameter) -> str:
    name, (given, _, _) = _name(parameter), message.partition(" is not ")
    if isinstance(parameter.type, NUMBERS):
        return f"{name} is {_number(parameter.type)}, got {given}"
    if isinstance(parameter.type, click.Choice):
        choices = [str(choice) for choice in parameter.type.choices]
        near = did_you_mean(suggestions(given.strip("'"), choices)) or f"there are {', '.join(choices)}"
        return f"{name} cannot be {given}; {near}"
    return f"{name}: {message}"


def _number(kind: object) -> str:
    """What a number must be, in words."""
    number = "a whole number" if isinstance(kind, click.types.IntParamType) else "a number"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is not None and getattr(kind, "min_open", False):
        return f"{number} above {low:g}"
    if low is not None:
        return f"{number} of {low:g} or more" if high is None else f"{number} from {low:g} to {high:g}"
    return number if high is None else f"{number} of at most {high:g}"


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else _placeholder(parameter)


def _placeholder(parameter: click.Parameter) -> str:
    """What help writes in place of a value."""
    if parameter.metavar is not None:
        whole = OPTIONAL.fullmatch(parameter.metavar)
        return (whole[1] if whole else parameter.metavar).removesuffix("...")
    if isinstance(parameter, click.Argument):
        return (parameter.name or "").upper()
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return "|".join(map(str, kind.choices))
    if isinstance(kind, NUMBERS):
        return "N"
    return "PATH" if isinstance(kind, click.Path) else "TEXT"
