"""Cameras of the kernel: found, named, listed and set up, on a machine that is made up."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge_har.cli import cli
from edge_har.errors import MisuseError, SourceError
from edge_har.sources import open_source
from edge_har.sources.machine import sensors_in
from edge_har.sources.v4l2 import device_called, find_cameras
from tests.helpers.command import edge_har
from tests.helpers.csi import LISTED, fake_program
from tests.helpers.v4l2 import (
    META_CAPTURE,
    VIDEO_CAPTURE_MPLANE,
    VIDEO_M2M_MPLANE,
    FakeNode,
    FakeVideo,
)
from tests.helpers.videos import noise

TWO_RATES = ((1, 30), (2, 15))
WEBCAM = FakeNode(
    0,
    "HD Pro Webcam C920",
    unit="usb1",
    formats={
        "YUYV": [((640, 480), TWO_RATES), ((1920, 1080), ((1, 5),))],
        "MJPG": [((1280, 720), TWO_RATES)],
    },
)
METADATA = FakeNode(1, "HD Pro Webcam C920", unit="usb1", index=1, caps=META_CAPTURE)
OTHER = FakeNode(2, "Logitech HD Webcam", unit="usb2", bus="usb-0000:01:00.0-1.4")
DECODER = FakeNode(10, "bcm2835-codec-decode", driver="bcm2835-codec", caps=VIDEO_M2M_MPLANE)
ISP = FakeNode(14, "bcm2835-isp-capture0", driver="bcm2835-isp")
SENSOR = FakeNode(20, "rp1-cfe-csi2_ch0", unit="csi", driver="rp1-cfe", bus="platform:1f00110000.csi")
SENSOR_TOO = FakeNode(21, "rp1-cfe-csi2_ch1", unit="csi", index=1, driver="rp1-cfe")
GRABBER = FakeNode(
    30,
    "HDMI grabber",
    driver="tc358743",
    bus="platform:x",
    caps=VIDEO_CAPTURE_MPLANE,
    formats={"RGB3": [((32, 1920, 8, 16, 1080, 2), ((1, 60, 1, 1, 1, 1),))]},
)
ALL = (WEBCAM, METADATA, OTHER, DECODER, ISP, SENSOR, SENSOR_TOO, GRABBER)


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for PATH to lead to first; no camera programs, no Jetson."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("edge_har.sources.machine.JETSON", tmp_path / "no-jetson")
    return folder


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *nodes: FakeNode) -> FakeVideo:
    return FakeVideo(tmp_path / "machine", nodes).install(monkeypatch)


# What is there ----------------------------------------------------------------------------------------------


def test_cameras_are_found_with_what_they_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = machine(tmp_path, monkeypatch, *ALL)
    cameras = {os.path.basename(camera.path): camera for camera in find_cameras()}
    assert list(cameras) == ["video0", "video2", "video20", "video21", "video30"]
    webcam = cameras["video0"]
    assert (webcam.name, webcam.driver, webcam.location) == (WEBCAM.name, WEBCAM.driver, WEBCAM.bus)
    assert [(m.format, m.size, m.to_size, m.rates_hz) for m in webcam.modes] == [
        ("YUYV", (640, 480), None, (30.0, 7.5)),
        ("YUYV", (1920, 1080), None, (5.0,)),
        ("MJPG", (1280, 720), None, (30.0, 7.5)),
    ]
    (ranged,) = cameras["video30"].modes
    assert (ranged.size, ranged.to_size, ranged.rates_hz) == ((32, 16), (1920, 1080), (60.0, 1.0))
    assert [name for name, camera in cameras.items() if camera.on_board] == ["video20", "video21"]
    video.nodes["video0"].gone = True
    assert "video0" not in [os.path.basename(camera.path) for camera in find_cameras()]
    video.nodes["video0"].gone = False


def test_a_camera_that_may_not_be_opened_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = machine(tmp_path, monkeypatch, WEBCAM, METADATA)

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("edge_har.sources.v4l2.os.open", refuse)
    (camera,) = find_cameras()
    assert (camera.path, camera.name) == (str(video.devices / "video0"), WEBCAM.name)
    assert camera.problem == "no permission; add this user to the group 'video'"


def test_a_driver_that_never_ends_its_lists_is_not_queried_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = machine(tmp_path, monkeypatch, WEBCAM)
    requested = []

    def endless(descriptor: int, request: int, buffer: bytearray) -> int:
        requested.append(request)
        buffer[:4] = bytes(4)  # whatever is requested, the first entry is returned
        return video.ioctl(descriptor, request, buffer)

    monkeypatch.setattr("edge_har.sources.v4l2.MAX_REPLIES", 4)
    monkeypatch.setattr("edge_har.sources.v4l2.ioctl", endless)
    (camera,) = find_cameras()
    assert len(camera.modes) == 16 and len(requested) < 200


@pytest.mark.parametrize(
    ("name", "number"), [("c920", 0), ("HD PRO", 0), ("logitech", 2), (" HDMI ", 30), ("HD Webcam", 2)]
)
def test_a_camera_is_found_by_a_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    video = machine(tmp_path, monkeypatch, *ALL)
    assert device_called(name) == str(video.devices / f"video{number}")


def test_a_name_of_several_or_of_none_lists_the_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = machine(tmp_path, monkeypatch, *ALL).devices
    with pytest.raises(SourceError) as raised:
        open_source("usb:webcam")
    assert str(raised.value) == (
        f"several cameras are called 'webcam': {dev}/video0 ('HD Pro Webcam C920'), "
        f"{dev}/video2 ('Logitech HD Webcam'); name more of it, or the device"
    )
    with pytest.raises(SourceError, match=r"no camera is called 'brio'; cameras of this machine: .*video30"):
        open_source("usb:brio")
    with pytest.raises(SourceError, match="no camera is called 'rp1'"):
        open_source("usb:rp1")


def test_two_equal_cameras_are_distinguished_by_their_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = FakeNode(4, WEBCAM.name, unit="usb9")
    machine(tmp_path, monkeypatch, WEBCAM, METADATA, twin)
    with pytest.raises(SourceError, match=r"several cameras.*video0.*video4"):
        open_source("usb:c920")


# Opening one ------------------------------------------------------------------------------------------------


class FakeCamera:
    """OpenCV's side of a camera that does `can` and nothing else."""

    def __init__(self, can: dict[int, float]) -> None:
        self.now = {
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
        }
        self.can, self.requested = can, []

    def isOpened(self) -> bool:
        return True

    def set(self, what: int, value: float) -> bool:
        self.requested.append(what)
        if self.can.get(what) == value:
            self.now[what] = value
        return True

    def get(self, what: int) -> float:
        return self.now[what]

    def grab(self) -> bool:
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, noise(1)[0]

    def release(self) -> None:
        """Nothing to do."""


def opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, can: dict[int, float]
) -> tuple[FakeCamera, str]:
    """Open `uri` with a camera behind it that does `can`; the camera, and which device was opened."""
    machine(tmp_path, monkeypatch, *ALL)
    camera, devices = FakeCamera(can), []

    def capture(device: str, backend: int) -> FakeCamera:
        assert backend == cv2.CAP_V4L2
        devices.append(device)
        return camera

    monkeypatch.setattr("edge_har.sources.camera.open_capture", capture)
    with open_source(uri) as source:
        assert source.grab() is not None and (source.live, source.ends) == (True, False)
    return camera, os.path.basename(devices[0])


def test_a_camera_is_set_up_format_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = float(cv2.VideoWriter.fourcc(*"MJPG"))
    can = {
        cv2.CAP_PROP_FOURCC: code,
        cv2.CAP_PROP_FRAME_WIDTH: 1280.0,
        cv2.CAP_PROP_FRAME_HEIGHT: 720.0,
        cv2.CAP_PROP_FPS: 15.0,
    }
    camera, device = opened(monkeypatch, tmp_path, "usb:c920?rate=15&size=1280x720&format=mjpg", can)
    assert device == "video0" and camera.requested == list(can) and camera.now == can
    assert caplog.text == ""


def test_what_a_camera_does_not_do_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "edge_har"):
        opened(monkeypatch, tmp_path, "usb:logi?size=1920x1080", {cv2.CAP_PROP_FRAME_WIDTH: 1920.0})
    (record,) = caplog.records
    assert record.getMessage() == (
        "camera usb:logi does not support all that was requested; it sends 1920x480 at 30 frames a second in "
        "YUYV"
    )


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(MisuseError, match="four letters like MJPG"):
        open_source("0?format=motionjpeg")


