"""Notes of the tests of whole systems, and the page that they become where `--page` names one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table
from tests.system.results import Noted

COMMAND = ["make", "test-system"]
TITLE = (
    "# Tests of whole systems\n\n"
    "Each row is one test of `make test-system`, with real parts: another Debian, another processor under "
    "emulation, Home Assistant itself."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--page FILE`."""
    parser.addoption("--page", type=Path, default=None, help="Markdown to write")


class Results:
    """What came out, test by test."""

    def __init__(self) -> None:
        self.notes: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each step of a test."""
        if report.when != "call" and report.outcome == "passed":
            return
        name = report.nodeid.rsplit("/", 1)[-1].replace("_", " ").replace("::", ": ")
        found = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        self.rows.append(
            [
                name,
                report.outcome,
                f"{report.duration:.0f}",
                "; ".join(self.notes.get(report.nodeid, [found])),
            ]
        )

    def page(self) -> str:
        """The page, in Markdown."""
        table = markdown_table([["test", "outcome", "s", "note"], *self.rows])
        return "\n".join([TITLE, "", *table, "", *provenance.section(COMMAND, None)]) + "\n"


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect results."""
    config.pluginmanager.register(Results(), "edge-har-results")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page."""
    page: Path | None = session.config.getoption("--page")
    if page is not None:
        page.write_text(_results(session.config).page())


@pytest.fixture
def noted(request: pytest.FixtureRequest) -> Iterator[Noted]:
    """Takes sentences for the page."""
    notes = _results(request.config).notes.setdefault(request.node.nodeid, [])
    yield notes.append


def _results(config: pytest.Config) -> Results:
    found = config.pluginmanager.get_plugin("edge-har-results")
    assert isinstance(found, Results)
    return found
