"""The parity gate: whether a bundle may be written, and if not, why, in words a user can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.precisions import FLOAT32, INT8, MIXED
from convert.verify.comparison import KERAS, STREAM, WAYS, WHOLE_CLIP, Comparison, Scores
from convert.verify.figures import correct_windows, drop_points, largest_label_fraction, lost, same_label
from edge_har.errors import MisuseError, ParityError
from edge_har.model.manifest import Manifest

# Of windows with the float model's top label.
MIN_AGREEMENT = 0.97
# int8 without states measured 1.0: less is a fault, not a price.
STATELESS_INT8_AGREEMENT = 0.98
FLOAT_AGREEMENT = 0.999
# Changed windows that prove nothing, where there are so few that one alone breaks a limit.
FEW_WINDOWS = 1
# Of window accuracy, float Keras to stream.
MAX_DROP_POINTS = 2.0
# Of a probability, between stream and whole clip: they mostly measured equal.
STREAM_TOLERANCE = 0.005
# Two int8 graphs round pixels and features each for itself: 0.006 over 2,000 windows. With states it would
# hide a fault.
STATELESS_INT8_STREAM_TOLERANCE = 0.02
# Where their graphs hold or round numbers at different points.
LOOSE_STREAM_TOLERANCE = 0.05
# Of balanced windows under one label; more where there are few labels.
COLLAPSE_FRACTION = 0.6
# Of a label's windows predicted as one other label, before labels count as mixed up.
SWAPPED_FRACTION = 2 / 3
# Clips of a label, before it can count as mixed up: one odd clip proves nothing.
SWAPPED_CLIPS = 2
TRAIN_LONGER = "train longer"
ACCEPT = "accept it with --allow-drop"


@dataclass(frozen=True)
class Limits:
    """What the gate lets pass. Raises MisuseError.

    min_agreement: fraction of windows with the float model's top label. max_drop_points: of window accuracy,
    from float Keras to the stream, in percentage points; neither is broken by FEW_WINDOWS, unless they let
    (almost) none change. stream_tolerance: of a probability, between stream and whole clip.
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
    def loosest(cls, *, min_agreement: float | None = None, max_drop_points: float | None = None) -> Limits:
        """The limits that no kind and precision exceeds, except where the user sets others.

        What breaks these in float breaks those of every precision.
        """
        return cls(
            MIN_AGREEMENT if min_agreement is None else min_agreement,
            MAX_DROP_POINTS if max_drop_points is None else max_drop_points,
            LOOSE_STREAM_TOLERANCE,
        )

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        external: bool = False,
        min_agreement: float | None = None,
        max_drop_points: float | None = None,
    ) -> Limits:
        """The limits for this kind and precision, except where the user sets others.

        external: a model from outside, whose layers the converter may round at other points in a whole clip
        than in the two graphs of its stream (a mean over time and space at once).
        """
        return cls(
            promised_agreement(manifest, external=external) if min_agreement is None else min_agreement,
            MAX_DROP_POINTS if max_drop_points is None else max_drop_points,
            _stream_tolerance(manifest, external),
        )


def promised_agreement(manifest: Manifest, *, external: bool = False) -> float:
    """What this precision reaches on a sound model: less of it is a fault even where MIN_AGREEMENT is kept.

    external: a model from outside, whose layers and training have not been measured.
    """
    if manifest.precision == FLOAT32:
        return FLOAT_AGREEMENT
    return STATELESS_INT8_AGREEMENT if _is_stateless_int8(manifest) and not external else MIN_AGREEMENT


def _stream_tolerance(manifest: Manifest, external: bool) -> float:
    if external or manifest.precision == MIXED:
        return LOOSE_STREAM_TOLERANCE
    return STATELESS_INT8_STREAM_TOLERANCE if _is_stateless_int8(manifest) else STREAM_TOLERANCE


def _is_stateless_int8(manifest: Manifest) -> bool:
    roles = (tensor.role for graph in manifest.tensors.values() for tensor in graph.inputs)
    return manifest.precision == INT8 and not any(role.startswith("state_") for role in roles)


