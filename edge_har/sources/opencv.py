"""Opening things through OpenCV: quietly, with timeouts, and with no more threads than asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import cv2

from edge_har.memory import release_library_pages

FFMPEG_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
FFMPEG_SILENT = "-8"  # AV_LOG_QUIET
OPENCV_LOG_LEVEL = "OPENCV_LOG_LEVEL"
OPENCV_SILENT = 0


def open_capture(target: str | int, backend: int, options: Sequence[int] = ()) -> cv2.VideoCapture:
    """A capture that may or may not be open; the libraries' own messages stay off stderr.

    target: a path, URL or device number. backend: cv2.CAP_*. options: pairs of cv2.CAP_PROP_* and value.
    Whoever wants the libraries' messages sets OPENCV_FFMPEG_LOGLEVEL (such as 32) or OPENCV_LOG_LEVEL (INFO).
    """
    os.environ.setdefault(FFMPEG_LOG_LEVEL, FFMPEG_SILENT)
    if OPENCV_LOG_LEVEL not in os.environ:
        # OpenCV 5 moved it.
        set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
        set_level(OPENCV_SILENT)
    capture = cv2.VideoCapture(target, backend, list(options))
    _release_codec_tables()
    return capture


@functools.cache
def _release_codec_tables() -> None:
    """Once, after the first opening: FFmpeg walks through all that it knows to find what this stream needs."""
    release_library_pages()
