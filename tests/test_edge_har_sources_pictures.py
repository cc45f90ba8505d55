"""Pictures out of bytes, however hostile: cut, guarded, decoded; 10,000 streams are fed by `make fuzz`."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from edge_har.sources.pictures import MAX_MARKERS, JpegSplitter, decode_jpeg, jpeg_size
from tests.helpers.fuzz_mjpeg import fuzz, pictures
from tests.helpers.mjpeg import jpeg
from tests.helpers.videos import noise

PICTURE = jpeg(noise(1, (64, 48))[0])


def with_size(picture: bytes, width: int, height: int) -> bytes:
    """The same JPEG, whose header claims another size."""
    at = next(i for i in range(2, len(picture)) if picture[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return picture[: at + 5] + struct.pack(">HH", height, width) + picture[at + 9 :]


def test_damaged_streams_come_to_their_end() -> None:
    came, whole = fuzz(300, seed=1)
    assert (
        300 < whole < came
    )  # most streams keep something, and not everything that is cut out can be decoded


def test_every_coding_is_decoded() -> None:
    for picture in pictures():
        expected = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(decode_jpeg(picture), expected)
        assert jpeg_size(picture) == (expected.shape[1], expected.shape[0])
        splitter = JpegSplitter()
        assert [p for byte in picture * 2 for p in splitter.feed(bytes([byte]))] == [picture] * 2


@pytest.mark.parametrize(
    "picture",
    [
        with_size(PICTURE, 65535, 65535),
        with_size(PICTURE, 16000, 1100),
        with_size(PICTURE, 0, 48),
        PICTURE[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 100 + b"\xff\xd9",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xfe\x00\x00",
        b"",
    ],
)
def test_what_would_cost_gigabytes_or_minutes_is_damaged(
    picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert decode_jpeg(picture) is None


def test_a_12_megapixel_still_is_no_bomb() -> None:
    picture = jpeg(np.zeros((3040, 4056, 3), np.uint8))
    decoded = decode_jpeg(picture)
    assert decoded is not None and decoded.shape == (3040, 4056, 3)


class Counted(bytearray):
    """Counts the bytes that are looked at one by one."""

    looked = 0

    def __getitem__(self, at: object) -> object:
        self.looked += isinstance(at, int)
        return super().__getitem__(at)  # type: ignore[index]


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\xd8" + b"\xff\xd0" * 50_000,
        b"\xff\xd8\xff" * 30_000,
        b"\xff\xd8\xff\xe0\x40\x00" * 5_000 + b"\xff\xd1" * 40_000,
        b"\xff\xd8\xff\xda\x00\x02" * 15_000,
    ],
    ids=["fill", "bare markers", "starts", "starts in segments", "scans"],
)
@pytest.mark.parametrize("piece", [50, 65536])
def test_each_byte_is_looked_at_a_few_times_at_most(hostile: bytes, piece: int) -> None:
    splitter = JpegSplitter()
    splitter._held = Counted()
    for at in range(0, len(hostile), piece):
        splitter.feed(hostile[at : at + piece])
    assert splitter._held.looked < 20 * len(hostile)
    splitter.feed(b"\x00" * 100_000)  # whatever was half believed ends here
    assert splitter.feed(PICTURE + PICTURE)[-1] == PICTURE


def test_a_header_of_many_segments_is_still_a_header() -> None:
    comments = b"\xff\xfe\x00\x04ab" * (MAX_MARKERS // 2)
    picture = PICTURE[:2] + comments + PICTURE[2:]
    assert JpegSplitter().feed(picture) == [picture]
    assert decode_jpeg(picture) is not None