@dataclass(frozen=True)
class Verdict:
    """What the gate decided.

    breaches: why no bundle may be written, a reason each. remedies: what helps against what rounding costs;
    none where the stream itself is wrong. allowed: breaches that the user let pass. refused_before:
    precisions that the same clips refused before this one, so that the choice has seen these clips.
    """

    limits: Limits
    breaches: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    refused_before: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether a bundle may be written."""
        return not self.breaches

    @property
    def line(self) -> str | None:
        """Every breach and what helps, each once; None where there is no breach."""
        if not self.breaches:
            return None
        return "; ".join(self.breaches) + (f": {self.help}" if self.help else "")

    @property
    def help(self) -> str:
        """The remedies as words of a sentence; empty where there are none."""
        *others, last = self.remedies or ("",)
        return f"{', '.join(others)} or {last}" if others else last

    def require_passed(self) -> None:
        """Raises ParityError, in one line with every breach, unless a bundle may be written."""
        if self.breaches:
            raise ParityError(f"{self.line}; no bundle is written")

    def to_json(self) -> dict[str, Any]:
        """For the report and the manifest."""
        record: dict[str, Any] = {
            "passed": self.passed,
            "breaches": list(self.breaches),
            "allowed_by_user": list(self.allowed),
            "min_agreement": self.limits.min_agreement,
            "max_drop_points": self.limits.max_drop_points,
            "stream_tolerance": self.limits.stream_tolerance,
        }
        if self.remedies:
            record["remedies"] = list(self.remedies)
        if self.refused_before:
            record["refused_before"] = list(self.refused_before)
        return record


def gate(
    comparison: Comparison,
    limits: Limits,
    *,
    allow_drop: bool = False,
    remedies: Sequence[str] = (TRAIN_LONGER,),
) -> Verdict:
    """Judge a comparison.

    allow_drop: lost accuracy and agreement, which are a matter of degree, are let pass and recorded; a model
    that cannot tell labels apart, mixed-up labels, or a stream unlike its whole clip, never pass. remedies:
    what the user can do about what rounding costs.
    """
    model_faults, stream_faults = _model_faults(comparison), _stream_faults(comparison, limits)
    apart = _stream_rounding(comparison, limits)
    losses = [*_agreement_losses(comparison, limits), *_drop_losses(comparison, limits)]
    refused = () if allow_drop else tuple(losses)
    helped: tuple[str, ...] = ()
    # Nothing that the user does mends a wrong stream.
    if (apart or refused) and not stream_faults:
        helped = tuple(remedies)
        if not (model_faults or apart or allow_drop):
            helped += (ACCEPT,)
    breaches = (*model_faults, *stream_faults, *apart, *refused)
    return Verdict(limits, breaches, helped, tuple(losses) if allow_drop else ())


def _model_faults(comparison: Comparison) -> list[str]:
    if not comparison.labelled:
        return []
    present = len(np.unique(comparison.window_truth))
    if present < 2:
        return []
    limit = collapse_limit(present)
    for way in (KERAS, STREAM):
        fraction = largest_label_fraction(comparison.ways[way], comparison)
        if fraction > limit:
            return [
                (
                    f"the {WAYS[way]} gives one label to {fraction:.0%} of balanced windows (limit "
                    f"{limit:.0%}): it has "
                    "collapsed; train it longer or on more clips"
                )
            ]
    mixed = mixed_up_labels(comparison)
    if mixed:
        pairs = ", ".join(f"{truth} is predicted as {prediction}" for truth, prediction in mixed)
        return [f"labels are mixed up ({pairs}): give them in the order of the model's outputs"]
    accuracy = balanced_accuracy(comparison.keras, comparison)
    if accuracy <= 1 / present:
        return [
            (
                f"the float model is correct on {accuracy:.0%} of balanced windows, no better than guessing "
                f"among {present} "
                "labels: check labels, colour order, input range and cadence, or train it longer"
            )
        ]
    return []


def _stream_faults(comparison: Comparison, limits: Limits) -> list[str]:
    apart = _apart(comparison.stream, comparison.whole)
    if apart <= limits.stream_tolerance or _is_rounding(comparison, limits):
        return []
    return [
        (
            f"the stream differs from the whole clip by {apart:.3f} in a probability, more than "
            f"{limits.stream_tolerance:g}: a state or a ring buffer is wrong; please report it with the "
            "report file"
        )
    ]


def _stream_rounding(comparison: Comparison, limits: Limits) -> list[str]:
    apart = _apart(comparison.stream, comparison.whole)
    if apart <= limits.stream_tolerance or not _is_rounding(comparison, limits):
        return []
    return [
        (
            f"rounding sets the stream and the whole clip {apart:.3f} apart in a probability, more than "
            f"{limits.stream_tolerance:g}"
        )
    ]


def _is_rounding(comparison: Comparison, limits: Limits) -> bool:
    """Whether the stream is as near to the float model as the whole clip is, which has neither state nor
    ring: then they only round at other points.
    """
    stream, whole = (_apart(scores, comparison.keras) for scores in (comparison.stream, comparison.whole))
    return stream <= whole + limits.stream_tolerance


def _apart(one: Scores, other: Scores) -> float:
    return float(np.abs(one - other).max())


def _agreement_losses(comparison: Comparison, limits: Limits) -> list[str]:
    low = {}
    for way in (STREAM, WHOLE_CLIP):
        same = same_label(comparison.ways[way], comparison.keras)
        few = (~same).sum() <= FEW_WINDOWS and limits.min_agreement < FLOAT_AGREEMENT
        if float(same.mean()) < limits.min_agreement and not few:
            low[f"the {WAYS[way]}"] = f"{same.mean():.1%}"
    if not low:
        return []
    (first, share), *others = low.items()
    if any(other == share for _, other in others):
        found = f"{', as '.join(low)}, gives the float model's label on {share}"
    else:
        found = f"{first} gives the float model's label on {share}"
        found += "".join(f" and {way} on {other}" for way, other in others)
    return [f"{found} of {len(comparison.clip_of_window)} windows, less than {limits.min_agreement:.1%}"]


def _drop_losses(comparison: Comparison, limits: Limits) -> list[str]:
    if not comparison.accuracy_counts:
        return []
    drop = drop_points(comparison)
    few = lost(comparison).sum() <= FEW_WINDOWS and limits.max_drop_points > 0
    if drop <= limits.max_drop_points or few:
        return []
    before, after = (
        float(correct_windows(comparison.ways[way], comparison).mean()) for way in (KERAS, STREAM)
    )
    return [
        (
            f"accuracy falls from {before:.1%} to {after:.1%} of windows, {drop:.1f} points, more than "
            f"{limits.max_drop_points:g}"
        )
    ]


def collapse_limit(labels: int) -> float:
    """The largest fraction of balanced windows with one prediction, among this many labels.

    Halfway between an even split and everything: two labels predicted 65 to 35 may be honest, nine are not.
    Never below COLLAPSE_SHARE.
    """
    return max(COLLAPSE_FRACTION, (1 / labels + 1) / 2)


def balanced_accuracy(scores: Scores, comparison: Comparison) -> float:
    """Fraction of correct windows, each true label weighted alike."""
    correct, truth = correct_windows(scores, comparison), comparison.window_truth
    return float(np.mean([correct[truth == label].mean() for label in np.unique(truth)]))


def mixed_up_labels(comparison: Comparison) -> list[tuple[str, str]]:
    """Labels that the float model predicts in a circle (a as b, b as a), as (truth, prediction); else none.

    A model that errs predicts some label too often; labels that are swapped most of the time are in a wrong
    order.
    """
    predictions, truth = comparison.keras.argmax(axis=1), comparison.window_truth
    clips = np.bincount(comparison.truth, minlength=len(comparison.labels))
    goes_to: dict[int, int] = {}
    for label in np.flatnonzero(clips >= SWAPPED_CLIPS):
        counts = np.bincount(predictions[truth == label], minlength=len(comparison.labels))
        if counts.max() > SWAPPED_FRACTION * counts.sum() and counts.argmax() != label:
            goes_to[int(label)] = int(counts.argmax())
    # What leads into a circle, or out of it, is not on one.
    while set(goes_to.values()) != set(goes_to):
        goes_to = {a: b for a, b in goes_to.items() if b in goes_to and a in goes_to.values()}
    return [(comparison.labels[a], comparison.labels[b]) for a, b in goes_to.items()]
