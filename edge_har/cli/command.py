"""Commands whose help has groups and examples, and that know what a mistyped word may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import click

from edge_har.errors import EdgeHarError
from edge_har.options.addresses import mask_uri

CUTOFF = 0.65  # of difflib: below it, a word resembles nothing
MAX_SUGGESTIONS = 2
HELP_NAMES = {"help_option_names": ["-h", "--help"]}  # of every command, also where it is called by itself
OTHER_OPTIONS = "Options"  # the title of those in no group
ARGUMENTS = "arguments"  # the key of `Command.instead` for words that belong to no option


def suggestions(word: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that `word` may have meant, the most likely first."""
    known = list(known)
    bare = {name.lower(): name for name in known}
    if word.lower() in bare:
        return [bare[word.lower()]]
    begun = [name for name in known if len(word.lstrip("-")) > 2 and name.startswith(word)]
    near = difflib.get_close_matches(word.lower(), bare, MAX_SUGGESTIONS, CUTOFF)
    return list(dict.fromkeys([*begun, *(bare[name] for name in near)]))[:MAX_SUGGESTIONS]


def did_you_mean(names: Iterable[str]) -> str:
    """`did you mean a or b?`, or nothing without names."""
    listed = " or ".join(names)
    return f"did you mean {listed}?" if listed else ""


def options_of_command(command: click.Command) -> list[str]:
    """The names of the options that its help lists, such as `--source`."""
    shown = (p for p in command.params if isinstance(p, click.Option) and not p.hidden)
    return [name for option in shown for name in (*option.opts, *option.secondary_opts)]


def with_help_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options of a command, whose help -h shows too."""
    return {**options, "context_settings": {**HELP_NAMES, **(options.get("context_settings") or {})}}


def write_examples(examples: Mapping[str, str], formatter: click.HelpFormatter) -> None:
    """The section of examples: a line that says what each does, and under it the command, never broken."""
    if not examples:
        return
    with formatter.section("Examples"):
        indent = " " * formatter.current_indent
        for what, line in examples.items():
            formatter.write(f"{indent}{what}:\n{indent}  {line}\n")


class Command(click.Command):
    """A command.

    instead: by an option that people try and that there is not, what to write; under ARGUMENTS, what to write
    in place of arguments where it takes no more, with `{}` for the first of these. examples: what each does,
    and its command line. groups: by title, the options of a group of the help, as in `--source --camera`; the
    others come last. Raises ValueError for a name that no option has.
    """

    def __init__(
        self,
        *args: Any,
        instead: Mapping[str, str] | None = None,
        examples: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **with_help_names(kwargs))
        self.examples = dict(examples or {})
        self.groups = {title: tuple(names.split()) for title, names in (groups or {}).items()}
        unknown = {name for names in self.groups.values() for name in names} - {
            name for option in self.params for name in option.opts
        }
        if unknown:
            raise ValueError(f"{self.name} has no option {', '.join(sorted(unknown))}")
        self.instead = dict(instead or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line. Raises UsageError, which knows its command."""
        given = list(args)
        ctx.allow_extra_args = True
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            # Of `-camera` the parser has only read the first letter.
            name = error.option_name
            whole = next((w for w in given if len(name) == 2 and w.startswith(name) and len(w) > 2), name)
            raise click.NoSuchOption(whole.partition("=")[0], ctx=ctx) from error
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            if not isinstance(error, click.MissingParameter) or ARGUMENTS not in self.instead:
                raise
            # `train clips`: that --data is missing is less helpful than where `clips` belongs.
            rest = self.make_parser(ctx).parse_args(given)[1]
            if not rest:
                raise
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(self._unexpected(rest), ctx)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each in its group."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        of_name = {name: option for option in options for name in option.opts}
        grouped = {title: [of_name[name] for name in names] for title, names in self.groups.items()}
        taken = [option for group in grouped.values() for option in group]
        grouped[OTHER_OPTIONS] = [option for option in options if option not in taken]
        for title, group in grouped.items():
            records = [record for option in group if (record := option.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """End the help with the examples."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)

    def _unexpected(self, words: list[str]) -> str:
        """What to answer to arguments that there are not."""
        word = mask_uri(words[0])
        what = f"unexpected argument ({word})"
        return f"{what}; {self.instead[ARGUMENTS].replace('{}', word)}" if ARGUMENTS in self.instead else what


class Group(click.Group):
    """Commands by name. examples: as of a Command.

    also_called: to other words for them, what to write: `sources` for `cameras`.
    """

    command_class = Command

    def __init__(
        self,
        *args: Any,
        also_called: Mapping[str, str] | None = None,
        examples: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **with_help_names(kwargs))
        self.examples = dict(examples or {})
        self.also_called = dict(also_called or {})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """End the help with the examples."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with. Raises UsageError, which says what may have been meant."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(self.unknown_command(ctx, name), ctx)
        return super().resolve_command(ctx, args)

    def unknown_command(self, ctx: click.Context, name: str) -> str:
        """What to answer to a command that there is not."""
        meant = self.also_called.get(name.lower())
        found = [meant] if meant else suggestions(name, self.list_commands(ctx))
        if found:
            return f"no command {name!r}; {did_you_mean(f'{ctx.command_path} {word}' for word in found)}"
        return f"no command {name!r}; there are {', '.join(self.list_commands(ctx))}"

    def command_with_option(self, ctx: click.Context, option: str) -> str | None:
        """The first command that has an option of this name; None: there is none."""
        for name in self.list_commands(ctx):
            with suppress(EdgeHarError):  # it is not installed
                command = self.get_command(ctx, name)
                if command is not None and option in options_of_command(command):
                    return name
        return None
