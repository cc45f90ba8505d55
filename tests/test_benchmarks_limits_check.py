"""Limits say which one broke; memory is the child's own peak; the maintainers' commands fail in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from benchmarks.limits.check import VIDEO_FRAMES, VIDEO_SIZE_WH, start_limit, write_video
from benchmarks.limits.limit import Limit, peak_mb
from benchmarks.measure.commands import ROOT
from benchmarks.ship import DRAWN_RECALL, MAX_BYTES, check_shippable
from edge_har.errors import ConversionError, EdgeHarError
from tests.helpers.bundles import TINY, tiny_bundle


def test_a_limit_is_kept_up_to_its_bound() -> None:
    assert Limit("ratio", 2.0, 2.0, at_least=True).kept and not Limit("ratio", 1.9, 2.0, at_least=True).kept
    assert (
        Limit("memory", 120, 120, at_least=False).kept and not Limit("memory", 121, 120, at_least=False).kept
    )
    assert Limit("memory", 121, 120, False, " MB").line() == "BROKEN memory: 121.00 MB, at most 120 MB"
    assert Limit("ratio", 3.456, 2.0, True).line() == "ok     ratio: 3.46, at least 2"


def test_start_up_is_a_ratio() -> None:
    limit = start_limit(starts=1)
    assert limit.value > 0 and not limit.at_least


def test_the_peak_is_of_the_command_alone(tmp_path: Path) -> None:
    tiny_bundle()
    video = write_video(tmp_path / "walk.avi")
    capture = cv2.VideoCapture(str(video))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == VIDEO_SIZE_WH
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == VIDEO_FRAMES
    capture.release()
    held = bytes(300_000_000)
    help_mb, classify_mb = peak_mb(["--help"]), peak_mb(["classify", str(video), "--model", str(TINY)])
    assert 5 < help_mb < classify_mb < len(held) / 1e6


def test_a_command_that_fails_is_no_figure() -> None:
    with pytest.raises(EdgeHarError, match=r"edge-har classify ended with 1: .*no such"):
        peak_mb(["classify", "absent.avi", "--model", "absent.ehar"])


def test_what_may_not_ship(tmp_path: Path) -> None:
    tiny_bundle()
    with pytest.raises(
        ConversionError, match=f"must recognise {DRAWN_RECALL} of the synthetic person's clips, got other"
    ):
        check_shippable(TINY)
    large = tmp_path / "large.ehar"
    large.write_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(ConversionError, match=f"at most {MAX_BYTES} bytes, got {MAX_BYTES + 1}"):
        check_shippable(large)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["accuracy", "--clips", "absent", "--out", "x.md"], 1, "error: edge-har data ended with 1"),
        (["ship-model", "--clips", "absent", "--out", "x.ehar"], 1, "error: edge-har data ended with 1"),
        (["check", "--model", "absent.ehar"], 1, "error: absent.ehar: no such bundle"),
        (["accuracy", "--out", "x.md"], 2, "--clips PATH is missing"),
    ],
)
def test_failures_are_one_line(arguments: list[str], code: int, line: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code
    assert line in done.stderr and "Traceback" not in done.stderr
    assert not (ROOT / "x.md").exists() and not (ROOT / "x.ehar").exists()
