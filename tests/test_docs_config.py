"""docs/config.md has every key there is, and no other, with what holds without it;
the example is a file that works.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from edge_har.config.file import all_tables
from edge_har.config.page import MARKED, with_tables
from tests.helpers.command import edge_har

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_has_every_table_as_the_declarations_make_it() -> None:
    page = (DOCS / "config.md").read_text()
    assert with_tables(page) == page, "make it again: python -m edge_har.config.page docs/config.md"
    assert [found["table"].removeprefix("top") for found in MARKED.finditer(page)] == list(all_tables())


def test_the_example_is_one_that_check_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "hunter2")
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    example = files("edge_har.config") / "example.toml"
    (tmp_path / "edge-har.toml").write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    done = edge_har("config", "check", tmp_path / "edge-har.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "door: rtsp://edge-har@192.168.1.20/stream1" in done.stdout and "hunter2" not in done.stdout


def test_the_problems_that_the_page_shows_are_what_is_reported(tmp_path: Path) -> None:
    shown_lines = re.findall(r"^error: (edge-har\.toml:.*)$", (DOCS / "config.md").read_text(), re.MULTILINE)
    wrong = (
        '[[source]]\nuri = "0"\nrotat = 90\n[[sink]]\nkind = "jsonl"\n[[sink]]\nkind = "mqtt"\nhost = '
        '"h"\nport = "abc"\n'
    )
    reported = []
    for text in (wrong, "\n" * 11 + "model = \n"):
        (tmp_path / "edge-har.toml").write_text(text)
        reported += edge_har("config", "check", "edge-har.toml", cwd=tmp_path).stderr.splitlines()
    assert reported == [f"error: {line}" for line in shown_lines]
