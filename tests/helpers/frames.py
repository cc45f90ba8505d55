"""Every frame of a source, for tests that look at pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Source


@dataclass(frozen=True)
class Frame:
    """One picture. time_s: seconds, monotonic per source. rgb: uint8, height x width x 3."""

    time_s: float
    rgb: Pixels


def frames(source: Source) -> Iterator[Frame]:
    """Every frame of `source`, in RGB, until its end; the source is closed then,
    or when the caller stops early.
    """
    with source:
        while (time_s := source.grab()) is not None:
            pixels = source.retrieve()
            if source.color == "bgr":
                pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(time_s, pixels)
