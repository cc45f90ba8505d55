"""The same windows computed four ways: float Keras, float TFLite, quantised whole clip and quantised stream.

A `Reference` holds the float model's predictions, `compare` runs the other ways beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.verify.streams import remembering_recognizer
from edge_har.cli.progress import progress, to_stderr
from edge_har.errors import ConversionError, MisuseError
from edge_har.model.bundle import Bundle
from edge_har.model.cadence import TemporalContract, fill_indices, window_starts
from edge_har.model.interpreter import Graph
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import TickRecognizer, WholeClip
from train.data.batches import CachedClip
from train.data.videos import tick_indices
from train.fitting.evaluate import Predict, keras_predict

# How many ticks share a frame of a slow source.
FRAME_REPEATS = (1, 2, 3)
# Beyond these the interval hardly shrinks.
MAX_WINDOWS = 2000
# Larger pictures have fewer: a whole clip passes each of its frames through the encoder, in each way.
MAX_PIXELS = MAX_WINDOWS * 20 * 64 * 64
PREDICTED_AT_ONCE = 32
# Of reported figures.
DIGITS = 6
ORDER_SEED = 5

KERAS, FLOAT_TFLITE, WHOLE_CLIP, STREAM = "float", "float_tflite", "whole_clip", "stream"
WAYS = {
    KERAS: "float Keras model",
    FLOAT_TFLITE: "float TFLite whole clip",
    WHOLE_CLIP: "quantised whole clip",
    STREAM: "quantised stream",
}

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """Probabilities [windows, labels] of the ways to compute the same windows, at every tick offset (of large
    pictures at every few).

    float_tflite: None where it was not made. clip_of_window: int64 [windows], index of the clip. by_contract:
    bool [windows], those that `classify` would average. truth: int64 [clips], index into `labels`,
    meaningless unless `labelled`. groups, names: per clip. held_out: nothing was trained on these clips, so
    that accuracy on them may be claimed. groups_known: groups are people or source videos, not each clip its
    own.
    """

    keras: Scores
    whole: Scores
    stream: Scores
    clip_of_window: NDArray[np.int64]
    by_contract: NDArray[np.bool_]
    truth: NDArray[np.int64]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    float_tflite: Scores | None = None
    labelled: bool = True
    held_out: bool = True
    groups_known: bool = True

    @property
    def ways(self) -> dict[str, Scores]:
        """Probabilities by the names of WAYS, in their order."""
        made = {
            KERAS: self.keras,
            FLOAT_TFLITE: self.float_tflite,
            WHOLE_CLIP: self.whole,
            STREAM: self.stream,
        }
        return {way: scores for way, scores in made.items() if scores is not None}

    @property
    def accuracy_counts(self) -> bool:
        """Whether accuracy can be measured on these clips, and reported."""
        return self.labelled and self.held_out

    @property
    def window_truth(self) -> NDArray[np.int64]:
        """The true label of each window: int64 [windows]."""
        return np.asarray(self.truth[self.clip_of_window])


@dataclass(frozen=True)
class Reference:
    """What bundles are compared with: the float model's predictions on the windows of `clips`, computed once
    for all.

    labels: of the model's outputs and the clips. contract: how windows are cut. labelled, held_out,
    groups_known: as in Comparison. seed: of the choice of clips where they have more than MAX_WINDOWS
    windows. report: takes lines of progress; `to_stderr` has bars on a terminal. Raises MisuseError without a
    clip.
    """

    model: Any
    clips: Sequence[CachedClip]
    labels: Sequence[str]
    contract: TemporalContract
    labelled: bool = True
    held_out: bool = True
    groups_known: bool = True
    seed: int = 0
    report: Callable[[str], None] = to_stderr

    def __post_init__(self) -> None:
        if not self.clips:
            raise MisuseError("there is no clip to compare on")

    @cached_property
    def used(self) -> list[tuple[CachedClip, Pixels]]:
        """The clips that are compared on, in order, each with its ticks: uint8 [ticks, h, w, 3]."""
        used, windows = [], 0
        for at in np.random.default_rng([self.seed, ORDER_SEED]).permutation(len(self.clips)):
            frames = _tick_frames(self.clips[at], self.contract)
            used.append((self.clips[at], frames))
            windows += len(frames) - self.contract.frames + 1
            if windows >= MAX_WINDOWS:
                break
        return used

    @cached_property
    def every(self) -> int:
        """Ticks between two windows that are compared."""
        windows = sum(len(frames) - self.contract.frames + 1 for _, frames in self.used)
        window_pixels = self.contract.frames * int(np.prod(self.used[0][1].shape[1:3]))
        return math.ceil(windows * window_pixels / MAX_PIXELS)

    def windows(self, frames: Pixels) -> Pixels:
        """The windows of a clip's ticks that are compared: uint8 [windows, frames, h, w, 3]."""
        return _windows(frames, self.contract.frames, self.every)

    @cached_property
    def keras(self) -> Scores:
        """The float model's probabilities: float32 [windows, labels]."""
        predict = keras_predict(self.model)
        return self.scores(KERAS, lambda frames: _in_chunks(predict, self.windows(frames)))

    def scores(self, way: str, run: Callable[[Pixels], Scores]) -> Scores:
        """The probabilities of a way, float32 [windows, labels].

        way: a key of WAYS. run: from a clip's ticks to its windows' probabilities.
        """
        return np.concatenate([run(frames) for _, frames in self.each_used(WAYS[way])])

    def each_used(self, work: str) -> Iterator[tuple[CachedClip, Pixels]]:
        """`used`, one by one, with a bar on a terminal. work: its label."""
        with progress(f"{work}, clips", self.report, lines=False) as on_progress:
            for done, used in enumerate(self.used, 1):
                yield used
                on_progress(done, len(self.used))


