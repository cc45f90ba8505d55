"""Cameras on a ribbon cable, against programs and modules that behave as the real ones do or fail to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import cv2
import numpy as np
import pytest

from edge_har.errors import EdgeHarError, MisuseError, RuntimeMissingError, SourceError
from edge_har.sources import open_source
from edge_har.sources.child import Child
from edge_har.sources.csi import Picamera2Source, RpicamSource
from edge_har.sources.gstreamer import GstreamerSource
from edge_har.sources.options import SourceOptions
from tests.helpers.colours import colour_bytes
from tests.helpers.command import environment, start_edge_har
from tests.helpers.csi import FakePicamera2, camera_script, fake_program, picamera2_module
from tests.helpers.mjpeg import decoded, jpeg
from tests.helpers.processes import is_running, wait_until_gone
from tests.helpers.videos import noise

RGB = noise(3, (64, 48))
PICTURES = [jpeg(p) for p in RGB]
HANGS = "exec sleep 600"
DIES = 'echo "ERROR: *** Camera frontend has timed out ***" >&2\nexit 255'


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH; nothing else of the machine's camera programs is seen."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("edge_har.sources.csi.JETSON", tmp_path / "no-jetson")
    monkeypatch.setitem(sys.modules, "picamera2", None)  # as if it were not installed
    return folder


# A program on a pipe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rpicam-vid", "libcamera-vid"])
def test_a_camera_program_gives_its_pictures_and_is_asked_for_what_is_wanted(
    programs: Path, tmp_path: Path, name: str
) -> None:
    fake_program(programs, name, camera_script(b"".join(PICTURES), tmp_path / "camera", HANGS))
    with open_source("csi:1?size=64x48&rate=15") as source:
        assert (source.live, source.ends, source.color) == (True, False, "bgr")
        began_s = time.monotonic()
        for picture in PICTURES:
            time_s = source.grab()
            assert time_s is not None and began_s - 60 < time_s <= time.monotonic()
            assert np.array_equal(source.retrieve(), decoded(picture))
        pid = int((tmp_path / "camera" / "pid").read_text())
        assert is_running(pid)
    wait_until_gone(pid)
    assert (programs / f"{name}.arguments").read_text().strip() == (
        "--camera 1 --nopreview --timeout 0 --width 64 --height 48 --framerate 15 --codec mjpeg --flush "
        "--output -"
    )


def test_the_newer_program_is_preferred(programs: Path, tmp_path: Path) -> None:
    for name in ("libcamera-vid", "rpicam-vid"):
        fake_program(programs, name, camera_script(PICTURES[0], tmp_path / name, HANGS))
    with open_source("csi:0"):
        assert (programs / "rpicam-vid.arguments").exists()
        assert not (programs / "libcamera-vid.arguments").exists()


def test_raw_pictures_have_full_range_colours(programs: Path, tmp_path: Path) -> None:
    """As the program sends them: luma from 0 to 255, and not 16 to 235,
    which would change what a model sees.
    """
    grey = np.repeat(np.arange(0, 256, 4, np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    colours = np.full((48, 64, 3), (200, 60, 30), np.uint8)
    content = b""
    for rgb in (grey, colours):
        ycc = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
        content += ycc[..., 0].tobytes() + ycc[::2, ::2, 2].tobytes() + ycc[::2, ::2, 1].tobytes()
    fake_program(programs, "rpicam-vid", camera_script(content, tmp_path / "camera", HANGS))
    with open_source("csi:0?size=64x48&format=yuv420") as source:
        for rgb in (grey, colours):
            source.grab()
            assert np.abs(source.retrieve()[..., ::-1].astype(int) - rgb).max() <= 2
    assert "--codec yuv420" in (programs / "rpicam-vid.arguments").read_text()
    for wrong, says in (("size=100x48&format=yuv420", "64 divides"), ("format=h264", "mjpeg, yuv420")):
        with pytest.raises(MisuseError, match=says):
            open_source(f"csi:0?{wrong}")


def test_a_program_without_a_camera_says_why(programs: Path) -> None:
    fake_program(
        programs, "rpicam-vid", 'echo "INFO x" >&2; echo "ERROR: *** no cameras available ***" >&2; exit 255'
    )
    with pytest.raises(SourceError) as raised:
        open_source("csi:0")
    assert str(raised.value) == "csi:0: rpicam-vid ended; it reports: ERROR: *** no cameras available ***"


def test_a_program_that_dies_is_a_lost_camera_with_its_last_words(programs: Path, tmp_path: Path) -> None:
    fake_program(programs, "rpicam-vid", camera_script(b"".join(PICTURES), tmp_path / "camera", DIES))
    with open_source("csi:0") as source:
        for _ in PICTURES:
            assert source.grab() is not None
        with pytest.raises(
            SourceError, match=r"ended; it reports: ERROR: \*\*\* Camera frontend has timed out"
        ):
            source.grab()


def test_a_program_that_hangs_is_given_up_and_ended(programs: Path, tmp_path: Path) -> None:
    path = fake_program(programs, "rpicam-vid", camera_script(PICTURES[0], tmp_path / "camera", HANGS))
    with RpicamSource(str(path), 0, SourceOptions(), read_timeout_s=0.3) as source:
        assert source.grab() is not None
        with pytest.raises(
            SourceError, match=r"rpicam-vid sends no picture for 0\.3 s; it reports: INFO Camera"
        ):
            source.grab()
    wait_until_gone(int((tmp_path / "camera" / "pid").read_text()))
    silent = fake_program(programs, "rpicam-vid", camera_script(b"", tmp_path / "silent", HANGS))
    with pytest.raises(SourceError, match=r"sends no picture for 0\.3 s"):
        RpicamSource(str(silent), 0, SourceOptions(), open_timeout_s=0.3)
    wait_until_gone(int((tmp_path / "silent" / "pid").read_text()))


def test_a_program_that_will_not_end_is_ended(tmp_path: Path) -> None:
    path = fake_program(
        tmp_path / "bin",
        "deaf",
        f"trap '' TERM INT\necho $$ > {tmp_path}/pid\necho up\nwhile :; do sleep 0.1; done",
    )
    child = Child([str(path)])
    assert child.read(20) == b"up\n"
    child.close()
    child.close()
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_much_talk_on_stderr_stops_nothing(tmp_path: Path) -> None:
    talk = (
        "i=0; while [ $i -lt 3000 ]; do echo 'a line of some length, over and over again, to fill a "
        "pipe' "
        ">&2; i=$((i+1)); done"
    )
    path = fake_program(
        tmp_path / "bin", "talker", f"{talk}\necho done\nprintf 'last\\033[1m words\\n\\n' >&2"
    )
    child = Child([str(path)])
    got = b""
    while data := child.read(20):
        got += data
    assert (got, child.last_line) == (b"done\n", "last [1m words")
    child.close()


def test_the_program_ends_with_us_even_if_we_are_killed(programs: Path, tmp_path: Path) -> None:
    fake_program(programs, "rpicam-vid", camera_script(PICTURES[0], tmp_path / "camera", HANGS))
    code = (
        "import time; from edge_har.sources import open_source\nopen_source('csi:0').grab(); print('up', "
        "flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment() | {"PATH": os.environ["PATH"]}
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        pid = int((tmp_path / "camera" / "pid").read_text())
        assert is_running(pid)
        process.kill()
    wait_until_gone(pid)


def test_a_run_that_is_told_to_end_ends_the_program(programs: Path, tmp_path: Path) -> None:
    endless = camera_script(
        PICTURES[0], tmp_path / "camera", f"while cat {tmp_path}/camera/pictures; do sleep 0.05; done"
    )
    fake_program(programs, "rpicam-vid", endless)
    bundle = tmp_path / "colours.ehar"
    bundle.write_bytes(colour_bytes())
    process = start_edge_har("run", "--model", bundle, "--source", "csi:0?size=64x48&rotate=90")
    assert process.stderr is not None and process.stderr.readline() == "csi:0?size=64x48&rotate=90 is open\n"
    pid = int((tmp_path / "camera" / "pid").read_text())
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 0 and "ticks" in output and "Traceback" not in output
    wait_until_gone(pid)


# picamera2 --------------------------------------------------------------------------------------------------


def test_picamera2_is_used_where_there_is_no_program(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakePicamera2] = []
    monkeypatch.setitem(sys.modules, "picamera2", picamera2_module([p[..., ::-1] for p in RGB], made))
    with open_source("csi:0?size=64x48&rate=20") as source:
        assert isinstance(source, Picamera2Source)
        assert (source.live, source.ends, source.color) == (True, False, "bgr")
        for rgb in RGB:
            assert source.grab() is not None
            assert np.array_equal(source.retrieve()[..., ::-1], rgb)
        with pytest.raises(SourceError, match="picamera2 sends no picture for 5 s"):
            source.grab()
    (camera,) = made
    assert camera.configuration == {
        "main": {"size": (64, 48), "format": "RGB888"},
        "controls": {"FrameRate": 20.0},
    }
    assert (camera.started, camera.closed, camera.out) == (False, True, 0)


def test_a_camera_that_picamera2_does_not_have_is_one_line(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakePicamera2] = []
    monkeypatch.setitem(sys.modules, "picamera2", picamera2_module([], made))
    with pytest.raises(SourceError, match="csi:3: picamera2 cannot open it: list index out of range"):
        open_source("csi:3")
    with pytest.raises(SourceError, match="sends no picture for 10 s"):
        open_source("csi:0")
    assert all(camera.closed for camera in made)


@pytest.mark.parametrize(
    "content",
    [
        "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility\\nmore')",
        "import libcamera_that_is_not_there",
    ],
)
def test_a_picamera2_that_cannot_be_imported_says_why_and_what_to_install(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "picamera2.py").write_text(content)
    monkeypatch.delitem(sys.modules, "picamera2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RuntimeMissingError, match=r"picamera2 cannot be imported \(.*apt install rpicam-apps"
    ) as raised:
        open_source("csi:0")
    assert "\n" not in str(raised.value)


def test_with_nothing_at_all_one_line_says_what_to_install(programs: Path) -> None:
    with pytest.raises(RuntimeMissingError) as raised:
        open_source("csi:0")
    assert str(raised.value) == (
        "csi:0: no program for such cameras here; Raspberry Pi: sudo apt install rpicam-apps; "
        "Jetson: an OpenCV with GStreamer"
    )


# GStreamer, and a Jetson ------------------------------------------------------------------------------------


class FakeCapture:
    """What OpenCV gives for a pipeline that runs."""

    opened: ClassVar[list[tuple[object, ...]]] = []
    works = True

    def __init__(self, *arguments: object) -> None:
        FakeCapture.opened.append(arguments)

    def isOpened(self) -> bool:
        return FakeCapture.works

    def grab(self) -> bool:
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, RGB[0, ..., ::-1]

    def release(self) -> None:
        """Nothing to do."""


@pytest.fixture
def gstreamer(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    """An OpenCV that was built with GStreamer."""
    monkeypatch.setattr(FakeCapture, "opened", [])
    monkeypatch.setattr(FakeCapture, "works", True)
    monkeypatch.setattr("edge_har.sources.gstreamer.open_capture", FakeCapture)
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: backend == cv2.CAP_GSTREAMER)
    return FakeCapture


def test_a_pipeline_is_led_to_us_and_turned(gstreamer: type[FakeCapture]) -> None:
    with open_source("gst:videotestsrc ! videoconvert#rotate=180") as source:
        assert source.grab() is not None and (source.live, source.ends) == (True, False)
        assert np.array_equal(source.retrieve(), RGB[0, ::-1, ::-1, ::-1])
    with open_source("gst:videotestsrc ! appsink max-buffers=5"):
        pass
    first, second = (str(arguments[0]) for arguments in gstreamer.opened)
    assert first.startswith("videotestsrc ! videoconvert ! videoconvert") and "drop=true" in first
    assert second == "videotestsrc ! appsink max-buffers=5"


def test_a_pipeline_that_does_not_run_is_one_line_without_its_password(gstreamer: type[FakeCapture]) -> None:
    gstreamer.works = False
    with pytest.raises(SourceError, match="GStreamer cannot run") as raised:
        open_source("gst:rtspsrc location=rtsp://a:s3cret@h/ user-pw=s3cret")
    assert "s3cret" not in str(raised.value)


def test_an_opencv_without_gstreamer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda backend: False)
    with pytest.raises(RuntimeMissingError, match="this OpenCV has no GStreamer") as raised:
        open_source("gst:videotestsrc")
    assert "\n" not in str(raised.value) and isinstance(raised.value, EdgeHarError)


def test_a_jetson_takes_its_own_element(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gstreamer: type[FakeCapture]
) -> None:
    jetson = tmp_path / "nv_tegra_release"
    jetson.touch()
    monkeypatch.setattr("edge_har.sources.csi.JETSON", jetson)
    monkeypatch.setitem(sys.modules, "picamera2", ModuleType("picamera2"))
    with open_source("csi:1?size=1280x720&rate=29.97") as source:
        assert isinstance(source, GstreamerSource) and source.name == "csi:1"
    words = str(gstreamer.opened[0][0])
    assert words.startswith(
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 !"
    )
    assert words.endswith("appsink drop=true max-buffers=1 sync=false")
