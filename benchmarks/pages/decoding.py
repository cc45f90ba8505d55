"""docs/figures/decoding.md: OpenCV's reader of files beside PyAV's FFmpeg, on video that ffmpeg makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.folds import Say
from benchmarks.limits.limit import peak_mb
from benchmarks.measure import provenance
from benchmarks.measure.latency import interleaved
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import RuntimeMissingError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.ffmpeg import Decoder

SIZE_WH, SECONDS, RATE_HZ = (320, 240), 4, 25
TIMED_SIZES_WH = ((320, 240), (640, 480), (1280, 720))
EVERY = 3  # of 25 frames a second the models take about each third
ROUNDS = 9
FROZEN = 0.05  # grey levels of change a frame, in a picture that moves everywhere
NEAR = 10.0  # grey levels of mean difference from the progressive copy
# By name: the file, its coding, and what makes it interlaced or of another colour matrix.
KINDS: Mapping[str, tuple[str, str, str]] = {
    "H.264, interlaced": ("a.mts", "-c:v libx264", "-x264-params tff=1"),
    "HEVC, interlaced": ("a.mkv", "-c:v libx265", "-x265-params interlace=tff"),
    "MPEG-2, interlaced": ("a.mpg", "-c:v mpeg2video -b:v 4M", "-flags +ilme+ildct"),
    "MPEG-4, interlaced": ("a.avi", "-c:v mpeg4 -b:v 4M", "-flags +ilme+ildct"),
    "ProRes, interlaced": ("a.mov", "-pix_fmt yuv422p10le -c:v prores_ks", "-flags +ilme+ildct"),
    "DV": ("a.avi", "-c:v dvvideo -s 720x576", "-top 1"),
} | {
    f"H.264, matrix {name}": ("a.mp4", "-c:v libx264", f"-colorspace {name}")
    for name in ("bt709", "bt2020nc", "smpte240m", "ycgco", "ictcp", "bt2020c", "smpte2085")
}

WHY = """Why PyAV is in the base install, beside OpenCV, whose own reader of files would cost nothing more:
[docs/decoding.md](../decoding.md) has the decision. Every video here is made by ffmpeg, of a picture that
moves everywhere; right is what the progressive copy in the usual colours shows."""

Reader = Callable[[Path], list[Pixels]]


@dataclass(frozen=True)
class Timed:
    """Of one size: median seconds of process time by reader, for reading and converting each third frame."""

    size_wh: tuple[int, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Decoding:
    """What was measured. right: by kind and reader, a word. peak_mb: of `edge-har classify`, by size.
    installed_mb: by package. import_ms: of PyAV.
    """

    right: Mapping[str, Mapping[str, str]]
    timed: Sequence[Timed]
    peak_mb: Mapping[tuple[int, int], float]
    installed_mb: Mapping[str, float]
    import_ms: float


def by_opencv(path: Path, every: int = 1) -> list[Pixels]:
    """Each `every`th frame of a file, by OpenCV's reader."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a line a frame otherwise
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames, number = [], 0
    while capture.grab():
        if number % every == 0 and (read := capture.retrieve())[0]:
            frames.append(np.asarray(read[1], np.uint8))
        number += 1
    capture.release()
    return frames


def by_pyav(path: Path, every: int = 1) -> list[Pixels]:
    """Each `every`th frame of a file, by PyAV. Raises SourceError where it cannot be converted."""
    decoder = Decoder(str(path), path.name)
    frames, number = [], 0
    while (frame := decoder.next_frame()) is not None:
        if number % every == 0:
            frames.append(decoder.pixels(frame))
        number += 1
    decoder.close()
    return frames


READERS: Mapping[str, Callable[..., list[Pixels]]] = {
    f"OpenCV {cv2.__version__}": by_opencv,
    f"PyAV {distribution('av').version}": by_pyav,
}


