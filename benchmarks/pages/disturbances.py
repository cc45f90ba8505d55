"""docs/figures/disturbances.md: what light and bumps make of scenes in which nothing happens,
and what a slow camera costs.

Scenes are stills of real clips, of people that the model never saw, with sensor noise;
what disturbs them is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.entries import MOTION, SMOOTHING
from benchmarks.experiments.folds import CACHE, FoldResult, Say, prepare_folds, run_folds, slow_source
from benchmarks.measure import provenance
from benchmarks.measure.clips import HeldOut, by_stream, clip_ticks
from benchmarks.pages.markdown import markdown_table
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.preprocess import Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.stream import Stream
from edge_har.sources.recordings import open_recording
from train.intervals import wilson_interval

SCENE_S, AT_S = 10.0, 4.0  # how long a scene is, and when it is disturbed
NOISE = 1.5  # standard deviation of a pixel, of 255
SEED = 0

Light = Callable[[float], float]  # seconds since the disturbance (below 0: before) -> gain
Shift = Callable[[float], tuple[float, float]]  # likewise -> px to the right and down


@dataclass(frozen=True)
class Disturbance:
    """What happens to a scene. passing: it is over in a moment, as what must start no event is."""

    name: str
    light: Light = lambda _: 1.0
    shift: Shift = lambda _: (0.0, 0.0)
    passing: bool = True


def _bump(since_s: float) -> tuple[float, float]:
    if since_s < 0:
        return 0.0, 0.0
    size = 2.0 * np.exp(-since_s / 0.2)
    return size * np.sin(12 * np.pi * since_s), 0.5 * size * np.sin(10 * np.pi * since_s)


def _wind(since_s: float) -> tuple[float, float]:
    return 0.7 * np.sin(2.6 * np.pi * since_s), 0.5 * np.sin(3.4 * np.pi * since_s)


DISTURBANCES = (
    Disturbance("nothing"),
    Disturbance(
        "a burst of light: 1.8 times as bright for .3 s", light=lambda s: 1.8 if 0 <= s < 0.3 else 1.0
    ),
    Disturbance("a lamp goes on: 1.5 times as bright from then on", light=lambda s: 1.5 if s >= 0 else 1.0),
    Disturbance("a lamp goes off: .6 times as bright", light=lambda s: 0.6 if s >= 0 else 1.0),
    Disturbance(
        "a cloud: .7 times as bright within 3 s", light=lambda s: 1 - 0.3 * min(1.0, max(0.0, s / 3))
    ),
    Disturbance("a bump: 2 px at 6 Hz, gone in .6 s", shift=_bump),
    Disturbance(
        "the camera is turned by 3 px within .4 s", shift=lambda s: (3 * min(1.0, max(0.0, s / 0.4)), 0.0)
    ),
    Disturbance("a mast in the wind: .7 px, all the time", shift=_wind, passing=False),
)


@dataclass(frozen=True)
class Disturbed:
    """One disturbance in all scenes. events: that began, by label;
    scenes_with_events: scenes with one or more.
    """

    disturbance: Disturbance
    scenes: int
    scenes_with_events: int
    events: Mapping[str, int]


@dataclass(frozen=True)
class Relit:
    """Windows of clips in which something is done, as they are and with a burst of light or a bump in
    their middle.
    """

    disturbance: Disturbance
    windows: int
    right: int
    right_undisturbed: int


@dataclass(frozen=True)
class Disturbances:
    """All that the page says. refused: groups whose conversion the gate refused,
    which are not in the figures.
    """

    results: tuple[FoldResult, ...]
    scenes: tuple[Disturbed, ...]
    actions: tuple[Relit, ...]
    index_sha256: str

    @property
    def refused(self) -> tuple[str, ...]:
        return tuple(result.group for result in self.results if result.bundle is None)


def measure_disturbances(clips: Path, *, say: Say, jobs: int, cache: Path = CACHE) -> Disturbances:
    """Run the folds of the shipped model that are not in the cache yet,
    and disturb the scenes of the held-out people.

    Raises DataError for unfit clips, EdgeHarError where a fold fails.
    """
    folds = prepare_folds(clips, cache, say)
    results = run_folds(folds, (MOTION,), cache=cache, jobs=jobs, say=say)
    counted: dict[str, list[Counter[str]]] = {one.name: [] for one in DISTURBANCES}
    windows: Counter[str] = Counter()
    random = np.random.default_rng(SEED)
    for fold, result in enumerate(results):
        if result.bundle is None:
            continue
        bundle = open_bundle(result.bundle)
        recognizer = TickRecognizer(bundle)
        for clip in folds.held_out(fold):
            for still in _stills(clip):
                for one in DISTURBANCES:
                    counted[one.name].append(_events(bundle, recognizer, scene(still, one, bundle, random)))
            windows += _windows_right(bundle, recognizer, clip)
        say(f"the scenes of {result.group}")
    passing = [one for one in DISTURBANCES if one.passing]
    return Disturbances(
        tuple(results),
        tuple(
            Disturbed(one, len(found), sum(bool(events) for events in found), sum(found, Counter()))
            for one, found in ((one, counted[one.name]) for one in DISTURBANCES)
        ),
        tuple(Relit(one, windows["all"], windows[one.name], windows[passing[0].name]) for one in passing[1:]),
        folds.sha256,
    )


def scene(
    still: Pixels, disturbance: Disturbance, bundle: Bundle, random: np.random.Generator
) -> Iterator[tuple[float, Pixels]]:
    """A still (uint8 [h, w, 3], RGB) at the model's ticks, disturbed and noisy:
    seconds and prepared frames.
    """
    manifest = bundle.manifest
    interval_s = manifest.temporal.interval_ms / 1000
    for tick in range(int(SCENE_S / interval_s)):
        time_s = tick * interval_s
        shown = disturbed(still, disturbance, time_s - AT_S)
        noisy = shown + random.normal(0, NOISE, shown.shape)
        yield time_s, prepare_frame(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), manifest.frame)


def disturbed(picture: Pixels, disturbance: Disturbance, since_s: float) -> NDArray[np.float32]:
    """A picture (uint8 [h, w, 3]) `since_s` after the disturbance began: float32 [h, w, 3], not clipped."""
    lit = picture.astype(np.float32) * disturbance.light(since_s)
    right, down = disturbance.shift(since_s)
    if not (right or down):
        return lit
    moved = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size_wh = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(lit, moved, size_wh, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _stills(clip: HeldOut) -> tuple[Pixels, Pixels]:
    """The clip's first frame, in which a person is to be seen, and its median,
    which is mostly the empty scene.
    """
    frames = []
    with open_recording(clip.path) as source:
        while source.grab() is not None:
            frames.append(np.asarray(cv2.cvtColor(source.retrieve(), cv2.COLOR_BGR2RGB), np.uint8))
    return frames[0], np.median(np.stack(frames), axis=0).astype(np.uint8)


def _events(
    bundle: Bundle, recognizer: TickRecognizer, frames: Iterator[tuple[float, Pixels]]
) -> Counter[str]:
    recognizer.reset()
    manifest = bundle.manifest
    sampler = Sampler(manifest.frame, manifest.temporal)
    options = RunOptions(**asdict(SMOOTHING))
    stream = Stream("scene", bundle, options, event_ids(), recognizer=recognizer)
    for time_s, frame in frames:
        stream.recognise(Ticks((time_s,), frame, False, 0.0, sampler))
    return stream.events


def _windows_right(bundle: Bundle, recognizer: TickRecognizer, clip: HeldOut) -> Counter[str]:
    """How many windows of a clip there are (`all`), and are right under each passing disturbance in its
    middle.
    """
    manifest = bundle.manifest
    ticks = clip_ticks(clip.path, manifest.frame, manifest.temporal)
    interval_s = manifest.temporal.interval_ms / 1000
    middle_s = len(ticks) / 2 * interval_s
    found: Counter[str] = Counter()
    for one in DISTURBANCES:
        if one.passing:
            shown = np.stack(
                [
                    np.clip(np.rint(disturbed(frame, one, tick * interval_s - middle_s)), 0, 255).astype(
                        np.uint8
                    )
                    for tick, frame in enumerate(ticks)
                ]
            )
            scores = by_stream(recognizer)(shown)
            found[one.name] += int((scores.argmax(axis=1) == manifest.labels.index(clip.label)).sum())
    found["all"] += len(scores)
    return found


def page(measured: Disturbances, command: list[str]) -> str:
    """docs/figures/disturbances.md."""
    people = [result.group for result in measured.results if result.bundle is not None]
    made_at = [at for result in measured.results for at in result.made_at]
    refused = (
        f" The parity gate refused the conversion without {', '.join(measured.refused)}: not measured."
        if measured.refused
        else ""
    )
    lines = [
        "# Light, bumps and slow cameras",
        "",
        (
            f"The shipped model's form, each of {len(people)} people held out of the training once and their "
            "clips alone "
            f"disturbed; int8 stream, the shipped event thresholds.{refused}"
        ),
        "",
        "## Scenes in which nothing is done",
        "",
        (
            "Of every clip two stills: its first frame, in which a person is to be seen, and its median, "
            "which is mostly empty. "
            f"Each is shown for {SCENE_S:g} s with sensor noise (standard deviation {NOISE:g} of 255), and "
            "disturbed after "
            f"{AT_S:g} s. Pixels are of 80x64 pictures in which a person is some 20 px tall. An event is "
            "false here."
        ),
        "",
        *markdown_table(
            [["disturbance", "scenes", "with an event", "95 %", "which"], *map(_scene_row, measured.scenes)]
        ),
        "",
        "## Clips in which something is done",
        "",
        "The same in the middle of each clip (here in pixels of the model's 64x64). Window accuracy:",
        "",
        *markdown_table(
            [
                ["disturbance", "windows", "disturbed", "as it is"],
                *(
                    [
                        one.disturbance.name,
                        str(one.windows),
                        *(f"{n / one.windows:.3f}" for n in (one.right, one.right_undisturbed)),
                    ]
                    for one in measured.actions
                ),
            ]
        ),
        "",
        "## Cameras slower than the model",
        "",
        *_slow(measured),
        "",
        *provenance.section(command, measured.index_sha256, made_at),
    ]
    return "\n".join(lines)


def _scene_row(one: Disturbed) -> list[str]:
    low, high = wilson_interval(one.scenes_with_events, one.scenes)
    which = ", ".join(f"{label} {count}" for label, count in sorted(one.events.items())) or "-"
    return [
        one.disturbance.name,
        str(one.scenes),
        str(one.scenes_with_events),
        f"{low:.2f} to {high:.2f}",
        which,
    ]


def _slow(measured: Disturbances) -> Sequence[str]:
    slow = slow_source(measured.results)
    manifest = next(open_bundle(result.bundle).manifest for result in measured.results if result.bundle)
    assert slow is not None
    rate_hz = 1000 / manifest.temporal.interval_ms
    rows = [
        [f"{rate_hz / int(ticks):.1f} frames a second, each serves {ticks}", f"{share:.3f}"]
        for ticks, share in slow["window_accuracy"].items()
    ]
    return [
        (
            f"The model was made for {rate_hz:g} frames a second. A slower camera serves several ticks with "
            "each frame, which "
            f"`run` warns about, with the figures of the bundle. Over {slow['windows']} windows of all "
            "people:"
        ),
        "",
        *markdown_table([["camera", "window accuracy"], *rows]),
    ]
