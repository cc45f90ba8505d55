"""The parity gate: float Keras, float TFLite, quantised whole clip and quantised stream on the same windows.

A `Reference` holds the float model's answers, `compare` runs the others, `figures` and `details` say what came out, `gate` judges it in words a user can act on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.precisions import MIXED
from edge_har.errors import ConversionError, MisuseError, ParityError
from edge_har.model.bundle import Bundle
from edge_har.model.cadence import TemporalContract, fill_indices, window_starts
from edge_har.model.interpreter import Graph
from edge_har.model.manifest import Manifest
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import Recognizer, WholeClip
from train.data.batches import CachedClip
from train.data.videos import tick_indices
from train.fitting.evaluate import Predict, confusion_matrix, keras_predict
from train.intervals import fraction_interval, group_interval

MIN_AGREEMENT = 0.97  # of windows with the float model's top label
STATELESS_INT8_AGREEMENT = 0.98  # int8 without states measured 1.0: less is a fault, not a price
FLOAT_AGREEMENT = 0.999
FEW_WINDOWS = 1  # changed ones that prove nothing, where there are so few that one alone breaks a limit
MAX_DROP_POINTS = 2.0  # of window accuracy, float Keras to stream
STREAM_TOLERANCE = 0.005  # of a probability, between stream and whole clip: they mostly measured equal
# Two int8 graphs round pixels and features each for itself: 0.006 over 2,000 windows. With states it would hide a fault.
STATELESS_INT8_STREAM_TOLERANCE = 0.02
LOOSE_STREAM_TOLERANCE = 0.05  # where their graphs hold or round numbers in different places
COLLAPSE_SHARE = 0.6  # of balanced windows under one label; more where there are few labels
SWAPPED_SHARE = 2 / 3  # of a label's windows that answer one other label, before labels count as mixed up
SWAPPED_CLIPS = 2  # of a label, before it can count as mixed up: one odd clip proves nothing
LENT_TICKS = (1, 2, 3)  # ticks that share a frame of a slow source
MAX_WINDOWS = 2000  # beyond these the interval hardly shrinks
PREDICTED_AT_ONCE = 32
WORST_CLIPS = 10
SCATTER_POINTS = 2000
DIGITS = 6  # of reported figures
SCATTER_DIGITS = 4
ORDER_SEED, SCATTER_SEED = 5, 6
LOOK_FOR_ONE = "let --precision auto look for one that passes"

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
    """Probabilities [windows, labels] of the ways to compute the same windows, at every tick offset.

    float_tflite: None where it was not made. place: int64 [windows], which clip. by_contract: bool [windows], those
    that `classify` would average. truth: int64 [clips], index into `labels`, meaningless unless `labelled`. groups,
    names: per clip. held_out: nothing was trained on these clips, so that accuracy on them may be claimed.
    groups_known: groups are people or source videos, not each clip its own.
    """

    keras: Scores
    whole: Scores
    stream: Scores
    place: NDArray[np.int64]
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
        """Whether accuracy can be measured on these clips, and said."""
        return self.labelled and self.held_out

    @property
    def window_truth(self) -> NDArray[np.int64]:
        """The true label of each window: int64 [windows]."""
        return np.asarray(self.truth[self.place])


@dataclass(frozen=True)
class Limits:
    """What the gate lets pass. Raises MisuseError.

    min_agreement: share of windows with the float model's top label. max_drop_points: of window accuracy, from float
    Keras to the stream, in percentage points; neither is broken by FEW_WINDOWS, unless they let (almost) none change.
    stream_tolerance: of a probability, between stream and whole clip.
    """

    min_agreement: float = MIN_AGREEMENT
    max_drop_points: float = MAX_DROP_POINTS
    stream_tolerance: float = STREAM_TOLERANCE

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise MisuseError(f"the least agreement must be 0 to 1, got {self.min_agreement}")
        if not 0 <= self.max_drop_points <= 100:
            raise MisuseError(
                f"the largest drop must be 0 to 100 percentage points, got {self.max_drop_points}"
            )
        if not 0 <= self.stream_tolerance <= 1:
            raise MisuseError(f"the stream's tolerance must be 0 to 1, got {self.stream_tolerance}")

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        foreign: bool = False,
        min_agreement: float | None = None,
        max_drop_points: float | None = None,
    ) -> Limits:
        """The limits for this kind and precision, but where the user says others.

        foreign: somebody else's layers, which the converter may round at other places in a whole clip than in the two
        graphs of its stream (a mean over time and space at once).
        """
        return cls(
            promised_agreement(manifest, foreign=foreign) if min_agreement is None else min_agreement,
            MAX_DROP_POINTS if max_drop_points is None else max_drop_points,
            _stream_tolerance(manifest, foreign),
        )


def promised_agreement(manifest: Manifest, *, foreign: bool = False) -> float:
    """What this precision reaches on a sound model: less of it is a fault even where MIN_AGREEMENT is kept.

    foreign: of layers and trainings that nobody has measured.
    """
    if manifest.precision == "float32":
        return FLOAT_AGREEMENT
    return STATELESS_INT8_AGREEMENT if _is_stateless_int8(manifest) and not foreign else MIN_AGREEMENT


def _stream_tolerance(manifest: Manifest, foreign: bool) -> float:
    if foreign or manifest.precision == MIXED:
        return LOOSE_STREAM_TOLERANCE
    return STATELESS_INT8_STREAM_TOLERANCE if _is_stateless_int8(manifest) else STREAM_TOLERANCE


def _is_stateless_int8(manifest: Manifest) -> bool:
    roles = (tensor.role for graph in manifest.tensors.values() for tensor in graph.inputs)
    return manifest.precision == "int8" and not any(role.startswith("state_") for role in roles)


@dataclass(frozen=True)
class Verdict:
    """breaches: why no bundle may be written, a line each. allowed: breaches that the user let pass."""

    limits: Limits
    breaches: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether a bundle may be written."""
        return not self.breaches

    def check(self) -> None:
        """Raises ParityError, in one line with every breach, unless a bundle may be written."""
        if self.breaches:
            raise ParityError("; ".join(self.breaches) + "; no bundle is written")

    def to_json(self) -> dict[str, Any]:
        """For the report and the manifest."""
        return {
            "passed": self.passed,
            "breaches": list(self.breaches),
            "allowed_by_user": list(self.allowed),
            "min_agreement": self.limits.min_agreement,
            "max_drop_points": self.limits.max_drop_points,
            "stream_tolerance": self.limits.stream_tolerance,
        }


