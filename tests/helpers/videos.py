"""Tiny lossless videos whose exact pixels are known, and a made data set of squares that move by label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

LABELS = ("Right", "Down", "Grow", "Blink")  # one per motion; any other labels may be given
BACKGROUND_LEVELS = (40, 90)  # grey levels of the background's noise
SQUARE_LEVELS = (140, 256)
PERIOD_S = 0.8  # a motion repeats after this time


def write_video(path: Path, frames_rgb: Pixels, rate_hz: float = 25.0) -> Path:
    """Write `frames_rgb` (uint8 [n, h, w, 3], RGB, even sizes) as lossless FFV1 in AVI; returns `path`."""
    height, width = frames_rgb.shape[1:3]
    assert frames_rgb.dtype == np.uint8 and height % 2 == 0 and width % 2 == 0, "FFV1 here wants even sizes"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), rate_hz, (width, height))
    assert writer.isOpened(), f"OpenCV cannot write {path}"
    try:
        for frame in frames_rgb:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    return path


def write_pictures(folder: Path, frames_rgb: Pixels, first: int = 1, suffix: str = ".png") -> Path:
    """Write `frames_rgb` (uint8 [n, h, w, 3], RGB) as `frame_1.png` and so on; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames_rgb, first):
        assert cv2.imwrite(str(folder / f"frame_{number}{suffix}"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def noise(frames: int, size_wh: tuple[int, int] = (32, 24), seed: int = 0) -> Pixels:
    """Frames that share no pixel pattern, so that a wrong frame, colour order or resize shows; uint8 RGB."""
    width, height = size_wh
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def numbered(frames: int, size_wh: tuple[int, int] = (32, 24)) -> Pixels:
    """Frame i is one flat colour that spells i: red = i % 256, green = i // 256, blue = 255 - red."""
    width, height = size_wh
    made = np.empty((frames, height, width, 3), np.uint8)
    number = np.arange(frames)[:, None, None]
    made[..., 0], made[..., 1], made[..., 2] = number % 256, number // 256, 255 - number % 256
    return made


def moving_square(
    motion: int, frames: int, *, rate_hz: float = 25.0, size_wh: tuple[int, int] = (32, 32), seed: int = 0
) -> Pixels:
    """A square that goes right (0), down (1), grows (2), blinks (3), left (4), up (5),
    rotates round (6) or rests (7).

    Place, colour, background and phase vary by seed, so that one frame does not tell the motion.
    Returns uint8 [frames, height, width, 3], RGB.
    """
    width, height = size_wh
    random = np.random.default_rng([seed, motion])
    background = random.integers(*BACKGROUND_LEVELS, (height, width, 3)).astype(np.uint8)
    colour = random.integers(*SQUARE_LEVELS, 3)
    x, y, phase = random.uniform(0, 1, 3)
    made = np.repeat(background[None], frames, 0)
    for i in range(frames):
        turn = (i / rate_hz / PERIOD_S + phase) % 1
        side = 0.25 + (0.35 * turn if motion % 8 == 2 else 0.0)
        at_x, at_y = x, y
        if motion % 8 in (0, 4):
            at_x = (x + (turn if motion % 8 == 0 else -turn)) % 1
        elif motion % 8 in (1, 5):
            at_y = (y + (turn if motion % 8 == 1 else -turn)) % 1
        elif motion % 8 == 6:
            at_x, at_y = 0.5 + 0.4 * np.cos(2 * np.pi * turn), 0.5 + 0.4 * np.sin(2 * np.pi * turn)
        if motion % 8 == 3 and turn < 0.5:
            continue
        left, top = round(at_x * (1 - side) * width), round(at_y * (1 - side) * height)
        made[i, top : top + round(side * height), left : left + round(side * width)] = colour
    return made


def make_dataset(
    folder: Path,
    labels: Sequence[str] = LABELS,
    groups: int = 5,
    clips_per_group: int = 1,
    *,
    frames: int = 30,
    rate_hz: float = 25.0,
    size_wh: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> Path:
    """A data set in UCF50's layout under `folder`: every group has `clips_per_group` clips of every label.

    The motion of a clip is its label's place in `labels`; groups are g01, g02, ... Returns `folder`.
    """
    for motion, label in enumerate(labels):
        for group in range(1, groups + 1):
            for clip in range(1, clips_per_group + 1):
                pixels = moving_square(
                    motion, frames, rate_hz=rate_hz, size_wh=size_wh, seed=seed * 10_000 + group * 100 + clip
                )
                write_video(folder / label / f"v_{label}_g{group:02d}_c{clip:02d}.avi", pixels, rate_hz)
    return folder


def write_text_as_video(path: Path) -> Path:
    """A text file with a video's name: no decoder takes it; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("this is not a video\n")
    return path
