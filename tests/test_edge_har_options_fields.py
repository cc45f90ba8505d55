"""An option is declared once: what is made of one more field, and where a name is spelled."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

import edge_har
import edge_har.sinks
from edge_har.cli._options import command_line_options
from edge_har.config.file import all_tables, config_of
from edge_har.config.page import markdown_of
from edge_har.config.schema import config_schema
from edge_har.config.toml import to_toml
from edge_har.errors import MisuseError
from edge_har.options.fields import check_values, option, options_of
from edge_har.options.kinds import DURATION, LIMIT, PROBABILITY, TEXT, TRUTH, WHOLE, choice
from edge_har.sinks import KINDS, options_class, options_of_text
from edge_har.sinks.jsonl import JsonLinesOptions
from tests.helpers.command import edge_har as run_command
from tests.helpers.json_schema import problems_of
from tests.test_edge_har_config_file import EVERYTHING

PACKAGE = Path(edge_har.__file__).parent
toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


@dataclass(frozen=True)
class MoreOptions(JsonLinesOptions):
    """A sink with one more option, in one field."""

    wobble_s: float = option(DURATION, "how long it wobbles", default=2.0, high=60)


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "jsonl", (__name__, "MoreOptions"))


def one_sink(line: str) -> Any:
    return config_of(f'[[sink]]\nkind = "jsonl"\npath = "x"\n{line}'.encode(), Path("/c.toml")).sinks[0]


@pytest.mark.usefixtures("more")
def test_one_field_is_all_that_an_option_of_a_sink_needs() -> None:
    assert one_sink('wobble_s = "1m"').wobble_s == 60.0
    text: Any = options_of_text("jsonl:x?wobble_s=3s")
    assert text.wobble_s == 3.0
    with pytest.raises(MisuseError, match=r"sink\[1\]\.wobble_s: expected a time.*, 0 to 60, found 61"):
        one_sink("wobble_s = 61")
    with pytest.raises(MisuseError, match=r"did you mean wobble_s\?"):
        one_sink("wobbel_s = 6")
    with pytest.raises(MisuseError, match=r"wobble_s must be a time.*, got 61"):
        MoreOptions(wobble_s=61)
    assert "| `wobble_s` | 2 | how long it wobbles |" in markdown_of(all_tables()["sink jsonl"])
    sinks = config_schema()["properties"]["sink"]["items"]["oneOf"]
    (schema,) = (one["properties"] for one in sinks if one["properties"]["kind"] == {"const": "jsonl"})
    assert schema["wobble_s"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 60}
    settings = config_of(b'[[sink]]\nkind = "jsonl"\npath = "x"', Path("/c.toml")).to_json()
    assert settings["sink"][0]["wobble_s"] == 2.0 and "wobble_s = 2.0" in to_toml(settings)


def spelled(path: Path) -> set[str]:
    """Texts, keywords and names of fields in a file; names behind a dot do not count."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


# Words that mean something else there: keys of events, of a source, of a page;
# a thread's or an argument's name.
COMMON = {"name", "path", "labels", "spool", "keep", "password", "token", "secret"}


def test_no_name_of_a_sinks_option_is_spelled_beside_its_declaration() -> None:
    files = {path: spelled(path) for path in PACKAGE.rglob("*.py")}
    for kind in KINDS:
        found = options_class(kind)
        for name in options_of(found).keys() - COMMON:
            declaring = {
                Path(sys.modules[cls.__module__].__file__ or "")
                for other in KINDS
                for cls in options_class(other).__mro__
                if name in inspect.get_annotations(cls)
            }
            elsewhere = {
                path.name
                for path, names in files.items()
                if name in names
                and path not in declaring
                and path.parent.name in ("sinks", "config", "cli", "options")
            }
            assert elsewhere == set(), (kind, name)


def test_an_option_of_the_command_line_is_made_of_its_declaration() -> None:
    @dataclass(frozen=True)
    class Options:
        count: int = option(WHOLE, "how many of `them`", default=1, low=1, high=9, command_line="--count")
        end_s: float | None = option(LIMIT, "end then; 0: never", default=None, command_line="--end")
        loud: bool = option(TRUTH, "be loud", default=False, command_line="--loud")
        form: str = option(choice("a", "b"), "which form", default="a", command_line="--form")
        hidden: str | None = option(TEXT, "not on the command line", default=None)

    @click.command()
    @command_line_options(options_of(Options))
    def command(**given: Any) -> None:
        pass

    def given(*arguments: str) -> dict[str, Any]:
        return dict(command.make_context("x", list(arguments)).params)

    nothing = {"count": None, "end_s": None, "loud": None, "form": None}
    assert given() == nothing
    assert given("--count", "3", "--end", "1m", "--no-loud", "--form", "b") == {
        "count": 3, "end_s": 60.0, "loud": False, "form": "b"
    }  # fmt: skip
    assert given("--end", "0") == {**nothing, "end_s": 0.0}
    with pytest.raises(click.BadParameter, match="'10' is not a whole number, 1 to 9"):
        given("--count", "10")
    assert "How many of them.  [default: 1]" in command.get_help(click.Context(command))