@dataclass(frozen=True)
class Reference:
    """What bundles are compared with: the float model's answers on the windows of `clips`, computed once for all.

    labels: of the model's outputs and the clips. contract: how windows are cut. labelled, held_out, groups_known: as in
    Comparison. seed: of the choice of clips where they have more than MAX_WINDOWS windows. Raises MisuseError without
    a clip.
    """

    model: Any
    clips: Sequence[CachedClip]
    labels: Sequence[str]
    contract: TemporalContract
    labelled: bool = True
    held_out: bool = True
    groups_known: bool = True
    seed: int = 0

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
    def keras(self) -> Scores:
        """What the float model answers: [windows, labels]."""
        predict = keras_predict(self.model)
        return self.scores(lambda frames: _in_chunks(predict, _windows(frames, self.contract.frames)))

    def scores(self, run: Callable[[Pixels], Scores]) -> Scores:
        """What a way answers; run: from a clip's ticks to its windows' probabilities."""
        return np.concatenate([run(frames) for _, frames in self.used])


def compare(reference: Reference, bundle: Bundle, *, float_clip: bytes | None = None) -> Comparison:
    """Run the reference's windows every other way.

    The stream goes through `Recognizer` tick by tick, once per offset of the hop, so that every window is a result.
    The bundle's answers are matched to the reference's labels by name, so that another order shows. float_clip: the
    whole-clip graph in float32, as a TFLite file. Raises ConversionError where the bundle has other labels or cuts
    other windows.
    """
    columns = _columns(reference.labels, bundle.manifest.labels)
    contract = bundle.manifest.temporal
    if contract.to_json() != reference.contract.to_json():  # what is not said there has a default here
        raise ConversionError(f"the bundle's windows are {contract}; the model's are {reference.contract}")
    recognizer, whole = Recognizer(bundle), WholeClip(bundle)
    counts = [len(frames) - contract.frames + 1 for _, frames in reference.used]
    by_contract = [
        np.isin(np.arange(count), window_starts(len(frames), contract.frames, contract.hop_ticks))
        for count, (_, frames) in zip(counts, reference.used, strict=True)
    ]
    clips = [clip for clip, _ in reference.used]
    return Comparison(
        reference.keras,
        reference.scores(
            lambda frames: np.stack([whole.clip(window) for window in _windows(frames, contract.frames)])
        )[:, columns],
        reference.scores(lambda frames: stream_scores(recognizer, frames))[:, columns],
        np.repeat(np.arange(len(clips)), counts),
        np.concatenate(by_contract),
        np.array([clip.label for clip in clips]),
        tuple(clip.group for clip in clips),
        tuple(clip.name for clip in clips),
        tuple(reference.labels),
        None if float_clip is None else reference.scores(_float_runner(float_clip, contract.frames)),
        reference.labelled,
        reference.held_out,
        reference.groups_known,
    )


