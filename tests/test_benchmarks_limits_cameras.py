"""Cameras on loopback are followed by the real command; what is told of them is theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.limits.cameras import CameraRun, Followed, watch_cameras
from edge_har.errors import EdgeHarError


def followed(name: str, skipped: int, repeated: int, oldest_ms: float) -> Followed:
    return Followed(name, 100, 50, skipped, repeated, 0, 0, (1.0, 2.0, oldest_ms), 0)


def test_a_watch_sums_up_its_cameras() -> None:
    watch = CameraRun(4, 15, 80.0, 0.2, 0.1, 80.0, (followed("a", 1, 2, 40.0), followed("b", 3, 4, 200.0)))
    assert (watch.skipped, watch.repeated, watch.oldest_periods) == (4, 6, 2.5)
    assert json.loads(json.dumps(watch.to_json()))["cameras"][1]["name"] == "b"
    assert any("2.50 periods of 80 ms" in line for line in watch.lines())


def test_two_cameras_are_followed_at_their_rate() -> None:
    watch = watch_cameras(2, 15, 2)
    assert [camera.name for camera in watch.cameras] == ["camera0", "camera1"]
    for camera in watch.cameras:
        assert camera.frames > camera.ticks > 5 and 0 < camera.ages_ms[0] <= camera.ages_ms[2]
    assert 0 < watch.cpu_share < 2 and watch.server_share >= 0 and watch.peak_mb > 20


def test_a_run_that_fails_is_no_figure() -> None:
    with pytest.raises(EdgeHarError, match="edge-har ended with 1"):
        watch_cameras(1, 15, 1, model=Path("absent.ehar"))
