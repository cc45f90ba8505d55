"""Cameras on a board's ribbon cable: a Raspberry Pi's through rpicam-vid or picamera2, a Jetson's through
GStreamer.
"""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoAnswerError  # the builtin one from Python 3.11 on
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from edge_har.errors import MisuseError, RuntimeMissingError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Source
from edge_har.sources.child import Child
from edge_har.sources.gstreamer import GstreamerSource
from edge_har.sources.options import SourceOptions
from edge_har.sources.pictures import PictureStream, Splitter, decode_jpeg, raw_frames

PROGRAMS = ("rpicam-vid", "libcamera-vid")  # the second is its name before 2023
JETSON = Path("/etc/nv_tegra_release")
SIZE_WH = (640, 480)
FORMATS = ("mjpeg", "yuv420")
ROW_BYTES = 64  # a raw picture's rows are filled up to a multiple of this
JETSON_RATE_HZ = 30
OPEN_TIMEOUT_S = 10.0  # a camera's start takes some seconds
READ_TIMEOUT_S = 5.0
# What it raises is not written down. Seen: RuntimeError from libcamera, IndexError where there is no such
# camera, ImportError without libcamera, ValueError where it was built for another NumPy.
PICAMERA2_ERRORS = (
    RuntimeError,
    LookupError,
    ImportError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OSError,
)
INSTALL = "Raspberry Pi: sudo apt install rpicam-apps; Jetson: an OpenCV with GStreamer"


def open_csi(number: int, options: SourceOptions) -> Source:
    """The camera `number` of this board, whichever way there is to it.

    Raises RuntimeMissingError naming what to install, SourceError where there is no such camera.
    """
    program = camera_program()
    if program is not None:
        return RpicamSource(program, number, options)
    if JETSON.exists():
        return GstreamerSource(jetson_pipeline(number, options), f"csi:{number}")
    try:
        picamera2 = importlib.import_module("picamera2")
    except ModuleNotFoundError as error:
        if error.name != "picamera2":
            raise _unusable(number, error) from None
        raise RuntimeMissingError(f"csi:{number}: no program for such cameras here; {INSTALL}") from None
    except PICAMERA2_ERRORS as error:
        raise _unusable(number, error) from None
    return Picamera2Source(picamera2.Picamera2, number, options)


def camera_program() -> str | None:
    """Path of the program that sends a Raspberry Pi's camera to a pipe, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def jetson_pipeline(number: int, options: SourceOptions) -> str:
    """GStreamer's words for camera `number` of a Jetson."""
    width, height = options.size or SIZE_WH
    rate = round(options.rate or JETSON_RATE_HZ)
    return (
        f"nvarguscamerasrc sensor-id={number} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},framerate={rate}/1 "
        "! nvvidconv ! video/x-raw,format=BGRx"
    )


def _unusable(number: int, error: Exception) -> RuntimeMissingError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return RuntimeMissingError(f"csi:{number}: picamera2 cannot be imported ({reason}); {INSTALL}")


class RpicamSource(PictureStream):
    """A Raspberry Pi's camera through a child process, so that no Python module has to fit.

    MJPEG by default, which says where a picture ends; format=yuv420 spares the camera's CPU the coding.
    Raises SourceError, with the program's last line, where no picture comes.
    """

    def __init__(
        self,
        program: str,
        number: int,
        options: SourceOptions,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        name = f"csi:{number}"
        self._program = Path(program).name
        self._called = f"{name}: {self._program}"
        size = options.size or SIZE_WH
        codec, splitter, decode = _coding(options.format or FORMATS[0], size)
        super().__init__(name, read_timeout_s, splitter, decode)
        rate = [] if options.rate is None else ["--framerate", f"{options.rate:g}"]
        try:
            self._child = Child(
                [
                    *(program, "--camera", str(number), "--nopreview", "--timeout", "0"),
                    *("--width", str(size[0]), "--height", str(size[1]), *rate),
                    *("--codec", codec, "--flush", "--output", "-"),
                ]
            )
        except OSError as error:
            raise SourceError(f"{self._called} cannot be started: {error.strerror}") from None
        try:
            if not self._fill(open_timeout_s):
                raise self._ended()
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float) -> bytes | None:
        """More of what the program writes."""
        return self._child.read(timeout_s)

    def grab(self) -> float | None:
        """Arrival of the next whole picture in seconds.

        Raises SourceError when the program ended or is silent.
        """
        time_s = super().grab()
        if time_s is None:
            raise self._ended()
        return time_s

    def silent(self, timeout_s: float) -> SourceError:
        """The error about a program that sends no picture."""
        return SourceError(f"{self._called} sends no picture for {timeout_s:g} s{self._last_words()}")

    def close(self) -> None:
        """End the program."""
        self._child.close()

    def _ended(self) -> SourceError:
        return SourceError(f"{self._called} ended{self._last_words()}")

    def _last_words(self) -> str:
        line = self._child.last_line
        return f"; it reports: {line}" if line else ""