def _columns(labels: Sequence[str], of_bundle: Sequence[str]) -> list[int]:
    """Where the bundle holds each of `labels`."""
    if sorted(labels) != sorted(of_bundle):
        raise ConversionError(
            f"the bundle has the labels {', '.join(of_bundle)}; the model's are {', '.join(labels)}"
        )
    return [of_bundle.index(label) for label in labels]


def _float_runner(content: bytes, length: int) -> Callable[[Pixels], Scores]:
    graph = Graph(content)

    def run(frames: Pixels) -> Scores:
        scores = []
        for window in _windows(frames, length):
            graph.reset()
            scores.append(graph.run(window[np.newaxis])[0][0])
        return np.stack(scores)

    return run


def stream_scores(recognizer: Recognizer, frames: Pixels) -> Scores:
    """What the stream answers for each window of `frames` (uint8 [ticks, h, w, 3]): [ticks - N + 1, labels].

    A stream answers each hop from its start; starting it at each offset of a hop gives every window.
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


def slow_source(reference: Reference, bundle: Bundle) -> dict[str, Any] | None:
    """What a source costs that is slower than the model: the stream's window accuracy where each frame serves as many
    ticks as LENT_TICKS says, on windows by contract; None where accuracy cannot be claimed.
    """
    if not (reference.labelled and reference.held_out):
        return None
    recognizer = Recognizer(bundle)
    columns = _columns(reference.labels, bundle.manifest.labels)
    said = {}
    for lent in LENT_TICKS:
        right = [
            answer == clip.label
            for clip, frames in reference.used
            for answer in _answers(recognizer, lend(frames, lent), columns)
        ]
        said[str(lent)] = _rounded(np.mean(right))
    return {"windows": len(right), "window_accuracy": said}


def lend(frames: Pixels, ticks: int) -> Pixels:
    """What the ticks see of a source that gives them a frame each `ticks` ticks: uint8 [ticks, h, w, 3]."""
    return np.asarray(frames[np.arange(len(frames)) // ticks * ticks])


def _answers(recognizer: Recognizer, frames: Pixels, columns: Sequence[int]) -> list[int]:
    recognizer.reset()
    made = [recognizer.tick(frame) for frame in frames]
    return [int(scores[columns].argmax()) for scores in made if scores is not None]


def stream_predict(bundle: Bundle, *, threads: int = 1) -> Predict:
    """The bundle's stream as a function on windows, for train.fitting.evaluate: uint8 [n, N, h, w, 3] -> [n, labels]."""
    recognizer = Recognizer(bundle, threads=threads)
    return lambda windows: np.stack([recognizer.clip(window) for window in windows])


def whole_clip_predict(bundle: Bundle, *, threads: int = 1) -> Predict:
    """As `stream_predict`, with the bundle's whole-clip graph."""
    graph = WholeClip(bundle, threads=threads)
    return lambda windows: np.stack([graph.clip(window) for window in windows])


