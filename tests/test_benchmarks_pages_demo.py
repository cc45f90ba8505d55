"""The README's picture moves, and the runtime drew the labels into it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.__main__ import group
from benchmarks.pages.demo import SECONDS, write_demo
from edge_har.errors import MisuseError


def test_the_picture_holds_what_the_runtime_recorded(tmp_path: Path) -> None:
    out = tmp_path / "demo.webp"
    frames = write_demo(out)
    read, made = cv2.imreadanimation(str(out))
    assert read and len(made.frames) > 100
    assert sum(made.durations) == pytest.approx(1000 * SECONDS, abs=100) and frames * 100 == 1000 * SECONDS
    # Labels are white on black at the top left, where the sky is neither.
    corners = np.stack([frame[:20, :60, :3] for frame in made.frames])
    labelled = (corners.min(axis=(1, 2, 3)) < 40) & (corners.max(axis=(1, 2, 3)) > 215)
    assert 0.3 < labelled.mean() < 1


def test_another_ending_is_refused(tmp_path: Path) -> None:
    refused = CliRunner().invoke(group, ["demo", "--out", str(tmp_path / "demo.gif")])
    assert isinstance(refused.exception, MisuseError) and "ending with .webp" in str(refused.exception)
