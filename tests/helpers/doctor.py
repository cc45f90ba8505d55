"""What tests of the doctor share: findings by check, programs put on the PATH, a made-up machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from edge_har.doctor.finding import Finding, Level, Machine
from tests.helpers.csi import fake_program


def found(findings: Iterable[Finding]) -> list[tuple[Level, str, str]]:
    """Level, text and advice of each finding; a warning or problem without advice fails."""
    listed = list(findings)
    for finding in listed:
        assert finding.advice or finding.level in (Level.OK, Level.NOTE), finding
    return [(finding.level, finding.text, finding.advice) for finding in listed]


def only(findings: Iterable[Finding], level: Level) -> tuple[str, str]:
    """Text and advice of the one finding of that level."""
    (one,) = [(text, advice) for at, text, advice in found(findings) if at is level]
    return one


def machine(root: Path, **changes: Any) -> Machine:
    """A machine whose files lie below `root`, empty folders where nothing was put."""
    folders = {"proc": root / "proc", "sysfs": root / "sys", "dev": root / "dev", "boot": root / "boot"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return Machine(**{**folders, **changes})


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    """Put a program first on the PATH."""
    fake_program(folder, name, script)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
