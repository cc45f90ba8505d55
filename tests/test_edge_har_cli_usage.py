"""Errors of the command line are one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from edge_har.cli.command import Command
from edge_har.cli.usage import usage_line


@click.command("do", cls=Command, instead={"--input": "did you mean --data?"})
@click.argument("file", metavar="[FILE...]", nargs=-1)
@click.option("--data", metavar="[NAME=]DIR", required=True, help="A folder of clips.")
@click.option("--kind", type=click.Choice(["plain", "fancy"]))
@click.option("--count", type=click.IntRange(min=1))
@click.option("--share", type=click.FloatRange(0, 1))
@click.option("--speed", type=click.FloatRange(0, min_open=True))
@click.option("--most", type=click.IntRange(max=9))
@click.option("--there", type=click.Path(exists=True, path_type=Path))
@click.option("--quick", is_flag=True)
def do(**given: object) -> None:
    """Do something."""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--input", "x"], "no option --input; did you mean --data?"),
        (["--sped", "1"], "no option --sped; did you mean --speed?"),
        (["--xyzzy"], "no option --xyzzy"),
        ([], "--data [NAME=]DIR is missing: a folder of clips"),
        (["--data"], "--data needs a value: --data [NAME=]DIR"),
        (["--quick=yes"], "--quick takes no value"),
        (["--data", "x", "--kind", "plan"], "--kind cannot be 'plan'; did you mean plain?"),
        (["--data", "x", "--kind", "zz"], "--kind cannot be 'zz'; there are plain, fancy"),
        (["--data", "x", "--count", "many"], "--count is a whole number of 1 or more, got 'many'"),
        (["--data", "x", "--count", "0"], "--count is a whole number of 1 or more, got 0"),
        (["--data", "x", "--share", "5"], "--share is a number from 0 to 1, got 5.0"),
        (["--data", "x", "--speed", "0"], "--speed is a number above 0, got 0.0"),
        (["--data", "x", "--most", "10"], "--most is a whole number of at most 9, got 10"),
        (["--data", "x", "--there", "/none"], "--there: Path '/none' does not exist"),
    ],
)
def test_each_mistake_is_one_line(arguments: list[str], line: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        do.main(arguments, prog_name="program do", standalone_mode=False)
    assert usage_line(caught.value) == f"{line} (help: program do -h)"


def test_other_errors_keep_their_text() -> None:
    assert usage_line(click.ClickException("a\nb.")) == "a b"