def figures(comparison: Comparison) -> dict[str, Any]:
    """What the report and the manifest say of a comparison: shares with their intervals, errors, the drop."""
    against = comparison.keras
    known = sorted(set(comparison.groups)) if comparison.groups_known else "unknown"
    said: dict[str, Any] = {
        "clips": len(comparison.truth),
        "windows": len(comparison.place),
        "groups": known,
        "agreement": _share(_same(comparison.stream, against), comparison),
        "agreement_whole_clip": _share(_same(comparison.whole, against), comparison),
        "probability_error": _errors(comparison.stream, against),
        "probability_error_whole_clip": _errors(comparison.whole, against),
        "stream_against_whole_clip": {
            "agreement": _rounded(_same(comparison.stream, comparison.whole).mean()),
            **_errors(comparison.stream, comparison.whole),
        },
    }
    if comparison.float_tflite is not None:
        said["agreement_float_tflite"] = _share(_same(comparison.float_tflite, against), comparison)
        said["probability_error_float_tflite"] = _errors(comparison.float_tflite, against)
    if comparison.labelled:
        said["largest_label_share"] = {
            way: _rounded(largest_label_share(comparison.ways[way], comparison)) for way in (KERAS, STREAM)
        }
    if comparison.accuracy_counts:
        said["accuracy"] = {
            way: {
                "windows": _share(_windows_right(scores, comparison), comparison),
                "clips": _share(_clips_right(scores, comparison), comparison, of_clips=True),
            }
            for way, scores in comparison.ways.items()
        }
        said["drop"] = _drop(comparison)
    return said


def details(comparison: Comparison, *, seed: int = 0) -> dict[str, Any]:
    """What a report shows beside the figures: worst clips by name, a sample of probabilities, and where accuracy
    counts, recall and confusion of windows (rows the truth, columns the answers, in the order of `labels`).
    """
    said: dict[str, Any] = {
        "labels": list(comparison.labels),
        "worst_clips": _worst_clips(comparison),
        "scatter": _scatter(comparison, seed),
    }
    if comparison.accuracy_counts:
        count = len(comparison.labels)
        matrices = {
            way: confusion_matrix(comparison.window_truth, comparison.ways[way].argmax(axis=1), count)
            for way in (KERAS, STREAM)
        }
        said["confusion"] = {way: matrix.tolist() for way, matrix in matrices.items()}
        said["recall"] = {way: _recall(matrix, comparison.labels) for way, matrix in matrices.items()}
    return said


def gate(
    comparison: Comparison, limits: Limits, *, allow_drop: bool = False, searched: bool = False
) -> Verdict:
    """Judge a comparison, every breach in a line that says what to do.

    allow_drop: lost accuracy and agreement, which are a matter of degree, are let pass and recorded; a model that
    cannot tell labels apart, mixed-up labels, or a stream unlike its whole clip, are faults and never pass. searched:
    the precision was looked for (`auto`), so that nobody is sent to look for one.
    """
    remedies = ("" if searched else f"{LOOK_FOR_ONE}, ") + "prune less or train longer"
    faults = [*_model_faults(comparison), *_stream_faults(comparison, limits)]
    losses = [*_agreement_losses(comparison, limits, remedies), *_drop_losses(comparison, limits, remedies)]
    if allow_drop:
        return Verdict(limits, tuple(faults), tuple(losses))
    return Verdict(limits, (*faults, *losses))


def _model_faults(comparison: Comparison) -> list[str]:
    if not comparison.labelled:
        return []
    present = len(np.unique(comparison.window_truth))
    if present < 2:
        return []
    limit = collapse_limit(present)
    for way in (KERAS, STREAM):
        share = largest_label_share(comparison.ways[way], comparison)
        if share > limit:
            return [
                (
                    f"the {WAYS[way]} gives one label to {share:.0%} of balanced windows (limit {limit:.0%}): it has "
                    "collapsed; train it longer or on more clips"
                )
            ]
    mixed = mixed_up_labels(comparison)
    if mixed:
        pairs = ", ".join(f"{truth} is answered {answer}" for truth, answer in mixed)
        return [f"labels are mixed up ({pairs}): give them in the order of the model's outputs"]
    right = balanced_accuracy(comparison.keras, comparison)
    if right <= 1 / present:
        return [
            (
                f"the float model is right on {right:.0%} of balanced windows, no better than guessing among {present} "
                "labels: check labels, colour order, input range and cadence, or train it longer"
            )
        ]
    return []


def _stream_faults(comparison: Comparison, limits: Limits) -> list[str]:
    apart = float(np.abs(comparison.stream - comparison.whole).max())
    if apart <= limits.stream_tolerance:
        return []
    return [
        (
            f"the stream differs from the whole clip by {apart:.3f} in a probability, more than "
            f"{limits.stream_tolerance:g}: a state or a ring is not as it should be; please report it with the report file"
        )
    ]


