"""Hostile motion JPEG: real pictures, damaged in every way that a network,
a disk or an attacker damages them.

`python -m tests.helpers.fuzz_mjpeg --streams 10000` feeds so many streams to what `edge-har run` reads with,
and ends
with 0 where each came to its end: no crash, no hang, no exception.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import cv2
import numpy as np

from edge_har.model.preprocess import FrameSpec, prepare_frame
from edge_har.sources.pictures import JpegSplitter, decode_jpeg
from tests.helpers.fuzzing import damaged, guarded

SIZES = ((16, 8), (33, 21), (64, 48))
MARKERS = bytes(range(0xC0, 0x100))
WORDS = (
    b"\xff\xd8\xff",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xd8\xff\xe0",
    b"\xff\xff",
    b"--frame\r\n\r\n",
    b"\xff\x00",
)


def pictures(seed: int = 0) -> list[bytes]:
    """JPEG pictures of several sizes and codings."""
    rng = np.random.default_rng(seed)
    codings = [
        [],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_QUALITY, 20, cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    ]
    made = []
    for width, height in SIZES:
        for channels in (3, 1):
            pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
            for coding in codings:
                done, content = cv2.imencode(".jpg", pixels, coding)
                assert done
                made.append(content.tobytes())
    return made


def stream(rng: random.Random, whole: list[bytes]) -> bytes:
    """Some pictures with what stands between them, and some damage."""
    data = bytearray()
    for _ in range(rng.randrange(1, 8)):
        picture = bytearray(rng.choice(whole))
        if rng.random() < 0.6:
            damage_header(rng, picture)
        data += rng.choice((b"", b"--frame\r\nContent-Length: 9\r\n\r\n", rng.randbytes(rng.randrange(40))))
        data += picture
    return damaged(rng, bytes(data), WORDS) if rng.randrange(6) else bytes(data)


def damage_header(rng: random.Random, picture: bytearray) -> None:
    """Change what a decoder believes: a segment's length or content, sizes, tables, counts."""
    at = 2
    places = []
    while at + 4 <= len(picture) and picture[at] == 0xFF:
        places.append(at)
        if picture[at + 1] == 0xDA:
            break
        at += 2 + (picture[at + 2] << 8 | picture[at + 3])
    for _ in range(rng.randrange(1, 4)):
        position = rng.choice(places) + rng.randrange(1, 14)
        if position < len(picture):
            picture[position] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256), rng.choice(MARKERS)))


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """`data` as it may come out of a socket."""
    at = 0
    longest = rng.choice((1, 7, 300, 65536))
    while at < len(data):
        size = rng.randrange(1, longest + 1)
        yield data[at : at + size]
        at += size


def feed(data: Iterator[bytes]) -> tuple[int, int]:
    """Read a stream as a source does, up to the model's input;
    how many pictures came, and how many were whole.
    """
    splitter, came, whole = JpegSplitter(), 0, 0
    for piece in data:
        for picture in splitter.feed(piece):
            came += 1
            pixels = decode_jpeg(picture)
            if pixels is not None:
                whole += 1
                assert prepare_frame(pixels, FrameSpec((8, 8)), color="bgr").shape == (8, 8, 3)
    return came, whole


def fuzz(streams: int, seed: int = 0) -> tuple[int, int]:
    """Feed so many streams; how many pictures came out of them, and how many of these were whole."""
    whole_pictures = pictures()
    came = whole = 0
    for number in range(streams):
        rng = random.Random(f"{seed}-{number}")
        with guarded("stream", number, seed):
            of_stream = feed(pieces(rng, stream(rng, whole_pictures)))
        came, whole = came + of_stream[0], whole + of_stream[1]
    return came, whole


def main() -> None:
    """Feed many streams and say what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began_s = time.monotonic()
    came, whole = fuzz(given.streams, given.seed)
    print(
        f"{given.streams} damaged streams of motion JPEG (seed {given.seed}): {came} pictures cut out, "
        f"{whole} decoded, "
        f"none crashed, hung or raised; {time.monotonic() - began_s:.0f} s"
    )


if __name__ == "__main__":
    main()
