"""Shrinking by area gives OpenCV's bytes at every size,
also where means lie halfway between two grey levels.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_har.model import area_resize as area
from edge_har.model.area_resize import shrink_area

SHORT_WAY = [
    ((640, 480), 64),
    ((1280, 720), 64),
    ((640, 360), 64),
    ((352, 288), 64),
    ((800, 600), 32),
    ((320, 240), 64),
]
OPENCV_ALONE = [((641, 480), (64, 64)), ((640, 480), (80, 60)), ((160, 120), (64, 64)), ((64, 48), (64, 64))]


def pictures(width: int, height: int) -> dict[str, np.ndarray]:
    """Noise, what a camera gives, few grey levels (many means are halfway), one level,
    and a cut out of more.
    """
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return {
        "noise": noise,
        "smooth": cv2.GaussianBlur(noise, (0, 0), 5),
        "few levels": noise // 64,
        "white": np.full_like(noise, 255),
        "cut out": np.pad(noise, ((3, 2), (5, 4), (0, 0)))[3:-2, 5:-4],
    }


def opencvs(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("size_wh", "side"), SHORT_WAY)
def test_every_byte_is_opencvs_by_the_short_way(size_wh: tuple[int, int], side: int) -> None:
    assert area._plan(*size_wh, side, side) is not None
    for name, pixels in pictures(*size_wh).items():
        assert np.array_equal(shrink_area(pixels, side, side), opencvs(pixels, side, side)), name


@pytest.mark.parametrize(("size_wh", "to_wh"), OPENCV_ALONE)
def test_other_sizes_are_opencvs_own(size_wh: tuple[int, int], to_wh: tuple[int, int]) -> None:
    assert area._plan(*size_wh, *to_wh) is None
    noise = pictures(*size_wh)["noise"]
    assert np.array_equal(shrink_area(noise, *to_wh), opencvs(noise, *to_wh))


def test_means_halfway_are_really_met() -> None:
    """Else the tests above would not see a wrong rounding: without OpenCV's say some bytes differ."""
    plan = area._plan(640, 480, 64, 64)
    noise = pictures(640, 480)["noise"]
    sums = plan._sum_rows(noise, np.float32).reshape(64, 64, 10, 3).astype(np.int64).sum(2)
    halfway = sums % 150 == 75
    assert 20 < halfway.sum() < 200
    assert (np.rint(sums / 150)[halfway] != opencvs(noise, 64, 64)[halfway]).any()


def test_where_all_means_are_halfway_opencv_does_it_alone() -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 1
    assert area._plan(640, 480, 64, 64).shrink(stripes) is None
    assert np.array_equal(shrink_area(stripes, 64, 64), opencvs(stripes, 64, 64))


def test_a_short_way_that_this_machine_rounds_differently_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    area._plan.cache_clear()
    real = area._by_opencv
    monkeypatch.setattr(
        area, "_by_opencv", lambda p, w, h: real(p, w, h) if p.shape[1] < 640 else real(p, w, h) + 1
    )
    assert area._plan(640, 480, 64, 64) is None
    area._plan.cache_clear()


def test_pictures_whose_sums_fit_16_bits_are_shrunk_by_whole_numbers_alone() -> None:
    plans = [area._plan(*size_wh, side, side) for size_wh, side in SHORT_WAY]
    assert [plan._sums_fit for plan in plans if plan is not None] == [True, False, False, False, False, True]
    values = np.random.default_rng(2).integers(0, 2**11, 90).astype(np.uint16)
    for length in range(1, 21):
        for step in (1, 3):
            places = len(values) - (length - 1) * step
            expected = [values[at : at + length * step : step].sum() for at in range(places)]
            assert area._sum_runs(values, length, step=step)[:places].tolist() == expected
