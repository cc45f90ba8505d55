"""Which commit of this checkout is at work, for all that is published with it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

# How a place outside a checkout is named, where a commit is expected.
UNKNOWN = "unknown"
FIGURES = "docs/figures"  # of the checkout: what was measured, no part of what measures


@dataclass(frozen=True)
class Checkout:
    """commit: 40 hex digits. date: the commit's, ISO 8601. changed: tracked files differ from it, other than
    FIGURES, which a page that is being written has changed already.
    """

    commit: str
    date: str
    changed: bool


def checkout(folder: Path = Path(__file__).parent) -> Checkout | None:
    """The checkout that `folder` lies in; None outside one, or where git is missing."""
    try:
        commit, date = _git(folder, "log", "-1", "--format=%H %cI").split()
        files = ("--", ":(top)", f":(top,exclude){FIGURES}")
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no", *files))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return Checkout(commit, date, changed)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
