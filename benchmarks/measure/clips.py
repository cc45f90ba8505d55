"""What a form of a model predicts on recorded clips:
the windows that `classify` takes, the mean over each clip.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError
from edge_har.model.cadence import TemporalContract, window_indices
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.sources.recordings import open_recording

Scores = NDArray[np.float32]
Classify = Callable[[Pixels], Scores]  # the ticks of one clip -> probabilities [windows, labels]


@dataclass(frozen=True)
class HeldOut:
    """A clip that the model was not trained on. name: as the index of the data set has it."""

    path: Path
    name: str
    label: str
    group: str


def indexed_clips(index: Path) -> list[HeldOut]:
    """The clips of an index.csv, named by the part of their path that differs;
    raises DataError where it cannot be read.
    """
    try:
        with index.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except OSError as error:
        raise DataError(f"{index}: cannot be read: {error.strerror}") from error
    folder = os.path.realpath(index.parent)  # what its paths are relative to
    paths = [Path(os.path.normpath(os.path.join(folder, row["path"]))) for row in rows]
    common = os.path.commonpath([path.parent for path in paths])
    return [
        HeldOut(path, path.relative_to(common).as_posix(), row["label"], row["group"])
        for path, row in zip(paths, rows, strict=True)
    ]


@dataclass(frozen=True)
class Figures:
    """Predictions on held-out clips. missed: clips that were not recognised; wrong: {"clip", "label",
    "answer"} of each of them, or nothing where they are not known by name.
    windows, windows_right: over all windows of all clips.
    """

    clips: int
    missed: int
    wrong: tuple[dict[str, str], ...]
    windows: int
    windows_right: int

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return vars(self) | {"wrong": list(self.wrong)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Figures:
        """Read what `to_json` gave."""
        return cls(**(values | {"wrong": tuple(values["wrong"])}))

    @classmethod
    def total(cls, parts: Iterable[Figures]) -> Figures:
        """All parts as one."""
        every = list(parts)
        return cls(
            sum(part.clips for part in every),
            sum(part.missed for part in every),
            tuple(wrong for part in every for wrong in part.wrong),
            sum(part.windows for part in every),
            sum(part.windows_right for part in every),
        )

    @property
    def right(self) -> int:
        """Clips that were recognised."""
        return self.clips - self.missed

    @property
    def accuracy(self) -> float:
        """Fraction of clips recognised."""
        return self.right / self.clips

    @property
    def window_accuracy(self) -> float:
        """Fraction of windows recognised."""
        return self.windows_right / self.windows


def clip_ticks(path: Path, spec: FrameSpec, contract: TemporalContract) -> Pixels:
    """The prepared frames of a clip's ticks, uint8 [ticks, h, w, 3]: its longest piece without a gap.

    Raises SourceError when it cannot be read.
    """
    pieces: list[list[Pixels]] = []
    with open_recording(path) as source:
        for ticks in ticks_of(source, Sampler(spec, contract)):
            if ticks.reset or not pieces:
                pieces.append([])
            pieces[-1].extend([ticks.frame] * len(ticks.times_s))
    return np.stack(max(pieces, key=len))


def clip_windows(ticks: Pixels, contract: TemporalContract) -> list[Pixels]:
    """Every window of a clip's ticks, uint8 [frames, h, w, 3] each;
    a short clip is filled forward and back.
    """
    return [ticks[window] for window in window_indices(len(ticks), contract.frames, contract.hop_ticks)]


def by_window(contract: TemporalContract, predict: Callable[[Pixels], Scores]) -> Classify:
    """A classifier that runs `predict` on each window alone: uint8 [frames, h, w, 3] -> [labels]."""
    return lambda ticks: np.stack([predict(window) for window in clip_windows(ticks, contract)])


def by_stream(recognizer: TickRecognizer) -> Classify:
    """A classifier as `run` is one: tick after tick, and only the window at a file's very end by itself."""
    contract = recognizer.manifest.temporal

    def classify(ticks: Pixels) -> Scores:
        windows = clip_windows(ticks, contract)
        recognizer.reset()
        scores = [made for frame in ticks if (made := recognizer.tick(frame)) is not None]
        scores += [recognizer.clip(window) for window in windows[len(scores) :]]
        return np.stack(scores)

    return classify


def figures(classify: Classify, clips: Sequence[tuple[HeldOut, Pixels]], labels: Sequence[str]) -> Figures:
    """Run `classify` over clips with their ticks, and count what is right."""
    wrong, windows, windows_right = [], 0, 0
    for clip, ticks in clips:
        scores = classify(ticks)
        predicted = labels[int(scores.mean(axis=0).argmax())]
        windows += len(scores)
        windows_right += int((scores.argmax(axis=1) == labels.index(clip.label)).sum())
        if predicted != clip.label:
            wrong.append({"clip": clip.name, "label": clip.label, "answer": predicted})
    return Figures(len(clips), len(wrong), tuple(wrong), windows, windows_right)
