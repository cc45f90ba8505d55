"""What a mistyped word may have meant."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from edge_har.cli.command import ARGUMENTS, Command, Group, suggestions


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("rnu", ["run"]),
        ("RUN", ["run"]),
        ("sorces", ["sources"]),
        ("class", ["classify"]),
        ("xyzzy", []),
        ("", []),
    ],
)
def test_suggestions_resemble_the_word(word: str, found: list[str]) -> None:
    assert suggestions(word, ["run", "classify", "sources"])[:1] == found


def test_two_suggestions_at_most() -> None:
    assert suggestions("--smoth", ["--smooth", "--smooths", "--smoother"]) == ["--smooth", "--smooths"]


@click.group(cls=Group, also_called={"cameras": "sources"})
def program() -> None:
    """A program."""


@program.command("sources", instead={ARGUMENTS: "did you mean --of {}?", "--device": "did you mean --of?"})
@click.option("--of", required=True)
def sources(of: str) -> None:
    """A command."""


def error_of(*arguments: str) -> click.UsageError:
    with pytest.raises(click.UsageError) as caught:
        program.main(list(arguments), prog_name="program", standalone_mode=False)
    assert caught.value.ctx is not None
    return caught.value


def test_an_unknown_command_names_the_one_that_is_meant_or_all() -> None:
    assert error_of("cameras").message == "no command 'cameras'; did you mean program sources?"
    assert error_of("source").message == "no command 'source'; did you mean program sources?"
    assert error_of("xyzzy").message == "no command 'xyzzy'; there are sources"


def test_an_argument_too_many_is_answered_before_an_option_that_is_missing() -> None:
    assert error_of("sources", "x").message == "unexpected argument (x); did you mean --of x?"
    assert error_of("sources", "--of", "a", "x").message == "unexpected argument (x); did you mean --of x?"
    assert isinstance(error_of("sources"), click.MissingParameter)


def test_an_argument_that_holds_a_password_is_masked() -> None:
    assert "s3cret" not in error_of("sources", "rtsp://me:s3cret@h").message


def test_an_option_with_one_dash_is_read_whole() -> None:
    error = error_of("sources", "-device", "0")
    assert isinstance(error, click.NoSuchOption) and error.option_name == "-device"


def test_the_command_that_has_an_option() -> None:
    context = click.Context(program)
    assert program.command_with_option(context, "--of") == "sources"
    assert program.command_with_option(context, "--no") is None


def test_options_stand_in_their_groups_and_the_rest_last() -> None:
    @click.command(cls=Command, groups={"Second": "--b", "First": "--c --a"})
    @click.option("--a", help="One.")
    @click.option("--b", help="Two.")
    @click.option("--c/--no-c", help="Three.")
    @click.option("--d", help="Four.")
    def grouped(**given: object) -> None:
        """Do something."""

    shown = CliRunner().invoke(grouped, ["--help"]).output
    order = ["Second:", "Two.", "First:", "Three.", "One.", "Options:", "Four.", "--help"]
    places = [shown.index(text) for text in order]
    assert places == sorted(places)


def test_a_group_of_an_option_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="grouped has no option --b"):
        click.command("grouped", cls=Command, groups={"First": "--b"})(lambda: None)
