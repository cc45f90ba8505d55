"""Limits on speed, memory and start-up, most of them ratios within one run: what may not get worse unseen."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.limits.limit import Limit, peak_mb
from benchmarks.measure.commands import ROOT, edge_har
from benchmarks.measure.keras_forms import load_keras, predict, use_cpu
from benchmarks.measure.latency import interleaved
from edge_har.bench import bench
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle
from edge_har.model.preprocess import Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer
from edge_har.sources.synthetic import render_clip
from edge_har.sources.synthetic_body import LABELS

TICKS = 300
ROUNDS = 60
STARTS = 9
SEED = 7
# What the whole clip, and Keras' predict, take at least: so many times the stream's work for one result. A
# stateless
# stream computes one frame a tick; state banks share out a whole clip's work evenly, so they save none.
STATELESS_CLIP, STATELESS_KERAS = 1.3, 50.0
STATES_CLIP, STATES_KERAS = 0.5, 4.0
START_RATIO = 3.0  # `edge-har --help` takes at most so many times a Python that imports click
MEMORY_MB = 120.0  # of `run` and `classify`, on video of VIDEO_SIZE_WH
VIDEO_SIZE_WH = (1280, 720)
VIDEO_FRAMES = 75
VIDEO_RATE_HZ = 25.0


def run_checks(models: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every limit as (line, kept), as it is measured. models: bundles; the shipped one where there is
    none.
    """
    for limit in limits([Path(model) for model in models] or [default_bundle_path()]):
        yield limit.line(), limit.kept


def limits(models: Sequence[Path]) -> Iterator[Limit]:
    """Measure one after the other, memory and start-up before this process grows."""
    from benchmarks.limits.overhead import overhead_limits  # it imports from this module

    for path in models:
        # One that cannot be used fails here, not after minutes of measuring.
        open_bundle(path)
    yield start_limit()
    yield from overhead_limits()
    with tempfile.TemporaryDirectory(prefix="edge-har-check-") as folder:
        video = write_video(Path(folder) / "walk.avi")
        for path in models:
            bundle = open_bundle(path)
            for command in (["classify", str(video)], ["run", "--source", str(video)]):
                name = f"peak memory of {command[0]} with {bundle.manifest.name}"
                yield Limit(name, peak_mb([*command, "--model", str(path)]), MEMORY_MB, False, " MB")
        for path in models:
            yield from speed_limits(open_bundle(path), Path(folder))


def start_limit(starts: int = STARTS) -> Limit:
    """Start-up of the command's help beside a bare Python with click, in turns."""

    def start(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)

    calls = {"click": start("-c", "import click"), "help": start("-m", "edge_har", "--help")}
    timings = interleaved(calls, starts)
    return Limit(
        "start-up / import click", timings["help"].p50_ms / timings["click"].p50_ms, START_RATIO, False
    )


def speed_limits(bundle: Bundle, folder: Path) -> Iterator[Limit]:
    """The stream beside the bundle's whole clip, and beside a Keras model of the same architecture."""
    report = bench(bundle, ticks=TICKS)
    name, stateless = bundle.manifest.name, report.steps_per_tick == 1
    clip, keras = (STATELESS_CLIP, STATELESS_KERAS) if stateless else (STATES_CLIP, STATES_KERAS)
    yield Limit(f"whole clip / stream per result of {name}", report.clip_to_result, clip, True)
    yield Limit(f"Keras predict / stream per result of {name}", keras_ratio(bundle, folder), keras, True)


def keras_ratio(bundle: Bundle, folder: Path) -> float:
    """How many times longer Keras' predict takes than the stream's ticks for one result, measured in
    turns.
    """
    manifest = bundle.manifest
    use_cpu(threads=1)
    keras = predict(load_keras(untrained_run(bundle, folder) / "model.keras"))
    frames = render_clip("Walk", SEED, manifest.temporal.frames, 1000 / manifest.temporal.interval_ms)
    window = np.stack([prepare_frame(frame, manifest.frame) for frame in frames])
    recognizer = TickRecognizer(bundle)
    recognizer.clip(window)

    def one_result() -> None:
        for frame in window[: manifest.temporal.hop_ticks]:
            recognizer.tick(frame)

    for frame in window:
        recognizer.tick(frame)
    timings = interleaved({"keras": lambda: keras(window[np.newaxis]), "stream": one_result}, ROUNDS)
    return timings["keras"].p50_ms / timings["stream"].p50_ms


def untrained_run(bundle: Bundle, folder: Path) -> Path:
    """A RUN of the bundle's architecture after one step on made clips: latency does not ask for good
    weights.
    """
    manifest = bundle.manifest
    out, clips = folder / f"run-{bundle.digest[:12]}", folder / "clips"
    labels = [f"label{number:02d}" for number in range(len(manifest.labels))]
    for number, label in enumerate(labels):
        path = clips / label / f"v_{label}_g01_c01.avi"
        if not path.is_file():
            path.parent.mkdir(parents=True)
            _write(
                path, render_clip(LABELS[number % len(LABELS)], SEED, VIDEO_FRAMES, VIDEO_RATE_HZ, (64, 64))
            )
    contract = manifest.temporal
    shape = ["--frames", contract.frames, "--interval-ms", contract.interval_ms, "--hop", contract.hop_ticks]
    small = [
        "--epochs",
        1,
        "--windows",
        8,
        "--batch",
        8,
        "--size",
        manifest.frame.size_wh[0],
        "--no-validation",
    ]
    paths = ["--data", clips, "--out", out, "--cache", folder / "cache", "--model", manifest.kind]
    edge_har("train", *map(str, [*paths, *shape, *small]), log=folder / "train.txt", threads=1)
    return out


def write_video(path: Path) -> Path:
    """A clip of the synthetic person as large as a camera of today gives it."""
    return _write(path, render_clip("Walk", SEED, VIDEO_FRAMES, VIDEO_RATE_HZ, VIDEO_SIZE_WH))


def _write(path: Path, frames_rgb: Pixels) -> Path:
    height, width = frames_rgb.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), VIDEO_RATE_HZ, (width, height))
    if not writer.isOpened():
        raise EdgeHarError(f"OpenCV cannot write {path.name}")
    try:
        for frame in frames_rgb:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    return path