def _coding(
    name: str, size: tuple[int, int]
) -> tuple[str, Splitter | None, Callable[[bytes], Pixels | None]]:
    """The program's word for this format, and what cuts and decodes it."""
    if name not in FORMATS:
        raise MisuseError(f"the format of a csi: camera is one of {', '.join(FORMATS)}, got {name!r}")
    if name == "mjpeg":
        return name, None, decode_jpeg
    if size[0] % ROW_BYTES or size[1] % 2:
        raise MisuseError(
            f"format=yuv420 needs a width that {ROW_BYTES} divides and an even height, "
            f"got {size[0]}x{size[1]}"
        )
    # The program sends full-range luma, as for JPEG.
    splitter, decode = raw_frames("yuvj420p", size)
    return name, splitter, decode


class Picamera2Source(Source):
    """A Raspberry Pi's camera through picamera2; times are arrivals on time.monotonic().

    Raises SourceError where there is no such camera, or no picture comes.
    """

    live = True
    ends = False
    color = "bgr"

    def __init__(
        self,
        picamera2: Callable[[int], Any],
        number: int,
        options: SourceOptions,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self.name = f"csi:{number}"
        self._timeout_s = open_timeout_s
        self._request: Any = None
        self._camera: Any = None
        if options.format is not None:
            raise MisuseError(f"{self.name}: 'format' is no option of a camera that picamera2 reads")
        try:
            self._camera = picamera2(number)
            configuration = self._camera.create_video_configuration(
                main={"size": options.size or SIZE_WH, "format": "RGB888"},  # its name for B, G, R in memory
                controls={} if options.rate is None else {"FrameRate": options.rate},
            )
            self._camera.configure(configuration)
            self._camera.start()
            self._next_request()
        except SourceError:
            self.close()
            raise
        except PICAMERA2_ERRORS as error:
            self.close()
            raise SourceError(f"{self.name}: picamera2 cannot open it: {_one_line(error)}") from None
        self._timeout_s = read_timeout_s
        self._fresh = True

    def grab(self) -> float | None:
        """Arrival of the next picture in seconds. Raises SourceError when none comes in time."""
        if not self._fresh:
            self._next_request()
        self._fresh = False
        return time.monotonic()

    def retrieve(self) -> Pixels:
        """The picture just grabbed: uint8, height x width x 3, BGR.

        Raises SourceError when it cannot be had.
        """
        try:
            return cast(Pixels, self._request.make_array("main"))
        except PICAMERA2_ERRORS as error:
            raise SourceError(f"{self.name}: a picture cannot be read: {_one_line(error)}") from None

    def close(self) -> None:
        """Release the camera."""
        camera, self._camera = self._camera, None
        if camera is not None:
            for step in (self._release, camera.stop, camera.close):
                with suppress(*PICAMERA2_ERRORS):  # of a camera that is gone
                    step()

    def _next_request(self) -> None:
        self._release()
        try:
            job = self._camera.capture_request(wait=False)
            self._request = self._camera.wait(job, timeout=self._timeout_s)
        except (NoAnswerError, TimeoutError):
            raise SourceError(f"{self.name}: picamera2 sends no picture for {self._timeout_s:g} s") from None
        except PICAMERA2_ERRORS as error:
            raise SourceError(f"{self.name}: picamera2 failed: {_one_line(error)}") from None

    def _release(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