def test_values_are_checked_when_options_are_made_in_python() -> None:
    @dataclass(frozen=True)
    class Options:
        enter: float | None = option(PROBABILITY, "x", default=None)
        end_s: float | None = option(LIMIT, "x", default=None)
        key: str = option(choice("s1", "s2"), "x", default="s1", secret=True)

        def __post_init__(self) -> None:
            check_values(self, "it: ")

    assert Options(0.5, 1.0).enter == 0.5
    for values, message in (
        ({"enter": 1.5}, "it: enter must be a probability, 0 to 1, got 1.5"),
        ({"enter": float("nan")}, "got nan"),
        ({"end_s": 0.0}, "end_s must be more than 0 seconds, or None for no limit, got 0.0"),
        ({"key": "hunter2"}, 'key must be "s1" or "s2"'),
    ):
        with pytest.raises(MisuseError, match=message) as caught:
            Options(**values)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)
    assert "s1" not in repr(Options())


# The schema -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", EVERYTHING, 'duration_s = 0\n[[source]]\nuri_env = "X"\nsize = "16x16"']
)
def test_the_schema_takes_what_the_reader_takes(text: str) -> None:
    assert problems_of(toml.loads(text), config_schema()) == []


def test_the_schema_takes_the_example() -> None:
    example = PACKAGE / "config" / "example.toml"
    assert problems_of(toml.loads(example.read_text()), config_schema()) == []


@pytest.mark.parametrize(
    "text",
    [
        "modell = 'x'",
        "threads = 0",
        "threads = true",
        "events = 1",
        "[events]\nenter = 2",
        "[[source]]\nrotate = 90",
        "[[source]]\nuri = '0'\nrotate = 45",
        "[[source]]\nuri = 'rtsp://u@h'\npassword = 'x'",
        "[labels.Walk]\nhours = ['25:00-06:00']",
        "[[sink]]\npath = 'x'",
        "[[sink]]\nkind = 'mqt'",
        "[[sink]]\nkind = 'mqtt'",
        "[[sink]]\nkind = 'mqtt'\nhost = 'h'\nport = 99999",
        "[web]\ntoken = '0123456789abcdef'",
        "[log]\nlevel = 'loud'",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(text: str) -> None:
    assert problems_of(toml.loads(text), config_schema()) != []
    with pytest.raises(MisuseError):
        config_of(text.encode(), Path("/c.toml"))


# config show, config schema ---------------------------------------------------------------------------------


def test_show_prints_every_setting_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER", "hunter2")
    path = tmp_path / "c.toml"
    path.write_text('threads = 3\n[[sink]]\nkind = "mqtt"\nhost = "h"\nuser = "u"\npassword_env = "BROKER"\n')
    shown = run_command("config", "show", path)
    assert (shown.returncode, shown.stderr) == (0, "") and "hunter2" not in shown.stdout
    table = toml.loads(shown.stdout)
    assert table["threads"] == 3 and table["log"] == {"level": "info", "form": "auto"}
    assert table["sink"][0]["password"] == "***" and table["sink"][0]["keepalive_s"] == 30
    assert "# duration_s: not set\n" in shown.stdout
    as_json = json.loads(run_command("config", "show", path, "--json").stdout)
    assert as_json["sink"] == [{**as_json["sink"][0], **table["sink"][0]}]
    assert toml.loads(run_command("config", "show").stdout)["threads"] == 1
    path.write_text("threads = 'x'")
    wrong = run_command("config", "show", path)
    assert wrong.returncode == 2 and wrong.stdout == "" and "threads: expected" in wrong.stderr


def test_any_text_is_toml_again() -> None:
    settings = {"a b": '\x7f\u2028"\\\n', "labels": {"x.y": {"hours": ["a"]}}, "sink": []}
    assert toml.loads(to_toml(settings)) == settings


def test_the_schema_is_printed() -> None:
    done = run_command("config", "schema")
    assert done.returncode == 0 and json.loads(done.stdout) == config_schema()
