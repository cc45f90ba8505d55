"""When a bundle is not sure: its temperature, what is familiar to it, and below what it rejects.

All are fitted on the finished stream, so that the device's own numbers are judged: familiarity on windows of
the training clips and of clips held out, the rest on the latter. A window is familiar where the mean and
deviation of its features over time lie near those of a label, by Mahalanobis distance with one covariance for
all labels (Lee, Lee, Lee and Shin, 'A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks', NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.graphs.float_graphs import FloatGraph
from convert.verify.streams import remembering_recognizer
from edge_har.model.bundle import Bundle
from edge_har.model.cadence import fill_indices
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.events import event_ids, surest
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.stream import Stream
from train.data.batches import CachedClip
from train.data.videos import tick_indices
from train.tf import tf

FAMILIARITY = "familiarity.tflite"
REJECTION = "rejection"  # the key of its figures in metrics
WINDOWS_PER_WINDOW = 4  # that begin within one: nearer ones say nothing new
MOST_CLIPS = 400  # of the training clips, that familiarity is fitted on
CLIP_WINDOWS = 2  # of each of them, end to end: the others are much like these
FEWEST_PER_LABEL = 5  # windows: fewer say nothing of where a label's features lie
FEWEST_GROUPS = 3  # held out, that say how near another one is
# These three set clips of labels that were not trained on apart best, of 32, 64 and 128 components, .03 to .6
# and 1 to 3, on the features of docs/figures/unknown.md.
COMPONENTS = 32  # of the mean and deviation of features: the most varied
SHRINKAGE = 0.03  # added to variances of 1: directions in which nothing varies count for little
BETWEEN = 2.0  # times as far apart are windows in the few directions in which labels differ
LEAST_DEVIATION = 1e-3  # of a feature: one that never varies in training must not decide alone
STEEPNESS = 20.0  # of the fall to unfamiliar: at 1.1 times that distance a window is half familiar
KNOWN_LOST = 0.05  # of known clips held out: what the threshold may reject
FAMILIAR_FRACTION = 1 - KNOWN_LOST  # of known windows held out: as near as these is familiar
TEMPERATURES = np.geomspace(0.25, 3.0, 81)
LEAST_PROBABILITY = 1e-9  # that a label has or lacks: 0 has no logarithm
FALLBACK_THRESHOLD = 0.5  # where nothing was held out
DIGITS = 4
BINS = 10  # of the calibration error

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SeenWindows:
    """Windows of clips as a stream saw them, in their order. summaries: float64 [n, 2 x width], None where
    the stream has no features. scores: float64 [n, labels], the head's own. labels, clips, groups: int64 [n].
    """

    summaries: Floats | None
    scores: Floats
    labels: NDArray[np.int64]
    clips: NDArray[np.int64]
    groups: NDArray[np.int64]

    def joined(self, synthetic: SeenWindows) -> SeenWindows:
        """With windows of synthetic clips, whose labels count on from the others': a drawn person's features
        lie elsewhere.
        """
        both = None
        if self.summaries is not None and synthetic.summaries is not None:
            both = np.concatenate([self.summaries, synthetic.summaries])
        return SeenWindows(
            both,
            np.concatenate([self.scores, synthetic.scores]),
            np.concatenate([self.labels, synthetic.labels + self.scores.shape[1]]),
            np.concatenate([self.clips, synthetic.clips + self.clips.max() + 1]),
            np.concatenate([self.groups, synthetic.groups + self.groups.max() + 1]),
        )

    def every(self, hop: int) -> SeenWindows:
        """Each `hop`-th window of each clip."""
        number_in_clip = np.arange(len(self.clips)) - np.searchsorted(self.clips, self.clips)
        kept = number_in_clip % hop == 0
        given = None if self.summaries is None else self.summaries[kept]
        one_each = (self.scores, self.labels, self.clips, self.groups)
        return SeenWindows(given, *(values[kept] for values in one_each))


@dataclass(frozen=True)
class Rejection:
    """What is stored in a bundle. graph: of familiarity, or None. figures: for the report, by name."""

    temperature: float
    reject_threshold: float | None
    graph: FloatGraph | None
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a conversion is to store. temperature, threshold: instead of fitted ones. familiarity: whether it
    is fitted. rejects: False stores neither threshold nor familiarity.
    """

    temperature: float | None = None
    threshold: float | None = None
    familiarity: bool = True
    rejects: bool = True


