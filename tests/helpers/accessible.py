"""What makes a page usable without a mouse and without eyes, as axe-core finds it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.helpers.browser import Browser
from tests.helpers.need import need_module

SCROLLING = """[...document.querySelectorAll("body *")].filter((e) =>
  /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1).length"""
PACKAGE = "axe_playwright_python"  # it brings axe-core
FOUND = """axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations.flatMap(
  ({id, impact, help, nodes}) => nodes.map((node) => [id, impact, help, node.html.slice(0, 160)])))"""


def barriers(browser: Browser) -> list[list[str]]:
    """What in the page that is open keeps people out: rule, impact (minor, moderate, serious, critical),
    sentence and element; empty where nothing does.
    """
    need_module(PACKAGE, "pip install -e '.[dev]'")
    found = importlib.util.find_spec(PACKAGE)  # not imported: it would load playwright
    assert found is not None and found.submodule_search_locations is not None
    script = Path(found.submodule_search_locations[0]) / "axe.min.js"
    browser.run(f"{script.read_text(encoding='utf-8')}\n;0")
    return list(browser.run(FOUND))
