"""The page that compares OpenCV's reader with PyAV's: what it calls right, and that it holds every figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.pages import decoding
from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels


def moving(frames: int = 5, level: int = 60) -> list[Pixels]:
    """Frames that change everywhere."""
    return [np.full((8, 8, 3), level + 20 * number, np.uint8) for number in range(frames)]


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        (moving(), "right"),
        (moving(4), "wrong: 4 of 5 frames"),
        ([np.zeros((8, 8, 3), np.uint8)] * 5, "wrong, in silence: black"),
        ([np.full((8, 8, 3), 90, np.uint8)] * 5, "wrong, in silence: it stands still"),
        (moving(level=90), "wrong, in silence: 30 levels off"),
    ],
)
def test_what_a_reader_gives_is_judged_by_the_progressive_copy(frames: list[Pixels], word: str) -> None:
    assert decoding._judge(lambda _: frames, Path("a.avi"), moving()) == word


def test_a_refusal_is_called_so() -> None:
    def refuse(_: Path) -> list[Pixels]:
        raise SourceError("a.avi: no")

    assert decoding._judge(refuse, Path("a.avi"), moving()) == "refused in a line"


def test_the_page_holds_every_figure() -> None:
    opencv, pyav = decoding.READERS
    measured = decoding.Decoding(
        {"H.264, interlaced": {opencv: "wrong, in silence: black", pyav: "right"}},
        [decoding.Timed((320, 240), {opencv: 2.0, pyav: 3.0})],
        {(320, 240): 76.4},
        {"av": 107.2},
        173.2,
    )
    text = decoding.page(measured, ["python", "-m", "benchmarks", "decoding"])
    for words in ("| H.264, interlaced | wrong, in silence: black | right |", "| 320x240 | 1.50 | 76 |"):
        assert words in text
    assert "| av | 107 |" in text and "takes 173 ms" in text and "index hash" not in text
