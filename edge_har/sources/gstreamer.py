"""Whatever GStreamer can read, through an OpenCV that was built with it; times are arrivals on
time.monotonic().
"""

from __future__ import annotations

import time

import cv2

from edge_har.errors import RuntimeMissingError, SourceError
from edge_har.sources.opencv import CapturedSource, open_capture

OPEN_TIMEOUT_MS = 10000
READ_TIMEOUT_MS = 5000
SINK = "appsink"
# The newest picture wins; nothing waits for a clock.
TO_US = " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
TIMEOUTS_SINCE = (4, 7)  # an older OpenCV refuses to open with them; whoever reads has to give up by himself
INSTALL = (
    "this OpenCV has no GStreamer (those of pip have none): use the system's, in a venv made with "
    "--system-site-packages that has no opencv-python-headless of its own"
)


class GstreamerSource(CapturedSource):
    """The pictures of a GStreamer pipeline; one that names no `appsink` is led to ours.

    name: what messages call it. Raises RuntimeMissingError where OpenCV has no GStreamer, SourceError where
    the pipeline does not run.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(self, pipeline: str, name: str) -> None:
        self.name = name
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise RuntimeMissingError(f"{name}: {INSTALL}")
        self._capture = open_capture(
            pipeline if SINK in pipeline else pipeline + TO_US,
            cv2.CAP_GSTREAMER,
            _timeouts(),
        )
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"{name}: GStreamer cannot run this pipeline; try it with gst-launch-1.0, or set GST_DEBUG=3"
            )

    def grab(self) -> float | None:
        """Arrival of the next frame in seconds, or None when the pipeline ended or is silent."""
        return time.monotonic() if self._capture.grab() else None


def _timeouts() -> list[int]:
    major, minor = cv2.__version__.split(".")[:2]
    if (int(major), int(minor)) < TIMEOUTS_SINCE:
        return []
    return [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS),
    ]
