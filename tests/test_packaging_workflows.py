"""Continuous integration elsewhere runs `.ci/run` and targets that exist; a release needs no password;
versions and Pythons are the same in every file that names them.
"""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from edge_har import __version__
from edge_har.cli import cli
from tests.helpers.need import need_module

need_module("yaml", "pip install -e '.[dev]'")
import yaml

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = {
    path.stem: yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]


def steps() -> Iterator[dict[str, Any]]:
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            yield from job["steps"]


def pythons_of_the_metadata() -> list[str]:
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    return re.findall(r"Python :: (3\.\d+)$", declared["metadata"]["classifiers"], re.MULTILINE)


def test_ci_runs_what_the_project_runs() -> None:
    commands = [step["run"] for step in WORKFLOWS["ci"]["jobs"]["everything"]["steps"] if "run" in step]
    assert commands[-1] == ".ci/run"
    assert WORKFLOWS["ci"]["jobs"]["everything"]["container"]["image"] == "debian:bookworm"


def test_targets_of_make_exist() -> None:
    named = {
        word
        for step in steps()
        for line in re.findall(r"make ([^&\n]*)", step.get("run", ""))
        for word in line.split()
    }
    targets = sorted(word for word in named if "=" not in word)
    assert "test-device" in targets and "sbom" in targets
    done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_of_edge_har_parse() -> None:
    found = [
        words
        for step in steps()
        for words in re.findall(r"edge-har (run .*)$", step.get("run", ""), re.MULTILINE)
    ]
    assert len(found) >= 3
    for words in found:
        name, *arguments = words.split()
        command = cli.get_command(click.Context(cli), name)
        assert command is not None and command.make_context(name, arguments).params


@pytest.mark.parametrize(("workflow", "job"), [("ci", "runtime"), ("release", "try")])
def test_the_pythons_are_those_of_the_metadata(workflow: str, job: str) -> None:
    assert WORKFLOWS[workflow]["jobs"][job]["strategy"]["matrix"]["python"] == pythons_of_the_metadata()


def test_actions_are_named_by_their_digest_and_one_digest_each() -> None:
    used = {step["uses"] for step in steps() if "uses" in step}
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)
    assert len({action.partition("@")[0] for action in used}) == len(used)


def test_rights_are_none_but_those_that_publishing_needs() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert job.get("permissions") == ({"id-token": "write"} if name == "publish" else None)
    assert not any("secrets." in str(step) or "password" in str(step) for step in steps())


def test_only_what_was_tried_is_published() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert (jobs["publish"]["needs"], jobs["try"]["needs"]) == ("try", "build")
    assert jobs["publish"]["environment"] == "pypi"
    assert WORKFLOWS["release"]["on"] == {"push": {"tags": ["v*"]}}
    assert "run" not in str(jobs["publish"]["steps"][-1]) and len(jobs["publish"]["steps"]) == 2


def test_the_linters_versions_are_fixed() -> None:
    lines = (ROOT / "packaging" / "tools.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z-]+==[\w.]+", line) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_forms_ask_for_what_commands_print(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    names = [field["id"] for field in content["body"]]
    assert len(set(names)) == len(names)
    for words in re.findall(r"label: edge-har (.*)", form.read_text(encoding="utf-8")):
        if not words.startswith("--"):
            context = click.Context(cli)
            command: click.Command | None = cli
            for word in words.split():
                if isinstance(command, click.Group):
                    command = command.get_command(context, word)
                    assert command is not None, words


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["references"][0]["title"] in (ROOT / "LICENSE-WEIGHTS").read_text(encoding="utf-8")


def test_the_build_needs_a_setuptools_that_knows_licence_expressions() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert 'requires = ["setuptools>=77"]' in lines