def _agreement_losses(comparison: Comparison, limits: Limits, remedies: str) -> list[str]:
    losses = []
    for way in (STREAM, WHOLE_CLIP):
        same = _same(comparison.ways[way], comparison.keras)
        agreement = float(same.mean())
        few = (~same).sum() <= FEW_WINDOWS and limits.min_agreement < FLOAT_AGREEMENT
        if agreement < limits.min_agreement and not few:
            losses.append(
                f"the {WAYS[way]} gives the float model's label on {agreement:.1%} of {len(comparison.place)} windows, "
                f"less than {limits.min_agreement:.1%}: calibrate on clips like those the camera will see, {remedies}"
            )
    return losses


def _drop_losses(comparison: Comparison, limits: Limits, remedies: str) -> list[str]:
    if not comparison.accuracy_counts:
        return []
    drop = drop_points(comparison)
    few = _lost(comparison).sum() <= FEW_WINDOWS and limits.max_drop_points > 0
    if drop <= limits.max_drop_points or few:
        return []
    before, after = (
        float(_windows_right(comparison.ways[way], comparison).mean()) for way in (KERAS, STREAM)
    )
    return [
        (
            f"accuracy falls from {before:.1%} to {after:.1%} of windows, {drop:.1f} points, more than "
            f"{limits.max_drop_points:g}: {remedies}, or accept it with --allow-drop"
        )
    ]


def drop_points(comparison: Comparison) -> float:
    """Window accuracy lost from float Keras to the stream, in percentage points; below 0 where it gained."""
    return float(100 * _lost(comparison).mean())


def collapse_limit(labels: int) -> float:
    """The largest share of balanced windows under one answer, among this many labels.

    Halfway between an even share and everything: two labels answered 65 to 35 may be honest, nine are not. Never
    below COLLAPSE_SHARE.
    """
    return max(COLLAPSE_SHARE, (1 / labels + 1) / 2)


def balanced_accuracy(scores: Scores, comparison: Comparison) -> float:
    """Share of right windows, each true label weighted alike."""
    right, truth = _windows_right(scores, comparison), comparison.window_truth
    return float(np.mean([right[truth == label].mean() for label in np.unique(truth)]))


def mixed_up_labels(comparison: Comparison) -> list[tuple[str, str]]:
    """Labels that the float model answers in a circle (a as b, b as a), as (truth, answer); else nothing.

    A model that errs answers some label too often; labels that swap places most of the time are in a wrong order.
    """
    answers, truth = comparison.keras.argmax(axis=1), comparison.window_truth
    clips = np.bincount(comparison.truth, minlength=len(comparison.labels))
    goes_to: dict[int, int] = {}
    for label in np.flatnonzero(clips >= SWAPPED_CLIPS):
        counts = np.bincount(answers[truth == label], minlength=len(comparison.labels))
        if counts.max() > SWAPPED_SHARE * counts.sum() and counts.argmax() != label:
            goes_to[int(label)] = int(counts.argmax())
    while set(goes_to.values()) != set(goes_to):  # what leads into a circle, or out of it, is not on one
        goes_to = {a: b for a, b in goes_to.items() if b in goes_to and a in goes_to.values()}
    return [(comparison.labels[a], comparison.labels[b]) for a, b in goes_to.items()]


def largest_label_share(scores: Scores, comparison: Comparison) -> float:
    """The largest share of windows under one answer, each true label weighted alike; 0.0 where there is one label."""
    truth = comparison.window_truth
    present = np.unique(truth)
    if len(present) < 2:
        return 0.0
    answers = scores.argmax(axis=1)
    by_label = [np.bincount(answers[truth == label], minlength=scores.shape[1]) for label in present]
    return float(np.mean([counts / counts.sum() for counts in by_label], axis=0).max())


