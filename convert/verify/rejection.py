"""When a bundle is not sure: its temperature, what is familiar to it, and below what it rejects.

All are fitted on the finished stream, so that the device's own numbers are judged: familiarity on windows of
the training clips, the rest on clips held out. A window is familiar where the mean and deviation of its
features over time lie near those of a label, by Mahalanobis distance with one covariance for all labels (Lee,
Lee, Lee and Shin, 'A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks', NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.graphs.float_graphs import FloatGraph
from edge_har.model.bundle import Bundle
from edge_har.model.recognizer import Recognizer
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.stream import Stream
from train.data.batches import CachedClip, clip_windows
from train.data.videos import tick_indices
from train.tf import tf

FAMILIARITY = "familiarity.tflite"
REJECTION = "rejection"  # the key of its figures in metrics
WINDOWS_PER_WINDOW = 4  # that begin within one: nearer ones say nothing new
MOST_WINDOWS = 1500  # of the training clips, that familiarity is fitted on
FEWEST_PER_LABEL = 5  # windows: fewer say nothing of where a label's features lie
# Of the mean and deviation of features, the most varied: on people held out of weizmann_full with two labels
# not trained on, this many separated unknown clips from known ones best among 8 to 128.
COMPONENTS = 64
SHRINKAGE = 0.1  # added to variances of 1: directions in which nothing varies count for little
LEAST_DEVIATION = 1e-3  # of a feature: one that never varies in training must not decide alone
STEEPNESS = 20.0  # of the fall to unfamiliar: at 1.1 times that distance a window is half familiar
KNOWN_LOST = 0.05  # of known clips held out: what the threshold may reject
FAMILIAR_FRACTION = 1 - KNOWN_LOST  # of known windows held out: as near as these is familiar
TEMPERATURES = np.geomspace(0.5, 3.0, 61)
FALLBACK_THRESHOLD = 0.5  # where nothing was held out
DIGITS = 4
BINS = 10  # of the calibration error

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeenWindows:
    """Windows as a stream saw them. features: float32 [n, ticks, width], None where the stream has no head.
    scores: float64 [n, labels], the head's own. labels, clips: int64 [n].
    """

    features: NDArray[np.float32] | None
    scores: Floats
    labels: NDArray[np.int64]
    clips: NDArray[np.int64]


@dataclass(frozen=True)
class Rejection:
    """What is stored in a bundle. graph: of familiarity, or None. figures: for the report, by name."""

    temperature: float
    reject_threshold: float | None
    graph: FloatGraph | None
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a conversion is to store. temperature, threshold: instead of fitted ones. rejects: False stores
    neither threshold nor familiarity.
    """

    temperature: float | None = None
    threshold: float | None = None
    rejects: bool = True


