"""Opening things through OpenCV: quietly, with timeouts, and with no more threads than requested."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import cv2

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.base import Source
from edge_har.system.files import is_utf8
from edge_har.system.memory import release_library_pages

FFMPEG_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
FFMPEG_SILENT = "-8"  # AV_LOG_QUIET
OPENCV_LOG_LEVEL = "OPENCV_LOG_LEVEL"
OPENCV_SILENT = 0
FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # name;value|name;value
FFMPEG_USUAL = "rtsp_flags;prefer_tcp"  # what OpenCV takes where the variable is not set


class _FfmpegOptions:
    """OpenCV hands options to FFmpeg through one variable of the process: who needs other ones waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._opening = 0
        self._options: str | None = None
        self._given = os.environ.get(FFMPEG_OPTIONS)  # whatever the user set stays in force

    @contextmanager
    def held(self, options: str | None) -> Iterator[None]:
        """While the block runs every capture is opened with `options`; None: the usual ones."""
        with self._changed:
            self._changed.wait_for(lambda: self._opening == 0 or self._options == options)
            if self._options != options:
                os.environ[FFMPEG_OPTIONS] = "|".join(filter(None, (self._given, options or FFMPEG_USUAL)))
            self._options = options
            self._opening += 1
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1
                self._changed.notify_all()


ffmpeg_options = _FfmpegOptions()


def open_capture(target: str | int, backend: int, options: Sequence[int] = ()) -> cv2.VideoCapture:
    """A capture that may or may not be open; the libraries' own messages stay off stderr.

    target: a path, URL or device number. backend: cv2.CAP_*. options: pairs of cv2.CAP_PROP_* and value.
    Whoever wants the libraries' messages sets OPENCV_FFMPEG_LOGLEVEL (such as 32) or OPENCV_LOG_LEVEL (INFO).
    Raises SourceError for a target that is not UTF-8, at which OpenCV would end the process; a file is given
    by its `utf8_path`.
    """
    if isinstance(target, str) and not is_utf8(target):
        raise SourceError(f"{mask_uri(target)}: holds bytes that are not UTF-8; in a URL write them as %XX")
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
    """Once, after the first opening: FFmpeg reads all its tables to find what this stream needs."""
    release_library_pages()


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
