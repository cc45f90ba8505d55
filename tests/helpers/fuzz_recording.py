"""Recordings whose time stamps are wrong, missing or out of order, some with damaged bytes too.

`python -m tests.helpers.fuzz_recording --count 10000` classifies so many.
"""

from __future__ import annotations

import functools
import io
import math
import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from edge_har.classify import Classifier
from edge_har.model.bundle import default_bundle_path, open_bundle
from edge_har.sources.files import FileSource
from edge_har.sources.timestamps import LOOK_AHEAD
from tests.helpers.fuzzing import damaged, main

RATE_HZ, FRAMES, SIZE_WH = 25, 50, (64, 48)
STEP_S = 1 / RATE_HZ
REORDERED = 3  # frames between decoding and showing
CODINGS = {"mjpeg": {}, "mpeg4": {}, "libx264": {"bf": "0"}, "libx264 with B": {"bf": "2"}}
FAITHFUL = ("mkv", "ts")  # they keep whatever stamps they are given
SUFFIXES = ("mkv", "mp4", "mov", "ts", "avi", "flv", "wmv")  # the writer of nut aborts at some stamps
WORDS = (b"\x00\x00\x01", b"\x47", b"\xff" * 8, b"moov", b"idx1", b"\x1f\x43\xb6\x75", b"\x00" * 64)
HOUR = 3600 * RATE_HZ


@dataclass(frozen=True)
class Encoded:
    """A packet: its bytes, when its frame is shown (number), and whether frames hang on none before it."""

    content: bytes
    number: int
    key: bool


@functools.cache
def encoded(coding: str, container: str) -> tuple[tuple[Encoded, ...], Any]:
    """Packets of a moving square in the order of decoding, and the stream in `container` that has them."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as made:
        stream = made.add_stream(coding.split()[0], rate=RATE_HZ, options=CODINGS[coding])
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuvj420p" if coding == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(FRAMES):
            pixels = np.full((*SIZE_WH[::-1], 3), 60, np.uint8)
            pixels[10:30, number % 40 : number % 40 + 20] = 220
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, RATE_HZ)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    file.seek(0)
    stream = av.open(file).streams.video[0]
    packets = [packet for packet in stream.container.demux(stream) if packet.size]
    first_s = min(packet.pts * packet.time_base for packet in packets)
    made_of = tuple(
        Encoded(bytes(one), round((one.pts * one.time_base - first_s) * RATE_HZ), bool(one.is_keyframe))
        for one in packets
    )
    assert sorted(packet.number for packet in made_of) == list(range(FRAMES)), coding
    return made_of, stream


def _nothing(_: random.Random, stamps: list[int | None]) -> None:
    """Leaves all as they are."""


def _stray(rng: random.Random, stamps: list[int | None]) -> None:
    """One to four frames far away, as many in a row as do not count as a gap."""
    at = rng.randrange(2, FRAMES - 2 * LOOK_AHEAD)
    for place in range(at, at + rng.randrange(1, LOOK_AHEAD // 2 + 1)):
        stamps[place] = (stamps[place] or 0) + rng.choice((HOUR, -HOUR, 2 * HOUR))


def _swapped(rng: random.Random, stamps: list[int | None]) -> None:
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(FRAMES - 2)
        stamps[at], stamps[at + 1] = stamps[at + 1], stamps[at]


def _missing(rng: random.Random, stamps: list[int | None]) -> None:
    for _ in range(rng.randrange(1, 20)):
        stamps[rng.randrange(1, FRAMES)] = None


def _restarted(rng: random.Random, stamps: list[int | None]) -> None:
    at = rng.randrange(5, FRAMES - 5)
    stamps[at:] = range(FRAMES - at)


def _anything(rng: random.Random, stamps: list[int | None]) -> None:
    odd = (None, 0, -1, 1, HOUR, -HOUR, 2**31, 2**40, -(2**40), 7)
    for place in range(FRAMES):
        if rng.random() < 0.3:
            stamps[place] = rng.choice(odd)


def _silent(rng: random.Random, stamps: list[int | None]) -> None:
    at, by = rng.randrange(5, FRAMES - 5), rng.randrange(30, 5000)
    stamps[at:] = [(stamp or 0) + by for stamp in stamps[at:]]


# With how long the recording may then seem, in seconds off; None: whatever its stamps say.
BREAKS: tuple[tuple[Callable[[random.Random, list[int | None]], None], float | None], ...] = (
    (_nothing, STEP_S),
    (_stray, 3 * STEP_S),
    (_swapped, 3 * STEP_S),
    (_missing, 3 * STEP_S),
    (_restarted, None),
    (_anything, None),
    (_silent, None),
)


def write(path: Path, coding: str, stamps: list[int | None]) -> bool:
    """Write the packets with `stamps`, by the order in which frames are shown; False where the container
    refuses them.
    """
    packets, template = encoded(coding, "mpegts" if path.suffix == ".ts" else "matroska")
    try:
        with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as made:
            stream = made.add_stream_from_template(template)
            for place, one in enumerate(packets):
                packet = av.Packet(one.content)
                packet.stream = stream
                packet.time_base = Fraction(1, RATE_HZ)
                stamp = stamps[one.number]
                packet.dts, packet.pts = place, None if stamp is None else stamp + REORDERED
                packet.duration, packet.is_keyframe = 1, one.key
                made.mux(packet)
    except (av.FFmpegError, ValueError, OverflowError):
        return False
    return path.stat().st_size > 0


@functools.cache
def classifier() -> Classifier:
    """Of the shipped bundle."""
    return Classifier(open_bundle(default_bundle_path()))


def case(rng: random.Random) -> None:
    """One recording: its times are finite and run forward; where little is wrong it lasts as long as it did.

    Raises SourceError where nothing of it can be read.
    """
    with tempfile.TemporaryDirectory(prefix="edge-har-fuzz-", dir=_memory()) as folder:
        while True:  # until a container takes what was made
            suffix = rng.choice(SUFFIXES)
            coding = rng.choice([name for name in CODINGS if (name, suffix) != ("mjpeg", "ts")])
            path = Path(folder) / f"a.{suffix}"
            breaking, off_s = rng.choice(BREAKS)
            stamps: list[int | None] = list(range(FRAMES))
            breaking(rng, stamps)
            if write(path, coding, stamps):
                break
        if suffix not in FAITHFUL and breaking is not _nothing:
            off_s = None
        if rng.random() < 0.2:
            path.write_bytes(damaged(rng, path.read_bytes(), WORDS))
            off_s = None
        times_s = []
        with FileSource(path) as source:
            while (time_s := source.grab()) is not None:
                times_s.append(time_s)
        what = f"{breaking.__name__} {coding} {suffix}: {times_s}"
        assert all(map(math.isfinite, times_s)) and all(a <= b for a, b in pairwise(times_s)), what
        assert len(times_s) <= 2 * FRAMES, what
        if off_s is not None:
            assert len(times_s) == FRAMES, what
            assert abs(times_s[-1] - times_s[0] - (FRAMES - 1) * STEP_S) <= off_s + 0.01, what
        result = classifier().file(str(path))
        assert abs(sum(result.scores.values()) - 1) < 1e-3, what


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main("recording", case, __doc__)
