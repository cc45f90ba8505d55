"""The gate's figures and limits, on made-up answers whose right verdict is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_har.errors import ConversionError, MisuseError, ParityError
from edge_har.model.manifest import Manifest, TensorSpec
from tests.helpers.bundles import tiny_bundle
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify import parity
from convert.verify.parity import Comparison, Limits
from edge_har.model.recognizer import Recognizer, WholeClip
from train.data.batches import CachedClip, store
from train.fitting.evaluate import Predict, keras_predict
from train.tf import keras

LABELS = ("Jump", "Run", "Sit", "Walk")
CLIPS = 20
WINDOWS = 10  # a clip


def comparison(wrong: int = 0) -> Comparison:
    """Everything right, but the quantised forms off in `wrong` of 200 windows."""
    truth = np.arange(CLIPS) % len(LABELS)
    place = np.repeat(np.arange(CLIPS), WINDOWS)
    sure = np.full((len(place), len(LABELS)), 0.02, np.float32)
    sure[np.arange(len(place)), truth[place]] = 0.94
    off = sure.copy()
    off[:wrong] = np.roll(off[:wrong], 1, axis=1)
    by_contract = np.tile(np.arange(WINDOWS) % 5 == 0, CLIPS)
    groups = tuple(f"g{clip % 3}" for clip in range(CLIPS))
    names = tuple(f"clip-{clip:02d}.avi" for clip in range(CLIPS))
    return Comparison(sure, off, off.copy(), place, by_contract, truth, groups, names, LABELS)


def test_agreement_has_its_share_and_interval() -> None:
    said = parity.figures(comparison(wrong=10))
    assert said["windows"] == 200 and said["clips"] == CLIPS and said["groups"] == ["g0", "g1", "g2"]
    assert said["agreement"]["share"] == 0.95 and said["agreement"]["interval_by"] == "groups"
    low, high = said["agreement"]["interval"]
    assert 0.8 < low <= 0.95 <= high <= 1
    assert said["probability_error"]["max_error"] == pytest.approx(0.92)
    assert said["probability_error"]["mean_error"] == pytest.approx(0.92 * 2 / 4 * 10 / 200)
    assert said["accuracy"]["float"]["windows"]["share"] == 1
    assert said["accuracy"]["stream"]["windows"]["share"] == 0.95
    assert said["accuracy"]["stream"]["clips"]["share"] == 0.95, "clip 0 is off in all its windows"


def test_one_group_has_wilsons_interval() -> None:
    one = replace(comparison(wrong=10), groups=("g0",) * CLIPS)
    for said in (parity.figures(one), parity.figures(replace(comparison(wrong=10), groups_known=False))):
        assert said["agreement"]["interval_by"] == "wilson"
        assert said["agreement"]["interval"] == pytest.approx([0.9104, 0.9726], abs=1e-3)
    assert parity.figures(replace(comparison(), groups_known=False))["groups"] == "unknown"


def test_clips_that_were_trained_on_have_no_accuracy() -> None:
    trained = replace(comparison(wrong=10), held_out=False)
    assert not {"accuracy", "drop"} & parity.figures(trained).keys()
    assert not {"confusion", "recall"} & parity.details(trained).keys()


def test_every_way_has_its_figures() -> None:
    good = comparison(wrong=10)
    assert "float_tflite" not in parity.figures(good)["accuracy"]
    said = parity.figures(replace(good, float_tflite=good.keras + 1e-3))
    assert list(said["accuracy"]) == ["float", "float_tflite", "whole_clip", "stream"]
    assert said["agreement_float_tflite"]["share"] == 1
    assert said["probability_error_float_tflite"]["max_error"] == pytest.approx(1e-3, rel=1e-2)


def test_the_drop_is_paired_over_groups() -> None:
    """Where both ways err alike nothing is lost, and the interval knows: an unpaired one would be wide."""
    base = comparison(wrong=40)
    both_wrong = replace(base, keras=base.stream)
    said = parity.figures(both_wrong)
    assert said["accuracy"]["float"]["windows"]["share"] == 0.8
    assert said["drop"] == {"points": 0.0, "interval": [0.0, 0.0], "interval_by": "groups"}
    lost = parity.figures(comparison(wrong=10))["drop"]
    assert lost["points"] == pytest.approx(5.0)
    low, high = lost["interval"]
    assert 0 <= low < 5 < high <= 20
    assert parity.figures(replace(base, groups_known=False))["drop"]["interval_by"] == "clips"


def test_a_gain_is_a_drop_below_zero() -> None:
    base = comparison(wrong=10)
    assert parity.drop_points(replace(base, keras=base.stream, stream=base.keras)) == pytest.approx(-5.0)


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
    assert parity.gate(comparison(wrong=allowed), limits).passed
    with pytest.raises(ParityError, match=r"float model's label on 9\d\.\d% of 200 windows"):
        parity.gate(comparison(wrong=refused), limits).check()


def test_the_user_sets_the_limits() -> None:
    limits = Limits.of(manifest("int8"), min_agreement=0.9, max_drop_points=10)
    assert parity.gate(comparison(wrong=20), limits).passed
    assert not parity.gate(comparison(wrong=21), limits).passed
    for wrong in ({"min_agreement": 1.1}, {"max_drop_points": -1.0}, {"stream_tolerance": float("nan")}):
        with pytest.raises(MisuseError):
            Limits(**wrong)


def first(windows: int, of: Comparison) -> Comparison:
    """The same with fewer windows."""
    cut = {name: getattr(of, name)[:windows] for name in ("keras", "whole", "stream", "place", "by_contract")}
    clips = int(cut["place"].max()) + 1
    return replace(of, **cut, truth=of.truth[:clips], groups=of.groups[:clips], names=of.names[:clips])


def test_among_few_windows_one_alone_proves_nothing() -> None:
    limits = Limits.of(manifest("int8"))
    assert parity.gate(first(20, comparison(wrong=1)), limits).passed
    agreement, _, drop = parity.gate(first(20, comparison(wrong=2)), limits).breaches
    assert "on 90.0% of 20 windows" in agreement and "10.0 points" in drop
    for strict in (Limits(min_agreement=1.0), Limits.of(manifest("float32")), Limits(max_drop_points=0.0)):
        assert not parity.gate(first(20, comparison(wrong=1)), strict).passed


def test_of_somebody_elses_model_less_is_known() -> None:
    ours, theirs = Limits.of(manifest("int8")), Limits.of(manifest("int8"), foreign=True)
    assert theirs.min_agreement == parity.MIN_AGREEMENT < ours.min_agreement
    assert theirs.stream_tolerance > ours.stream_tolerance
    assert Limits.of(manifest("float32"), foreign=True).min_agreement == parity.FLOAT_AGREEMENT


def test_lost_accuracy_is_a_breach_of_its_own() -> None:
    """At 97.5 % agreement, but each changed window was right before."""
    verdict = parity.gate(comparison(wrong=5), Limits())
    (breach,) = verdict.breaches
    assert "falls from 100.0% to 97.5% of windows, 2.5 points, more than 2" in breach
    assert parity.gate(comparison(wrong=4), Limits()).passed


def test_a_drop_can_be_allowed_and_is_kept_on_record() -> None:
    verdict = parity.gate(comparison(wrong=10), Limits(), allow_drop=True)
    assert verdict.passed and len(verdict.allowed) == 3
    verdict.check()
    said = verdict.to_json()
    assert said["passed"] and said["allowed_by_user"] == list(verdict.allowed)
    assert said["max_drop_points"] == 2 and said["min_agreement"] == 0.97


def test_every_breach_is_named_in_one_line() -> None:
    with pytest.raises(ParityError) as caught:
        parity.gate(comparison(wrong=10), Limits()).check()
    said = str(caught.value)
    assert "\n" not in said and said.endswith("no bundle is written")
    assert "quantised stream" in said and "quantised whole clip" in said and "accuracy falls" in said


def test_a_refusal_says_that_auto_looks_for_a_precision() -> None:
    asked = parity.gate(comparison(wrong=10), Limits()).breaches
    searched = parity.gate(comparison(wrong=10), Limits(), searched=True).breaches
    assert len(asked) == len(searched) == 3
    assert all("let --precision auto look for one that passes" in breach for breach in asked)
    assert not any("--precision" in breach for breach in searched)


def test_the_whole_clip_is_gated_too() -> None:
    good, bad = comparison(), comparison(wrong=20)
    verdict = parity.gate(replace(good, whole=bad.whole), Limits())
    assert any(breach.startswith("the quantised whole clip gives") for breach in verdict.breaches)


def test_the_stream_may_not_differ_from_the_whole_clip() -> None:
    good = comparison()
    shifted = good.stream.copy()
    shifted[7] += 0.06
    verdict = parity.gate(replace(good, stream=shifted), Limits(), allow_drop=True)
    (breach,) = verdict.breaches
    assert breach.startswith("the stream differs from the whole clip by 0.06"), "a fault, not a price"


def test_clips_without_labels_have_their_outputs_compared() -> None:
    unlabelled = replace(comparison(wrong=10), labelled=False, truth=np.zeros(CLIPS, int))
    said = parity.figures(unlabelled)
    assert said["agreement"]["share"] == 0.95
    assert not {"accuracy", "drop", "largest_label_share"} & said.keys()
    assert {clip["label"] for clip in parity.details(unlabelled)["worst_clips"]} == {None}
    breaches = parity.gate(unlabelled, Limits()).breaches
    assert len(breaches) == 2 and all("float model's label" in breach for breach in breaches)
    assert parity.gate(replace(unlabelled, stream=unlabelled.keras, whole=unlabelled.keras), Limits()).passed


def everywhere(scores: np.ndarray, base: Comparison) -> Comparison:
    """All ways answer alike."""
    return replace(base, keras=scores, whole=scores, stream=scores)


def test_labels_in_another_order_are_told_from_errors() -> None:
    base = comparison()
    swapped = everywhere(base.keras[:, [1, 0, 2, 3]], base)
    (breach,) = parity.gate(swapped, Limits(), allow_drop=True).breaches
    assert "labels are mixed up (Jump is answered Run, Run is answered Jump)" in breach
    one_way = base.keras.copy()
    one_way[base.window_truth == 0] = (0.02, 0.94, 0.02, 0.02)
    assert parity.mixed_up_labels(everywhere(one_way, base)) == [], "a model may take all jumps for runs"
    assert parity.gate(everywhere(one_way, base), Limits()).passed
    circle = everywhere(base.keras[:, [1, 2, 0, 3]], base)
    assert len(parity.mixed_up_labels(circle)) == 3
    odd = replace(swapped, truth=np.where(np.arange(CLIPS) < 2, swapped.truth, 3))
    assert parity.mixed_up_labels(odd) == [], "one clip of a label proves nothing"


def test_no_better_than_guessing_is_refused() -> None:
    base = comparison()
    scores = base.keras.copy()
    turn = np.arange(200) % 4  # of each label's windows a quarter goes to each label
    scores = np.stack([np.roll(row, int(by)) for row, by in zip(scores, turn, strict=True)])
    (breach,) = parity.gate(everywhere(scores, base), Limits()).breaches
    assert "no better than guessing among 4 labels" in breach


def test_details_name_the_worst_clips() -> None:
    moved = comparison(wrong=12)
    said = parity.details(moved)
    worst = said["worst_clips"]
    assert len(worst) == 10 and worst[0]["clip"] == "clip-00.avi"
    assert worst[0] == {
        "clip": "clip-00.avi",
        "label": "Jump",
        "float_answer": "Jump",
        "stream_answer": "Run",
        "windows": 10,
        "windows_changed": 10,
        "max_error": pytest.approx(0.92),
    }
    assert worst[1]["windows_changed"] == 2
    assert said["confusion"]["float"] == (50 * np.eye(4, dtype=int)).tolist()
    assert said["confusion"]["stream"][0] == [40, 10, 0, 0]
    assert said["recall"]["stream"]["Jump"] == {"share": 0.8, "windows": 50}


def test_a_sample_of_probabilities_is_seeded_and_small() -> None:
    one, other = (parity.details(comparison(), seed=3)["scatter"] for _ in range(2))
    assert one == other and one["of"] == 800 and len(one["float"]) == len(one["stream"]) == 800
    wide = np.tile(comparison().keras, (5, 1))
    many = replace(
        everywhere(wide, comparison()), place=np.repeat(np.arange(20), 50), by_contract=np.ones(1000, bool)
    )
    assert len(parity.details(many)["scatter"]["float"]) == parity.SCATTER_POINTS


def collapsed(share: float) -> np.ndarray:
    """Answers of which `share` is label 0."""
    good = comparison()
    scores = good.keras.copy()
    others = np.flatnonzero(good.truth[good.place] != 0)
    scores[others[: round(share * 200) - 50]] = (0.94, 0.02, 0.02, 0.02)
    return scores


def test_a_collapsed_model_fails_even_where_all_agree() -> None:
    for share, fails in ((0.6, False), (0.65, True)):
        same = everywhere(collapsed(share), comparison())
        verdict = parity.gate(same, Limits())
        assert verdict.passed is not fails
        assert all("collapsed" in breach for breach in verdict.breaches)


@pytest.mark.parametrize(
    ("labels", "limit"), [(2, 0.75), (3, 2 / 3), (4, 0.625), (5, 0.6), (9, 0.6), (50, 0.6)]
)
def test_few_labels_may_be_answered_less_evenly(labels: int, limit: float) -> None:
    assert parity.collapse_limit(labels) == pytest.approx(limit)


def test_two_labels_answered_65_to_35_are_no_collapse() -> None:
    base = comparison()
    truth = np.arange(CLIPS) % 2
    scores = np.full((200, 4), 0.02, np.float32)
    answers = truth[base.place]
    answers[np.flatnonzero(answers == 1)[:30]] = 0
    scores[np.arange(200), answers] = 0.94
    honest = everywhere(scores, replace(base, truth=truth))
    assert parity.largest_label_share(scores, honest) == pytest.approx(0.65)
    assert parity.gate(honest, Limits()).passed


def test_balance_counts_labels_not_windows() -> None:
    """Nine windows in ten of one label, all answered rightly, is no collapse."""
    truth = np.array([0] * 18 + [1] * 2)
    uneven = replace(comparison(), truth=truth)
    scores = np.full_like(uneven.keras, 0.02)
    scores[np.arange(200), truth[uneven.place]] = 0.94
    assert parity.largest_label_share(scores, uneven) == 0.5
    assert parity.largest_label_share(scores, replace(uneven, truth=np.zeros(CLIPS, int))) == 0.0


def test_no_clip_is_misuse() -> None:
    with pytest.raises(MisuseError, match="no clip"):
        parity.Reference(None, [], LABELS, tiny_bundle().manifest.temporal)


def test_the_float_model_answers_once_for_all_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what each bundle is compared with is what it answers."""
    bundle, random = tiny_bundle(), np.random.default_rng(2)
    clips = [CachedClip(f"{i}.avi", i % 3, f"g{i}", tmp_path / str(i)) for i in range(4)]
    for clip in clips:
        store(clip, np.arange(9) * 0.08, random.integers(0, 256, (9, 8, 8, 3), np.uint8))
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((4, 8, 8, 3)), layers.Rescaling(0.1), layers.GlobalAveragePooling3D(), layers.Softmax()]
    )
    asked: list[int] = []

    def predict_of(model: Any) -> Predict:
        predict = keras_predict(model)
        return lambda windows: (asked.append(len(windows)), predict(windows))[1]

    monkeypatch.setattr(parity, "keras_predict", predict_of)
    contract = replace(bundle.manifest.temporal, max_gap_ms=None)  # a manifest says what that means
    reference = parity.Reference(model, clips, bundle.manifest.labels, contract)
    one, other = (parity.compare(reference, bundle) for _ in range(2))
    assert sum(asked) == len(one.place) == 24 and one.keras is other.keras
    expected = np.concatenate(
        [model(parity._windows(clips[int(name[0])].frames(), contract.frames)).numpy() for name in one.names]
    )
    np.testing.assert_allclose(one.keras, expected, atol=1e-6)
    np.testing.assert_allclose(one.stream, one.whole, atol=1e-5)
    np.testing.assert_array_equal(one.stream, other.stream)
    with pytest.raises(ConversionError, match="the bundle's windows are"):
        parity.compare(replace(reference, contract=replace(contract, interval_ms=40.0)), bundle)


