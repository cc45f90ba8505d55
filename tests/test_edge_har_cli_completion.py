"""What a shell completes: commands without loading them, options, files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from edge_har.cli import ENTRY_POINT_GROUP, PROGRAM, cli
from edge_har.cli.command import HELP_NAMES
from edge_har.cli.completion import SHELLS, VARIABLE
from tests.helpers.command import environment
from tests.helpers.need import need_program


def completions(*words: str) -> list[str]:
    """What completes the last of `words`; a file is `file`."""
    found = ShellComplete(cli, dict(HELP_NAMES), PROGRAM, VARIABLE).get_completions(
        list(words[:-1]), words[-1]
    )
    return [item.type if item.type != "plain" else item.value for item in found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["cl"], ["classify"]),
        (["tr"], ["train"]),
        (["run", "--cam"], ["--camera"]),
        (["run", "--log-format", "p"], ["plain"]),
        (["run", "--model", ""], ["file"]),
        (["run", "--config", ""], ["file"]),
        (["model", "in"], ["inspect"]),
        (["completion", ""], list(SHELLS)),
    ],
)
def test_what_is_completed(words: list[str], found: list[str]) -> None:
    assert completions(*words) == found


def test_a_command_that_is_not_installed_is_completed_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = EntryPoint("train", "a_module_of_nobody:train", ENTRY_POINT_GROUP)
    monkeypatch.setattr("edge_har.cli.entry_points", lambda group: (absent,))
    assert completions("tr") == ["train"]
    assert "--data" not in completions("train", "--da")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_code_that_calls_the_program(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0 and f"{VARIABLE}={shell}_complete" in done.output and PROGRAM in done.output


def test_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / PROGRAM
    start = f"import sys; sys.argv[0] = {PROGRAM!r}; from edge_har.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(start)} "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$({PROGRAM} completion bash)"
        COMP_WORDS=({PROGRAM} mod) COMP_CWORD=1
        _edge_har_completion {PROGRAM} mod {PROGRAM}
        echo "${{COMPREPLY[@]}}"
    """
    variables = environment() | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [need_program("bash"), "-c", script], capture_output=True, text=True, check=False, env=variables
    )
    assert done.stdout.split() == ["model"], done.stderr
