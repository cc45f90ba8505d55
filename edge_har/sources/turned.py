"""A source whose pictures are cut out, turned and mirrored; only pictures that are retrieved are touched."""

from __future__ import annotations

import logging

import cv2
import numpy as np

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Source, Wrapper
from edge_har.sources.options import SourceOptions

# By (upside down, left for right): the code of cv2.flip.
FLIP_CODES = {(True, False): 0, (False, True): 1, (True, True): -1}

log = logging.getLogger("edge_har")


class TurnedSource(Wrapper):
    """`source` with the crop, rotate, flip and mirror of `options`, in this order."""

    def __init__(self, source: Source, options: SourceOptions) -> None:
        super().__init__(source)
        self._crop = options.crop
        quarter, half = options.rotate in (90, 270), options.rotate in (180, 270)
        # A quarter turn is a transpose and a mirroring; so every combination is one transpose and one flip at
        # most.
        self._transpose = quarter
        self._flip = FLIP_CODES.get((options.flip ^ half, options.mirror ^ half ^ quarter))
        self._warned = False

    def retrieve(self) -> Pixels:
        """The frame just grabbed, turned. Raises SourceError where nothing of it is inside the crop."""
        pixels = self._cut(self.source.retrieve())
        if self._transpose:
            pixels = np.asarray(cv2.transpose(pixels), np.uint8)
        return pixels if self._flip is None else np.asarray(cv2.flip(pixels, self._flip), np.uint8)

    def _cut(self, pixels: Pixels) -> Pixels:
        if self._crop is None:
            return pixels
        x, y, width, height = self._crop
        cut = pixels[y : y + height, x : x + width]
        if cut.shape[:2] != (height, width) and not self._warned:
            self._warned = True
            log.warning(
                "%s: the crop %d,%d,%d,%d is not wholly inside its picture of %dx%d",
                *(self.name, *self._crop, pixels.shape[1], pixels.shape[0]),
            )
        if cut.size == 0:
            raise SourceError(f"{self.name}: nothing of its picture is inside the crop")
        return cut
