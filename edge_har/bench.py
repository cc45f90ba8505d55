"""What a bundle costs on this machine: time per tick by part, whole clip beside stream, load time, memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_har import __version__
from edge_har.errors import MisuseError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.interpreter import Array, Graph, runtime_name
from edge_har.model.preprocess import Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer, WholeClip
from edge_har.model.trial import Part, ensure_tried
from edge_har.sources.synthetic import render_clip
from edge_har.system.memory import peak_memory_mb

CAMERA_SIZE_WH = (640, 480)  # px, what a camera gives by default
CAMERA_FRAMES = 8  # different pictures shown in turn
PICTURE_LABEL, PICTURE_SEED = "Walk", 0
WARM_UP_WINDOWS = 2  # windows before the clock counts: caches, clock frequency, lazy allocations
PERCENTILES = (50, 95, 99)

OnProgress = Callable[[int, int], None]  # ticks done, ticks in all


@dataclass(frozen=True)
class Timing:
    """Durations of one part in milliseconds; `calls` is how many were measured."""

    calls: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Summarise durations in seconds; raises MisuseError when there are none."""
        if not seconds:
            raise MisuseError("there are no durations to summarise")
        values_ms = np.asarray(seconds, np.float64) * 1000
        return cls(
            len(seconds), float(values_ms.mean()), *(float(np.percentile(values_ms, p)) for p in PERCENTILES)
        )


@dataclass(frozen=True)
class MachineInfo:
    """Where a figure was measured; None where the system does not say.

    load: runnable tasks of the last minute.
    """

    cpu: str
    architecture: str
    cores: int
    governor: str | None
    load: float | None


@dataclass(frozen=True)
class BenchReport:
    """What `bench` measured.

    parts: `step` and `head` (one call of a graph), `prepare` (640x480 to the model's frame), `tick` (every
    step and head that one tick needs), `pipeline` (prepare and tick), `result` (the ticks of one hop: what
    the stream pays for one result), `clip` (the whole-clip graph on one window, for one result).
    steps_per_tick: state banks that run at every tick; 1 without states, 0 (and no `step`) where the whole
    clip is the head. clip_to_tick, clip_to_result: how many times longer the whole clip takes, by medians.
    open_ms, graphs_ms: to read and verify the bundle, to build the stream's graphs. Memory in MB of 10^6
    bytes, at its peak: the process with the stream alone, and with the drawn pictures and the whole-clip
    graph too.
    """

    model: str
    kind: str
    precision: str
    threads: int
    ticks: int
    interval_ms: float
    window_frames: int
    hop_ticks: int
    steps_per_tick: int
    parts: dict[str, Timing]
    clip_to_tick: float
    clip_to_result: float
    open_ms: float
    graphs_ms: float
    peak_stream_mb: float | None
    peak_all_mb: float | None
    machine: MachineInfo
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


class _TimedGraph(Graph):
    """A graph that notes how long each run takes, its reset included, as it runs in a stream."""

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.seconds: list[float] = []
        self._graph = graph
        self._reset_s = 0.0

    def run_raw(self, *stored: Array) -> list[Array]:
        """As the graph's own."""
        started = time.perf_counter()
        outputs = self._graph.run_raw(*stored)
        self.seconds.append(time.perf_counter() - started + self._reset_s)
        self._reset_s = 0.0
        return outputs

    def reset(self) -> None:
        """As the graph's own."""
        started = time.perf_counter()
        self._graph.reset()
        self._reset_s = time.perf_counter() - started


def bench(
    model: str | os.PathLike[str] | Bundle,
    *,
    threads: int = 1,
    ticks: int,
    on_progress: OnProgress | None = None,
) -> BenchReport:
    """Measure a bundle: each tick times preparing a camera's frame, the stream, the whole clip.

    model: a path, or a bundle held already (its open_ms is then 0). threads: CPU threads of each graph.
    ticks: how many are counted, after the warm-up. Raises MisuseError for fewer ticks than a window,
    BundleError for a bundle that cannot run; one that is given as a path is tried first.
    """
    started = time.perf_counter()
    bundle = model if isinstance(model, Bundle) else open_bundle(model)
    open_s = 0.0
    if not isinstance(model, Bundle):
        open_s = time.perf_counter() - started
        ensure_tried(bundle, model, Part.ALL)
    manifest = bundle.manifest
    window, hop = manifest.temporal.frames, manifest.temporal.hop_ticks
    if ticks < window:
        raise MisuseError(f"--ticks must be at least one window of {window}, got {ticks}")
    started = time.perf_counter()
    recognizer = TickRecognizer(bundle, threads=threads)
    graphs_s = time.perf_counter() - started
    head = recognizer.head = _TimedGraph(recognizer.head)
    step = _TimedGraph(recognizer.step) if recognizer.step is not None else None
    recognizer.step = step
    blank = np.zeros((CAMERA_SIZE_WH[1], CAMERA_SIZE_WH[0], 3), np.uint8)
    for _ in range(WARM_UP_WINDOWS * window):
        recognizer.tick(prepare_frame(blank, manifest.frame))
    peak_stream_mb = peak_memory_mb()  # before the drawing and the whole clip, which no stream needs
    rate_hz = 1000 / manifest.temporal.interval_ms
    pictures = render_clip(PICTURE_LABEL, PICTURE_SEED, CAMERA_FRAMES, rate_hz, CAMERA_SIZE_WH)
    whole = WholeClip(bundle, threads=threads)
    prepared = np.stack([prepare_frame(picture, manifest.frame) for picture in pictures])
    clips = [prepared[(np.arange(window) + first) % CAMERA_FRAMES] for first in range(CAMERA_FRAMES)]
    for clip in clips[:WARM_UP_WINDOWS]:
        whole.clip(clip)
    if step is not None:
        step.seconds.clear()
    head.seconds.clear()

    laps = [
        _lap(
            recognizer,
            whole,
            pictures[number % CAMERA_FRAMES],
            clips[number % CAMERA_FRAMES],
            number,
            ticks,
            on_progress,
        )
        for number in range(ticks)
    ]
    prepare_s, tick_s, clip_s = (list(column) for column in zip(*laps, strict=True))
    parts = {
        **({"step": Timing.of(step.seconds)} if step is not None else {}),
        "head": Timing.of(head.seconds),
        "prepare": Timing.of(prepare_s),
        "tick": Timing.of(tick_s),
        "pipeline": Timing.of([a + b for a, b in zip(prepare_s, tick_s, strict=True)]),
        "result": Timing.of([sum(tick_s[at : at + hop]) for at in range(0, ticks - hop + 1, hop)]),
        "clip": Timing.of(clip_s),
    }
    return BenchReport(
        model=bundle.model_id,
        kind=manifest.kind,
        precision=manifest.precision,
        threads=threads,
        ticks=ticks,
        interval_ms=manifest.temporal.interval_ms,
        window_frames=window,
        hop_ticks=hop,
        steps_per_tick=round(len(step.seconds) / ticks) if step is not None else 0,
        parts=parts,
        clip_to_tick=parts["clip"].p50_ms / parts["tick"].p50_ms,
        clip_to_result=parts["clip"].p50_ms / parts["result"].p50_ms,
        open_ms=open_s * 1000,
        graphs_ms=graphs_s * 1000,
        peak_stream_mb=peak_stream_mb,
        peak_all_mb=peak_memory_mb(),
        machine=machine(),
        versions=versions(),
    )


