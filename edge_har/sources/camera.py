"""Cameras that the kernel shows as video devices (V4L2)."""

from __future__ import annotations

import logging
import os
import time

import cv2

from edge_har.errors import MisuseError, SourceError
from edge_har.sources.opencv import CapturedSource, open_capture
from edge_har.sources.options import SourceOptions
from edge_har.sources.v4l2 import device_called, find_cameras

DEVICE = "/dev/"
NUMBERED = DEVICE + "video"
USB = "usb:"
SELECT_TIMEOUT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
SELECT_TIMEOUT_S = "5"
RATE_TOLERANCE = 0.05

log = logging.getLogger("edge_har")


class CameraSource(CapturedSource):
    """A V4L2 camera; times are arrivals on time.monotonic().

    uri: `0`, `/dev/video0` (or a link to it), or `usb:NAME`. What of the size, rate and format (four letters,
    such as MJPG) the camera does not do is one warning.

    Raises SourceError when there is no such camera or it cannot be used.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(self, uri: str, options: SourceOptions | None = None) -> None:
        options = options or SourceOptions()
        self.name = uri
        if options.format is not None and (len(options.format) != 4 or not options.format.isascii()):
            raise MisuseError(f"the format of a camera is four letters like MJPG, got {options.format!r}")
        device = device_of(uri)
        os.environ.setdefault(SELECT_TIMEOUT, SELECT_TIMEOUT_S)
        self._capture = open_capture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"camera {device}: cannot be opened; another program holds it, or it is no camera"
            )
        self._configure(options)

    def _configure(self, options: SourceOptions) -> None:
        """Set the camera up: the format first, as sizes and rates depend on it."""
        requested: list[tuple[int, float]] = []
        if options.format is not None:
            requested.append((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.format.upper())))
        if options.size is not None:
            requested += zip((cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), options.size, strict=True)
        if options.rate is not None:
            requested.append((cv2.CAP_PROP_FPS, options.rate))
        for what, value in requested:
            self._capture.set(what, value)
        got = [(value, float(self._capture.get(what))) for what, value in requested]
        if any(abs(is_now - value) > RATE_TOLERANCE * value for value, is_now in got):
            log.warning(
                "camera %s does not support all that was requested; it sends %s", self.name, self._sends()
            )

    def _sends(self) -> str:
        get = self._capture.get
        code = int(get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        four = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        width, height = get(cv2.CAP_PROP_FRAME_WIDTH), get(cv2.CAP_PROP_FRAME_HEIGHT)
        return f"{width:.0f}x{height:.0f} at {get(cv2.CAP_PROP_FPS):g} frames a second in {four or '?'}"

    def grab(self) -> float | None:
        """Arrival of the next frame in seconds, or None when the camera is gone."""
        return time.monotonic() if self._capture.grab() else None


def device_of(uri: str) -> str:
    """Path of the camera that `uri` names. Raises SourceError where there is none that may be used."""
    if uri.startswith(USB):
        device = device_called(uri.removeprefix(USB))
    else:
        device = uri if uri.startswith(DEVICE) else NUMBERED + uri
    if not os.path.exists(device):
        present = ", ".join(camera.path for camera in find_cameras()) or "none"
        raise SourceError(f"no camera {device}; cameras of this machine: {present}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"camera {device}: no permission; add this user to the group 'video'")
    return device