def compare(reference: Reference, bundle: Bundle, *, float_clip: bytes | None = None) -> Comparison:
    """Run the reference's windows every other way.

    The stream goes through `TickRecognizer`, once per offset of the hop, so that each window is a
    result. The bundle's scores are matched to the reference's labels by name, so that another order shows.
    float_clip: the whole-clip graph in float32, as a TFLite file. Raises ConversionError where the bundle has
    other labels or cuts other windows.
    """
    columns = _columns(reference.labels, bundle.manifest.labels)
    contract = bundle.manifest.temporal
    # As JSON, where a setting equal to its default is not written.
    if contract.to_json() != reference.contract.to_json():
        raise ConversionError(f"the bundle's windows are {contract}; the model's are {reference.contract}")
    recognizer, whole = remembering_recognizer(bundle, plain=True), WholeClip(bundle, plain=True)
    every = reference.every
    starts = [np.arange(0, len(frames) - contract.frames + 1, every) for _, frames in reference.used]
    by_contract = [
        np.isin(of_clip, window_starts(len(frames), contract.frames, contract.hop_ticks))
        for of_clip, (_, frames) in zip(starts, reference.used, strict=True)
    ]
    clips = [clip for clip, _ in reference.used]
    return Comparison(
        reference.keras,
        reference.scores(
            WHOLE_CLIP,
            lambda frames: np.stack([whole.clip(window) for window in reference.windows(frames)]),
        )[:, columns],
        reference.scores(STREAM, lambda frames: stream_scores(recognizer, frames)[::every])[:, columns],
        np.repeat(np.arange(len(clips)), [len(of_clip) for of_clip in starts]),
        np.concatenate(by_contract),
        np.array([clip.label for clip in clips]),
        tuple(clip.group for clip in clips),
        tuple(clip.name for clip in clips),
        tuple(reference.labels),
        None if float_clip is None else float_scores(reference, float_clip),
        reference.labelled,
        reference.held_out,
        reference.groups_known,
    )


