"""Shrinking by area, byte for byte as OpenCV's INTER_AREA does it,
in less than half its time at the sizes of cameras.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

MIN_PIXELS = 320 * 240  # of the source: below, OpenCV alone is as fast
MAX_ROWS = 257  # of a group of rows: their weighted sum fits 16 bits
MAX_GROUP_COLUMNS = 256
FLOAT_ERROR = 255 * 2.0**-24  # grey levels, of one operation on 32-bit floats up to 255
ERROR_MARGIN = 2.0
MAX_NEAR_FRACTION = 0.05  # of values: above, OpenCV does the whole picture
MAX_SUM = 2**16 - 1


def shrink_area(pixels: Pixels, width: int, height: int) -> Pixels:
    """`pixels` (uint8, height x width x 3) at another size, as cv2.resize gives them with INTER_AREA.

    Both agree in every byte: rows are summed exactly before columns, and the few values whose rounding hangs
    on the order in which OpenCV adds floats are left to OpenCV, with the pixels around them.
    """
    plan = _plan(pixels.shape[1], pixels.shape[0], width, height)
    made = plan.shrink(pixels) if plan is not None else None
    return _by_opencv(pixels, width, height) if made is None else made


def _by_opencv(pixels: Pixels, width: int, height: int) -> Pixels:
    return cast(Pixels, cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


@dataclass(frozen=True)
class _Axis:
    """`groups` times, `size` source rows (or columns) become `made` ones."""

    size: int
    made: int
    groups: int

    @staticmethod
    def between(source: int, target: int) -> _Axis:
        scale = Fraction(source, target)
        return _Axis(scale.numerator, scale.denominator, target // scale.denominator)

    @property
    def repeats_exactly(self) -> bool:
        """Whether positions at multiples of size / made are exact in binary:
        else the weights differ in their last bit.
        """
        return self.made & (self.made - 1) == 0


@dataclass(frozen=True)
class _Plan:
    rows: _Axis
    columns: _Axis

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.columns.groups * self.columns.made, self.rows.groups * self.rows.made

    @property
    def _error(self) -> float:
        """How far, in grey levels, OpenCV's mean and ours can lie apart:
        an operation for each pixel that they add.
        """
        across, down = (axis.size / axis.made for axis in (self.columns, self.rows))
        return ERROR_MARGIN * FLOAT_ERROR * (2 * across + down + 6)

    def shrink(self, pixels: Pixels) -> Pixels | None:
        """As `shrink_area`; None where too many values hang on OpenCV's rounding."""
        pixels = np.ascontiguousarray(pixels)
        made, near = self._round_sums(pixels) if self._sums_fit else self._round_means(pixels)
        if len(near) > MAX_NEAR_FRACTION * made.size:
            return None
        if len(near):
            self._leave_to_opencv(pixels, near, made)
        return made

    @property
    def _sums_fit(self) -> bool:
        """Whether a target pixel is a sum of whole columns that fits 16 bits:
        then no fraction is ever computed.
        """
        return self.columns.made == 1 and 255 * self.rows.size * self.columns.size <= MAX_SUM

    def _round_sums(self, pixels: Pixels) -> tuple[Pixels, NDArray[Any]]:
        """The target's values, and where (flat indices) they hang on OpenCV's rounding;
        by whole numbers alone.
        """
        width, height = self.size_wh
        sums = _sum_runs(self._sum_rows(pixels, np.uint16).reshape(-1), self.columns.size, step=3)
        # The first pixel of each cell holds the sum of all of its columns.
        shown = sums.reshape(height, -1, 3)
        cells = np.asarray(cv2.resize(shown, (width, height), interpolation=cv2.INTER_NEAREST), np.uint16)
        count = self.rows.size * self.columns.size
        made = cast(Pixels, cv2.convertScaleAbs(cells, alpha=1 / count))
        return made, np.flatnonzero(_near_half(count, self._error).take(cells))

    def _round_means(self, pixels: Pixels) -> tuple[Pixels, NDArray[Any]]:
        """As `_round_sums`, for all plans."""
        width, height = self.size_wh
        sums = self._sum_rows(pixels, np.float32).reshape(height, -1, 3)
        means = np.asarray(cv2.resize(sums, (width, height), interpolation=cv2.INTER_AREA), np.float32)
        means *= np.float32(1 / self.rows.size)
        rounded = np.rint(means)
        np.subtract(means, rounded, out=means)
        np.abs(means, out=means)
        return rounded.astype(np.uint8), np.flatnonzero(means > 0.5 - self._error)

    def _sum_rows(self, pixels: Pixels, dtype: type[np.uint16 | np.float32]) -> NDArray[Any]:
        """For each target row the source rows' sum, a whole one `made` times:
        `dtype` [groups, made, values], exact.
        """
        rows = self.rows
        grouped = pixels.reshape(rows.groups, rows.size, -1)
        sums = np.empty((rows.groups, rows.made, grouped.shape[2]), dtype)
        above: Any = 0  # what the source row that this target row shares with the one above it gives to it
        for row in range(rows.made):
            first, after = -(-row * rows.size // rows.made), (row + 1) * rows.size // rows.made
            total = np.add.reduce(grouped[:, first:after], 1, dtype=np.uint16)
            if rows.made > 1:
                total *= np.uint16(rows.made)
                total += above
            part = (row + 1) * rows.size - after * rows.made
            if part:
                shared = grouped[:, after].astype(np.uint16)
                total += shared if part == 1 else shared * np.uint16(part)
                left = rows.made - part
                above = shared if left == 1 else shared * np.uint16(left)
            sums[:, row] = total
        return sums

    def _leave_to_opencv(self, pixels: Pixels, near: NDArray[Any], made: Pixels) -> None:
        """Put what OpenCV makes of the groups round them into the values at `near`
        (flat indices) of `made`.
        """
        rows, columns = self.rows, self.columns
        cell, channel = np.divmod(near, 3)
        row, column = np.divmod(cell, self.size_wh[0])
        shape = (rows.groups, rows.size, columns.groups, columns.size, 3)
        groups = pixels.reshape(shape).transpose(1, 0, 2, 4, 3)
        around = groups[:, row // rows.made, column // columns.made, channel].reshape(rows.size, -1)
        exact = _by_opencv(around, len(near) * columns.made, rows.made)
        at = np.arange(len(near)) * columns.made + column % columns.made
        made.reshape(-1)[near] = exact[row % rows.made, at]


def _sum_runs(values: NDArray[np.uint16], length: int, *, step: int) -> NDArray[np.uint16]:
    """At each position the sum of `length` values from it on, `step` apart;
    where they pass the end, any number.
    """
    sums, summed = values, 1
    for bit in f"{length:b}"[1:]:
        sums, summed = _plus(sums, sums, summed * step), 2 * summed
        if bit == "1":
            sums, summed = _plus(sums, values, summed * step), summed + 1
    return sums


def _plus(values: NDArray[np.uint16], others: NDArray[np.uint16], ahead: int) -> NDArray[np.uint16]:
    """At each position the sum of the value there and of the one among `others` that is `ahead` of it."""
    sums = np.empty_like(values)
    np.add(values[:-ahead], others[ahead:], out=sums[:-ahead])
    return sums


@functools.lru_cache(maxsize=32)
def _near_half(count: int, error: float) -> NDArray[np.bool_]:
    """Of each sum of `count` values, whether their mean is as near as `error` to where it is rounded up
    or down.
    """
    means = np.arange(MAX_SUM + 1) / count
    return np.abs(means - np.floor(means) - 0.5) < error


@functools.lru_cache(maxsize=32)
def _plan(from_width: int, from_height: int, width: int, height: int) -> _Plan | None:
    """How to shrink between two sizes; None where OpenCV alone is as fast,
    or the plan is not exact on this machine.
    """
    if from_width < width or from_height <= height or from_width * from_height < MIN_PIXELS:
        return None
    plan = _Plan(_Axis.between(from_height, height), _Axis.between(from_width, width))
    if plan.rows.made == plan.columns.made == 1:
        return None  # whole pixels alone: OpenCV has its own short way
    if plan.rows.size > MAX_ROWS or plan.columns.size > MAX_GROUP_COLUMNS:
        return None
    if not (plan.rows.repeats_exactly and plan.columns.repeats_exactly):
        return None
    return plan if _holds(plan, from_width, from_height) else None


def _holds(plan: _Plan, from_width: int, from_height: int) -> bool:
    """Whether this OpenCV, on this processor, gives the same bytes: in noise some means are near a half."""
    values = random.Random(0).randbytes(from_height * from_width * 3)  # numpy.random would be megabytes more
    noise = np.frombuffer(values, np.uint8).reshape(from_height, from_width, 3)
    made = plan.shrink(noise)
    return made is None or bool(np.array_equal(made, _by_opencv(noise, *plan.size_wh)))