def test_answers_are_matched_by_name() -> None:
    assert parity._columns(("b", "a"), ("a", "b")) == [1, 0]
    with pytest.raises(ConversionError, match="the bundle has the labels a, b; the model's are a, c"):
        parity._columns(("a", "c"), ("a", "b"))


def test_a_stream_answers_every_window() -> None:
    bundle = tiny_bundle()
    frames = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
    whole = WholeClip(bundle)
    expected = np.stack([whole.clip(frames[at : at + 4]) for at in range(8)])
    np.testing.assert_allclose(parity.stream_scores(Recognizer(bundle), frames), expected, atol=1e-6)
    windows = np.stack([frames[at : at + 4] for at in range(8)])
    np.testing.assert_allclose(parity.stream_predict(bundle)(windows), expected, atol=1e-6)
    np.testing.assert_array_equal(parity.whole_clip_predict(bundle)(windows), expected)


def test_what_a_slow_source_costs_is_counted_on_windows_by_contract(tmp_path: Path) -> None:
    bundle, random = tiny_bundle(), np.random.default_rng(3)
    clips = [CachedClip(f"{i}.avi", i % 3, f"g{i}", tmp_path / str(i)) for i in range(4)]
    for clip in clips:
        store(clip, np.arange(12) * 0.08, random.integers(0, 256, (12, 8, 8, 3), np.uint8))
    contract = bundle.manifest.temporal
    reference = parity.Reference(None, clips, bundle.manifest.labels, contract)
    said = parity.slow_source(reference, bundle)
    assert said is not None and set(said["window_accuracy"]) == {"1", "2", "3"}
    whole = WholeClip(bundle)
    for lent in (1, 2):
        right = [
            int(whole.clip(parity.lend(clip.frames(), lent)[at : at + contract.frames]).argmax())
            == clip.label
            for clip in clips
            for at in range(0, 12 - contract.frames + 1, contract.hop_ticks)
        ]
        assert said["windows"] == len(right)
        assert said["window_accuracy"][str(lent)] == pytest.approx(np.mean(right), abs=1e-6)
    assert parity.slow_source(replace(reference, held_out=False), bundle) is None


def test_a_frame_is_lent_to_several_ticks() -> None:
    assert parity.lend(np.arange(7), 3).tolist() == [0, 0, 0, 3, 3, 3, 6]
