"""The frames of any source, and frames that a program gives."""

from __future__ import annotations

import numpy as np
import pytest

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Frame, GivenFrames, Source
from tests.helpers.colours import painted
from tests.helpers.running import ScriptedSource

RED, GREEN = painted("Red", 1, (6, 4))[0], painted("Green", 1, (6, 4))[0]


class Damaged(Source):
    """Gives three frames in OpenCV's order, of which the second is damaged."""

    def __init__(self) -> None:
        self.name, self.at = "torn", -1

    def grab(self) -> float | None:
        self.at += 1
        return self.at / 10 if self.at < 3 else None

    def retrieve(self) -> Pixels:
        if self.at == 1:
            raise SourceError("torn: a frame could not be decoded")
        return np.ascontiguousarray(RED[..., ::-1])

    def close(self) -> None:
        self.at = 3


def test_frames_come_as_rgb_with_their_times_and_without_damaged_ones() -> None:
    with Damaged() as source:
        found = list(source.frames())
    assert [frame.time_s for frame in found] == [0.0, 0.2]
    for _, rgb in found:
        assert rgb.flags.c_contiguous
        np.testing.assert_array_equal(rgb, RED)


def test_an_error_of_who_takes_the_frames_is_theirs() -> None:
    with pytest.raises(SourceError, match="mine"):
        for _ in GivenFrames([(0.0, RED), (0.1, RED)]).frames():
            raise SourceError("mine")


def test_a_live_source_that_is_lost_is_an_error() -> None:
    found = []
    with ScriptedSource(until_frame=3) as source, pytest.raises(SourceError, match="cam: the stream ended"):
        found.extend(source.frames())
    assert len(found) == 3


def test_given_frames_are_given_in_order() -> None:
    source = GivenFrames([(0.0, RED), Frame(0.5, GREEN)], name="door")
    assert [(time_s, rgb.tobytes()) for time_s, rgb in source.frames()] == [
        (0.0, RED.tobytes()),
        (0.5, GREEN.tobytes()),
    ]
    assert source.name == "door" and source.grab() is None


def test_given_frames_are_checked() -> None:
    with pytest.raises(SourceError, match="call grab"):
        GivenFrames([(0.0, RED)]).retrieve()
    with pytest.raises(MisuseError, match=r"a pair of seconds and pixels .* got ndarray"):
        GivenFrames([RED]).grab()  # type: ignore[list-item]
    with pytest.raises(MisuseError, match="uint8 height x width x 3, got float64"):
        GivenFrames([(0.0, RED / 255)]).grab()
