"""Pictures: only while somebody looks, at a bounded rate, scaled and encoded once for all."""

from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest

from edge_har.model.preprocess import Pixels
from edge_har.pipeline.outputs import FrameSinks, Picture
from edge_har.web.pictures import HEADER_LENGTH, EncodedFrame, FrameBroadcaster
from tests.helpers.mjpeg import decoded

RED_RGB = (200, 30, 30)


class Eye:
    """Somebody who keeps what is shown."""

    def __init__(self) -> None:
        self.shots: list[EncodedFrame] = []

    def offer(self, shot: EncodedFrame) -> None:
        self.shots.append(shot)


class Clock:
    def __init__(self) -> None:
        self.s = 50.0

    def __call__(self) -> float:
        return self.s


def picture(
    source: str = "door", wh: tuple[int, int] = (64, 48), color: Literal["rgb", "bgr"] = "rgb"
) -> Picture:
    rgb = np.empty((wh[1], wh[0], 3), np.uint8)
    rgb[:] = RED_RGB if color == "rgb" else RED_RGB[::-1]
    return Picture(source, 1.0, rgb, color, "Walk", 0.87654)


def broadcaster(rate_hz: float = 5.0, px: int = 640) -> tuple[FrameBroadcaster, Clock, list[int]]:
    clock, woken = Clock(), list[int]()
    return FrameBroadcaster(rate_hz, px, lambda: woken.append(1), clock), clock, woken


def test_nothing_is_wanted_while_nobody_looks() -> None:
    made, _, _ = broadcaster()
    eye = Eye()
    assert not made.wants("door")
    made.watch(eye, ["door"])
    assert made.wants("door") and not made.wants("attic")
    made.watch(eye, ["attic"])
    assert made.wants("attic") and not made.wants("door")
    made.leave(eye)
    made.leave(eye)
    assert not made.wants("attic")
    made.watch(eye, ["door"])
    made.close()
    made.watch(Eye(), ["door"])
    assert not made.wants("door")


@pytest.mark.parametrize("rate_hz", [2.0, 5.0, 30.0])
def test_the_rate_is_bounded(rate_hz: float) -> None:
    made, clock, _ = broadcaster(rate_hz)
    eye = Eye()
    made.watch(eye, ["door"])
    for tick in range(126):  # 10 seconds at 12.5 a second
        clock.s = 50.0 + tick * 0.08
        if made.wants("door"):
            made.consume(picture())
            made.publish()
    assert len(eye.shots) == pytest.approx(min(126, 10 * rate_hz + 1), abs=1)


def test_after_a_pause_there_is_no_burst() -> None:
    made, clock, _ = broadcaster(5.0)
    eye = Eye()
    made.watch(eye, ["door"])
    for clock.s in (50.0, 90.0, 90.001, 90.002, 90.09):
        if made.wants("door"):
            made.consume(picture())
            made.publish()
    assert len(eye.shots) == 2


def test_one_that_was_not_taken_is_not_followed_by_another() -> None:
    made, clock, woken = broadcaster()
    made.watch(Eye(), ["door", "attic"])
    made.consume(picture())
    clock.s += 10
    assert not made.wants("door") and made.wants("attic")
    made.consume(picture("attic"))
    assert woken == [1]
    made.publish()
    assert made.wants("door")


def test_all_who_look_share_one_encoding() -> None:
    made, _, _ = broadcaster()
    first, second, elsewhere = Eye(), Eye(), Eye()
    made.watch(first, ["door"])
    made.watch(second, ["door", "attic"])
    made.watch(elsewhere, ["attic"])
    made.consume(picture())
    made.publish()
    assert first.shots[0] is second.shots[0] and elsewhere.shots == []
    made.publish()
    assert len(first.shots) == 1


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("wh", "px", "shown"),
    [
        ((1280, 720), 640, (640, 360)),
        ((480, 640), 320, (240, 320)),
        ((64, 48), 640, (64, 48)),
        ((3000, 1), 300, (300, 1)),
    ],
)
def test_a_message_holds_what_is_seen_and_a_small_picture_in_the_right_colours(
    wh: tuple[int, int], px: int, shown: tuple[int, int], color: Literal["rgb", "bgr"]
) -> None:
    made, _, _ = broadcaster(px=px)
    eye = Eye()
    made.watch(eye, ["door"])
    made.consume(picture(wh=wh, color=color))
    made.publish()
    message = eye.shots[0].message
    (length,) = HEADER_LENGTH.unpack(message[:4])
    assert json.loads(message[4 : 4 + length]) == {"source": "door", "label": "Walk", "score": 0.877}
    jpeg = message[4 + length :]
    assert jpeg == eye.shots[0].jpeg
    bgr = decoded(jpeg)
    assert bgr.shape == (shown[1], shown[0], 3)
    assert np.abs(bgr[0, 0][::-1].astype(int) - RED_RGB).max() <= 6


def test_what_was_seen_stays_although_the_source_writes_over_it() -> None:
    made, _, _ = broadcaster()
    eye = Eye()
    made.watch(eye, ["door"])
    shown = picture(color="bgr")
    made.consume(shown)
    pixels: Pixels = shown.pixels
    pixels[:] = 0
    made.publish()
    assert decoded(eye.shots[0].jpeg)[0, 0, 2] > 150


def test_it_is_a_viewer_of_a_run() -> None:
    made, clock, _ = broadcaster()
    frame_sinks, eye = FrameSinks([made]), Eye()
    assert not frame_sinks.wants("door")
    made.watch(eye, ["door"])
    assert frame_sinks.wants("door")
    frame_sinks.consume(picture())
    frame_sinks.consume(picture())
    made.publish()
    clock.s += 0.05
    frame_sinks.consume(picture())
    made.publish()
    assert len(eye.shots) == 1
    frame_sinks.close()
    assert not frame_sinks.wants("door")
