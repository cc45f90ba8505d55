"""From a source's pixels to the model's input: the only code that changes pixels,
for training and device alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_har.errors import BundleError, MisuseError
from edge_har.model.area_resize import shrink_area
from edge_har.model.values import check_range, whole

Pixels = NDArray[np.uint8]

FITS = ("stretch", "letterbox", "crop")
INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}
COLOR_ORDERS = ("rgb", "bgr")
SIDE = (1, 4096)  # pixels: no camera of these devices gives more
LETTERBOX_VALUE = 114  # mid grey, as the YOLO family pads


@dataclass(frozen=True)
class FrameSpec:
    """What one model input frame is made of.

    size_wh: width and height in pixels. fit: `stretch` ignores the aspect ratio, `letterbox` pads with grey,
    `crop` cuts the longer side around the centre. interpolation: `area` averages (no aliasing when
    shrinking), `linear` is cheaper. color: always `rgb`; models that want another order fold it into their
    first layer.

    Raises MisuseError when a value is not one of these.
    """

    size_wh: tuple[int, int] = (64, 64)
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    interpolation: Literal["area", "linear"] = "area"
    color: Literal["rgb"] = "rgb"

    def __post_init__(self) -> None:
        width, height = self.size_wh
        check_range("a frame's width", width, *SIDE, MisuseError)
        check_range("a frame's height", height, *SIDE, MisuseError)
        if self.fit not in FITS:
            raise MisuseError(f"fit must be one of {', '.join(FITS)}, got {self.fit!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise MisuseError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}"
            )
        if self.color != "rgb":
            raise MisuseError(f"color must be rgb, got {self.color!r}; fold another order into the graph")

    def to_json(self) -> dict[str, Any]:
        """The spec as a manifest's JSON."""
        return {
            "size_wh": list(self.size_wh),
            "fit": self.fit,
            "interpolation": self.interpolation,
            "color": self.color,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FrameSpec:
        """Read a manifest's `frame`; raises BundleError when it is not a FrameSpec."""
        try:
            width, height = data["size_wh"]
            return cls((whole(width), whole(height)), data["fit"], data["interpolation"], data["color"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"manifest key 'frame' is not a frame spec: {error}") from error


def prepare_frame(pixels: Pixels, spec: FrameSpec, *, color: Literal["rgb", "bgr"] = "rgb") -> Pixels:
    """Resize `pixels` to the model's size, then put its colours in RGB order.

    pixels: uint8, height x width x 3, in the order `color`. Returns contiguous uint8, spec height x width x
    3, RGB; never memory of `pixels`.
    Raises MisuseError for another shape, dtype or colour order.
    """
    check_pixels(pixels, color)
    prepared = as_rgb(_fit(pixels, spec), color)
    return prepared.copy() if np.may_share_memory(prepared, pixels) else prepared


def check_pixels(pixels: object, color: str) -> None:
    """Raise MisuseError unless `pixels` are an array uint8 [height, width, 3] with at least one pixel, and
    `color` is one of COLOR_ORDERS.
    """
    if color not in COLOR_ORDERS:
        raise MisuseError(f"color must be one of {', '.join(COLOR_ORDERS)}, got {color!r}")
    if not isinstance(pixels, np.ndarray):
        raise MisuseError(f"a frame must be uint8 height x width x 3, got {type(pixels).__name__}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise MisuseError(f"a frame must be uint8 height x width x 3, got {pixels.dtype} {pixels.shape}")


def as_rgb(pixels: Pixels, color: Literal["rgb", "bgr"]) -> Pixels:
    """`pixels` (uint8 [height, width, 3], in the order `color`) in RGB order and contiguous; the same array
    where it is so already.
    """
    if color == "bgr":
        return cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return np.ascontiguousarray(pixels)


def _fit(pixels: Pixels, spec: FrameSpec) -> Pixels:
    height, width = pixels.shape[:2]
    to_width, to_height = spec.size_wh
    if spec.fit == "crop":
        scale = max(to_width / width, to_height / height)
        cut_w = min(width, max(1, round(to_width / scale)))
        cut_h = min(height, max(1, round(to_height / scale)))
        left, top = (width - cut_w) // 2, (height - cut_h) // 2
        return _resize(pixels[top : top + cut_h, left : left + cut_w], to_width, to_height, spec)
    if spec.fit == "letterbox":
        scale = min(to_width / width, to_height / height)
        inner_w = min(to_width, max(1, round(width * scale)))
        inner_h = min(to_height, max(1, round(height * scale)))
        boxed = np.full((to_height, to_width, 3), LETTERBOX_VALUE, np.uint8)
        left, top = (to_width - inner_w) // 2, (to_height - inner_h) // 2
        boxed[top : top + inner_h, left : left + inner_w] = _resize(pixels, inner_w, inner_h, spec)
        return boxed
    return _resize(pixels, to_width, to_height, spec)


def _resize(pixels: Pixels, width: int, height: int, spec: FrameSpec) -> Pixels:
    if pixels.shape[1] == width and pixels.shape[0] == height:
        return pixels
    if spec.interpolation == "area":
        return shrink_area(pixels, width, height)
    return cast(Pixels, cv2.resize(pixels, (width, height), interpolation=INTERPOLATIONS[spec.interpolation]))