def seen_windows(bundle: Bundle, clips: Sequence[CachedClip], most: int | None = None) -> SeenWindows:
    """Run windows of clips through a bundle's stream. most: windows at most, spread over all clips."""
    manifest = bundle.manifest
    recognizer = Recognizer(bundle, plain=True)
    has_head = manifest.graphs.head is not None
    hop = max(manifest.temporal.hop_ticks, manifest.temporal.frames // WINDOWS_PER_WINDOW)
    listed = [
        (number, window)
        for number, clip in enumerate(clips)
        for window in clip_windows(clip, manifest.temporal, hop)
    ]
    if most is not None and len(listed) > most:
        chosen = np.random.default_rng(0).permutation(len(listed))[:most]
        listed = [listed[at] for at in np.sort(chosen)]
    scores, features = [], []
    for number, window in listed:
        scores.append(recognizer.clip(clips[number].frames()[window]))
        if has_head:
            features.append(recognizer.features)
    rows = np.stack(features) if features and features[0].ndim == 2 else None
    numbers = np.array([number for number, _ in listed])
    labels = np.array([clips[number].label for number in numbers])
    return SeenWindows(rows, np.stack(scores).astype(np.float64), labels, numbers)


def summaries(features: NDArray[np.float32]) -> Floats:
    """Mean and deviation over time of features float32 [n, ticks, width]: float64 [n, 2 x width]."""
    return np.concatenate([features.mean(axis=1), features.std(axis=1)], axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Familiarity:
    """How near windows are to those of training. projection, offset: from a summary to whitened components,
    float64 [2 x width, components] and [components]. centres: of the labels, float64 [labels, components].
    near: distance up to which a window is familiar.
    """

    projection: Floats
    offset: Floats
    centres: Floats
    near: float = 1.0

    @classmethod
    def fitted(cls, seen: SeenWindows) -> Familiarity | None:
        """To windows of training; None where a label has too few, or there are no features."""
        if (
            seen.features is None
            or np.bincount(seen.labels, minlength=seen.scores.shape[1]).min() < FEWEST_PER_LABEL
        ):
            return None
        given = summaries(seen.features)
        mean, deviation = given.mean(axis=0), given.std(axis=0) + LEAST_DEVIATION
        _, singular, directions = np.linalg.svd((given - mean) / deviation, full_matrices=False)
        components = min(COMPONENTS, len(singular))
        scale = np.sqrt(singular[:components] ** 2 / len(given) + SHRINKAGE)
        first = directions[:components].T / scale / deviation[:, np.newaxis]
        made = (given - mean) @ first
        centres = np.stack([made[seen.labels == label].mean(axis=0) for label in np.unique(seen.labels)])
        within = np.cov((made - centres[seen.labels]).T) + SHRINKAGE * np.eye(components)
        whitening = np.linalg.cholesky(np.linalg.inv(within))
        return cls(first @ whitening, -mean @ first @ whitening, centres @ whitening)

    def distances(self, features: NDArray[np.float32]) -> Floats:
        """To the nearest label, float64 [n]."""
        made = summaries(features) @ self.projection + self.offset
        return np.asarray(np.sqrt(((made[:, np.newaxis] - self.centres) ** 2).sum(axis=2).min(axis=1)))

    def __call__(self, features: NDArray[np.float32]) -> Floats:
        """How familiar windows are: float64 [n], 1 near, 0 far, .5 at `near` times (1 + 2 / STEEPNESS)."""
        return np.asarray(1 / (1 + np.exp(STEEPNESS * (self.distances(features) / self.near - 1) - 2)))

    def graph(self, shape: tuple[int, ...]) -> FloatGraph:
        """The same as a graph. shape: of features, [1, ticks, width]."""
        projection, offset, centres = (
            tf.constant(value, tf.float32) for value in (self.projection, self.offset, self.centres)
        )

        def function(features: Any) -> dict[str, Any]:
            mean = tf.reduce_mean(features, axis=1, keepdims=True)
            variance = tf.reduce_mean(tf.square(features - mean), axis=1)
            summary = tf.concat([mean[:, 0], tf.sqrt(variance)], axis=1)
            apart = tf.matmul(summary, projection) + offset - centres
            nearest = tf.reduce_min(
                tf.reduce_sum(tf.square(apart), axis=1, keepdims=True), axis=0, keepdims=True
            )
            return {"scores": tf.sigmoid(2 - STEEPNESS * (tf.sqrt(nearest) / self.near - 1))}

        return FloatGraph("familiarity", {"features": shape}, function)


def fit_rejection(
    bundle: Bundle, training: Sequence[CachedClip], held_out: Sequence[CachedClip], wanted: Wanted
) -> Rejection:
    """What a finished stream should hold, of clips that it was trained on and of others (none: nothing is
    fitted on them, and FALLBACK_THRESHOLD is taken).
    """
    known = seen_windows(bundle, held_out) if held_out else None
    temperature = wanted.temperature
    if temperature is None:
        temperature = 1.0 if known is None else fitted_temperature(known)
    temperature = round(temperature, DIGITS)
    if not wanted.rejects:
        return Rejection(temperature, None, None, {"temperature": temperature})
    familiarity = _familiarity(bundle, training, known)
    threshold, figures = wanted.threshold, {}
    if known is not None:
        scores = device_scores(known, temperature, familiarity)
        sure, right = by_clip(scores, known)
        if threshold is None:
            threshold = fitted_threshold(sure, scores.shape[1])
        figures = calibration(scores, known, sure, right, threshold)
    if threshold is None:
        threshold = FALLBACK_THRESHOLD
    stored = {
        "temperature": temperature,
        "reject_threshold": threshold,
        "familiarity": familiarity is not None,
    }
    graph = None if familiarity is None else familiarity[0].graph((1, *familiarity[1]))
    return Rejection(temperature, threshold, graph, stored | figures)


def events_elsewhere(bundle: Bundle, clips: Sequence[CachedClip]) -> dict[str, Any]:
    """Events that a finished bundle starts in clips in which none of its labels happens, each seen as a
    stream of its own: how many, in how many clips and hours, and an hour.
    """
    manifest, recognizer = bundle.manifest, Recognizer(bundle)
    sampler = Sampler(manifest.frame, manifest.temporal)
    hours, events, clips_with_events = 0.0, 0, 0
    for clip in clips:
        recognizer.reset()
        stream = Stream(clip.name, bundle, RunOptions(), event_ids(), recognizer=recognizer)
        times_s, frames = clip.times_s(), clip.frames()
        for at in tick_indices(times_s, manifest.temporal.interval_ms, max_gap_ms=manifest.temporal.gap_ms):
            stream.recognise(Ticks((float(times_s[at]),), frames[at], False, 0.0, sampler))
        stream.close()
        started = sum(event.type == "start" for event in stream.take_events())
        events, clips_with_events = events + started, clips_with_events + (started > 0)
        hours += float(times_s[-1] - times_s[0]) / 3600
    return {
        "clips": len(clips),
        "hours": round(hours, DIGITS),
        "events": events,
        "clips_with_events": clips_with_events,
        "events_per_hour": round(events / hours, 1) if hours else None,
    }


def fitted_temperature(known: SeenWindows) -> float:
    """The temperature at which the right labels of windows are most likely (Guo, Pleiss, Sun and Weinberger,
    'On Calibration of Modern Neural Networks', ICML 2017), between the ends of TEMPERATURES.
    """
    logs = np.log(np.maximum(known.scores, 1e-9))
    rows = np.arange(len(logs))

    def loss(temperature: float) -> float:
        softened = logs / temperature
        total = np.log(np.exp(softened - softened.max(axis=1, keepdims=True)).sum(axis=1))
        return float(-(softened[rows, known.labels] - softened.max(axis=1) - total).mean())

    return float(min(TEMPERATURES, key=loss))


def _familiarity(
    bundle: Bundle, training: Sequence[CachedClip], known: SeenWindows | None
) -> tuple[Familiarity, tuple[int, ...]] | None:
    """Familiarity and the shape of the features that it reads; None where it cannot be fitted, or no clip
    held out says how near is near: windows that were trained on lie nearer than any others.
    """
    if known is None or known.features is None:
        return None
    fitted = Familiarity.fitted(seen_windows(bundle, training, MOST_WINDOWS))
    if fitted is None:
        return None
    near = float(np.quantile(fitted.distances(known.features), FAMILIAR_FRACTION))
    return replace(fitted, near=near), known.features.shape[1:]


def device_scores(
    known: SeenWindows, temperature: float, familiarity: tuple[Familiarity, tuple[int, ...]] | None
) -> Floats:
    """The probabilities that a device gives for windows: float64 [n, labels]."""
    softened = np.maximum(known.scores, 1e-9) ** (1 / temperature)
    softened /= softened.sum(axis=1, keepdims=True)
    if familiarity is None or known.features is None:
        return np.asarray(softened)
    familiar = familiarity[0](known.features)[:, np.newaxis]
    return np.asarray(familiar * softened + (1 - familiar) / softened.shape[1])


def by_clip(scores: Floats, known: SeenWindows) -> tuple[Floats, NDArray[np.bool_]]:
    """Of each clip: the probability of its label, as `classify` gives it, and whether that label is right."""
    numbers = np.unique(known.clips)
    means = np.stack([scores[known.clips == number].mean(axis=0) for number in numbers])
    labels = np.array([known.labels[known.clips == number][0] for number in numbers])
    return means.max(axis=1), means.argmax(axis=1) == labels


def fitted_threshold(sure: Floats, labels: int) -> float:
    """The largest threshold that loses at most KNOWN_LOST of clips held out; at least what a model that knows
    nothing of its `labels` is sure of.
    """
    kept = np.sort(sure)[int(KNOWN_LOST * len(sure))]
    # Rounded down, so that the clip that it lies at is kept; the least up, so that one sure of nothing goes.
    return float(max(np.ceil(10**DIGITS / labels + 1), np.floor(kept * 10**DIGITS)) / 10**DIGITS)


def calibration(
    scores: Floats, known: SeenWindows, sure: Floats, right: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    """How far probabilities can be believed, for the report and the card: the expected calibration error of
    windows, the fraction of known clips that the threshold loses, and the risk (fraction of wrong labels) of
    the surest clips, for every tenth of them.
    """
    confidence, correct = scores.max(axis=1), scores.argmax(axis=1) == known.labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    error = sum(
        abs(confidence[bins == number].mean() - correct[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    )
    wrong = ~right[np.argsort(-sure)]
    counts = [max(1, round(len(wrong) * tenth / 10)) for tenth in range(1, 11)]
    return {
        "windows": len(scores),
        "clips": len(sure),
        "expected_calibration_error": round(float(error), DIGITS),
        "known_clips_rejected": round(float((sure < threshold).mean()), DIGITS),
        "risk_by_coverage": {
            f"{tenth / 10:g}": round(float(wrong[:count].mean()), DIGITS)
            for tenth, count in enumerate(counts, 1)
        },
    }
