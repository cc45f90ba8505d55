"""What the parity gate lets pass, and the messages of what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import MisuseError, ParityError
from edge_har.model.manifest import Manifest, TensorSpec
from tests.helpers.bundles import tiny_bundle
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify.comparison import Comparison
from convert.verify.figures import details, figures, largest_label_fraction
from convert.verify.gate import FLOAT_AGREEMENT, MIN_AGREEMENT, Limits, collapse_limit, gate, mixed_up_labels
from tests.helpers.comparisons import CLIPS, comparison, everywhere


def manifest(precision: str, *, states: bool = False) -> Manifest:
    given = tiny_bundle().manifest
    if not states:
        return replace(given, precision=precision)
    graph = given.tensors["encoder.tflite"]
    state = TensorSpec("c", "state_0", (1, 2), "int8", 0.1)
    tensors = {**given.tensors, "encoder.tflite": replace(graph, inputs=(*graph.inputs, state))}
    return replace(given, precision=precision, tensors=tensors)


@pytest.mark.parametrize(
    ("of", "allowed", "refused"),
    [
        (manifest("int8"), 4, 5),
        (manifest("int8", states=True), 6, 7),
        (manifest("int8-weights"), 6, 7),
        (manifest("float32"), 0, 1),
    ],
    ids=["int8", "int8 with states", "int8-weights", "float32"],
)
def test_each_precision_has_its_limit(of: Manifest, allowed: int, refused: int) -> None:
    limits = Limits.of(of, max_drop_points=100)
    assert gate(comparison(wrong=allowed), limits).passed
    with pytest.raises(ParityError, match=r"float model's label on 9\d\.\d% of 200 windows"):
        gate(comparison(wrong=refused), limits).require_passed()


def test_the_user_sets_the_limits() -> None:
    limits = Limits.of(manifest("int8"), min_agreement=0.9, max_drop_points=10)
    assert gate(comparison(wrong=20), limits).passed
    assert not gate(comparison(wrong=21), limits).passed
    for wrong in ({"min_agreement": 1.1}, {"max_drop_points": -1.0}, {"stream_tolerance": float("nan")}):
        with pytest.raises(MisuseError):
            Limits(**wrong)


def first(windows: int, of: Comparison) -> Comparison:
    """The same with fewer windows."""
    cut = {
        name: getattr(of, name)[:windows]
        for name in ("keras", "whole", "stream", "clip_of_window", "by_contract")
    }
    clips = int(cut["clip_of_window"].max()) + 1
    return replace(of, **cut, truth=of.truth[:clips], groups=of.groups[:clips], names=of.names[:clips])


def test_among_few_windows_one_alone_proves_nothing() -> None:
    limits = Limits.of(manifest("int8"))
    assert gate(first(20, comparison(wrong=1)), limits).passed
    agreement, drop = gate(first(20, comparison(wrong=2)), limits).breaches
    assert "on 90.0% of 20 windows" in agreement and "10.0 points" in drop
    for strict in (Limits(min_agreement=1.0), Limits.of(manifest("float32")), Limits(max_drop_points=0.0)):
        assert not gate(first(20, comparison(wrong=1)), strict).passed


def test_of_an_external_model_less_is_known() -> None:
    ours, theirs = Limits.of(manifest("int8")), Limits.of(manifest("int8"), external=True)
    assert theirs.min_agreement == MIN_AGREEMENT < ours.min_agreement
    assert theirs.stream_tolerance > ours.stream_tolerance
    assert Limits.of(manifest("float32"), external=True).min_agreement == FLOAT_AGREEMENT


def test_lost_accuracy_is_a_breach_of_its_own() -> None:
    """At 97.5 % agreement, but each changed window was right before."""
    verdict = gate(comparison(wrong=5), Limits())
    (breach,) = verdict.breaches
    assert "falls from 100.0% to 97.5% of windows, 2.5 points, more than 2" in breach
    assert gate(comparison(wrong=4), Limits()).passed


def test_a_drop_can_be_allowed_and_is_kept_on_record() -> None:
    verdict = gate(comparison(wrong=10), Limits(), allow_drop=True)
    assert verdict.passed and len(verdict.allowed) == 2 and not verdict.remedies
    verdict.require_passed()
    record = verdict.to_json()
    assert record["passed"] and record["allowed_by_user"] == list(verdict.allowed)
    assert record["max_drop_points"] == 2 and record["min_agreement"] == 0.97


def test_every_breach_is_named_in_one_line() -> None:
    with pytest.raises(ParityError) as caught:
        gate(comparison(wrong=10), Limits()).require_passed()
    record = str(caught.value)
    assert "\n" not in record and record.endswith("no bundle is written")
    assert "quantised stream" in record and "quantised whole clip" in record and "accuracy falls" in record


def test_what_helps_is_there_once_however_much_is_broken() -> None:
    verdict = gate(comparison(wrong=10), Limits(), remedies=["prune less", "train longer"])
    assert verdict.line == (
        "the quantised stream, as the quantised whole clip, gives the float model's label on 95.0% of 200 "
        "windows, less than 97.0%; accuracy falls from 100.0% to 95.0% of windows, 5.0 points, more than 2: "
        "prune less, train longer or accept it with --allow-drop"
    )
    assert verdict.to_json()["remedies"] == [*verdict.remedies]
    only = gate(comparison(wrong=10), Limits(), remedies=[])
    assert only.line is not None and only.line.endswith("more than 2: accept it with --allow-drop")
    assert gate(comparison(), Limits()).line is None


def test_the_whole_clip_is_gated_too() -> None:
    good, bad = comparison(), comparison(wrong=20)
    (breach,) = gate(replace(good, whole=bad.whole), Limits(stream_tolerance=1.0)).breaches
    assert breach.startswith("the quantised whole clip gives the float model's label on 90.0% of 200 windows")
    apart, both, _ = gate(replace(bad, whole=comparison(wrong=16).whole), Limits()).breaches
    assert "stream gives the float model's label on 90.0% and the quantised whole clip on 92.0%" in both
    assert "rounding sets the stream and the whole clip" in apart


def moved(scores: np.ndarray, by: float) -> np.ndarray:
    """One window's probabilities, `by` further from the float model's."""
    changed = scores.copy()
    changed[7, :2] += (-by, by)
    return changed


def test_the_stream_may_not_differ_from_the_whole_clip() -> None:
    good = comparison()
    verdict = gate(replace(good, stream=moved(good.stream, 0.06)), Limits(), allow_drop=True)
    (breach,) = verdict.breaches
    assert breach.startswith("the stream differs from the whole clip by 0.06"), "a fault, not a price"
    assert "please report it" in breach and verdict.remedies == ()


@pytest.mark.parametrize(
    ("whole", "stream", "reported"),
    [
        (0.0, 0.03, True),
        (0.02, 0.0, False),
        (0.02, -0.02, False),
        (0.03, -0.02, False),
        (0.02, -0.04, True),
        (0.05, 0.2, True),
    ],
)
def test_only_a_stream_that_truly_differs_is_to_be_reported(
    whole: float, stream: float, reported: bool
) -> None:
    """The whole clip has neither state nor ring: as far as it is from float, the stream may be too."""
    good = comparison()
    apart = replace(good, whole=moved(good.whole, whole), stream=moved(good.stream, stream))
    for allow_drop in (False, True):
        verdict = gate(apart, Limits(stream_tolerance=0.01), allow_drop=allow_drop)
        (breach,) = verdict.breaches
        assert ("please report it" in breach) is reported
        assert ("rounding sets" in breach) is not reported
        assert verdict.remedies == (() if reported else ("train longer",)), "--allow-drop does not help here"


def test_clips_without_labels_have_their_outputs_compared() -> None:
    unlabelled = replace(comparison(wrong=10), labelled=False, truth=np.zeros(CLIPS, int))
    record = figures(unlabelled)
    assert record["agreement"]["share"] == 0.95
    assert not {"accuracy", "drop", "largest_label_share"} & record.keys()
    assert {clip["label"] for clip in details(unlabelled)["worst_clips"]} == {None}
    breaches = gate(unlabelled, Limits()).breaches
    (breach,) = breaches
    assert "float model's label" in breach
    assert gate(replace(unlabelled, stream=unlabelled.keras, whole=unlabelled.keras), Limits()).passed


def test_labels_in_another_order_differ_from_errors() -> None:
    base = comparison()
    swapped = everywhere(base.keras[:, [1, 0, 2, 3]], base)
    (breach,) = gate(swapped, Limits(), allow_drop=True).breaches
    assert "labels are mixed up (Jump is predicted as Run, Run is predicted as Jump)" in breach
    one_way = base.keras.copy()
    one_way[base.window_truth == 0] = (0.02, 0.94, 0.02, 0.02)
    assert mixed_up_labels(everywhere(one_way, base)) == [], "a model may take all jumps for runs"
    assert gate(everywhere(one_way, base), Limits()).passed
    circle = everywhere(base.keras[:, [1, 2, 0, 3]], base)
    assert len(mixed_up_labels(circle)) == 3
    odd = replace(swapped, truth=np.where(np.arange(CLIPS) < 2, swapped.truth, 3))
    assert mixed_up_labels(odd) == [], "one clip of a label proves nothing"


def test_no_better_than_guessing_is_refused() -> None:
    base = comparison()
    scores = base.keras.copy()
    turn = np.arange(200) % 4  # of each label's windows a quarter goes to each label
    scores = np.stack([np.roll(row, int(by)) for row, by in zip(scores, turn, strict=True)])
    (breach,) = gate(everywhere(scores, base), Limits()).breaches
    assert "no better than guessing among 4 labels" in breach


def collapsed(share: float) -> np.ndarray:
    """Answers of which `share` is label 0."""
    good = comparison()
    scores = good.keras.copy()
    others = np.flatnonzero(good.truth[good.clip_of_window] != 0)
    scores[others[: round(share * 200) - 50]] = (0.94, 0.02, 0.02, 0.02)
    return scores


def test_a_collapsed_model_fails_even_where_all_agree() -> None:
    for share, fails in ((0.6, False), (0.65, True)):
        same = everywhere(collapsed(share), comparison())
        verdict = gate(same, Limits())
        assert verdict.passed is not fails
        assert all("collapsed" in breach for breach in verdict.breaches)


@pytest.mark.parametrize(
    ("labels", "limit"), [(2, 0.75), (3, 2 / 3), (4, 0.625), (5, 0.6), (9, 0.6), (50, 0.6)]
)
def test_few_labels_may_be_answered_less_evenly(labels: int, limit: float) -> None:
    assert collapse_limit(labels) == pytest.approx(limit)


def test_two_labels_answered_65_to_35_are_no_collapse() -> None:
    base = comparison()
    truth = np.arange(CLIPS) % 2
    scores = np.full((200, 4), 0.02, np.float32)
    answers = truth[base.clip_of_window]
    answers[np.flatnonzero(answers == 1)[:30]] = 0
    scores[np.arange(200), answers] = 0.94
    honest = everywhere(scores, replace(base, truth=truth))
    assert largest_label_fraction(scores, honest) == pytest.approx(0.65)
    assert gate(honest, Limits()).passed
