"""The gate's figures and limits, on made-up answers whose right verdict is known."""

from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import MisuseError, ParityError
from tests.helpers.bundles import tiny_bundle
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert import parity
from convert.parity import Comparison
from edge_har.recognizer import Recognizer, WholeClip

LABELS = 4
CLIPS = 20
WINDOWS = 10  # a clip


def comparison(wrong: int = 0) -> Comparison:
    """Everything right, but the quantised forms off in `wrong` of 200 windows."""
    truth = np.arange(CLIPS) % LABELS
    place = np.repeat(np.arange(CLIPS), WINDOWS)
    sure = np.full((len(place), LABELS), 0.02, np.float32)
    sure[np.arange(len(place)), truth[place]] = 0.94
    off = sure.copy()
    off[:wrong] = np.roll(off[:wrong], 1, axis=1)
    by_contract = np.tile(np.arange(WINDOWS) % 5 == 0, CLIPS)
    groups = tuple(f"g{clip % 3}" for clip in range(CLIPS))
    return Comparison(sure, off, off.copy(), place, by_contract, truth, groups)


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
    for said in (parity.figures(one), parity.figures(comparison(wrong=10), groups_known=False)):
        assert said["agreement"]["interval_by"] == "wilson"
        assert said["agreement"]["interval"] == pytest.approx([0.9104, 0.9726], abs=1e-3)
    assert parity.figures(comparison(), groups_known=False)["groups"] == "unknown"


def test_clips_that_were_trained_on_have_no_accuracy() -> None:
    assert "accuracy" not in parity.figures(comparison(), accuracy=False)


@pytest.mark.parametrize(
    ("precision", "allowed", "refused"), [("int8", 4, 5), ("int8-weights", 6, 7), ("float32", 0, 1)]
)
def test_each_precision_has_its_limit(precision: str, allowed: int, refused: int) -> None:
    parity.gate(comparison(wrong=allowed), precision)
    with pytest.raises(ParityError, match="agrees with the float model on 0"):
        parity.gate(comparison(wrong=refused), precision)


def test_the_whole_clip_is_gated_too() -> None:
    good, bad = comparison(), comparison(wrong=20)
    with pytest.raises(ParityError, match="quantised whole clip agrees"):
        parity.gate(replace(good, whole=bad.whole), "int8")


def test_the_stream_may_not_differ_from_the_whole_clip() -> None:
    good = comparison()
    shifted = good.stream.copy()
    shifted[7] += 0.06
    with pytest.raises(ParityError, match="stream differs from the whole clip by 0"):
        parity.gate(replace(good, stream=shifted), "int8")


def collapsed(share: float) -> np.ndarray:
    """Answers of which `share` is label 0."""
    good = comparison()
    scores = good.keras.copy()
    others = np.flatnonzero(good.truth[good.place] != 0)
    scores[others[: round(share * 200) - 50]] = (0.94, 0.02, 0.02, 0.02)
    return scores


def test_a_collapsed_model_fails_even_where_all_agree() -> None:
    for share, fails in ((0.55, False), (0.65, True)):
        scores = collapsed(share)
        same = replace(comparison(), keras=scores, whole=scores, stream=scores)
        if fails:
            with pytest.raises(ParityError, match="collapsed"):
                parity.gate(same, "int8")
        else:
            parity.gate(same, "int8")


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
        parity.compare(None, tiny_bundle(), [])


def test_a_stream_answers_every_window() -> None:
    bundle = tiny_bundle()
    frames = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), np.uint8)
    whole = WholeClip(bundle)
    expected = np.stack([whole.clip(frames[at : at + 4]) for at in range(8)])
    np.testing.assert_allclose(parity.stream_scores(Recognizer(bundle), frames), expected, atol=1e-6)
    windows = np.stack([frames[at : at + 4] for at in range(8)])
    np.testing.assert_allclose(parity.stream_predict(bundle)(windows), expected, atol=1e-6)
    np.testing.assert_array_equal(parity.whole_clip_predict(bundle)(windows), expected)
