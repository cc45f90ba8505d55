"""What README and the pages in docs promise: commands that parse, links that lead somewhere,
shapes that are true.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_har.cli import cli
from edge_har.pipeline.events import Event
from tests.helpers.commands import parsed_command
from tests.helpers.need import need_module

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "packaging").rglob("*.md"))
NEEDS_WORKSTATION = ("data", "train", "convert", "benchmark")


def shell_lines(page: Path) -> Iterator[str]:
    """Lines of a page's `sh` blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            command = line.partition("  #")[0].strip()
            if command:
                yield command


README_COMMANDS = [line for line in shell_lines(ROOT / "README.md") if line.startswith("edge-har ")]
MAKE_TARGETS = [line.split()[1] for line in shell_lines(ROOT / "README.md") if line.startswith("make ")]


@pytest.mark.parametrize("line", README_COMMANDS)
def test_commands_of_the_readme_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option exists and every argument is of its kind; files that the line reads stand ready, empty."""
    words = shlex.split(line)[1:]
    if words[0] in NEEDS_WORKSTATION:
        need_module("tensorflow", "make test")
    monkeypatch.chdir(tmp_path)
    for name in ("clip.avi", "index.csv", "split.json", "mine.ehar"):
        Path(name).touch()
    for name in ("my_clips", "runs/mine"):
        Path(name).mkdir(parents=True)
    assert parsed_command(cli, words).params


def test_the_readme_shows_the_main_commands() -> None:
    assert {line.split()[1] for line in README_COMMANDS} >= {
        "run",
        "classify",
        "bench",
        "train",
        "convert",
        "flash",
    }
    assert set(MAKE_TARGETS) == {"demo", "test"}


@pytest.mark.parametrize("target", ["demo", "test", "test-device", "check", "model", "accuracy", "benchmark"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_the_event_in_the_readme_has_an_events_keys() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    made = Event("id", "start", "0", "Walk", 0.9, 1.0, None, "time", "model").to_json()
    assert list(shown) == list(made)


def test_help_is_short_and_lists_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_har", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert all(f"  {line.split()[1]} " in done.stdout for line in README_COMMANDS)
