"""The constraints are of the packages that setup.cfg names and of what these need: no more, no fewer."""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers.need import need_module

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "packaging").glob("constraints-*.txt"))
AGAIN = "make it again: make constraints, after make test"
TESTED_EXTRAS = ("workstation", "dev")
NOT_FROZEN = {"pip", "setuptools", "wheel", "distribute"}  # tools that `pip freeze` leaves out


def pins(path: Path) -> dict[str, Version]:
    """The version of each package in a file of constraints."""
    pairs = [line.split("==") for line in path.read_text(encoding="utf-8").split()]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What setup.cfg asks for: the base install, and its extras with those that they include."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [declared["options"]["install_requires"]]
    texts += [declared["options.extras_require"][extra] for extra in extras]
    for line in "\n".join(texts).split("\n"):
        if line.strip():
            yield Requirement(line)


def python_of(path: Path) -> str:
    """`3.11` of the constraints of Python 3.11."""
    found = re.fullmatch(r"constraints-(3\.\d+)\.txt", path.name)
    assert found, path.name
    return found[1]


def needed(roots: Iterator[Requirement]) -> set[str]:
    """Names of all packages that `roots` lead to in this environment."""
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in roots]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                try:
                    below = requires(name)
                except PackageNotFoundError:
                    pytest.fail(f"{name} is not installed here: make test", pytrace=False)
                waiting += [(Requirement(text), wanted) for text in below or ()]
    return {name for name, _ in seen}


def test_there_are_constraints_for_the_python_of_the_container() -> None:
    assert "3.11" in [python_of(path) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=python_of)
def test_every_requirement_is_pinned_within_its_range(path: Path) -> None:
    pinned, python = pins(path), python_of(path)
    wrong = []
    for requirement in requirements(TESTED_EXTRAS):
        environment = {"python_version": python, "python_full_version": f"{python}.0"}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = pinned.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version):
                wrong.append(f"{requirement}: {version}")
    assert wrong == [], AGAIN


def test_nothing_else_is_pinned_and_nothing_is_forgotten() -> None:
    path = ROOT / "packaging" / "constraints-{}.{}.txt".format(*sys.version_info[:2])
    if not path.exists():
        pytest.skip(f"no tests ran on this Python for {path.name}")
    need_module("tensorflow", "make test")
    assert set(pins(path)) == needed(requirements(TESTED_EXTRAS)) - NOT_FROZEN, AGAIN
