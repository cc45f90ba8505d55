"""Where a published figure comes from: command, commit, data and machine;
never a name of a host or a path.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from edge_har.bench import machine, versions
from train.checkout import UNKNOWN, checkout

COMMIT_DIGITS = 12
PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization")


def commit() -> str:
    """The checkout's commit, with `+changes` where tracked files differ from it;
    `unknown` outside a checkout.
    """
    at = checkout()
    return UNKNOWN if at is None else at.commit[:COMMIT_DIGITS] + ("+changes" if at.changed else "")


def machine_name() -> str:
    """The processor, its cores and their kind."""
    here = machine()
    return f"{here.cpu}, {here.cores} cores, {here.architecture}"


def made_here() -> dict[str, str]:
    """What a kept result says of where it comes from: `made_at`, the commit, and `machine`."""
    return {"made_at": commit(), "machine": machine_name()}


def lines(command: list[str], index_sha256: str | None) -> list[str]:
    """A Markdown list that says what made a page. index_sha256: of its clips; None: it needs none."""
    installed = versions() | {package: _installed(package) for package in PACKAGES}
    return [
        f"- command: `{shlex.join(command)}`",
        f"- commit: {commit()}",
        *([] if index_sha256 is None else [f"- clips: index hash {index_sha256}"]),
        f"- machine: {machine_name()}",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in installed.items()),
    ]


def section(
    command: list[str],
    index_sha256: str | None,
    made_at: Iterable[str] = (),
    machines: Iterable[str] = (),
) -> list[str]:
    """The end of a page, in Markdown. made_at: the commits at which its models were trained and converted;
    machines: on what, where that may have been elsewhere.
    """
    at, on = ", ".join(sorted(set(made_at))), "; ".join(sorted(set(machines)))
    made = [f"- trained and converted at: {at}"] if at else []
    made += [f"- trained and converted on: {on}"] if on else []
    return ["## Made by", "", *lines(command, index_sha256), *made, ""]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
