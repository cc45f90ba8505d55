"""A stream's every answer is the whole-clip graph's on the same window, wherever the window begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.model.recognizer import TickRecognizer, WholeClip, check_golden
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.sources.files import FileSource
from edge_har.sources.synthetic import render_clip
from tests.helpers.bundles import some_bundle
from tests.helpers.colours import colour_bundle
from tests.helpers.need import need_clips
from tests.helpers.published import published_bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return some_bundle()


def prepared(bundle: Bundle, label: str, seed: int, ticks: int) -> Pixels:
    drawn = render_clip(label, seed, ticks, rate_hz=1000 / bundle.manifest.temporal.interval_ms)
    return np.stack([prepare_frame(frame, bundle.manifest.frame) for frame in drawn])


def check_every_window(bundle: Bundle, ticks: Pixels) -> int:
    """Compare the stream with the whole clip at every offset; how many windows that were."""
    contract = bundle.manifest.temporal
    stream, whole = TickRecognizer(bundle), WholeClip(bundle)
    compared = 0
    for tick, frame in enumerate(ticks):
        scores = stream.tick(frame)
        first = tick - contract.frames + 1
        assert (scores is not None) == (first >= 0 and first % contract.hop_ticks == 0)
        if scores is not None:
            expected = whole.clip(ticks[first : tick + 1])
            assert int(scores.argmax()) == int(expected.argmax())
            assert np.abs(scores - expected).max() <= bundle.manifest.golden_tolerance
            assert scores.sum() == pytest.approx(1.0, abs=1e-5)
            compared += 1
    return compared


def test_every_answer_is_the_whole_clips(bundle: Bundle) -> None:
    assert (
        check_every_window(bundle, prepared(bundle, "Walk", 3, 45))
        == 26 // bundle.manifest.temporal.hop_ticks
    )


def test_every_answer_is_the_whole_clips_on_real_clips(bundle: Bundle) -> None:
    compared = 0
    for path in sorted(need_clips("weizmann").glob("*/*_g0[13]_c01.avi")):
        with FileSource(path) as source:
            sampler = Sampler(bundle.manifest.frame, bundle.manifest.temporal)
            ticks = [t.frame for t in ticks_of(source, sampler) for _ in t.times_s]
        compared += check_every_window(bundle, np.stack(ticks))
    assert compared > 100


def test_a_reset_forgets_what_came_before(bundle: Bundle) -> None:
    recognizer = TickRecognizer(bundle)
    fresh = prepared(bundle, "JumpingJack", 1, bundle.manifest.temporal.frames)
    expected = recognizer.clip(fresh)
    for frame in prepared(bundle, "Bend", 2, 33):
        recognizer.tick(frame)
    recognizer.reset()
    predictions = [recognizer.tick(frame) for frame in fresh]
    assert all(answer is None for answer in predictions[:-1])
    assert predictions[-1] is not None and np.array_equal(predictions[-1], expected)


def test_streams_that_share_graphs_do_not_mix(bundle: Bundle) -> None:
    """Their ticks alternate, one begins later, and each predictions as it does alone."""
    labels = ("Walk", "JumpingJack", "Bend")
    shown = {label: prepared(bundle, label, 5, bundle.manifest.temporal.frames + 12) for label in labels}
    first = TickRecognizer(bundle)
    shared = {
        label: first if label == labels[0] else TickRecognizer(bundle, beside=first) for label in labels
    }
    alone = {label: TickRecognizer(bundle) for label in labels}
    assert shared["Bend"].step is first.step or first.step.holds_state
    for tick in range(len(shown["Walk"])):
        for number, label in enumerate(labels):
            if tick < 3 * number:
                continue
            frame = shown[label][tick - 3 * number]
            got, expected = shared[label].tick(frame), alone[label].tick(frame)
            assert (got is None) == (expected is None)
            assert got is None or np.array_equal(got, expected)


def test_a_graph_with_state_inside_is_never_shared(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TickRecognizer(bundle)
    monkeypatch.setattr(first.head, "holds_state", True)
    second = TickRecognizer(bundle, beside=first)
    assert second.head is not first.head


@pytest.mark.parametrize("kind", ["lrcn", "convlstm"])
def test_state_inside_a_graph_is_seen(kind: str) -> None:
    """An LRCN's head is a fused LSTM; a ConvLSTM's state goes in and out."""
    made = TickRecognizer(open_bundle(published_bundle(kind)))
    assert (made.step.holds_state, made.head.holds_state) == (False, kind == "lrcn")


def test_temperature_softens_and_keeps_the_order(bundle: Bundle) -> None:
    frames = prepared(bundle, "Run", 4, bundle.manifest.temporal.frames)
    plain = TickRecognizer(bundle).clip(frames)
    softer = TickRecognizer(replace(bundle, manifest=replace(bundle.manifest, temperature=3.0))).clip(frames)
    assert softer.max() < plain.max() and int(softer.argmax()) == int(plain.argmax())
    assert softer.sum() == pytest.approx(1.0, abs=1e-5)


def test_frames_of_another_size_are_refused(bundle: Bundle) -> None:
    with pytest.raises(MisuseError, match="the model takes frames of shape"):
        TickRecognizer(bundle).tick(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(MisuseError, match="a window is"):
        TickRecognizer(bundle).clip(np.zeros((3, 64, 64, 3), np.uint8))


def test_golden_clips_are_computed_here_as_there(bundle: Bundle) -> None:
    assert check_golden(bundle) <= bundle.manifest.golden_tolerance
    first = bundle.manifest.golden[0]
    turned = replace(first, scores=tuple(reversed(first.scores)))
    with pytest.raises(BundleError, match=first.file):
        check_golden(replace(bundle, manifest=replace(bundle.manifest, golden=(turned,))))
    with pytest.raises(BundleError, match="no golden clips"):
        check_golden(replace(bundle, manifest=replace(bundle.manifest, golden=())))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temporal": TemporalContract(8, 80.0)}, "features have the shape"),
        ({"temporal": TemporalContract(2, 80.0)}, "features have the shape"),
        ({"frame": FrameSpec((16, 8))}, "frames have the shape"),
        ({"labels": ("a", "b")}, "scores have the shape"),
    ],
)
def test_graphs_that_do_not_go_with_their_manifest_are_refused(change: dict[str, object], says: str) -> None:
    whole = colour_bundle()
    changed = replace(whole, manifest=replace(whole.manifest, golden=(), **change))
    with pytest.raises(BundleError, match=says):
        TickRecognizer(changed)
