"""What the cameras of a soak show: drawn people who act, and stand still in between; when each acts is known
exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import cv2
import numpy as np

from edge_har.model.preprocess import Pixels
from edge_har.sources.synthetic import EASE_S, Performance
from edge_har.sources.synthetic_body import ease
from edge_har.sources.synthetic_scene import Painter
from tests.helpers.command import edge_har
from tests.helpers.mjpeg import decoded, jpeg
from tests.helpers.videos import write_video
from tests.soak.judge import Event, Play, matches
from tests.soak.show import INDEX, PICTURES

# They stay where they are, so that a play may be of any length.
LABELS = ("WaveTwoHands", "JumpingJack", "WaveOneHand", "Bend", "JumpInPlace")
SIZES_WH = ((160, 120), (208, 160))  # what a camera shows, and what it changes to
RATE_HZ = 15
PLAY_S = 4.0  # at least so long, to the end of the action's cycle
STILL_S = 1.5  # before and after each play
PHASES = 6


def draw(seed: int, labels: Sequence[str] = LABELS) -> tuple[list[Pixels], list[tuple[str, int, int]]]:
    """One round: its pictures (RGB, the first of SIZES_WH), and label, first and last picture of each
    play.
    """
    painter = Painter(seed, SIZES_WH[0])
    pictures: list[Pixels] = []
    plays = []
    for label in labels:
        performance = Performance(label, seed, painter)
        period_s = performance.style.period_s
        acts_s = period_s * ceil(PLAY_S / period_s)
        still, acts = round(STILL_S * RATE_HZ), round(acts_s * RATE_HZ)
        plays.append((label, len(pictures) + still, len(pictures) + still + acts - 1))
        for at in range(still + acts + still):
            seconds = (at - still) / RATE_HZ
            edge_s = min(seconds, acts_s - seconds)
            stillness = 1.0 - ease(min(1.0, edge_s / EASE_S)) if edge_s > 0 else 1.0
            pictures.append(performance.act(len(pictures), seconds, still=stillness))
    return pictures, plays


def _shown(picture: Pixels, size_wh: tuple[int, int]) -> bytes:
    """What a camera of this size sends of a picture: JPEG."""
    return jpeg(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA))


def write_pack(folder: Path, seed: int) -> None:
    """Write a round of pictures, in every size, for a camera to show."""
    folder.mkdir(parents=True)
    pictures, plays = draw(seed)
    positions: list[list[tuple[int, int]]] = []
    with open(folder / PICTURES, "wb") as file:
        for size_wh in SIZES_WH:
            positions.append([])
            for picture in pictures:
                content = _shown(picture, size_wh)
                positions[-1].append((file.tell(), len(content)))
                file.write(content)
    index = {"rate_hz": RATE_HZ, "sizes_wh": SIZES_WH, "plays": plays, "positions": positions}
    (folder / INDEX).write_text(json.dumps(index))


def seen_in_file(seed: int, folder: Path) -> dict[str, bool]:
    """Which plays of a round `edge-har run` emits, each as one event, when it reads the pictures from files.

    In each of PHASES files the ticks of the model fall on other pictures, as they do after every time that a
    camera is opened, and the pictures have one of the sizes that it shows: what is not seen in all of them
    depends on chance.
    """
    pictures, plays = draw(seed)
    coded = [
        np.stack([decoded(_shown(picture, size_wh))[..., ::-1] for picture in pictures])
        for size_wh in SIZES_WH
    ]
    sources = []
    for phase in range(PHASES):
        of_size = coded[phase % len(SIZES_WH)]
        video = write_video(folder / f"{seed}-{phase}.avi", of_size[phase:], float(RATE_HZ))
        sources += ["--source", f"p{phase}={video}"]
    done = edge_har("run", "-q", *sources, timeout_s=120)
    assert done.returncode == 0, done.stderr
    events = [Event.of(line) for line in map(json.loads, done.stdout.splitlines()) if line["type"] == "end"]
    found = {}
    for label, first, last in plays:
        at = [
            Play(f"p{phase}", label, (first - phase) / RATE_HZ, (last + 1 - phase) / RATE_HZ)
            for phase in range(PHASES)
        ]
        found[label] = all(len([event for event in events if matches(event, play)]) == 1 for play in at)
    return found
