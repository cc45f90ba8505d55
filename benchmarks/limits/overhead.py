"""What the runtime costs beside decoding and the model: a tick, the way to the first tick, recorded files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from benchmarks.limits.cameras import AGE_PERIODS, watch_cameras
from benchmarks.limits.limit import Limit, peak_mb
from benchmarks.limits.observed import finish, start
from benchmarks.measure.latency import interleaved
from edge_har.classify import Classifier, UnreadableFile
from edge_har.errors import EdgeHarError, RuntimeMissingError
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.model.interpreter import Array, Graph
from edge_har.model.preprocess import Pixels
from edge_har.pipeline.capture import Opened
from edge_har.pipeline.observer import PipelineObserver
from edge_har.pipeline.outputs import EventSink
from edge_har.pipeline.pipeline import Pipeline
from edge_har.pipeline.sampler import Ticks
from edge_har.sinks import open_outputs
from edge_har.sinks.jsonl import JsonLinesOptions
from edge_har.sinks.options import SinkContext
from edge_har.sources.base import Source
from edge_har.sources.ffmpeg import Decoder
from edge_har.sources.named import NamedSource
from edge_har.sources.pictures import decode_jpeg
from edge_har.sources.synthetic import render_clip
from edge_har.sources.synthetic_body import LABELS

SIZE_WH = (640, 480)
RATE_HZ = 25.0
QUALITY = 90  # of JPEG
SEED = 3
PICTURES = 50  # shown again and again
MAX_WAIT_S = 5.0  # for a tick to be recognised
WARM_UP_TICKS = 40
BUSY_TICKS, LIVE_TICKS = 400, 150
REPEATS = 3
STARTS = 9
START_END_S = 60.0
FILES, FILE_S = 3, 24.0
ROUNDS = 7
TICK_MS = 0.3  # limits
FIRST_TICK_S = 0.6
FILES_RATIO = 1.15
TICK_RATIO = 0.6  # to decoding a JPEG picture of the same size, which is as slow where the machine is
AGE_RATE_HZ, AGE_S, AGE_SLOW_MS = 30.0, 20.0, 200.0


@dataclass(frozen=True)
class TickCost:
    """Processor time of one tick in milliseconds, of all threads; medians.

    decode: to wait for its frames and to decode one. model: inside the graphs. hand_over: to make the model's
    frame of it and to bring that to the thread that recognises. recognise: recognition without the model,
    events, sinks, counters.
    """

    ticks: int
    decode: float
    model: float
    hand_over: float
    recognise: float

    @property
    def beside(self) -> float:
        """All but decoding and the model."""
        return self.hand_over + self.recognise


Pace = Literal["warm", "busy", "live"]
PACES: tuple[Pace, ...] = get_args(Pace)


@dataclass(frozen=True)
class Overhead:
    """What was measured. first_tick_s: from the start of a process to its first tick, median. files_s,
    files_ratio: length of the recordings together; how many times longer `classify` takes for them than
    decoding alone, median of rounds.
    """

    model: str
    ticks: dict[Pace, TickCost]
    first_tick_s: float
    files_s: float
    files_ratio: float
    peak_mb: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    def limits(self) -> list[Limit]:
        """What it must keep to, on a machine that does nothing else."""
        return [
            Limit("a tick beside decode and model", self.ticks["warm"].beside, TICK_MS, False, " ms"),
            _first_tick_limit(self.first_tick_s),
            _files_limit(self.files_ratio),
        ]

    def lines(self) -> Iterator[str]:
        """For people."""
        width, height = SIZE_WH
        yield f"{self.model}, {width}x{height}, one thread"
        yield ""
        yield f"{'processor time of a tick, ms (p50)':<46}" + "".join(f"{pace:>8}" for pace in PACES)
        rows = {
            "wait for frames, decode one": "decode",
            "model": "model",
            "prepare the model's frame, hand it over": "hand_over",
            "recognise without the model, events, sinks": "recognise",
            "all but decode and model": "beside",
        }
        for name, part in rows.items():
            yield f"{name:<46}" + "".join(f"{getattr(self.ticks[pace], part):>8.3f}" for pace in PACES)
        yield ""
        yield f"start of `edge-har run` to its first tick: {self.first_tick_s:.2f} s"
        yield (
            f"`edge-har classify` of {self.files_s:.0f} s of H.264, start-up apart: {self.files_ratio:.2f} "
            "times decoding "
            f"alone; {self.peak_mb:.0f} MB at its peak"
        )


def measure_overhead(model: Path | None = None) -> Overhead:
    """Measure all of it; needs ffmpeg for the recordings. Raises EdgeHarError where something of it fails."""
    path = model or default_bundle_path()
    with tempfile.TemporaryDirectory(prefix="edge-har-overhead-") as name:
        folder = Path(name)
        files = write_recordings(folder)
        peak = peak_mb(["classify", "--model", str(path), *map(str, files)])  # before this process grows
        first = first_tick_s(path, files[0], folder)
        ticks = {pace: tick_cost(path, folder, pace) for pace in PACES}
        ratio = files_ratio(path, files)
    return Overhead(open_bundle(path).model_id, ticks, first, FILES * FILE_S, ratio, peak)


def overhead_limits() -> Iterator[Limit]:
    """What may not get worse unseen, with the shipped model: as far as can be, ratios within one run."""
    path = default_bundle_path()
    with tempfile.TemporaryDirectory(prefix="edge-har-overhead-") as name:
        folder = Path(name)
        files = write_recordings(folder)
        yield _first_tick_limit(first_tick_s(path, files[0], folder))
        tick = tick_cost(path, folder, "warm")
        yield Limit("a tick beside decode and model / decode", tick.beside / tick.decode, TICK_RATIO, False)
        yield _files_limit(files_ratio(path, files))
    followed = watch_cameras(1, AGE_RATE_HZ, AGE_S, slow_ms=AGE_SLOW_MS)
    typical = followed.cameras[0].ages_ms[1] / followed.period_ms
    yield Limit("age of frames (p99) with a slow model", typical, AGE_PERIODS, False, " periods")


def _first_tick_limit(first_s: float) -> Limit:
    return Limit("start to first tick", first_s, FIRST_TICK_S, False, " s")


def _files_limit(ratio: float) -> Limit:
    return Limit("classify / decode", ratio, FILES_RATIO, False)


# A tick -----------------------------------------------------------------------------------------------------


class _CpuTimedGraph(Graph):
    """A graph that adds up the processor time of its runs."""

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs, self.holds_state = graph.inputs, graph.outputs, graph.holds_state
        self.cpu_s = 0.0
        self._graph = graph

    def run_raw(self, *stored: Array) -> list[Array]:
        began_s = time.thread_time()
        outputs = self._graph.run_raw(*stored)
        self.cpu_s += time.thread_time() - began_s
        return outputs

    def reset(self) -> None:
        began_s = time.thread_time()
        self._graph.reset()
        self.cpu_s += time.thread_time() - began_s


class _RecogniseTimer(PipelineObserver):
    """Adds up the processor time of recognition, from a frame to its events and counters. recognised: set
    after each.
    """

    def __init__(self, recognised: threading.Event) -> None:
        self.cpu_s = 0.0
        self._recognised = recognised
        self._began_s = 0.0

    def on_frame(self, source: str, ticks: Ticks) -> None:
        self._began_s = time.thread_time()

    def on_tick(self, source: str, ticks: Ticks, recognised_s: float) -> None:
        self.cpu_s += time.thread_time() - self._began_s
        self._recognised.set()


class _Camera(Source):
    """A camera of JPEG pictures: by the clock (`live`), or each as soon as the tick before was recognised.

    Notes processor time in seconds at each tick: of the process, and what `spent` returns.
    """

    name, live, ends, color = "camera", True, True, "bgr"

    def __init__(self, pictures: list[bytes], frames: int, pace: Pace) -> None:
        self.noted: list[tuple[float, ...]] = []
        self.spent: Callable[[], tuple[float, ...]] = tuple
        self.decode_s = 0.0
        self.recognised = threading.Event()
        self._pictures = pictures
        self._frames = frames
        self._pace = pace
        self._number = -1
        self._taken = True
        self._began_s: float | None = None

    def grab(self) -> float | None:
        began_s = time.thread_time()
        if self._taken:
            self.noted.append((time.process_time(), *self.spent()))
        self._number += 1
        if self._number >= self._frames:
            return None
        if self._pace == "live":
            now_s = time.monotonic()
            self._began_s = now_s if self._began_s is None else self._began_s
            time.sleep(max(0.0, self._began_s + self._number / RATE_HZ - now_s))
        elif self._pace == "busy" and self._taken and self._number:
            self.recognised.wait(MAX_WAIT_S)
        self.recognised.clear()
        self._taken = False
        self.decode_s += time.thread_time() - began_s
        return self._number / RATE_HZ

    def retrieve(self) -> Pixels:
        began_s = time.thread_time()
        pixels = decode_jpeg(self._pictures[self._number % len(self._pictures)])
        assert pixels is not None
        self._taken = True
        self.decode_s += time.thread_time() - began_s
        return pixels

    def close(self) -> None:
        """Nothing to do."""


def tick_cost(path: Path, folder: Path, pace: Pace) -> TickCost:
    """Run frames of a camera through a pipeline with a file for its events; the least of some runs.

    pace: `warm` does all in one thread without a pause, so the processor never sleeps and its caches stay
    warm; `busy` has a thread that captures and one that recognises, as always, and a frame comes as soon as
    the one before it was recognised; `live` has frames by the clock.
    """
    pictures = [
        cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        for picture in render_clip("Walk", SEED, PICTURES, RATE_HZ, SIZE_WH)
    ]
    runs = [_tick_cost(path, folder, pictures, pace) for _ in range(1 if pace == "live" else REPEATS)]
    return min(runs, key=lambda run: run.beside)


def _tick_cost(path: Path, folder: Path, pictures: list[bytes], pace: Pace) -> TickCost:
    bundle = open_bundle(path)
    ticks = WARM_UP_TICKS + (LIVE_TICKS if pace == "live" else BUSY_TICKS)
    frames = round(ticks * bundle.manifest.temporal.interval_ms / 1000 * RATE_HZ)
    camera = _Camera(pictures, frames, pace)
    sinks: list[EventSink] = []
    observer = _RecogniseTimer(camera.recognised)
    pipeline = Pipeline(bundle, [NamedSource(camera.name, lambda: camera)], sinks, observer=observer)
    recognizer = pipeline.lanes[0].stream.recognizer
    graphs = [head := _CpuTimedGraph(recognizer.head)]
    recognizer.head = head
    if recognizer.step is not None:
        graphs.append(step := _CpuTimedGraph(recognizer.step))
        recognizer.step = step
    camera.spent = lambda: (camera.decode_s, sum(graph.cpu_s for graph in graphs), observer.cpu_s)
    context = SinkContext(pipeline.run_status, waits=lambda: not pipeline.is_live, quit=lambda: None)
    outputs = open_outputs([JsonLinesOptions(str(folder / "events.jsonl"))], context)
    sinks += outputs.event_sinks
    try:
        if pace == "warm":
            _run_in_one_thread(pipeline, camera)
        else:
            pipeline.run()
    finally:
        outputs.close()
    each_ms = 1000 * np.diff(np.array(camera.noted), axis=0)[WARM_UP_TICKS:]
    total, decode, model, recognise = each_ms.T
    parts = (decode, model, total - decode - recognise, recognise - model)
    return TickCost(len(each_ms), *(float(np.median(part)) for part in parts))


def _run_in_one_thread(pipeline: Pipeline, source: Source) -> None:
    """What capture and pipeline do, one after the other."""
    (lane,) = pipeline.lanes
    queue, sampler = lane.capture.queue, lane.capture.sampler
    pipeline.handle(lane, Opened(source.live))
    while (time_s := source.grab()) is not None:
        made = sampler.offer(source, time_s)
        if made is not None:
            queue.push(made)
            while (item := queue.pop()) is not None:
                pipeline.handle(lane, item)


# The first tick ---------------------------------------------------------------------------------------------


def first_tick_s(path: Path, video: Path, folder: Path, starts: int = STARTS) -> float:
    """Median seconds from the start of `edge-har run` on a file to its first tick; the disk is warm."""
    found = []
    for _ in range(1 + starts):
        report = folder / "seen.json"
        began_s = time.monotonic()
        arguments = ["run", "--model", str(path), "--source", str(video), "--duration", "0.1", "-q"]
        seen = finish(start(report, *arguments), report, began_s, START_END_S)
        if seen.first_tick_s is None:
            raise EdgeHarError("edge-har run gave no tick")
        found.append(seen.first_tick_s)
    return float(np.median(found[1:]))


# Recorded files ---------------------------------------------------------------------------------------------


def write_recordings(folder: Path) -> list[Path]:
    """Some H.264 files of the synthetic person, as cameras record them; raises RuntimeMissingError without
    ffmpeg.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise RuntimeMissingError("ffmpeg makes the recordings: apt install ffmpeg")
    width, height = SIZE_WH
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{RATE_HZ:g}"]
    paths = [folder / f"{number}.mp4" for number in range(FILES)]
    for path, label in zip(paths, LABELS, strict=False):
        drawn = render_clip(label, SEED, round(FILE_S * RATE_HZ / 8), RATE_HZ, SIZE_WH)
        coded = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", str(path)]
        subprocess.run(
            [ffmpeg, "-v", "error", "-y", *size, "-i", "-", *coded],
            input=drawn.tobytes() * 8,
            check=True,
        )
    return paths


def decode(path: Path) -> int:
    """Decode every frame of a file, as `classify` opens it, and convert it to BGR; how many there were."""
    decoder = Decoder(str(path), path.name)
    frames = 0
    while (frame := decoder.next_frame()) is not None:
        decoder.pixels(frame)
        frames += 1
    decoder.close()
    return frames


def files_ratio(path: Path, files: list[Path], rounds: int = ROUNDS) -> float:
    """How many times longer `classify` takes for files than decoding them, in turns; the median of the
    rounds.
    """
    classifier = Classifier(open_bundle(path))
    names = [str(file) for file in files]

    def classify() -> None:
        for outcome in classifier.files(names):
            if isinstance(outcome, UnreadableFile):
                raise EdgeHarError(f"{outcome.path}: {outcome.error}")

    def decode_all() -> None:
        for file in files:
            decode(file)

    ratios = []
    for _ in range(rounds):
        timings = interleaved({"decode": decode_all, "classify": classify}, 1, warm_up_rounds=0)
        ratios.append(timings["classify"].p50_ms / timings["decode"].p50_ms)
    return float(np.median(ratios))