def float_scores(reference: Reference, float_clip: bytes) -> Scores:
    """The scores of the whole-clip graph in float32 (a TFLite file): float32 [windows, labels]."""
    graph = Graph(float_clip)

    def run(frames: Pixels) -> Scores:
        scores = []
        for window in reference.windows(frames):
            graph.reset()
            scores.append(graph.run(window[np.newaxis])[0][0])
        return np.stack(scores)

    return reference.scores(FLOAT_TFLITE, run)


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of bundles on the parts of the clips, each made once. references: by part."""

    references: Mapping[str, Reference]
    _made: dict[tuple[str, str], Comparison] = field(default_factory=dict)

    def of(self, part: str, bundle: Bundle) -> Comparison:
        """As `compare`, on one part."""
        key = (part, bundle.digest)
        if key not in self._made:
            self._made[key] = compare(self.references[part], bundle)
        return self._made[key]


def stream_scores(recognizer: TickRecognizer, frames: Pixels) -> Scores:
    """The stream's scores of each window of `frames` (uint8 [ticks, h, w, 3]): float32 [ticks - N + 1,
    labels].

    A stream gives scores at each hop from its start; starting it at each offset of a hop gives every window.
    """
    contract = recognizer.manifest.temporal
    count = len(frames) - contract.frames + 1
    found: dict[int, Scores] = {}
    for offset in range(min(contract.hop_ticks, count)):
        recognizer.reset()
        for tick, frame in enumerate(frames[offset:]):
            scores = recognizer.tick(frame)
            if scores is not None:
                found[offset + tick - contract.frames + 1] = scores
    recognizer.reset()
    return np.stack([found[start] for start in range(count)])


def stream_predict(bundle: Bundle, *, threads: int = 1) -> Predict:
    """The bundle's stream as a function on windows, for train.fitting.evaluate.

    Its shapes: uint8 [n, N, h, w, 3] -> [n, labels].
    """
    recognizer = TickRecognizer(bundle, threads=threads)
    return lambda windows: np.stack([recognizer.clip(window) for window in windows])


def slow_source(reference: Reference, bundle: Bundle) -> dict[str, Any] | None:
    """The stream's window accuracy with a source that is slower than the model, on windows by contract.

    Each frame is repeated for as many ticks as FRAME_REPEATS lists. None where accuracy cannot be claimed.
    """
    if not (reference.labelled and reference.held_out):
        return None
    recognizer = remembering_recognizer(bundle)
    columns = _columns(reference.labels, bundle.manifest.labels)
    accuracies = {}
    for repeats in FRAME_REPEATS:
        right = [
            prediction == clip.label
            for clip, frames in reference.each_used(f"source {repeats} ticks a frame")
            for prediction in _predictions(recognizer, repeat_frames(frames, repeats), columns)
        ]
        accuracies[str(repeats)] = round(float(np.mean(right)), DIGITS)
    return {"windows": len(right), "window_accuracy": accuracies}


def repeat_frames(frames: Pixels, ticks: int) -> Pixels:
    """What the ticks see of a source that gives them a frame each `ticks` ticks: uint8 [ticks, h, w, 3]."""
    return np.asarray(frames[np.arange(len(frames)) // ticks * ticks])


def _predictions(recognizer: TickRecognizer, frames: Pixels, columns: Sequence[int]) -> list[int]:
    recognizer.reset()
    made = [recognizer.tick(frame) for frame in frames]
    return [int(scores[columns].argmax()) for scores in made if scores is not None]


def _columns(labels: Sequence[str], of_bundle: Sequence[str]) -> list[int]:
    """Where the bundle holds each of `labels`."""
    if sorted(labels) != sorted(of_bundle):
        raise ConversionError(
            f"the bundle has the labels {', '.join(of_bundle)}; the model's are {', '.join(labels)}"
        )
    return [of_bundle.index(label) for label in labels]


def _windows(frames: Pixels, length: int, every: int = 1) -> Pixels:
    """Each `every`-th window of a clip's ticks: uint8 [windows, length, h, w, 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, length, axis=0)[::every]
    return np.ascontiguousarray(np.moveaxis(windows, -1, 1))


def _tick_frames(clip: CachedClip, contract: TemporalContract) -> Pixels:
    """The clip's frames as the device ticks through them; a short clip filled to one window."""
    taken = tick_indices(clip.times_s(), contract.interval_ms, max_gap_ms=contract.gap_ms)
    if len(taken) < contract.frames:
        taken = taken[fill_indices(len(taken), contract.frames)]
    return np.asarray(clip.frames()[taken])


def _in_chunks(predict: Predict, windows: Pixels) -> Scores:
    return np.concatenate(
        [predict(windows[at : at + PREDICTED_AT_ONCE]) for at in range(0, len(windows), PREDICTED_AT_ONCE)]
    )