def _windows(frames: Pixels, length: int) -> Pixels:
    """Every window of a clip's ticks: uint8 [ticks - length + 1, length, h, w, 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, length, axis=0)
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


def _same(one: Scores, other: Scores) -> NDArray[np.bool_]:
    return np.asarray(one.argmax(axis=1) == other.argmax(axis=1))


def _windows_right(scores: Scores, comparison: Comparison) -> NDArray[np.bool_]:
    return np.asarray(scores.argmax(axis=1) == comparison.window_truth)


def _clip_scores(scores: Scores, comparison: Comparison) -> Scores:
    """What `classify` says of each clip: the mean of its windows by contract, [clips, labels]."""
    chosen = [(comparison.place == clip) & comparison.by_contract for clip in range(len(comparison.truth))]
    return np.stack([scores[windows].mean(axis=0) for windows in chosen])


def _clips_right(scores: Scores, comparison: Comparison) -> NDArray[np.bool_]:
    return np.asarray(_clip_scores(scores, comparison).argmax(axis=1) == comparison.truth)


def _window_groups(comparison: Comparison) -> list[str]:
    return [comparison.groups[clip] for clip in comparison.place]


def _many_groups(comparison: Comparison) -> bool:
    return comparison.groups_known and len(set(comparison.groups)) > 1


def _share(right: NDArray[np.bool_], comparison: Comparison, *, of_clips: bool = False) -> dict[str, Any]:
    groups = comparison.groups if of_clips else _window_groups(comparison)
    said = fraction_interval(right, groups, comparison.groups_known)
    low, high = said["interval"]
    return {**said, "share": _rounded(said["share"]), "interval": [_rounded(low), _rounded(high)]}


def _lost(comparison: Comparison) -> NDArray[np.float64]:
    """Per window: 1 where the float model is right and the stream is not, -1 the other way round, else 0."""
    before, after = (_windows_right(comparison.ways[way], comparison) for way in (KERAS, STREAM))
    return before.astype(np.float64) - after


def _drop(comparison: Comparison) -> dict[str, Any]:
    """Points lost with their 95 % interval: the same groups drawn for both, or clips where groups are unknown."""
    by_group = _many_groups(comparison)
    units = _window_groups(comparison) if by_group else [str(clip) for clip in comparison.place]
    interval = group_interval(_lost(comparison), units)
    return {
        "points": _rounded(drop_points(comparison)),
        "interval": [_rounded(100 * end) for end in interval],
        "interval_by": "groups" if by_group else "clips",
    }


def _errors(one: Scores, other: Scores) -> dict[str, float]:
    apart = np.abs(one - other)
    return {"mean_error": _rounded(apart.mean()), "max_error": _rounded(apart.max())}


def _worst_clips(comparison: Comparison) -> list[dict[str, Any]]:
    """The clips whose answer changed, then those of the largest errors; WORST_CLIPS at most."""
    apart = np.abs(comparison.stream - comparison.keras).max(axis=1)
    changed = ~_same(comparison.stream, comparison.keras)
    before, after = (_clip_scores(comparison.ways[way], comparison).argmax(axis=1) for way in (KERAS, STREAM))
    rows = []
    for clip, name in enumerate(comparison.names):
        windows = comparison.place == clip
        rows.append(
            {
                "clip": name,
                "label": comparison.labels[comparison.truth[clip]] if comparison.labelled else None,
                "float_answer": comparison.labels[before[clip]],
                "stream_answer": comparison.labels[after[clip]],
                "windows": int(windows.sum()),
                "windows_changed": int(changed[windows].sum()),
                "max_error": _rounded(apart[windows].max()),
            }
        )
    rows.sort(key=lambda row: (row["float_answer"] == row["stream_answer"], -row["max_error"]))
    return rows[:WORST_CLIPS]


def _scatter(comparison: Comparison, seed: int) -> dict[str, Any]:
    """A sample of probabilities, float Keras beside the stream's."""
    count = comparison.keras.size
    random = np.random.default_rng([seed, SCATTER_SEED])
    chosen = np.sort(random.permutation(count)[:SCATTER_POINTS])
    pairs = {way: comparison.ways[way].ravel()[chosen] for way in (KERAS, STREAM)}
    return {"of": count, **{way: [round(float(p), SCATTER_DIGITS) for p in pairs[way]] for way in pairs}}


def _recall(confusion: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    """By label that has windows: share answered rightly, and how many windows."""
    counts = confusion.sum(axis=1)
    return {
        label: {"share": _rounded(confusion[at, at] / counts[at]), "windows": int(counts[at])}
        for at, label in enumerate(labels)
        if counts[at]
    }


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
