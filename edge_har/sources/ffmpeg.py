"""Decoding through the FFmpeg of PyAV's wheels: frames in order, each with the time that it was stamped.

Loaded when the first file or stream is opened, as it costs megabytes and a tenth of a second. OpenCV's own
reader is not used: some of its versions give black or frozen pictures of interlaced video and report success
(docs/decoding.md).
"""

from __future__ import annotations

import functools
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import av
import cv2
import numpy as np

from edge_har.errors import SourceError
from edge_har.model.preprocess import Pixels
from edge_har.system.memory import release_startup_memory

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LOG_LEVEL = "EDGE_HAR_FFMPEG_LOG"  # such as WARNING or DEBUG; FFmpeg's messages stay off stderr without it
THREADS = 1  # more threads buffer more frames: memory a Pi does not have
PROBE_PX = 16
# FFmpeg's flag to make up times that are missing, which PyAV sets: it reads ahead for them.
GENERATE_TIMES = cast(int, av.container.Flags.gen_pts.value)
COVER: int = av.stream.Disposition.attached_pic.value
# By degrees that a picture has to be turned against the clock.
TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
# Matrices between colours and planes (H.273) that FFmpeg's converter may lack.
MATRICES = {8: "ycgco", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c"} | {
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}


class Decoder:
    """The best video stream of a file or address.

    target: an absolute path, or a URL. name: what messages call it. options: of FFmpeg's demuxer.
    timeout_s: after which opening or reading gives up; None: never. retries: reads refused in a row after
    which the stream counts as ended. damaged_places: stretches so far, after the first whole frame, where
    data could not be decoded. Raises SourceError where nothing can be opened or it holds no video.
    """

    def __init__(
        self,
        target: str,
        name: str,
        *,
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        retries: int = 0,
    ) -> None:
        _show_messages()
        self.name = name
        self.damaged_places = 0
        self._retries = retries
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._waiting: deque[Packet[VideoStream]] = deque()
        self._frames: deque[VideoFrame] = deque()
        try:
            self._container: InputContainer = av.open(target, options=dict(options or {}), timeout=timeout_s)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name}: {_reason(error)}") from error
        _release_codec_tables()
        streams = [stream for stream in self._container.streams.video if _is_video(stream)]
        if not streams:
            self.close()
            raise SourceError(f"{name}: no video in it")
        best = self._container.streams.best("video")
        self._stream = next((stream for stream in streams if stream is best), streams[0])
        self._stream.codec_context.thread_count = THREADS
        self._container.flags &= ~GENERATE_TIMES
        self._time_base = float(self._stream.time_base or 0)
        self._start_s = (self._stream.start_time or 0) * self._time_base
        self._packets = self._read()
        self._whole = self._in_damage = False
        self._converted: tuple[str, int] | None = None

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the container, such as avi or matroska,webm."""
        return self._container.format.name

    @property
    def rate_hz(self) -> float:
        """The rate that the container states, in frames a second; 0.0 where it states none."""
        rate = self._stream.guessed_rate or self._stream.average_rate
        return float(rate) if rate and rate > 0 else 0.0

    @property
    def start_s(self) -> float:
        """What the container's own times begin with, in seconds; `stamp_s` counts from it."""
        return self._start_s

    @property
    def stated_frames(self) -> int:
        """Frames by the container's header; 0 where it has no count."""
        return self._stream.frames

    @property
    def stated_s(self) -> float:
        """Duration by the container's header in seconds; 0.0 where it states none."""
        if self._container.duration:
            return self._container.duration / av.time_base
        return (self._stream.duration or 0) * self._time_base

    def stamp_s(self, stamped: VideoFrame | Packet[VideoStream]) -> float:
        """The time that the container stamps on a frame or packet, in seconds from `start_s`; NaN: it has
        none.
        """
        stamp = stamped.dts if stamped.pts is None else stamped.pts
        return math.nan if stamp is None else stamp * self._time_base - self._start_s

    def stamps_ahead(self, count: int) -> list[float]:
        """As `stamp_s`, of the next `count` packets; in the order of their times, as frames are shown in it.

        Packets are small: frames that are decoded ahead stay in the decoder's memory. Fewer at the end.
        """
        while len(self._waiting) < count and (packet := next(self._packets, None)) is not None:
            self._waiting.append(packet)
        return sorted(filter(math.isfinite, map(self.stamp_s, list(self._waiting)[:count])))

    def next_frame(self) -> VideoFrame | None:
        """The next frame in the order in which they are shown; None at the end.

        Data that cannot be decoded is stepped over. Raises SourceError for colours that cannot be converted.
        """
        while not self._frames:
            try:
                packet = self._waiting.popleft() if self._waiting else next(self._packets, None)
                if packet is None:
                    return None
                self._frames.extend(packet.decode())
            except av.error.EOFError:
                return None
            except (av.FFmpegError, OSError, ValueError):
                self._damage()
        frame = self._frames.popleft()
        if frame.is_corrupt:
            self._damage()
        else:
            self._whole, self._in_damage = True, False
        self._check_colours(frame)
        return frame

    def pixels(self, frame: VideoFrame) -> Pixels:
        """A frame as it is to be seen, upright: uint8, height x width x 3, BGR.

        Raises SourceError where it cannot be converted.
        """
        # Frames that are BGR already may stand upside down in memory: they go by way of RGB.
        form = "rgb24" if frame.format.name == "bgr24" else "bgr24"
        try:
            converted = frame.reformat(format=form, threads=THREADS)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{self.name}: a frame could not be converted: {_reason(error)}") from error
        # The plane's own memory, which the array keeps: at 1280x720 a copy would be 3 MB.
        plane = converted.planes[0]
        shape, strides = (plane.height, plane.width, 3), (plane.line_size, 3, 1)
        pixels: Pixels = np.ndarray(shape, np.uint8, buffer=memoryview(plane), strides=strides)
        if form == "rgb24":
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        turn = TURNS.get(frame.rotation % 360)
        return pixels if turn is None else np.asarray(cv2.rotate(pixels, turn), np.uint8)

    def close(self) -> None:
        """Release decoder and file or connection; may be called twice. No frame comes after it."""
        # To read on from a closed container is a crash of FFmpeg, not an error.
        self._packets = iter(())
        self._waiting.clear()
        self._frames.clear()
        self._container.close()

    def _read(self) -> Iterator[Packet[VideoStream]]:
        """Packets to the end of the stream, past reads that are refused."""
        refused = 0
        while refused <= self._retries:
            try:
                for packet in self._container.demux(self._stream):
                    refused = 0
                    yield packet
                return
            except av.error.ExitError:  # the time was up
                return
            except (av.FFmpegError, OSError, ValueError):
                refused += 1
                if self._retries:
                    self._damage()

    def _damage(self) -> None:
        # A recording that was cut out of a stream begins with what hangs on frames that it does not hold.
        self.damaged_places += self._whole and not self._in_damage
        self._in_damage = True

    def _check_colours(self, frame: VideoFrame) -> None:
        """Raises SourceError where FFmpeg cannot make RGB of frames such as this."""
        kind = (frame.format.name, int(frame.colorspace))
        if kind == self._converted:
            return
        try:
            frame.reformat(PROBE_PX, PROBE_PX, "bgr24", threads=THREADS)
        except (av.FFmpegError, OSError, ValueError) as error:
            matrix = MATRICES.get(kind[1], f"number {kind[1]}")
            raise SourceError(
                f"{self.name}: colours of this kind cannot be converted ({kind[0]}, matrix {matrix}); record "
                "or re-encode it with the matrix bt709"
            ) from error
        self._converted = kind


def _is_video(stream: VideoStream) -> bool:
    """Whether a decoder has it, and it is more than the cover of a piece of music."""
    has_decoder = stream.codec_context is not None
    return has_decoder and not stream.disposition & COVER


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may hold a password."""
    with suppress(AttributeError):
        return str(error.strerror)  # type: ignore[attr-defined]
    return type(error).__name__


@functools.cache
def _show_messages() -> None:
    level = os.environ.get(LOG_LEVEL, "").upper()
    if level:
        av.logging.restore_default_callback()
        av.logging.set_libav_level(getattr(av.logging, level, av.logging.INFO))


@functools.cache
def _release_codec_tables() -> None:
    """Once, after the first opening: FFmpeg reads all its tables to find what this stream needs."""
    release_startup_memory()
