"""Cameras on loopback followed by a real `edge-har run`: ticks lost or shared, how old frames are, what it
costs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.limits.observed import Observed, finish, start
from benchmarks.limits.serve_mjpeg import SIZE_WH, serving
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import default_bundle_path, open_bundle

END_S = 60.0  # for starting and ending, on a busy machine
PERCENTILES = (50.0, 99.0, 100.0)
AGE_PERIODS = 2.0  # of the slower of ticks and recognition: no frame is older when its tick is recognised


@dataclass(frozen=True)
class Followed:
    """What one camera gave. ages_ms: of the frames of its ticks: median, 99 of 100, the oldest. late: ticks
    whose frame was older than AGE_PERIODS.
    """

    name: str
    frames: int
    ticks: int
    skipped: int
    repeated: int
    damaged: int
    reconnects: int
    ages_ms: tuple[float, float, float]
    late: int


@dataclass(frozen=True)
class CameraRun:
    """All cameras of one run. cpu_share, server_share: processor time of the run and of the servers, 1.0
    being one core.

    period_ms: of the ticks, or of a tick's recognition where that is slower.
    """

    seconds: float
    rate_hz: float
    period_ms: float
    cpu_share: float
    server_share: float
    peak_mb: float
    cameras: tuple[Followed, ...]

    @property
    def skipped(self) -> int:
        """Ticks of all cameras that went because too many waited."""
        return sum(camera.skipped for camera in self.cameras)

    @property
    def repeated(self) -> int:
        """Ticks of all cameras that shared a frame."""
        return sum(camera.repeated for camera in self.cameras)

    @property
    def oldest_periods(self) -> float:
        """The oldest frame's age in periods."""
        return max(camera.ages_ms[-1] for camera in self.cameras) / self.period_ms

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"oldest_periods": self.oldest_periods}

    def lines(self) -> Iterator[str]:
        """For people."""
        width, height = SIZE_WH
        yield (
            f"{len(self.cameras)} cameras of {width}x{height} at {self.rate_hz:g} a second for "
            f"{self.seconds:.0f} s, motion JPEG on loopback"
        )
        yield ""
        yield (
            f"{'camera':<10}{'frames':>8}{'ticks':>8}{'skipped':>9}{'repeated':>10}{'damaged':>9}"
            f"{'age p50':>10}{'p99':>8}{'max ms':>9}{'late':>6}"
        )
        for c in self.cameras:
            yield (
                f"{c.name:<10}{c.frames:>8}{c.ticks:>8}{c.skipped:>9}{c.repeated:>10}{c.damaged:>9}"
                f"{c.ages_ms[0]:>10.1f}{c.ages_ms[1]:>8.1f}{c.ages_ms[2]:>9.1f}{c.late:>6}"
            )
        yield ""
        yield (
            f"oldest frame {self.oldest_periods:.2f} periods of {self.period_ms:.0f} ms; processor "
            f"{self.cpu_share:.0%} of a core, "
            f"the servers {self.server_share:.0%} beside it; peak memory {self.peak_mb:.0f} MB"
        )


def watch_cameras(
    cameras: int, rate_hz: float, seconds: float, *, model: Path | None = None, slow_ms: float = 0.0
) -> CameraRun:
    """Follow cameras that a process of their own serves. slow_ms: make each tick's recognition take so much
    longer.

    Raises EdgeHarError where the run fails or a camera gave nothing.
    """
    path = model or default_bundle_path()
    names = [f"camera{number}" for number in range(cameras)]
    with tempfile.TemporaryDirectory(prefix="edge-har-cameras-") as folder, serving(rate_hz) as server:
        report = Path(folder) / "seen.json"
        sources = [
            word for number, name in enumerate(names) for word in ("--source", f"{name}={server.url(number)}")
        ]
        served_s, began_s = server.cpu_s, time.monotonic()
        arguments = ["run", "--model", str(path), *sources, "--duration", f"{seconds:g}"]
        child = start(report, *arguments, slow_ms=slow_ms)
        seen = finish(child, report, began_s, seconds + END_S)
        served_s = server.cpu_s - served_s
    interval_ms = open_bundle(path).manifest.temporal.interval_ms
    return CameraRun(
        seconds,
        rate_hz,
        max(interval_ms, slow_ms),
        seen.cpu_s / seen.wall_s,
        served_s / seen.wall_s,
        seen.peak_mb,
        tuple(_followed(seen, names, AGE_PERIODS * max(interval_ms, slow_ms))),
    )


def _followed(seen: Observed, names: Sequence[str], late_ms: float) -> Iterator[Followed]:
    by_name = {source.name: source for source in seen.sources}
    for name in names:
        if name not in by_name:
            raise EdgeHarError(f"{name} gave no tick")
        counts, ages_ms = by_name[name].counts, by_name[name].ages_ms
        kept = {
            key: counts[key] for key in ("frames", "ticks", "skipped", "repeated", "damaged", "reconnects")
        }
        p50, p99, oldest = (float(age) for age in np.percentile(ages_ms, PERCENTILES))
        yield Followed(
            name, **kept, ages_ms=(p50, p99, oldest), late=sum(age_ms >= late_ms for age_ms in ages_ms)
        )