def seen_windows(
    bundle: Bundle,
    clips: Sequence[CachedClip],
    head: FloatGraph | None = None,
    most_ticks: int | None = None,
) -> SeenWindows:
    """Run clips through a bundle's stream: every window that a device would see. head: gives the scores of
    the stream's features, in place of its own. most_ticks: from the middle of each clip; None: all.
    """
    contract = bundle.manifest.temporal
    recognizer = remembering_recognizer(bundle, plain=True)
    with_features = bundle.manifest.graphs.head is not None
    scores, given, numbers = [], [], []

    def keep(number: int, seen: NDArray[np.float32]) -> None:
        if head is not None:
            (seen,) = head.run(features=recognizer.features[np.newaxis])["scores"]
        scores.append(seen)
        numbers.append(number)
        if with_features and recognizer.features.ndim == 2:
            given.append(summary(recognizer.features))

    for number, clip in enumerate(clips):
        frames = clip.frames()
        ticks = tick_indices(clip.times_s(), contract.interval_ms, max_gap_ms=contract.gap_ms)
        recognizer.reset()
        if most_ticks is not None:
            ticks = ticks[max(0, (len(ticks) - most_ticks) // 2) :][:most_ticks]
        if len(ticks) < contract.frames:
            keep(number, recognizer.clip(frames[ticks[fill_indices(len(ticks), contract.frames)]]))
            continue
        for at in ticks:
            seen = recognizer.tick(frames[at])
            if seen is not None:
                keep(number, seen)
    of = np.array(numbers)
    labels = np.array([clip.label for clip in clips])[of]
    groups = np.unique([clip.group for clip in clips], return_inverse=True)[1][of]
    summaries = np.stack(given) if given else None
    return SeenWindows(summaries, np.stack(scores).astype(np.float64), labels, of, groups)


def summary(features: NDArray[np.float32]) -> Floats:
    """Mean and deviation over time of features float32 [..., ticks, width]: float64 [..., 2 x width]."""
    return np.concatenate([features.mean(axis=-2), features.std(axis=-2)], axis=-1, dtype=np.float64)


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
    def fitted(
        cls, seen: SeenWindows, known: SeenWindows, between: float = BETWEEN
    ) -> tuple[Familiarity, Floats] | None:
        """Fitted to windows of training and of clips held out, and the distances of the latter, measured with
        their own group left out (their own clip, where there are too few groups). None where a label has too
        few windows, or there are no features. seen: its labels from the count of scores on are further
        centres. between: times as far apart are windows in
        the directions that tell labels apart.

        Held-out clips widen the covariance by how other people and scenes vary, which windows that were
        trained on hardly do.
        """
        given, held = seen.summaries, known.summaries
        fewest = np.bincount(seen.labels, minlength=seen.scores.shape[1]).min()
        units = known.groups if len(np.unique(known.groups)) >= FEWEST_GROUPS else known.clips
        if given is None or held is None or fewest < FEWEST_PER_LABEL or len(np.unique(units)) < 2:
            return None
        mean, deviation = given.mean(axis=0), given.std(axis=0) + LEAST_DEVIATION
        _, singular, directions = np.linalg.svd((given - mean) / deviation, full_matrices=False)
        components = min(COMPONENTS, len(singular))
        scale = np.sqrt(singular[:components] ** 2 / len(given) + SHRINKAGE)
        first = directions[:components].T / scale / deviation[:, np.newaxis]
        made = (given - mean) @ first
        centres = np.stack([made[seen.labels == label].mean(axis=0) for label in np.unique(seen.labels)])
        apart = (held - mean) @ first - centres[known.labels]
        within = np.cov((made - centres[seen.labels]).T) + 2 * SHRINKAGE * np.eye(components)

        def made_with(rows: Floats) -> Familiarity:
            whitening = np.linalg.cholesky(np.linalg.inv((within + rows.T @ rows / len(rows)) / 2))
            whitening = whitening @ _stretch(centres @ whitening, between)
            return cls(first @ whitening, -mean @ first @ whitening, centres @ whitening)

        distances = np.empty(len(held))
        for unit in np.unique(units):
            own = units == unit
            distances[own] = made_with(apart[~own]).distances(held[own])
        return replace(made_with(apart), near=float(np.quantile(distances, FAMILIAR_FRACTION))), distances

    def distances(self, given: Floats) -> Floats:
        """Of summaries to the nearest label, float64 [n]."""
        made = given @ self.projection + self.offset
        return np.asarray(np.sqrt(((made[:, np.newaxis] - self.centres) ** 2).sum(axis=2).min(axis=1)))

    def at(self, distances: Floats) -> Floats:
        """How familiar windows at these distances are: float64 [n], 1 near, 0 far, .5 at `near` times
        (1 + 2 / STEEPNESS).
        """
        return np.asarray(1 / (1 + np.exp(STEEPNESS * (distances / self.near - 1) - 2)))

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


def _stretch(centres: Floats, between: float) -> Floats:
    """A matrix that makes all `between` times as long in the directions in which `centres` [labels,
    components] differ, and leaves the others: float64 [components, components].
    """
    _, singular, directions = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)
    apart = directions[singular > LEAST_DEVIATION * singular[0]]
    return np.asarray(np.eye(centres.shape[1]) + (between - 1) * apart.T @ apart)


def fit_rejection(
    bundle: Bundle,
    training: Sequence[CachedClip],
    held_out: Sequence[CachedClip],
    wanted: Wanted,
    synthetic: Sequence[CachedClip] = (),
    head: FloatGraph | None = None,
) -> Rejection:
    """What a finished stream should hold, of clips that it was trained on, synthetic ones apart, and of
    others (none: nothing is fitted on them, and FALLBACK_THRESHOLD is taken). head: where the stream's own
    was finally trained on those others, the one before.
    """
    known = seen_windows(bundle, held_out, head) if held_out else None
    contract = bundle.manifest.temporal
    hop = max(1, contract.frames // WINDOWS_PER_WINDOW // contract.hop_ticks)
    temperature = wanted.temperature
    if temperature is None:
        temperature = 1.0 if known is None else fitted_temperature(known.every(hop))
    temperature = round(temperature, DIGITS)
    if not wanted.rejects:
        return Rejection(temperature, None, None, {"temperature": temperature})
    fitted = None
    if known is not None and wanted.familiarity:
        ticks = CLIP_WINDOWS * contract.frames
        seen = seen_windows(bundle, _spread(training), most_ticks=ticks).every(hop)
        if synthetic:
            seen = seen.joined(seen_windows(bundle, _spread(synthetic), most_ticks=ticks).every(hop))
        fitted = Familiarity.fitted(seen, known)
    threshold, figures = wanted.threshold, {}
    if known is not None:
        scores = device_scores(known, temperature, fitted and fitted[0].at(fitted[1]))
        hop_s = contract.hop_ticks * contract.interval_ms / 1000
        sure, right = by_clip(scores, known, hop_s, bundle.manifest.smoothing.smooth_s)
        if threshold is None:
            threshold = fitted_threshold(sure, scores.shape[1])
        figures = calibration(scores, known, sure, right, threshold)
    if threshold is None:
        threshold = FALLBACK_THRESHOLD
    stored = {
        "temperature": temperature,
        "reject_threshold": threshold,
        "familiarity": fitted is not None,
    }
    graph = None
    if fitted is not None:
        (features,) = bundle.manifest.tensors[str(bundle.manifest.graphs.head)].inputs
        graph = fitted[0].graph(features.shape)
    return Rejection(temperature, threshold, graph, stored | figures)


def _spread(training: Sequence[CachedClip]) -> Sequence[CachedClip]:
    """At most MOST_CLIPS of the training clips, drawn from all."""
    chosen = np.random.default_rng(0).permutation(len(training))[:MOST_CLIPS]
    return [training[at] for at in np.sort(chosen)]


def events_elsewhere(bundle: Bundle, clips: Sequence[CachedClip]) -> dict[str, Any]:
    """Events that a finished bundle starts in clips in which none of its labels happens, each seen as a
    stream of its own: how many, in how many clips and hours, and an hour.
    """
    manifest, recognizer = bundle.manifest, TickRecognizer(bundle)
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
    """The temperature at which the labels of windows are most likely (Guo, Pleiss, Sun and Weinberger, 'On
    Calibration of Modern Neural Networks', ICML 2017), between the ends of TEMPERATURES.

    Each label counts as right with the probability (n + 1) / (n + 2) of n clips, by Laplace's rule (as Platt,
    'Probabilistic Outputs for Support Vector Machines', 1999, has it): n clips that are all right do not say
    that every other one will be.
    """
    clips = len(np.unique(known.clips))
    right = (clips + 1) / (clips + 2)
    rows = np.arange(len(known.labels))

    def loss(temperature: float) -> float:
        softened = device_scores(known, temperature, None)[rows, known.labels]
        softened = np.clip(softened, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return float(-(right * np.log(softened) + (1 - right) * np.log1p(-softened)).mean())

    return float(min(TEMPERATURES, key=loss))


def device_scores(known: SeenWindows, temperature: float, familiar: Floats | None) -> Floats:
    """The probabilities that a device gives for windows: float64 [n, labels]. familiar: of each window."""
    softened = np.maximum(known.scores, LEAST_PROBABILITY) ** (1 / temperature)
    softened /= softened.sum(axis=1, keepdims=True)
    if familiar is None:
        return np.asarray(softened)
    each = familiar[:, np.newaxis]
    return np.asarray(each * softened + (1 - each) / softened.shape[1])


def by_clip(
    scores: Floats, known: SeenWindows, hop_s: float, smooth_s: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Of each clip: how sure its surest moment is, as events and `classify` take it, and whether the label
    of the whole clip is right.
    """
    numbers = np.unique(known.clips)
    parts = [scores[known.clips == number] for number in numbers]
    sure = np.array([surest(part, hop_s, smooth_s) for part in parts])
    labels = np.array([known.labels[known.clips == number][0] for number in numbers])
    return sure, np.array([part.mean(axis=0).argmax() for part in parts]) == labels


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
