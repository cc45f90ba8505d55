"""Bars of a letterbox are found, whatever the picture shows."""

import numpy as np
import pytest

from edge_har.model.preprocess import LETTERBOX_VALUE, FrameSpec, prepare_frame
from train.data.letterbox import content_boxes

SIDE = 32


@pytest.mark.parametrize(
    ("size_wh", "expected"),
    [
        ((320, 240), (4, 28, 0, 32)),
        ((320, 180), (7, 25, 0, 32)),
        ((180, 320), (0, 32, 7, 25)),
        ((100, 100), (0, 32, 0, 32)),
        ((320, 246), (3, 28, 0, 32)),
    ],
)
def test_the_picture_lies_where_prepare_frame_put_it(
    size_wh: tuple[int, int], expected: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    spec = FrameSpec((SIDE, SIDE), "letterbox")
    frames = [prepare_frame(random.integers(0, 256, (*size_wh[::-1], 3), np.uint8), spec) for _ in range(5)]
    assert content_boxes(np.stack(frames)[None]).tolist() == [list(expected)]


def test_what_is_grey_in_one_frame_alone_is_picture_and_all_grey_is_a_picture_too() -> None:
    clips = np.full((3, 4, SIDE, SIDE, 3), LETTERBOX_VALUE, np.uint8)
    clips[0, 3, 10:12, 5:9, 1] = 115
    clips[1, :, 2:30] = 0
    assert content_boxes(clips).tolist() == [[10, 12, 5, 9], [2, 30, 0, 32], [0, 32, 0, 32]]
