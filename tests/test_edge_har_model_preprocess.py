"""One function changes pixels: its size, fit and colour order, byte for byte."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_har.errors import BundleError, MisuseError
from edge_har.model.preprocess import FrameSpec, prepare_frame
from tests.helpers.videos import noise

GREY = 114  # of letterboxes: models are trained with it, so it must not change


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_colours_come_out_as_rgb(color: str) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[..., 0 if color == "rgb" else 2] = 200  # red
    prepared = prepare_frame(pixels, FrameSpec((4, 4)), color=color)
    assert prepared.tolist() == np.broadcast_to([200, 0, 0], (4, 4, 3)).tolist()


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("interpolation", ["area", "linear"])
def test_both_colour_orders_give_the_same_bytes(fit: str, interpolation: str) -> None:
    rgb = noise(1, (33, 47))[0]
    spec = FrameSpec((16, 12), fit, interpolation)
    from_rgb = prepare_frame(rgb, spec)
    assert from_rgb.tobytes() == prepare_frame(rgb[..., ::-1].copy(), spec, color="bgr").tobytes()
    assert from_rgb.flags.c_contiguous


def test_stretch_is_opencvs_own_resize() -> None:
    rgb = noise(1, (40, 30))[0]
    expected = cv2.resize(rgb, (20, 10), interpolation=cv2.INTER_AREA)
    assert prepare_frame(rgb, FrameSpec((20, 10))).tobytes() == expected.tobytes()


def test_the_right_size_is_left_alone() -> None:
    rgb = noise(1, (20, 10))[0]
    assert prepare_frame(rgb, FrameSpec((20, 10))).tobytes() == rgb.tobytes()


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size_wh", [(32, 24), (32, 48), (64, 48)])
def test_the_prepared_frame_is_never_memory_of_the_sources(
    color: Literal["rgb", "bgr"], fit: Literal["stretch", "letterbox", "crop"], size_wh: tuple[int, int]
) -> None:
    pixels = noise(1, size_wh)[0]
    prepared = prepare_frame(pixels, FrameSpec((32, 24), fit), color=color)
    assert prepared.flags.c_contiguous and not np.shares_memory(prepared, pixels)


def test_crop_takes_the_middle_and_letterbox_adds_grey() -> None:
    rgb = np.zeros((10, 30, 3), np.uint8)
    rgb[:, 10:20] = 250
    assert (prepare_frame(rgb, FrameSpec((10, 10), "crop")) == 250).all()
    boxed = prepare_frame(rgb, FrameSpec((30, 30), "letterbox"))
    assert (boxed[:10] == GREY).all() and (boxed[20:] == GREY).all()
    assert boxed[10:20].tobytes() == rgb.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(["stretch", "letterbox", "crop"]),
)
@example(size=(1, 1), to=(1, 2), fit="crop")  # half a pixel rounds to none
def test_any_size_fits_any_other(size: tuple[int, int], to: tuple[int, int], fit: str) -> None:
    flat = np.full((size[1], size[0], 3), 77, np.uint8)
    prepared = prepare_frame(flat, FrameSpec(to, fit))
    assert prepared.shape == (to[1], to[0], 3) and prepared.dtype == np.uint8
    assert set(np.unique(prepared).tolist()) <= {77, GREY}


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(MisuseError, match="uint8 height x width x 3"):
        prepare_frame(pixels, FrameSpec())


def test_values_that_cannot_be_are_refused() -> None:
    for wrong in ({"size_wh": (0, 4)}, {"fit": "squeeze"}, {"interpolation": "cubic"}, {"color": "bgr"}):
        with pytest.raises(MisuseError):
            FrameSpec(**wrong)
    with pytest.raises(MisuseError, match="color"):
        prepare_frame(noise(1)[0], FrameSpec(), color="grb")
    with pytest.raises(BundleError, match="frame"):
        FrameSpec.from_json({"size_wh": [4]})


def test_a_manifest_holds_it() -> None:
    spec = FrameSpec((48, 32), "crop", "linear")
    assert FrameSpec.from_json(spec.to_json()) == spec