def measure_decoding(*, say: Say) -> Decoding:
    """Make the videos, read them by both, and measure. Raises RuntimeMissingError without ffmpeg."""
    with TemporaryDirectory(prefix="edge-har-decoding-") as name:
        folder = Path(name)
        right = {}
        for kind, (file, coding, special) in KINDS.items():
            plain, path = folder / f"plain-{file}", folder / file
            _make(plain, SIZE_WH, *coding.split())
            _make(path, SIZE_WH, *coding.split(), *special.split())
            right[kind] = {reader: _judge(read, path, by_pyav(plain)) for reader, read in READERS.items()}
            say(f"{kind}: {right[kind]}")
        timed, peaks = [], {}
        for size_wh in TIMED_SIZES_WH:
            path = folder / "timed.mp4"
            _make(path, size_wh, "-c:v", "libx264", "-bf", "2")
            timed.append(_time(path, size_wh))
            peaks[size_wh] = peak_mb(["classify", str(path)])
            say(f"{size_wh}: {timed[-1].seconds}, {peaks[size_wh]:.0f} MB")
    installed = {name: _installed_mb(name) for name in ("av", "opencv-python-headless", "numpy")}
    return Decoding(right, timed, peaks, installed, _import_ms())


def _make(path: Path, size_wh: tuple[int, int], *coding: str) -> None:
    """A picture that moves everywhere."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise RuntimeMissingError("ffmpeg makes the videos: apt install ffmpeg")
    width, height = size_wh
    source = f"testsrc2=size={width}x{height}:rate={RATE_HZ}:duration={SECONDS}"
    given = ["-v", "error", "-y", "-f", "lavfi", "-i", source]
    form = [] if "-pix_fmt" in coding else ["-pix_fmt", "yuv420p"]
    subprocess.run([program, *given, *form, *coding, str(path)], check=True, capture_output=True)


def _judge(read: Reader, path: Path, plain: list[Pixels]) -> str:
    """Whether a reader gives what the progressive copy shows."""
    try:
        frames = read(path)
    except SourceError:
        return "refused in a line"
    if len(frames) != len(plain):
        return f"wrong: {len(frames)} of {len(plain)} frames"
    shown: NDArray[np.int16] = np.stack(frames).astype(np.int16)
    if np.abs(np.diff(shown, axis=0)).mean() < FROZEN:
        return "wrong, in silence: " + ("black" if shown.mean() < 1 else "it stands still")
    off = float(np.abs(shown - np.stack(plain)).mean())
    return "right" if off < NEAR else f"wrong, in silence: {off:.0f} levels off"


def _time(path: Path, size_wh: tuple[int, int]) -> Timed:
    calls = {name: (lambda read=read: read(path, EVERY)) for name, read in READERS.items()}
    timings = interleaved(calls, ROUNDS)
    return Timed(size_wh, {name: timing.p50_ms / 1000 for name, timing in timings.items()})


def _installed_mb(package: str) -> float:
    """Megabytes of 10^6 bytes that a package takes on this disk."""
    files = distribution(package).files or []
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file()) / 1e6


def _import_ms() -> float:
    code = "import numpy, time; began = time.perf_counter(); import av; print(time.perf_counter() - began)"
    found = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        for _ in range(ROUNDS)
    ]
    return 1000 * float(np.median(found))


def page(measured: Decoding, command: list[str]) -> str:
    """The page's Markdown."""
    opencv, pyav = READERS
    kinds = [["Video", opencv, pyav]]
    kinds += [[kind, words[opencv], words[pyav]] for kind, words in measured.right.items()]
    times = [["H.264, each third frame converted", f"{pyav} / {opencv}", "`edge-har classify`, peak MB"]]
    times += [
        [
            "x".join(map(str, timed.size_wh)),
            f"{timed.seconds[pyav] / timed.seconds[opencv]:.2f}",
            f"{measured.peak_mb[timed.size_wh]:.0f}",
        ]
        for timed in measured.timed
    ]
    sizes = [["Package", "MB on this disk"]]
    sizes += [[name, f"{size:.0f}"] for name, size in measured.installed_mb.items()]
    lines = [
        "# Decoding files and network streams",
        "",
        WHY,
        "",
        *markdown_table(kinds),
        "",
        "One thread, medians of times in turns; the ratio of decoding and converting.",
        "",
        *markdown_table(times),
        "",
        *markdown_table(sizes),
        "",
        f"Importing PyAV takes {measured.import_ms:.0f} ms, when the first file or stream is opened.",
        "",
        *provenance.section(command, None),
    ]
    return "\n".join(lines)
