"""What a model says of the clips of another set, where both sets hold something alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.cache import NOTHING_PUBLISHED, Published, keep
from benchmarks.experiments.evaluation import SetAccuracy
from benchmarks.experiments.folds import Experiment, Say
from benchmarks.measure.clips import HeldOut, by_stream, clip_ticks
from edge_har.errors import DataError
from edge_har.model.bundle import open_bundle
from edge_har.model.recognizer import TickRecognizer

VERSION = 2  # counts up when what is counted changes


@dataclass(frozen=True)
class Crossing:
    """Train on one set, run on another. label: of the first set, the one that the second holds something
    like.
    """

    trained_on: str
    label: str
    run_on: str


CROSSINGS = (Crossing("ucf9", "Punch", "fight"), Crossing("fight", "Fight", "ucf9"))


@dataclass(frozen=True)
class Crossed:
    """Predictions for the clips of one label of the other set. predicted: clips by predicted label. score:
    mean of the crossing's own label. predicted is empty where the gate refused every fold of the model.
    """

    crossing: Crossing
    model: str
    label: str
    predicted: Mapping[str, int]
    score: float

    @property
    def clips(self) -> int:
        """How many."""
        return sum(self.predicted.values())

    @property
    def share(self) -> float:
        """Of clips that get the crossing's own label."""
        return self.predicted.get(self.crossing.label, 0) / self.clips


def measure_crossed(
    sets: Sequence[SetAccuracy],
    entries: Sequence[Experiment],
    *,
    say: Say,
    cache: Path,
    crossings: Sequence[Crossing] = CROSSINGS,
    published: Published = NOTHING_PUBLISHED,
    on_result: Callable[[str, dict[str, Any]], None] | None = None,
) -> list[Crossed]:
    """Run, for each entry, the first bundle of seed 0 that the gate let through on the other set's clips.

    A crossing whose two sets are not both among `sets` is left out. published: as `cache.keep` takes it.
    on_result: sees each result and its key. Raises DataError where a bundle that is needed was made
    elsewhere.
    """
    by_name = {one.folds.name: one for one in sets}
    made = []
    for crossing in crossings:
        if not {crossing.trained_on, crossing.run_on} <= set(by_name):
            continue
        source, target = by_name[crossing.trained_on], by_name[crossing.run_on]
        for entry in entries:
            bundle = next((one.bundle for one in source.of(entry, 0) if one.bundle is not None), None)
            if bundle is None:
                made += [Crossed(crossing, entry.name, label, {}, 0.0) for label in target.labels]
                continue
            made_of = {
                "work": "crossed",
                "version": VERSION,
                "conversion": bundle.parent.name,
                "index": target.folds.sha256,
                "label": crossing.label,
            }
            say(f"{entry.name} of {crossing.trained_on} on the clips of {crossing.run_on}")
            count = partial(_count, bundle=bundle, clips=target.folds.clips(), own=crossing.label)
            folder, found = keep(cache, made_of, count, published)
            if on_result is not None:
                on_result(folder.name, found)
            made += [
                Crossed(crossing, entry.name, label, one["predicted"], one["score"])
                for label, one in found["labels"].items()
            ]
    return made


def _count(folder: Path, *, bundle: Path, clips: Sequence[HeldOut], own: str) -> dict[str, Any]:
    """By label of the clips, in sorted order: how many get each label of the model, the mean score of
    `own`.
    """
    if not bundle.is_file():
        raise DataError(
            f"{bundle.parent.name}: this conversion was published without its bundle; remove its line from "
            "the page's results, so that it is made here"
        )
    opened = open_bundle(bundle)
    manifest = opened.manifest
    classify, at = by_stream(TickRecognizer(opened)), manifest.labels.index(own)
    predicted: dict[str, Counter[str]] = {label: Counter() for label in sorted({c.label for c in clips})}
    scores: dict[str, list[float]] = {label: [] for label in predicted}
    for clip in clips:
        mean = classify(clip_ticks(clip.path, manifest.frame, manifest.temporal)).mean(axis=0)
        predicted[clip.label][manifest.labels[int(mean.argmax())]] += 1
        scores[clip.label].append(float(mean[at]))
    return {
        "labels": {
            label: {"predicted": dict(counts), "score": float(np.mean(scores[label]))}
            for label, counts in predicted.items()
        }
    }
