"""A folder of numbered pictures, played as a recording."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.base import Source
from edge_har.sources.files import USUAL_RATE_HZ
from edge_har.sources.pictures import MAX_JPEG_PIXELS, decode_jpeg

PICTURE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp"])
NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>[0-9]+)", re.DOTALL)
MIN_PICTURES = 2  # fewer show no movement
MAX_PICTURE_BYTES = 64 * 1024 * 1024  # 16 megapixels as they are, and some
JPEG, PNG, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"


class PicturesSource(Source):
    """The numbered pictures of a folder, as a recording of 25 pictures a second.

    `warning` then counts the pictures that cannot be read and the numbers that are absent. Raises SourceError
    where the folder holds no such pictures, or others beside them.
    """

    live = False
    color = "bgr"
    rate_hz = USUAL_RATE_HZ  # pictures carry no times

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = mask_uri(str(path))
        self.warning: str | None = None
        try:
            self._pictures = pictures_of(path)
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be read: {error.strerror}") from error
        if not self._pictures:
            raise SourceError(
                f"{self.name}: a folder that is no clip: a clip is one series of numbered pictures"
            )
        self._at = -1
        self._unread = 0

    def grab(self) -> float | None:
        """Time of the next picture in seconds, or None after the last one; others are stepped over.

        Raises SourceError at the end of a folder in which there was none.
        """
        while self._at + 1 < len(self._pictures):
            self._at += 1
            if _begins_as_picture(self._pictures[self._at]):
                return self._at / self.rate_hz
            self._unread += 1
        self._end()
        return None

    def _end(self) -> None:
        if self._unread == len(self._pictures):
            raise SourceError(f"{self.name}: no picture of it can be decoded")
        first, last = (_number(path) for path in (self._pictures[0], self._pictures[-1]))
        absent = last - first + 1 - len(self._pictures)
        lacks = [f"{self._unread} of its {len(self._pictures)} pictures cannot be read"] * (self._unread > 0)
        lacks += [f"between its first and its last picture, numbers are absent: {absent}"] * (absent > 0)
        self.warning = "; ".join(lacks) or None

    def retrieve(self) -> Pixels:
        """The picture just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        path = self._pictures[self._at]
        try:
            with open(path, "rb") as file:
                pixels = _decode(file.read(MAX_PICTURE_BYTES))
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        if pixels is None:
            raise SourceError(f"{path}: not a picture that can be decoded (JPEG, PNG or BMP)")
        return pixels

    def close(self) -> None:
        """Nothing is held open."""


def pictures_of(folder: str | os.PathLike[str]) -> list[str]:
    """The pictures of a folder that is a clip, in order; empty where it is none. Raises OSError."""
    with os.scandir(os.fspath(folder)) as entries:
        shown = [entry.path for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    return numbered_pictures(shown)


def numbered_pictures(files: Iterable[str]) -> list[str]:
    """Those of a folder's files that are one clip, in the order of their numbers; empty where none is.

    They are pictures whose names differ in the number at their end alone; other pictures beside them, and
    it is no clip.
    """
    pictures = [path for path in files if suffix_of(path) in PICTURE_SUFFIXES]
    series, numbers = set(), []
    for path in pictures:
        named = NUMBERED.fullmatch(os.path.splitext(os.path.basename(path))[0])
        if named is None:
            return []
        series.add((named["before"], suffix_of(path)))
        numbers.append((int(named["number"]), path))
    if len(series) != 1 or len(numbers) < MIN_PICTURES:
        return []
    return [path for _, path in sorted(numbers)]


def suffix_of(path: str) -> str:
    """The suffix of a name, in lower case and with its dot; empty where it has none."""
    return os.path.splitext(path)[1].lower()


def _number(path: str) -> int:
    named = NUMBERED.fullmatch(os.path.splitext(os.path.basename(path))[0])
    return int(named["number"]) if named else 0


def _begins_as_picture(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(PNG)).startswith((JPEG, PNG, BMP))
    except OSError:
        return False


def _decode(picture: bytes) -> Pixels | None:
    """The pixels of a picture; None where it is damaged, too large by its header, or of another kind."""
    if picture.startswith(JPEG):
        return decode_jpeg(picture)
    if picture.startswith(PNG):
        width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    elif picture.startswith(BMP):
        # A negative height says that the rows begin at the top.
        width, height = (abs(int.from_bytes(picture[at : at + 4], "little", signed=True)) for at in (18, 22))
    else:
        return None
    if not 0 < width * height <= MAX_JPEG_PIXELS:
        return None
    try:
        return cast("Pixels | None", cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR))
    except cv2.error:
        return None
