"""Where a published figure comes from: command, commit, data and machine; never a name of a host or a path."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.measure.commands import ROOT
from edge_har.bench import machine, versions

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization")


def commit() -> str:
    """The checkout's commit, with `+changes` where tracked files differ from it; `unknown` outside a checkout."""
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
        return found + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def lines(command: list[str], index_sha256: str) -> list[str]:
    """A Markdown list that says what made a page."""
    here = machine()
    installed = versions() | {package: _installed(package) for package in PACKAGES}
    return [
        f"- command: `{shlex.join(command)}`",
        f"- commit: {commit()}",
        f"- clips: index hash {index_sha256}",
        f"- machine: {here.cpu}, {here.cores} cores, {here.architecture}",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in installed.items()),
    ]


def section(command: list[str], index_sha256: str, made_at: Iterable[str] = ()) -> list[str]:
    """The end of a page, in Markdown. made_at: the commits at which its models were trained and converted."""
    at = ", ".join(sorted(set(made_at)))
    made = [f"- trained and converted at: {at}"] if at else []
    return ["## Made by", "", *lines(command, index_sha256), *made, ""]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
