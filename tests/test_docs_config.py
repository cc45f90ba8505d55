"""docs/config.md has every key there is, and no other, with what holds without it; the example is a file that works."""

from __future__ import annotations

import re
from dataclasses import MISSING
from pathlib import Path

import pytest

from edge_har.config.file import all_keys
from edge_har.sinks import KINDS
from tests.helpers.command import edge_har

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "config.md").read_text().partition("\n## Keys\n")[2]
HEADINGS = {
    "": "### At the top",
    "source": "### `[[source]]`",
    "events": "### `[events]`",
    "labels": "### `[labels.NAME]`",
    "web": "### `[web]`",
    "log": "### `[log]`",
    **{f"sink {kind}": f'`kind = "{kind}"`' for kind in KINDS},
}
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)


def told(table: str) -> dict[str, str]:
    """Key to default, as the page has them."""
    after = PAGE.partition(HEADINGS[table])[2]
    return dict(ROW.findall(re.split(r"\n###|\n`kind|\n##", after)[0]))


def shown(default: object) -> str:
    """A default as the page says it."""
    if default is MISSING or default == "":
        return "needed"
    if default is None or default == ():
        return "-"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int) and default >= 1_000_000:
        return f"{default / 1_000_000:g}M"
    return f"{default:g}" if isinstance(default, (int, float)) else str(default)


def test_there_is_a_heading_for_each_table() -> None:
    assert set(all_keys()) == set(HEADINGS)


@pytest.mark.parametrize("table", HEADINGS)
def test_the_page_has_every_key_and_its_default(table: str) -> None:
    keys = {key: shown(default) for key, default in all_keys()[table].items()}
    found = told(table)
    if table == "sink jsonl":
        found["path"] = found["path"].partition(" ")[0]
    assert found == keys


def test_the_example_is_one_that_check_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "hunter2")
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    done = edge_har("config", "check", DOCS / "examples" / "edge-har.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "door: rtsp://edge-har@192.168.1.20/stream1" in done.stdout and "hunter2" not in done.stdout


def test_the_problems_that_the_page_shows_are_what_is_said(tmp_path: Path) -> None:
    shown_lines = re.findall(r"^error: (edge-har\.toml:.*)$", (DOCS / "config.md").read_text(), re.MULTILINE)
    wrong = '[[source]]\nuri = "0"\nrotat = 90\n[[sink]]\nkind = "jsonl"\n[[sink]]\nkind = "mqtt"\nhost = "h"\nport = "abc"\n'
    said = []
    for text in (wrong, "\n" * 11 + "model = \n"):
        (tmp_path / "edge-har.toml").write_text(text)
        said += edge_har("config", "check", "edge-har.toml", cwd=tmp_path).stderr.splitlines()
    assert said == [f"error: {line}" for line in shown_lines]
