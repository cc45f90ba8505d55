"""docs/figures/demo.webp: what the shipped model says of the synthetic person, moving, for the README."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.measure.commands import edge_har
from edge_har.errors import EdgeHarError
from edge_har.model.preprocess import Pixels
from edge_har.system.files import replaced_file

SUFFIX = ".webp"
SOURCE = "synthetic:demo?size=320x240&rate=12.5"
SECONDS = 26.0  # four actions, two across the picture and two in place
QUALITY = 60  # of 100


def write_demo(out: Path) -> int:
    """Write the moving picture: what `edge-har run` records of the demo with its sink `video`, labels drawn
    in. Returns how many frames it has. Raises EdgeHarError where they cannot be encoded.
    """
    with TemporaryDirectory() as folder:
        recorded = Path(folder) / "video"
        edge_har("run", "--source", SOURCE, "--sink", f"video:{recorded}", log=Path(folder) / "log.txt")
        (path,) = recorded.glob("*.mp4")
        video = cv2.VideoCapture(str(path))
        rate_hz = video.get(cv2.CAP_PROP_FPS)
        frames: list[Pixels] = []
        while len(frames) < SECONDS * rate_hz:
            read, frame = video.read()
            if not read:
                break
            frames.append(np.asarray(frame, np.uint8))
        video.release()
        made = cv2.Animation()
        made.frames = frames
        made.durations = [round(1000 / rate_hz)] * len(frames)
        with replaced_file(out) as partial:
            encoded = Path(folder) / f"demo{SUFFIX}"
            if not cv2.imwriteanimation(str(encoded), made, [cv2.IMWRITE_WEBP_QUALITY, QUALITY]):
                raise EdgeHarError(f"{out}: OpenCV could not encode the picture")
            partial.write_bytes(encoded.read_bytes())
    return len(frames)
