"""The documents as a site: pages in its list, anchors that exist, commands that parse, a build that works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_har.cli import cli
from tests.helpers.accessible import barriers
from tests.helpers.browser import Browser
from tests.helpers.commands import parsed_command
from tests.helpers.need import need_module

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXCLUDED = {"status.md"}
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
NAV = re.compile(r"^ +- [^:\n]+: (\S+\.md)$", re.MULTILINE)
CODE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^ *```(?:sh)?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:sudo )?(?:\S*/)?edge-har (?=[a-z-])")
WRONG_ON_PURPOSE = {"mistakes.md"}  # its commands are typed by a test of its own
NEEDS_WORKSTATION = ("data", "train", "convert", "benchmark")
FILES = (
    "clip.avi", "index.csv", "split.json", "ucf.csv", "ucf.json", "mine.ehar", "ucf.ehar", "model.ehar",
    "flash_key", "flash_key.pub", "edge-har.toml", "LRCN_model.h5", "events.toml",
)  # fmt: skip
FOLDERS = ("my_clips", "ucf_some", "UCF50", "runs/mine", "runs/ucf")


def anchors(page: Path) -> set[str]:
    """What links may name in a page: its headings, as GitHub and mkdocs write them."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        made.add(re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return made


def commands(page: Path) -> Iterator[str]:
    """Every `edge-har ...` line of a page's shell blocks, from the command's name on."""
    for block in SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.split(r"\s#\s|\s>\s|\s\|\s", line.strip())[0].strip()
            found = COMMAND.match(words)
            if found is not None and "..." not in words:
                yield words[found.end() :]


ALL_COMMANDS = sorted({c for p in PAGES if p.name not in WRONG_ON_PURPOSE for c in commands(p)})


def test_every_page_is_in_the_list_of_the_site_and_exists() -> None:
    named = NAV.findall((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert len(named) == len(set(named))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(named) == pages - EXCLUDED


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", CODE.sub("", page.read_text(encoding="utf-8")))
    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if "://" not in target and anchor not in anchors((page.parent / target) if target else page)
    ]
    assert not missing


@pytest.mark.parametrize("line", ALL_COMMANDS)
def test_commands_of_the_documents_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option exists and every argument is of its kind; files that the line reads are there, empty."""
    words = shlex.split(line)
    if words[0] in NEEDS_WORKSTATION:
        need_module("tensorflow", "make test")
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        Path(name).touch()
    for name in FOLDERS:
        Path(name).mkdir(parents=True)
    assert parsed_command(cli, words) is not None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the site, built without a warning."""
    need_module("material", "make docs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//")
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text(encoding="utf-8")), page.name
    assert not (site / "status.html").exists()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_keeps_people_out_of_the_documents(site: Path, dark: bool) -> None:
    pages = [page for page in sorted(site.glob("*.html")) if page.name != "404.html"]  # it needs a server
    assert len(pages) > 25
    found = {}
    with Browser() as browser:
        browser.look(width=390, height=844, dark=dark)
        for page in pages:
            browser.open(page.as_uri())
            serious = [one for one in barriers(browser) if one[1] in {"serious", "critical"}]
            if serious:
                found[page.name] = serious
    assert found == {}
