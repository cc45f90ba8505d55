"""Cameras that the kernel shows as /dev/videoN."""

from __future__ import annotations

import os
import time
from glob import glob
from typing import cast

import cv2

from edge_har.errors import SourceError
from edge_har.preprocess import Pixels
from edge_har.sources.base import Source
from edge_har.sources.opencv import open_capture

DEVICE = "/dev/video"
SELECT_TIMEOUT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
SELECT_TIMEOUT_S = "5"


class CameraSource(Source):
    """A V4L2 camera; times are arrivals on time.monotonic().

    uri: `0`, or `/dev/video0`. Raises SourceError when there is no such camera or it cannot be used.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(self, uri: str) -> None:
        self.name = uri
        device = uri if uri.startswith(DEVICE) else DEVICE + uri
        if not os.path.exists(device):
            present = ", ".join(sorted(glob(DEVICE + "*"))) or "none"
            raise SourceError(f"no camera {device}; cameras of this machine: {present}")
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(f"camera {device}: no permission; add this user to the group 'video'")
        os.environ.setdefault(SELECT_TIMEOUT, SELECT_TIMEOUT_S)
        self._capture = open_capture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"camera {device}: cannot be opened; another program holds it, or it is no camera"
            )

    def grab(self) -> float | None:
        """Arrival of the next frame in seconds, or None when the camera is gone."""
        return time.monotonic() if self._capture.grab() else None

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        done, pixels = self._capture.retrieve()
        if not done or pixels is None:
            raise SourceError(f"camera {self.name}: a frame could not be decoded")
        return cast(Pixels, pixels)

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()