def _lap(
    recognizer: TickRecognizer,
    whole: WholeClip,
    picture: Pixels,
    clip: Pixels,
    number: int,
    ticks: int,
    on_progress: OnProgress | None,
) -> tuple[float, float, float]:
    """Seconds of preparing one picture, of its tick, and of one whole clip."""
    start = time.perf_counter()
    frame = prepare_frame(picture, recognizer.manifest.frame)
    prepared = time.perf_counter()
    recognizer.tick(frame)
    ticked = time.perf_counter()
    whole.clip(clip)
    done = time.perf_counter()
    if on_progress is not None:
        on_progress(number + 1, ticks)
    return prepared - start, ticked - prepared, done - ticked


def machine() -> MachineInfo:
    """This machine, without its name: board or CPU, cores this process may use, clock governor, load."""
    run_status = _text("/proc/device-tree/model").strip("\0 \n")
    names = [
        line.partition(":")[2].strip()
        for line in _text("/proc/cpuinfo").splitlines()
        if line.startswith("model name")
    ]
    cpu = names[0] if names else platform.processor() or "unknown"
    return MachineInfo(
        cpu=run_status or cpu,
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def versions() -> dict[str, str]:
    """Versions of what a figure depends on."""
    runtime, _, number = runtime_name().partition(" ")
    return {
        "edge_har": __version__,
        runtime: number or "unknown",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
    }


def _text(path: str) -> str:
    """Content of a small system file; empty where there is none or it is not ours to read."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def machine_line(here: MachineInfo) -> str:
    """A machine in one line for people."""
    load = "unknown" if here.load is None else f"{here.load:g}"
    return (
        f"{here.cpu}, {here.cores} cores, {here.architecture}, "
        f"governor {here.governor or 'unknown'}, load {load}"
    )


def report_lines(report: BenchReport) -> list[str]:
    """The report for a person."""
    lines = [
        f"{report.model} ({report.kind}, {report.precision}), threads {report.threads}, ticks {report.ticks}",
        f"machine: {machine_line(report.machine)}",
        "versions: " + ", ".join(f"{name} {number}" for name, number in report.versions.items()),
        "",
        f"{'milliseconds':<42}{'p50':>9}{'p95':>9}{'p99':>9}{'mean':>9}",
    ]
    size = f"{CAMERA_SIZE_WH[0]}x{CAMERA_SIZE_WH[1]}"
    banks = f"{report.steps_per_tick} steps" if report.steps_per_tick > 1 else "1 step"
    heads = "head" if report.hop_ticks == 1 else f"head each {report.hop_ticks}th tick"
    names = {
        "step": "step, one call",
        "head": "head, one call",
        "prepare": f"prepare a {size} frame",
        "tick": f"tick in all ({banks}, {heads})",
        "pipeline": "pipeline (prepare and tick)",
        "result": f"stream per result ({report.hop_ticks} tick{'s' * (report.hop_ticks > 1)})",
        "clip": f"whole clip of {report.window_frames} frames",
    }
    for part, name in names.items():
        t = report.parts[part]
        lines.append(f"{name:<42}{t.p50_ms:>9.3f}{t.p95_ms:>9.3f}{t.p99_ms:>9.3f}{t.mean_ms:>9.3f}")
    fraction = report.parts["pipeline"].p50_ms / report.interval_ms
    memory = [
        "unknown" if peak is None else f"{peak:.0f} MB"
        for peak in (report.peak_stream_mb, report.peak_all_mb)
    ]
    return [
        *lines,
        "",
        (
            f"whole clip / tick: {report.clip_to_tick:.1f}, "
            f"whole clip / stream per result: {report.clip_to_result:.1f} (p50)"
        ),
        f"a tick comes every {report.interval_ms:g} ms; the pipeline fills {fraction:.2%} of that",
        f"load: bundle {report.open_ms:.1f} ms, graphs {report.graphs_ms:.1f} ms",
        f"peak memory: {memory[0]} with the stream, {memory[1]} with pictures and whole-clip graph too",
    ]
