"""RTSP cameras, through FFmpeg with timeouts; times are the stream's own if they fit the clock."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.options.addresses import mask_uri
from edge_har.sources.base import Source

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

TIMEOUT_MS = 5000  # of opening, and of each frame
USUAL_TRANSPORT = {"rtsp_flags": "prefer_tcp"}
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


class RtspSource(Source):
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
        self._frame: VideoFrame | None = None
        self._position_s = 0.0
        options = USUAL_TRANSPORT if transport is None else {"rtsp_transport": transport}
        from edge_har.sources.ffmpeg import Decoder

        try:
            self._decoder = Decoder(url, self.name, options=options, timeout_s=TIMEOUT_MS / 1000)
        except SourceError as error:
            over = "" if transport is None else f" over {transport}"
            raise SourceError(
                f"{self.name}: no stream could be opened{over}; check address, path, user and password"
            ) from error

    def grab(self) -> float | None:
        """Time of the next frame in seconds of time.monotonic(), or None when the stream broke off.

        Raises SourceError for colours that cannot be converted.
        """
        started_s = time.monotonic()
        # After a silence the library may still give a frame that it had kept back: the stream is lost all the
        # same.
        if not self._step() or time.monotonic() - started_s > TIMEOUT_MS / 1000:
            return None
        if not self._at_now:
            self._at_now = True
            self._skip_buffered()
        return self._clock.at(self._position_s, time.monotonic())

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR. Raises SourceError when it is damaged."""
        if self._frame is None:
            raise SourceError(f"{self.name}: no frame was grabbed")
        return self._decoder.pixels(self._frame)

    def close(self) -> None:
        """Release the decoder and the connection."""
        self._frame = None
        self._decoder.close()

    def _step(self) -> bool:
        """Take the next frame and its position; False where the stream gives no more, and the last one stays.

        A frame without a stamp stands where the one before stood.
        """
        frame = self._decoder.next_frame()
        if frame is None:
            return False
        self._frame = frame
        stamp_s = self._decoder.stamp_s(frame)
        if math.isfinite(stamp_s):
            self._position_s = stamp_s
        return True

    def _skip_buffered(self) -> None:
        """Leave out what the library read while it looked at the stream: it is a burst, seconds old."""
        first_s = last_s = self._position_s
        arrived_s = time.monotonic()
        while last_s - first_s < MAX_BUFFERED_S and self._step():
            now_s, position_s = time.monotonic(), self._position_s
            if now_s - arrived_s >= max(INSTANT_S, (position_s - last_s) / 2):
                return
            arrived_s, last_s = now_s, position_s
