"""Ways to notice a movement that was not trained on, compared on the features of a frozen encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.cache import keep
from benchmarks.experiments.code import package_sha256
from benchmarks.experiments.controls import CONTRACT
from benchmarks.experiments.folds import Folds, Say
from benchmarks.measure.baseline import Floats, encoder_features, regress
from benchmarks.measure.clips import clip_ticks
from benchmarks.measure.frozen import frozen_encoder
from convert.verify.rejection import KNOWN_LOST, Familiarity, SeenWindows
from edge_har.model.preprocess import FrameSpec

VERSION = 1  # counts up when what is computed here changes
SIZE_PX = 224
STEPS_APART = (1, 3)  # of the two labels that are left out, in their order
NEIGHBOURS = 3
SETS = ("ucf9", "weizmann_full")

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Clips:
    """Clips as features. features: float64 [n, width]. labels: int64 [n]. groups: str [n]."""

    features: Floats
    labels: Ints
    groups: NDArray[np.str_]

    def where(self, chosen: NDArray[np.bool_]) -> Clips:
        """Some of them."""
        return Clips(self.features[chosen], self.labels[chosen], self.groups[chosen])


@dataclass(frozen=True)
class Fit:
    """What a way is fitted on. train: clips with labels 0 to count - 1. held_out: of other groups, as
    validation is. other: clips of another set.
    """

    train: Clips
    held_out: Clips
    other: Clips
    count: int


Way = Callable[[Fit, Floats], Floats]  # how known each of some features is: higher is more known


@dataclass(frozen=True)
class Noticed:
    """How well a way sets unknown clips apart. area: the probability that a known clip looks more known than
    an unknown one. rejected: fraction of unknown clips below the threshold that loses KNOWN_LOST of known
    ones. Both are means over the pairs of labels that were left out.
    """

    area: float
    rejected: float


def _scaled(fit: Fit, given: Floats, targets: Floats | None = None, more: Floats | None = None) -> Floats:
    """Logits of a regression on the training clips, float64 [n, labels]. more: clips that have no label."""
    table = fit.train.features if more is None else np.concatenate([fit.train.features, more])
    middle, spread = fit.train.features.mean(0), fit.train.features.std(0) + 1e-6
    truth = np.eye(fit.count)[fit.train.labels] if targets is None else targets
    known, compared = (np.c_[(part - middle) / spread, np.ones(len(part))] for part in (table, given))
    return np.asarray(compared @ regress(known, truth))


def _softmax(logits: Floats) -> Floats:
    scores = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(scores / scores.sum(1, keepdims=True))


def highest_probability(fit: Fit, given: Floats) -> Floats:
    """Of a softmax regression."""
    return np.asarray(_softmax(_scaled(fit, given)).max(1))


def energy(fit: Fit, given: Floats) -> Floats:
    """Logarithm of the sum of its exponentials (Liu, Wang, Owens and Li, 'Energy-based Out-of-distribution
    Detection', NeurIPS 2020).
    """
    logits = _scaled(fit, given)
    top = logits.max(1)
    return np.asarray(top + np.log(np.exp(logits - top[:, np.newaxis]).sum(1)))


def one_against_rest(fit: Fit, given: Floats) -> Floats:
    """The highest of regressions that each know one label from all others."""
    truth = np.eye(fit.count)[fit.train.labels]
    made = [_scaled(fit, given, np.stack([one, 1 - one], 1)) for one in truth.T]
    return np.asarray(np.max([_softmax(logits)[:, 0] for logits in made], 0))


def other_clips(fit: Fit, given: Floats) -> Floats:
    """The highest probability where clips of another set were trained to be all labels alike."""
    alike = np.full((len(fit.other.features), fit.count), 1 / fit.count)
    targets = np.concatenate([np.eye(fit.count)[fit.train.labels], alike])
    return np.asarray(_softmax(_scaled(fit, given, targets, fit.other.features)).max(1))


def neighbours(fit: Fit, given: Floats) -> Floats:
    """Mean cosine to the nearest training clips."""
    middle, spread = fit.train.features.mean(0), fit.train.features.std(0) + 1e-6
    known, compared = ((part - middle) / spread for part in (fit.train.features, given))
    known, compared = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (known, compared))
    return np.asarray(np.sort(compared @ known.T, 1)[:, -NEIGHBOURS:].mean(1))


def distance(fit: Fit, given: Floats, **options: float) -> Floats:
    """Distance from the nearest label, as `convert` fits it."""
    parts = [_as_windows(part, fit.count) for part in (fit.train, fit.held_out)]
    fitted = Familiarity.fitted(parts[0], parts[1], **options)
    assert fitted is not None  # each label has clips enough, and groups are several
    return -fitted[0].distances(given)


def _as_windows(clips: Clips, count: int) -> SeenWindows:
    scores = np.zeros((len(clips.labels), count))
    numbers = np.unique(clips.groups, return_inverse=True)[1]
    return SeenWindows(clips.features, scores, clips.labels, np.arange(len(clips.labels)), numbers)


WAYS: Mapping[str, Way] = {
    "highest probability": highest_probability,
    "energy": energy,
    "one label against the rest": one_against_rest,
    "another set as `_other`": other_clips,
    "nearest training clips": neighbours,
    "distance, all directions alike": partial(distance, between=1.0),
    "distance, as `convert` fits it": distance,
}


def notice(
    clips: Clips, other: Clips, split: Sequence[set[str]], ways: Mapping[str, Way] = WAYS
) -> dict[str, Noticed]:
    """Leave pairs of labels out, and each fold's groups. split: groups of each fold; the next fold's are held
    out of training too, as validation is.
    """
    count = int(clips.labels.max()) + 1
    pairs = [(at, (at + apart) % count) for apart in STEPS_APART for at in range(0, count, 2)]
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for pair in pairs:
        unseen = np.isin(clips.labels, pair)
        renumbered = np.cumsum(~np.isin(np.arange(count), pair)) - 1
        named = Clips(clips.features, renumbered[clips.labels], clips.groups)
        seen: dict[str, list[Floats]] = {name: [] for name in ways}
        is_known = []
        for number, groups in enumerate(split):
            test = np.isin(clips.groups, list(groups))
            held_out = np.isin(clips.groups, list(split[(number + 1) % len(split)]))
            train = ~(test | held_out | unseen)
            fit = Fit(named.where(train), named.where(held_out & ~unseen), other, count - len(pair))
            for name, way in ways.items():
                seen[name].append(way(fit, clips.features[test]))
            is_known.append(~unseen[test])
        known = np.concatenate(is_known)
        for name, parts in seen.items():
            figures[name].append(apart(np.concatenate(parts), known))
    return {name: Noticed(*np.mean(values, 0).tolist()) for name, values in figures.items()}


def apart(how_known: Floats, known: NDArray[np.bool_]) -> tuple[float, float]:
    """`Noticed` of one pair of labels."""
    of_known, of_unknown = how_known[known], how_known[~known]
    differences = of_known[:, np.newaxis] - of_unknown
    threshold = np.quantile(of_known, KNOWN_LOST)
    area = ((differences > 0) + 0.5 * (differences == 0)).mean()
    return float(area), float((of_unknown < threshold).mean())


def measure_noticed(
    sets: Sequence[Folds], *, weights: Path, cache: Path, say: Say
) -> dict[str, dict[str, Noticed]]:
    """The figures of each way on each of two sets, by their names; one serves as the other's `_other`.
    weights: of the encoder.
    """
    made_of = {
        "work": "novelty",
        "version": VERSION,
        "index": [folds.sha256 for folds in sets],
        "held_out": [[folds.split(n)["test"] for n in range(len(folds.groups))] for folds in sets],
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "code": package_sha256(),
    }

    def make(_: Path) -> dict[str, Any]:
        encode = frozen_encoder(SIZE_PX, weights)
        features = []
        for folds in sets:
            say(f"{folds.name}: ways to notice what was not trained on")
            features.append(_features(folds, encode))
        return {
            folds.name: {
                name: vars(one)
                for name, one in notice(
                    own, other, [set(folds.split(n)["test"]) for n in range(len(folds.groups))]
                ).items()
            }
            for folds, own, other in zip(sets, features, reversed(features), strict=True)
        }

    _, made = keep(cache, made_of, make)
    return {folds.name: {name: Noticed(**one) for name, one in made[folds.name].items()} for folds in sets}


def _features(folds: Folds, encode: Callable[[Any], Floats]) -> Clips:
    clips = folds.clips()
    spec = FrameSpec((SIZE_PX, SIZE_PX), "letterbox")
    features = np.stack([encoder_features(encode, clip_ticks(clip.path, spec, CONTRACT)) for clip in clips])
    labels = np.unique([clip.label for clip in clips], return_inverse=True)[1]
    return Clips(features, labels, np.array([clip.group for clip in clips]))
