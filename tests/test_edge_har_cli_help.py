"""Help of every command."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import group as maintainers
from convert.verify.runtimes import main as runtimes
from edge_har.cli import cli
from edge_har.sources.synthetic import main as synthetic
from tests.helpers.commands import commands_below

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
