"""Opening cameras and pipelines through OpenCV, quietly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

import cv2

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.base import Source
from edge_har.system.files import is_utf8

OPENCV_LOG_LEVEL = "OPENCV_LOG_LEVEL"
OPENCV_SILENT = 0


def open_capture(target: str | int, backend: int, options: Sequence[int] = ()) -> cv2.VideoCapture:
    """A capture that may or may not be open; OpenCV's own messages stay off stderr.

    target: a device, its number, or a pipeline. backend: cv2.CAP_*. options: pairs of cv2.CAP_PROP_* and
    value. Whoever wants OpenCV's messages sets OPENCV_LOG_LEVEL (INFO). Raises SourceError for a target that
    is not UTF-8, at which OpenCV would end the process.
    """
    if isinstance(target, str) and not is_utf8(target):
        raise SourceError(f"{mask_uri(target)}: holds bytes that are not UTF-8; in a URL write them as %XX")
    if OPENCV_LOG_LEVEL not in os.environ:
        # OpenCV 5 moved it.
        set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
        set_level(OPENCV_SILENT)
    return cv2.VideoCapture(target, backend, list(options))


class CapturedSource(Source):
    """A source whose frames a capture of OpenCV decodes. _capture: open, and grabbed from by `grab`."""

    _capture: cv2.VideoCapture

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        done, pixels = self._capture.retrieve()
        if not done or pixels is None:
            raise SourceError(f"{self.name}: a frame could not be decoded")
        return cast(Pixels, pixels)

    def close(self) -> None:
        """Release the decoder, and with it the device or connection."""
        self._capture.release()
