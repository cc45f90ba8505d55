"""Cameras, their group, who holds them, and the ribbon cable: each planted fault is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_har.config.file import Config, config_of
from edge_har.deploy import unit
from edge_har.doctor import cameras
from edge_har.doctor.finding import Level, Machine
from edge_har.sources import csi
from tests.helpers.csi import LISTED
from tests.helpers.doctor import found, machine, on_path, only, write
from tests.helpers.v4l2 import FakeNode, FakeVideo

PI = "Raspberry Pi 5 Model B Rev 1.0\0"
STRANGER, GROUP = 54321, 54322


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with one USB camera, and no program for a ribbon cable."""
    FakeVideo(tmp_path, [FakeNode(0, "C920")]).install(monkeypatch)
    monkeypatch.setattr(csi, "JETSON", tmp_path / "nv_tegra_release")
    monkeypatch.setattr(unit, "UNIT", tmp_path / "edge-har.service")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return machine(tmp_path)


def settings(uri: str) -> Config:
    return config_of(f'[[source]]\nname = "door"\nuri = "{uri}"\n'.encode(), Path("/e.toml"))


def as_user(made: Machine, *groups: int) -> Machine:
    return Machine(**{**vars(made), "uid": STRANGER, "groups": frozenset(groups)})


def test_a_camera_that_is_well(here: Machine) -> None:
    assert found(cameras.check_cameras(here, settings("usb:c920"))) == [
        (Level.OK, f"{here.dev}/video0 (C920)", "")
    ]


def test_a_user_who_is_not_in_the_cameras_group(here: Machine) -> None:
    node = here.dev / "video0"
    node.chmod(0o660)
    group = node.group()
    text, advice = only(cameras.check_cameras(as_user(here), None), Level.PROBLEM)
    assert text == f"{node}: {STRANGER} may not open it"
    assert advice == f"sudo usermod -aG {group} {STRANGER}, then log in again"
    in_group = as_user(here, node.stat().st_gid)
    assert found(cameras.check_cameras(in_group, None))[0][0] is Level.OK
    node.chmod(0o600)
    assert "udev rule" in only(cameras.check_cameras(in_group, None), Level.PROBLEM)[1]


def test_a_group_that_the_service_is_not_in(here: Machine) -> None:
    unit.UNIT.write_text("[Service]\n")
    node = here.dev / "video0"
    node.chmod(0o660)
    if os.geteuid() == 0:
        os.chown(node, -1, GROUP)
    text, advice = only(cameras.check_cameras(here, None), Level.PROBLEM)
    assert "in which the service is not" in text and "SupplementaryGroups=" in advice
    node.chmod(0o666)
    assert [level for level, *_ in found(cameras.check_cameras(here, None))] == [Level.OK]


def test_a_camera_that_another_program_holds(here: Machine) -> None:
    write(here.proc / "4321" / "comm", "motion\n")
    (here.proc / "4321" / "fd").mkdir()
    (here.proc / "4321" / "fd" / "7").symlink_to(here.dev / "video0")
    text, _ = only(cameras.check_cameras(here, None), Level.WARNING)
    assert text.endswith("is in use by motion (4321)")


@pytest.mark.parametrize("uri", ["usb:Brio", "99"])
def test_a_camera_that_is_configured_and_not_there(here: Machine, uri: str) -> None:
    text, advice = only(cameras.check_cameras(here, settings(uri)), Level.PROBLEM)
    assert text.startswith("source door: no camera ") and f"{here.dev}/video0" in text
    assert "edge-har sources" in advice


def test_a_camera_that_cannot_be_opened(here: Machine) -> None:
    (here.dev / "video0").unlink()
    (here.dev / "video0").mkdir()  # which opens for nobody
    text, _ = only(cameras.check_cameras(here, None), Level.PROBLEM)
    assert "cannot be opened" in text


def test_no_camera_is_a_note_where_none_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeVideo(tmp_path, []).install(monkeypatch)
    made = machine(tmp_path)
    assert [level for level, *_ in found(cameras.check_cameras(made, settings("rtsp://h/")))] == [Level.NOTE]
    assert [level for level, *_ in found(cameras.check_cameras(made, None))] == [Level.NOTE]


# The ribbon cable -------------------------------------------------------------------------------------------


@pytest.fixture
def pi(here: Machine) -> Machine:
    write(here.proc / "device-tree" / "model", PI)
    return here


def test_a_board_without_a_ribbon_cable(here: Machine) -> None:
    assert [level for level, *_ in found(cameras.check_csi(here, None))] == [Level.NOTE]
    text, _ = only(cameras.check_csi(here, settings("csi:0")), Level.PROBLEM)
    assert text == "source door: this machine is no Raspberry Pi and no Jetson"


def test_a_raspberry_pi_without_its_camera_programs(pi: Machine) -> None:
    text, advice = only(cameras.check_csi(pi, settings("csi:0")), Level.PROBLEM)
    assert "rpicam-vid" in text and advice == "sudo apt install rpicam-apps"
    assert [level for level, *_ in found(cameras.check_csi(pi, None))] == [Level.NOTE]


def test_its_cameras(pi: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(monkeypatch, tmp_path / "bin", "rpicam-vid", "exit 0")
    on_path(monkeypatch, tmp_path / "bin", "rpicam-hello", f"/bin/cat <<'END'\n{LISTED}\nEND")
    listed = found(cameras.check_csi(pi, settings("csi:0")))
    assert listed == [(Level.OK, "csi:0 (imx219)", ""), (Level.OK, "csi:1 (imx708_wide)", "")]


@pytest.mark.parametrize(
    ("config", "text", "advice"),
    [
        ("camera_auto_detect=1\n", "rpicam-hello finds none", "seat the cable"),
        ("camera_auto_detect=0\n", "camera_auto_detect=0 in config.txt", "camera_auto_detect=1"),
    ],
)
def test_no_camera_on_the_cable(
    pi: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, text: str, advice: str
) -> None:
    on_path(monkeypatch, tmp_path / "bin", "rpicam-vid", "exit 0")
    on_path(monkeypatch, tmp_path / "bin", "rpicam-hello", "echo 'No cameras available!'")
    write(pi.boot / "config.txt", config)
    shown, what = only(cameras.check_csi(pi, settings("csi:0")), Level.PROBLEM)
    assert text in shown and advice in what


def test_the_old_camera_system(pi: Machine) -> None:
    write(pi.boot / "config.txt", "gpu_mem=128\nstart_x=1\n")
    text, _ = only(cameras.check_csi(pi, None), Level.PROBLEM)
    assert text.startswith("start_x=1 in ")


def test_a_jetson_whose_opencv_has_no_gstreamer(here: Machine) -> None:
    csi.JETSON.write_text("# R35\n")
    text, advice = only(cameras.check_csi(here, settings("csi:0")), Level.PROBLEM)
    assert "no GStreamer" in text and "--system-site-packages" in advice
