"""RTSP cameras, through OpenCV's FFmpeg with timeouts; times are the stream's own if they fit the clock."""

from __future__ import annotations

import time
from collections import deque

import cv2

from edge_har.errors import SourceError
from edge_har.options.addresses import mask_uri
from edge_har.sources.opencv import CapturedSource, ffmpeg_options, open_capture

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 5000
MAX_DRIFT_S = 3.0  # of a stream's clock from ours: more than a network's hiccup
# A stream that drifts away more often than this has no times worth having.
MAX_BREAKS, BREAKS_WITHIN_S = 3, 60.0
# Of the time that passes: by how much our idea of the stream's clock is corrected.
FOLLOW_FRACTION = 0.001
INSTANT_S = 0.005  # a frame that comes sooner was there already
MAX_BUFFERED_S = 10.0  # of pictures that the library read while it opened the stream


class StreamClock:
    """Seconds on our clock from a stream's own positions, as long as these advance as our clock does.

    A position that stops or drifts away resets the relation; where that keeps happening, arrival is the
    time from then on.
    """

    def __init__(self) -> None:
        self.trusted = True
        self._offset_s = 0.0
        self._position_s = 0.0
        self._time_s = float("-inf")
        self._breaks: deque[float] | None = None  # None before the first frame

    def at(self, position_s: float, arrival_s: float) -> float:
        """The time of a frame at `position_s` of the stream that arrived at `arrival_s`; never decreases."""
        time_s = self._stream_s(position_s, arrival_s) if self.trusted else arrival_s
        self._time_s = max(self._time_s, time_s)
        return self._time_s

    def _stream_s(self, position_s: float, arrival_s: float) -> float:
        passed_s = position_s - self._position_s
        drift_s = arrival_s - position_s - self._offset_s
        if self._breaks is None or passed_s <= 0 or abs(drift_s) > MAX_DRIFT_S:
            self._break(arrival_s)
            self._offset_s = arrival_s - position_s
        else:
            # Clocks of cameras run some 100 ppm fast or slow.
            step_s = FOLLOW_FRACTION * passed_s
            self._offset_s += min(step_s, max(-step_s, drift_s))
        self._position_s = position_s
        return position_s + self._offset_s

    def _break(self, arrival_s: float) -> None:
        if self._breaks is None:
            self._breaks = deque(maxlen=MAX_BREAKS)
            return
        self._breaks.append(arrival_s)
        self.trusted = len(self._breaks) < MAX_BREAKS or arrival_s - self._breaks[0] > BREAKS_WITHIN_S


class RtspSource(CapturedSource):
    """An RTSP stream. transport: tcp or udp; None: tcp where the camera has it.

    Raises SourceError, which never shows the password, when it cannot be opened.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(self, url: str, *, transport: str | None = None) -> None:
        self.name = mask_uri(url)
        self._clock = StreamClock()
        self._at_now = False
        with ffmpeg_options.held(None if transport is None else f"rtsp_transport;{transport}"):
            self._capture = open_capture(
                url,
                cv2.CAP_FFMPEG,
                [
                    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS),
                    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS),
                    *(cv2.CAP_PROP_N_THREADS, 1),
                ],
            )
        if not self._capture.isOpened():
            self._capture.release()
            over = "" if transport is None else f" over {transport}"
            raise SourceError(
                f"{self.name}: no stream could be opened{over}; check address, path, user and password"
            )

    def grab(self) -> float | None:
        """Time of the next frame in seconds of time.monotonic(), or None when the stream broke off."""
        started_s = time.monotonic()
        # After a silence the library may still give a frame that it had kept back: the stream is lost all the
        # same.
        if not self._capture.grab() or time.monotonic() - started_s > READ_TIMEOUT_MS / 1000:
            return None
        if not self._at_now:
            self._at_now = True
            self._skip_buffered()
        return self._clock.at(self._position_s, time.monotonic())

    @property
    def _position_s(self) -> float:
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def _skip_buffered(self) -> None:
        """Leave out what the library read while it looked at the stream: it is a burst, seconds old."""
        first_s = last_s = self._position_s
        arrived_s = time.monotonic()
        while last_s - first_s < MAX_BUFFERED_S and self._capture.grab():
            now_s, position_s = time.monotonic(), self._position_s
            if now_s - arrived_s >= max(INSTANT_S, (position_s - last_s) / 2):
                return
            arrived_s, last_s = now_s, position_s
