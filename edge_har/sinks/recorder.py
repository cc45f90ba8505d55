"""Video files of pictures that come at uneven times: a steady rate inside, a new file after a gap, never a
full disk.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from contextlib import suppress
from datetime import datetime, timezone
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge_har.model.preprocess import Pixels
from edge_har.sinks.base import reason_of
from edge_har.system.files import make_private_folder, open_private, utf8_path

H264 = "h264"  # the codec that browsers play
ENDINGS = {H264: ".mp4", "mp4v": ".mp4", "MJPG": ".avi"}
CODEC_HELP = (
    "`h264`: browsers play it; `mp4v`: cheapest to encode; `MJPG`: larger, whole when the power fails"
)
# One thread and no look ahead: a board's cores recognise, and pictures that wait cost memory.
X264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "26", "threads": "1"}
KEY_S = 2.0  # from one picture that is coded alone to the next: how finely a player can jump
PART = ".part"  # before the suffix of a file that is not finished
HOLD_S = 2.0  # a picture is repeated for so long while none comes; after a longer gap a new file begins
LOOK_S = 1.0  # how often the room on the disk is looked at

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

log = logging.getLogger("edge_har")


class FreeSpace:
    """Whether there is room for videos in `folder`: they never take the last `min_free_bytes`. Logged once
    each way.
    """

    def __init__(self, name: str, folder: Path, min_free_bytes: int) -> None:
        self._name = name
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._looked_s = -LOOK_S
        self._room = True

    def has_room(self) -> bool:
        """Whether to go on; looks at most each second."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return self._room
        self._looked_s = now_s
        try:
            make_private_folder(self._folder)
            room, reason = shutil.disk_usage(self._folder).free >= self._min_free_bytes, "the disk is full"
        except OSError as error:
            room, reason = False, reason_of(error)
        if room != self._room:
            if room:
                log.info("%s: records to %s again", self._name, self._folder)
            else:
                log.error(
                    "%s: cannot record to %s: %s; it waits until it can", self._name, self._folder, reason
                )
        self._room = room
        return room


class _H264Writer:
    """Encodes pictures (BGR, even sides) with the x264 of PyAV's wheels; raises OSError."""

    def __init__(self, part: Path, rate_hz: float, size_wh: tuple[int, int]) -> None:
        import av  # costs megabytes and a tenth of a second: only where something is recorded

        self._av = av
        self._frames = 0
        self._time_base = 1 / Fraction(rate_hz).limit_denominator(1000)
        self._file = open(part, "wb")  # noqa: SIM115  closed by `release`
        try:
            self._container = av.open(self._file, "w", format="mp4")
            self._stream = self._container.add_stream("libx264", rate=1 / self._time_base, options=X264)
            self._stream.width, self._stream.height = size_wh
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.gop_size = max(1, round(KEY_S * rate_hz))
        except (av.FFmpegError, ValueError) as error:
            self._file.close()
            raise OSError(f"{part} cannot be written: {error}") from error

    def write(self, pixels: Pixels) -> None:
        frame = self._av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame.pts, frame.time_base = self._frames, self._time_base
        self._frames += 1
        self._encode(frame)

    def release(self) -> None:
        try:
            self._encode(None)
            self._container.close()
        except self._av.FFmpegError as error:
            raise OSError(str(error)) from error
        finally:
            self._file.close()

    def _encode(self, frame: VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except self._av.FFmpegError as error:
            raise OSError(str(error)) from error


class Recorder:
    """Writes pictures (BGR, even sides) to a video file of `rate_hz`, each at its time; a picture that comes
    between two frames is dropped, one that lasts longer is repeated.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, path: Path, codec: str, rate_hz: float) -> None:
        self.path = path
        self.frames = 0
        self.first_s = 0.0
        self.added_s = time.monotonic()  # of this machine, when the latest picture came
        self._part = part_of(path)
        self._codec = codec
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | _H264Writer | None = None
        self._size_wh = (0, 0)
        self._last: Pixels | None = None

    def fits(self, time_s: float, pixels: Pixels) -> bool:
        """Whether a picture can follow in this file: as large, not before the last, not long after it."""
        if self._last is None:
            return True
        gap = (time_s - self.first_s) * self._rate_hz - self.frames
        return pixels.shape[1::-1] == self._size_wh and -2.0 < gap <= HOLD_S * self._rate_hz

    def add(self, time_s: float, pixels: Pixels) -> None:
        """Write a picture, whose time is in seconds of its source."""
        self.added_s = time.monotonic()
        if self._last is None:
            self.first_s, self._size_wh = time_s, (pixels.shape[1], pixels.shape[0])
            self._open()
        slot = round((time_s - self.first_s) * self._rate_hz)
        assert self._writer is not None
        while self._last is not None and self.frames < slot:
            self._writer.write(self._last)
            self.frames += 1
        if slot == self.frames:
            self._writer.write(pixels)
            self.frames += 1
        self._last = pixels

    def close(self) -> Path | None:
        """Finish the file, and give it its name; None where nothing was written."""
        if self._writer is None:
            return None
        writer, self._writer = self._writer, None
        writer.release()
        if not self._part.stat().st_size:
            self._part.unlink()
            raise OSError(f"{self.path} was not written")
        self._part.replace(self.path)
        return self.path

    def _open(self) -> None:
        make_private_folder(self.path.parent)
        # Encoders keep the mode of a file that is there already; one that they make may be read by all.
        os.close(open_private(self._part, os.O_WRONLY))
        if self._codec == H264:
            self._writer = _H264Writer(self._part, self._rate_hz, self._size_wh)
            return
        with utf8_path(self._part) as path:
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*self._codec), self._rate_hz, self._size_wh)
        if not writer.isOpened():
            with suppress(OSError):
                self._part.unlink()
            raise OSError(f"{self.path} cannot be written")
        self._writer = writer


def new_path(folder: Path, stem: str, codec: str, about: str = "") -> Path:
    """A path in `folder` at which nothing lies: `STEM-20261121-154200.mp4`, the time in UTC; `-ABOUT` behind
    it.
    """
    at = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        parts = [stem, at, about, str(number) if number > 1 else ""]
        path = folder / f"{'-'.join(filter(None, parts))}{ENDINGS[codec]}"
        if not os.path.exists(path) and not os.path.exists(part_of(path)):
            return path
    raise AssertionError


def part_of(path: Path) -> Path:
    """What `path` is called before it is finished."""
    return path.with_name(f"{path.stem}{PART}{path.suffix}")


def keep_newest(folder: Path, stem: str, keep: int) -> None:
    """Remove all but the newest `keep` files that `new_path` named so."""
    ours = re.compile(rf"{re.escape(stem)}-\d{{8}}-\d{{6}}(-[\w-]+)?({re.escape(PART)})?\.(mp4|avi)")
    with suppress(OSError):
        found = [path for path in folder.iterdir() if ours.fullmatch(path.name)]
        found.sort(key=lambda path: path.stat().st_mtime_ns)
        for old in found[: max(0, len(found) - keep)]:
            old.unlink()
