"""Cameras on a ribbon cable without one: programs in place of rpicam-apps,
and a module in place of picamera2.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# As rpicam-hello --list-cameras writes it on a Raspberry Pi 5 with two cameras.
LISTED = """Available cameras
-----------------
0 : imx219 [3280x2464 10-bit RGGB] (/base/axi/pcie@1000120000/rp1/i2c@88000/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [103.33 fps - (1000, 752)/1280x960 crop]
                             3280x2464 [21.19 fps - (0, 0)/3280x2464 crop]
           'SRGGB8' : 640x480 [103.33 fps - (1000, 752)/1280x960 crop]

1 : imx708_wide [4608x2592 10-bit RGGB] (/base/axi/pcie@1000120000/rp1/i2c@80000/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
"""


def fake_program(folder: Path, name: str, script: str) -> Path:
    """An executable shell script `name` in `folder`; what it was called with stands in
    `folder/NAME.arguments`.
    """
    path = folder / name
    folder.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$@" > {shlex.quote(str(path))}.arguments\n{script}\n')
    path.chmod(0o755)
    return path


def camera_script(
    content: bytes, folder: Path, then: str, *, chatter: str = "INFO Camera camera.cpp:1"
) -> str:
    """A script that talks on stderr, writes `content` and does what `then` says."""
    folder.mkdir(exist_ok=True)
    pictures = folder / "pictures"
    pictures.write_bytes(content)
    return (
        f"echo {shlex.quote(chatter)} >&2\necho $$ > {shlex.quote(str(folder / 'pid'))}\ncat "
        f"{shlex.quote(str(pictures))}\n{then}"
    )


class FakePicamera2:
    """Behaves as picamera2.Picamera2 does where we use it. Pictures are B, G, R, as its RGB888 is."""

    def __init__(self, number: int, pictures: Sequence[Pixels], made: list[FakePicamera2]) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.pictures = list(pictures)
        self.configuration: dict[str, Any] = {}
        self.started = self.closed = False
        self.out = 0  # requests that were not given back
        made.append(self)

    def create_video_configuration(self, main: dict[str, Any], controls: dict[str, Any]) -> dict[str, Any]:
        return {"main": main, "controls": controls}

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True

    def capture_request(self, wait: bool) -> Callable[[float], FakeRequest]:
        assert wait is False and self.started
        assert self.out == 0, "a camera has few buffers: each request is given back before the next"

        def finish(timeout: float) -> FakeRequest:
            if not self.pictures:
                time.sleep(min(timeout, 0.05))
                raise TimeoutError
            return FakeRequest(self, self.pictures.pop(0))

        return finish

    def wait(self, job: Callable[[float], FakeRequest], timeout: float) -> FakeRequest:
        return job(timeout)


class FakeRequest:
    """A finished request: a picture that is lent."""

    def __init__(self, camera: FakePicamera2, picture: Pixels) -> None:
        self.camera, self.picture = camera, picture
        camera.out += 1

    def make_array(self, name: str) -> Pixels:
        assert name == "main"
        return self.picture.copy()

    def release(self) -> None:
        self.camera.out -= 1


def picamera2_module(pictures: Sequence[Pixels], made: list[FakePicamera2]) -> ModuleType:
    """A module that can stand in sys.modules as picamera2."""
    module = ModuleType("picamera2")
    module.Picamera2 = lambda number: FakePicamera2(number, pictures, made)  # type: ignore[attr-defined]
    return module
