"""The commit of a checkout, in the formats of manifests and of pages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.measure import provenance
from tests.helpers.need import need_module
from train.checkout import FIGURES, UNKNOWN, Checkout, checkout


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_date_and_changes_of_tracked_files(tmp_path: Path) -> None:
    assert checkout(tmp_path) is None, "no checkout"
    git(tmp_path, "init", "-q")
    assert checkout(tmp_path) is None, "no commit"
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit, date = git(tmp_path, "log", "-1", "--format=%H %cI").split()
    assert checkout(tmp_path) == Checkout(commit, date, changed=False)
    (tmp_path / "untracked").write_text("two")
    assert checkout(tmp_path) == Checkout(commit, date, changed=False)
    figures = tmp_path / FIGURES / "page.md"
    figures.parent.mkdir(parents=True)
    figures.write_text("one")
    git(tmp_path, "add", str(figures))
    git(tmp_path, "commit", "-q", "-m", "figures")
    commit, date = git(tmp_path, "log", "-1", "--format=%H %cI").split()
    figures.write_text("two")
    for folder in (tmp_path, figures.parent):
        assert checkout(folder) == Checkout(commit, date, changed=False)
    (tmp_path / "file").write_text("two")
    assert checkout(tmp_path) == Checkout(commit, date, changed=True)


@pytest.mark.parametrize(
    ("found", "on_pages", "in_manifests"),
    [
        (None, UNKNOWN, {"commit": "unknown"}),
        (
            Checkout("0123456789abcdef" * 2, "2026-01-02", False),
            "0123456789ab",
            {"commit_date": "2026-01-02"},
        ),
        (
            Checkout("0123456789abcdef" * 2, "2026-01-02", True),
            "0123456789ab+changes",
            {"commit": "0123456789abcdef" * 2 + " with changes", "commit_date": "2026-01-02"},
        ),
    ],
)
def test_what_pages_and_manifests_hold(
    monkeypatch: pytest.MonkeyPatch, found: Checkout | None, on_pages: str, in_manifests: dict[str, str]
) -> None:
    need_module("tensorflow", "pip install -e '.[workstation]'")
    from convert import pipeline

    monkeypatch.setattr(provenance, "checkout", lambda: found)
    monkeypatch.setattr(pipeline, "checkout", lambda: found)
    assert provenance.commit() == on_pages
    assert pipeline._commit().items() >= in_manifests.items()
