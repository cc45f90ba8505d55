"""Help of every command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import group as maintainers
from convert.verify.runtimes import main as runtimes
from edge_har.cli import cli
from edge_har.cli.command import Command
from edge_har.sources.synthetic import main as synthetic
from tests.helpers.commands import commands_below, parsed_command

COMMANDS = list(commands_below(cli))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (cli, ()),
        *((cli, words) for words in COMMANDS),
        (maintainers, ()),
        *((maintainers, words) for words in commands_below(maintainers)),
        (synthetic, ()),
        (runtimes, ()),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else given.name,
)
def test_h_is_help_everywhere(command: click.Command, words: tuple[str, ...]) -> None:
    short = CliRunner().invoke(command, [*words, "-h"])
    assert short.exit_code == 0 and short.output.startswith("Usage: ")
    assert short.output == CliRunner().invoke(command, [*words, "--help"]).output


def test_every_command_is_known() -> None:
    assert {("run",), ("model", "inspect"), ("config", "check"), ("data", "index"), ("train",)} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_examples_of_each_help_are_commands_that_parse(words: tuple[str, ...], tmp_path: Path) -> None:
    """Every option exists and every argument is of its kind."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "camera").touch()
    shown = CliRunner().invoke(cli, [*words, "-h"]).output.partition("\nExamples:\n")[2]
    lines = [line.strip() for line in shown.splitlines() if line.startswith("    ")]
    assert lines
    for line in lines:
        # As a shell does: the home, and what is redirected is no argument.
        typed = [
            word.replace("~", str(tmp_path))
            for word in shlex.split(re.split(" >>? | < ", line.removeprefix("sudo "))[0])
        ]
        assert typed[: len(words) + 1] == ["edge-har", *words]
        if "-h" not in typed:
            assert parsed_command(cli, typed[1:]).args == []


@pytest.mark.parametrize("name", ["run", "train", "convert"])
def test_a_long_help_has_every_option_in_one_group(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "-h"]).output
    assert re.findall(r"^  (-\S+)", shown.partition("\nOptions:\n")[2], re.MULTILINE) == ["-h,"]
    found = cli.get_command(click.Context(cli), name)
    assert isinstance(found, Command)
    grouped = [option for options in found.groups.values() for option in options]
    assert len(grouped) == len(set(grouped))


def test_h_stays_help_of_a_command_that_was_called_by_itself() -> None:
    """Click keeps what it made of the help option, and a command by itself inherits nothing."""
    for words in COMMANDS:
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None
        assert CliRunner().invoke(command, ["--help"]).exit_code == 0
        assert CliRunner().invoke(command, ["-h"]).exit_code == 0, words
