"""docs/figures/shapes.md: whether the shipped model answers alike in pictures of every shape and size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.folds import UNSEEN_SEEDS, Say
from benchmarks.measure import provenance
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.pipeline.stream import Stream
from edge_har.sources import open_source
from edge_har.sources.synthetic_body import LABELS
from train.intervals import group_interval

SIZES_WH = ((320, 240), (640, 480), (640, 360), (1280, 720), (240, 320), (480, 480))
COMPARED = SIZES_WH[:4]  # what cameras usually give
MAX_SPREAD_POINTS = 3.0  # between them
SECONDS = 12.0
RATE_HZ = 25.0


@dataclass(frozen=True)
class Shapes:
    """Fraction of right event seconds of each clip, by size in px and then by label and seed. model: name and
    digest of the bundle."""

    model: str
    right: Mapping[tuple[int, int], Mapping[tuple[str, int], float]]

    def mean(self, size_wh: tuple[int, int]) -> float:
        """Over all clips of a size."""
        clips = self.right[size_wh].values()
        return sum(clips) / len(clips)

    @property
    def spread_points(self) -> float:
        """Percentage points between the best and the worst of COMPARED."""
        means = [self.mean(size_wh) for size_wh in COMPARED]
        return 100 * (max(means) - min(means))

    def check_limits(self) -> None:
        """Raises EdgeHarError where the sizes differ by more than MAX_SPREAD_POINTS."""
        if self.spread_points > MAX_SPREAD_POINTS:
            raise EdgeHarError(
                f"right event seconds differ by {self.spread_points:.1f} points between sizes, "
                f"{MAX_SPREAD_POINTS:g} are the limit"
            )


def right_fraction(model: Path, label: str, seed: int, size_wh: tuple[int, int]) -> float:
    """Fraction of the time after the first window in which an event of the right label lasts, 0 to 1, while
    the synthetic person of `seed` does what `label` names. model: a bundle.
    """
    bundle = open_bundle(model)
    manifest = bundle.manifest
    address = (
        f"synthetic:{label}?seed={seed}&size={size_wh[0]}x{size_wh[1]}&rate={RATE_HZ:g}&duration={SECONDS:g}"
    )
    stream = Stream("synthetic", bundle, RunOptions(), event_ids())
    events = []
    with open_source(address) as source:
        for ticks in ticks_of(source, Sampler(manifest.frame, manifest.temporal)):
            stream.recognise(ticks)
            events += stream.take_events()
    stream.close()
    events += stream.take_events()
    right_s = sum(
        event.end_s - event.start_s
        for event in events
        if event.type == "end"
        and event.label == label
        and event.end_s is not None
        and event.start_s is not None
    )
    possible_s = SECONDS - manifest.temporal.window_s
    return min(1.0, right_s / possible_s)


def measure_shapes(model: Path | None, *, say: Say, jobs: int | None = None) -> Shapes:
    """Play every action of unseen seeds in every size. model: a bundle; None: the shipped one.

    Raises BundleError for a file that is no bundle.
    """
    path = model or default_bundle_path()
    bundle = open_bundle(path)
    cases = [(label, seed, size) for size in SIZES_WH for label in LABELS for seed in UNSEEN_SEEDS]
    right: dict[tuple[int, int], dict[tuple[str, int], float]] = {size: {} for size in SIZES_WH}
    with ProcessPoolExecutor(jobs or os.cpu_count()) as pool:
        played = pool.map(right_fraction, [path] * len(cases), *zip(*cases, strict=True))
        for done, ((label, seed, size), fraction) in enumerate(zip(cases, played, strict=True), start=1):
            right[size][label, seed] = fraction
            if done % (len(LABELS) * len(UNSEEN_SEEDS)) == 0:
                say(f"{size[0]}x{size[1]}: {sum(right[size].values()) / len(right[size]):.3f}")
    return Shapes(f"{bundle.manifest.name}@{bundle.digest[:12]}", right)


def page(measured: Shapes, command: list[str]) -> str:
    """docs/figures/shapes.md."""
    rows = [["picture", "right event seconds", "95 %"]]
    for size_wh, clips in measured.right.items():
        low, high = group_interval(list(clips.values()), [str(clip) for clip in clips])
        rows.append(
            [f"{size_wh[0]}x{size_wh[1]}", f"{measured.mean(size_wh):.3f}", f"{low:.3f} to {high:.3f}"]
        )
    per_label = [["action", *(f"{width}x{height}" for width, height in measured.right)]]
    for label in LABELS:
        row = [label]
        for clips in measured.right.values():
            values = [value for (name, _), value in clips.items() if name == label]
            row.append(f"{sum(values) / len(values):.2f}")
        per_label.append(row)
    lines = [
        "# Pictures of every shape",
        "",
        (
            f"The shipped model ({measured.model}) watches the synthetic person, each of nine actions by "
            f"{len(UNSEEN_SEEDS)} people that it never saw, for {SECONDS:g} s at {RATE_HZ:g} frames a "
            "second. Counted is the fraction of the time after the first window in which an event of the "
            "right label lasts, at the shipped event thresholds. These are drawn people: no real camera was "
            "filmed in several shapes."
        ),
        "",
        *markdown_table(rows),
        "",
        (
            f"Between the best and the worst of {', '.join(f'{w}x{h}' for w, h in COMPARED)}: "
            f"{measured.spread_points:.1f} percentage points."
        ),
        "",
        *markdown_table(per_label),
        "",
        *provenance.section(command, None),
    ]
    return "\n".join(lines)
