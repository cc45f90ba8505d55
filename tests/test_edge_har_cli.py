"""Commands of the workstation where its libraries are absent: one line with the install command."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as maintainers
from edge_har.cli import ENTRY_POINT_GROUP, WORKSTATION_INSTALL, cli, workstation_part
from edge_har.errors import RuntimeMissingError
from tests.helpers.command import environment
from tests.helpers.videos import make_dataset


def without(module: str, *arguments: object) -> tuple[int, str]:
    """The exit code and stderr of a command where a library is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from edge_har.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(),
    )
    return done.returncode, done.stderr


def missing(module: str) -> tuple[int, str]:
    return 1, f"error: {module} is not installed: {WORKSTATION_INSTALL}\n"


def test_without_tensorflow_each_command_that_needs_it_is_one_line(tmp_path: Path) -> None:
    clips = make_dataset(tmp_path / "clips")
    for arguments in (
        ("train", "--data", clips, "--model", "motion", "--out", tmp_path / "run"),
        ("train", "--data", clips, "--model", "motion", "--out", tmp_path / "run", "--describe"),
        ("convert", tmp_path / "run", "--out", tmp_path / "x.ehar"),
        ("convert", tmp_path / "x.h5", "--out", tmp_path / "x.ehar"),
        ("model", "export", "--to", tmp_path / "plain", "--float", tmp_path / "run"),
    ):
        assert without("tensorflow", *arguments) == missing("tensorflow"), arguments
    assert {path.name for path in tmp_path.iterdir()} == {"clips"}
    assert without("tensorflow", "train", "--data", clips)[0] == 2, "misuse comes first"


def test_without_tensorflow_what_does_not_need_it_works(tmp_path: Path) -> None:
    clips = make_dataset(tmp_path / "clips")
    assert without("tensorflow", "data", "index", clips, "--out", tmp_path / "index.csv")[0] == 0
    assert without("tensorflow", "train", "--help") == without("tensorflow", "convert", "--help") == (0, "")


def test_the_maintainers_command_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plots(**_: object) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(maintainers.group, "main", plots)
    with pytest.raises(SystemExit, match="1"):
        maintainers.main()
    assert capsys.readouterr().err == missing("matplotlib")[1]


def test_a_library_that_convert_needs_beside_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    arguments = ("convert", tmp_path / "x.h5", "--out", tmp_path / "x.ehar")
    assert without("h5py", *arguments) == missing("h5py")


def added(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name, value, ENTRY_POINT_GROUP)
    monkeypatch.setattr("edge_har.cli.entry_points", lambda group: (entry,))


@pytest.mark.parametrize(
    "absent", ["a_module_of_nobody", "tensorflow.a_part_of_another_version", "train.a_file_of_ours"]
)
def test_any_other_import_error_is_shown(
    absent: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At its import and when the command runs."""
    failing = f"raise ModuleNotFoundError('no {absent}', name={absent!r})\n"
    for module in ("fails_when_loaded", "fails_when_called"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "fails_when_loaded.py").write_text(failing)
    (tmp_path / "fails_when_called.py").write_text(
        f"import click\n@click.command()\ndef command() -> None:\n    {failing}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("fails_when_loaded", "fails_when_called"):
        added(monkeypatch, "other", f"{module}:command")
        result = CliRunner().invoke(cli, ["other"])
        assert isinstance(result.exception, ModuleNotFoundError) and result.exception.name == absent


def test_a_name_of_the_users_is_no_command_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of clips, or a script, may be called as a package of the workstation, and is not run."""
    (tmp_path / "named_as_a_package" / "cli").mkdir(parents=True)
    (tmp_path / "named_as_a_script.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("named_as_a_package", "named_as_a_script", "of_nobody"):
        added(monkeypatch, "train", f"{name}.cli.train:train")
        with pytest.raises(RuntimeMissingError, match="'train' is of the workstation: pip install"):
            workstation_part(ENTRY_POINT_GROUP, "train")


def test_a_command_from_elsewhere_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "of_another_project" / "below"
    folder.mkdir(parents=True)
    (folder / "command.py").write_text("import click\nhello = click.Command('hello')\n")
    monkeypatch.syspath_prepend(os.fspath(tmp_path))
    added(monkeypatch, "hello", "of_another_project.below.command:hello")
    assert isinstance(workstation_part(ENTRY_POINT_GROUP, "hello"), click.Command)