# The command ------------------------------------------------------------------------------------------------


def listed(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["sources", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_command_lists_cameras_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_programs: Path
) -> None:
    dev = machine(tmp_path, monkeypatch, *ALL).devices
    assert listed().splitlines() == [
        f"{dev}/video0  HD Pro Webcam C920  (uvcvideo, usb-0000:01:00.0-1.2)",
        "    YUYV  640x480 at 30, 7.5; 1920x1080 at 5",
        "    MJPG  1280x720 at 30, 7.5",
        f"{dev}/video2  Logitech HD Webcam  (uvcvideo, usb-0000:01:00.0-1.4)",
        f"{dev}/video30  HDMI grabber  (tc358743, platform:x)",
        "    RGB3  32x16 to 1920x1080 at 60 to 1",
        "csi:0  rp1-cfe-csi2_ch0  (rp1-cfe, platform:1f00110000.csi)",
        (
            "    its pictures need a program; Raspberry Pi: sudo apt install rpicam-apps; Jetson: an OpenCV "
            "with "
            "GStreamer"
        ),
    ]


def test_the_command_gives_programs_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_programs: Path
) -> None:
    dev = machine(tmp_path, monkeypatch, WEBCAM, GRABBER, SENSOR).devices
    fake_program(no_programs, "rpicam-hello", f"cat <<'END'\n{LISTED}END")
    cameras = json.loads(listed("--json"))
    assert [camera["source"] for camera in cameras] == [f"{dev}/video0", f"{dev}/video30", "csi:0", "csi:1"]
    assert cameras[0]["modes"][0] == {"format": "YUYV", "size": [640, 480], "rates_hz": [30.0, 7.5]}
    assert cameras[1]["modes"][0]["to_size"] == [1920, 1080]
    assert cameras[3] == {
        "source": "csi:1",
        "name": "imx708_wide",
        "driver": "libcamera",
        "place": "/base/axi/pcie@1000120000/rp1/i2c@80000/imx708@1a",
        "modes": [{"format": "SRGGB10_CSI2P", "size": [1536, 864], "rates_hz": [120.13]}],
    }
    assert (no_programs / "rpicam-hello.arguments").read_text().split() == ["--list-cameras"]


def test_the_sensors_modes_are_read() -> None:
    first, _ = sensors_in(LISTED)
    assert [(m.format, m.size, m.rates_hz) for m in first.modes] == [
        ("SRGGB10_CSI2P", (640, 480), (103.33,)),
        ("SRGGB10_CSI2P", (3280, 2464), (21.19,)),
        ("SRGGB8", (640, 480), (103.33,)),
    ]
    assert sensors_in("No cameras available!\n") == []


@pytest.mark.parametrize("script", ["echo 'No cameras available!'", "exit 1", "kill -SEGV $$"])
def test_no_camera_at_all_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_programs: Path, script: str
) -> None:
    machine(tmp_path, monkeypatch)
    fake_program(no_programs, "libcamera-hello", script)
    assert listed() == "no camera on this machine; rtsp://, http://, files and synthetic:demo need none\n"
    assert json.loads(listed("--json")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="video devices are Linux's")
def test_the_real_machine_is_listed_without_an_error() -> None:
    done = edge_har("sources", "--json")
    assert done.returncode == 0 and done.stderr == ""
    assert all({"source", "name", "modes"} <= camera.keys() for camera in json.loads(done.stdout))
