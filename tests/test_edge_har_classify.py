"""Recorded files: windows at the hops, segments that cover the file, short clips, gaps,
files that cannot be read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_har.classify import Classifier, Result, UnreadableFile, find_files, hop_means
from edge_har.errors import MisuseError, SourceError
from edge_har.model.cadence import TemporalContract, fill_indices, window_starts
from edge_har.model.preprocess import prepare_frame
from edge_har.model.recognizer import WholeClip
from edge_har.sources.base import Source
from tests.helpers.colours import COLOURS, FRAMES, GREY, INTERVAL_MS, LABELS, colour_bundle, painted
from tests.helpers.videos import noise, write_text_as_video, write_video

INTERVAL_S = INTERVAL_MS / 1000


class Shown(Source):
    """Frames of one colour each, at given times."""

    color = "rgb"

    def __init__(self, colours: list[object], times_s: list[float]) -> None:
        self.colours, self.times_s, self.at = colours, times_s, -1

    def grab(self) -> float | None:
        self.at += 1
        return self.times_s[self.at] if self.at < len(self.times_s) else None

    def retrieve(self) -> np.ndarray:
        return painted(self.colours[self.at], 1, (8, 8))[0]

    def close(self) -> None:
        """Nothing to do."""


def at_the_rate(*parts: tuple[object, int]) -> Shown:
    """Frames at the model's interval: each colour for some ticks."""
    colours = [colour for colour, ticks in parts for _ in range(ticks)]
    return Shown(colours, [k * INTERVAL_S for k in range(len(colours))])


def segments_of(result: Result) -> list[tuple[str | None, int, int]]:
    """Label, first tick and tick after, of each segment."""
    return [(s.label, round(s.start_s / INTERVAL_S), round(s.end_s / INTERVAL_S)) for s in result.segments]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(colour_bundle())


def test_one_activity_is_one_segment_over_the_whole_file(classifier: Classifier) -> None:
    result = classifier.source(at_the_rate(("Green", 10)), "x")
    assert (result.label, result.rejected, result.padded, result.warning) == ("Green", False, False, None)
    assert segments_of(result) == [("Green", 0, 10)]
    assert sum(result.scores.values()) == pytest.approx(1, abs=1e-6)
    assert result.scores["Green"] == pytest.approx(0.9993, abs=1e-3)


def test_changes_are_found_where_they_are(classifier: Classifier) -> None:
    result = classifier.source(at_the_rate(("Red", 12), ("Blue", 12), ("Red", 12)), "x")
    found = segments_of(result)
    assert [label for label, *_ in found] == ["Red", "Blue", "Red"]
    assert [first for _, first, _ in found] == pytest.approx([0, 12, 24], abs=1)
    assert result.label == "Red"


@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_a_short_clip_is_filled_and_says_so(ticks: int) -> None:
    bundle = colour_bundle()
    colours = ["Red", "Green", "Blue"][:ticks]
    result = Classifier(bundle).source(Shown(colours, [k * INTERVAL_S for k in range(ticks)]), "x")
    window = np.concatenate([painted(colours[i], 1) for i in fill_indices(ticks, FRAMES)])
    assert list(result.scores.values()) == pytest.approx(WholeClip(bundle).clip(window).tolist(), abs=1e-5)
    assert result.padded and result.to_json()["padded"] is True
    assert len(result.segments) == 1


@settings(max_examples=40, deadline=None)
@given(colours=st.lists(st.sampled_from(list(COLOURS)), min_size=1, max_size=21), stateful=st.booleans())
def test_scores_are_the_mean_of_the_whole_clip_model_over_all_windows(
    colours: list[str], stateful: bool
) -> None:
    bundle = colour_bundle(stateful)
    contract = bundle.manifest.temporal
    shown = np.concatenate([painted(colour, 1) for colour in colours])
    if len(shown) < FRAMES:
        windows = [shown[fill_indices(len(shown), FRAMES)]]
    else:
        windows = [shown[s : s + FRAMES] for s in window_starts(len(shown), FRAMES, contract.hop_ticks)]
    expected = np.mean([WholeClip(bundle).clip(window) for window in windows], axis=0)
    result = Classifier(bundle).source(Shown(colours, [k * INTERVAL_S for k in range(len(colours))]), "x")
    assert list(result.scores.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    starts = [s.start_s for s in result.segments]
    ends = [s.end_s for s in result.segments]
    assert starts == [0.0, *ends[:-1]] and all(
        a < b for a, b in zip(starts, ends, strict=True) if len(colours) > 1
    )
    assert ends[-1] == pytest.approx(len(colours) * INTERVAL_S, abs=INTERVAL_S + 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    ticks=st.integers(1, 70),
    hops_in_window=st.integers(1, 6),
    hop=st.integers(1, 5),
    seed=st.integers(0, 5),
)
def test_the_label_of_a_hop_is_that_of_the_windows_that_cover_it(
    ticks: int, hops_in_window: int, hop: int, seed: int
) -> None:
    assume(hops_in_window * hop >= 2)
    contract = TemporalContract(hops_in_window * hop, INTERVAL_MS, hop_ticks=hop)
    starts = window_starts(ticks, contract.frames, hop)
    scores = np.random.default_rng(seed).random((len(starts), 3)).astype(np.float32)
    means = hop_means(scores, ticks, contract)
    assert len(means) == -(-ticks // hop)
    for number, mean in enumerate(means):
        first, last = number * hop, min((number + 1) * hop, ticks)
        covering = [
            scores[i]
            for i, s in enumerate(starts)
            if s <= first and (last <= s + contract.frames or ticks < contract.frames)
        ]
        assert mean == pytest.approx(np.mean(covering, axis=0), abs=1e-6)


def test_a_gap_cuts_a_file_into_parts(classifier: Classifier) -> None:
    times_s = [k * INTERVAL_S for k in range(8)] + [30 + k * INTERVAL_S for k in range(8)]
    result = classifier.source(Shown(["Red"] * 8 + ["Green"] * 8, times_s), "x")
    assert [(s.label, s.start_s, round(s.end_s, 3)) for s in result.segments] == [
        ("Red", 0.0, 0.64),
        ("Green", 30.0, 30.64),
    ]
    assert result.scores["Red"] == pytest.approx(result.scores["Green"])  # no window saw both


def test_below_the_reject_threshold_there_is_no_label() -> None:
    classifier = Classifier(colour_bundle(reject_threshold=0.7))
    result = classifier.source(at_the_rate(("Red", 12), (GREY, 12)), "x")
    assert [s.label for s in result.segments] == ["Red", None]
    assert segments_of(result)[0][2] == pytest.approx(12, abs=2)
    assert not result.rejected, "an event would start, however long nothing happens after it"
    assert not classifier.source(at_the_rate(("Red", 12), (GREY, 60)), "x").rejected
    unsure = classifier.source(at_the_rate((GREY, 12)), "x")
    assert unsure.rejected and unsure.label in LABELS
    assert unsure.to_json()["segments"] == [{"label": None, "start_s": 0.0, "end_s": 0.96, "score": 0.333333}]


def test_a_line_has_the_keys_that_readers_expect(tmp_path: Path, classifier: Classifier) -> None:
    path = str(write_video(tmp_path / "a.avi", painted("Red", 50, (32, 24))))
    line = classifier.file(path).to_json()
    assert list(line) == ["path", "label", "score", "scores", "rejected", "segments"]
    assert (
        line["path"] == path
        and line["score"] == line["scores"]["Red"]
        and list(line["scores"]) == list(LABELS)
    )
    assert line["segments"] == [{"label": "Red", "start_s": 0.0, "end_s": 2.0, "score": line["score"]}]


@pytest.mark.parametrize("rate_hz", [10, 25, 30])
def test_a_real_file_is_sampled_as_the_device_does(
    tmp_path: Path, rate_hz: float, classifier: Classifier
) -> None:
    shown = noise(round(2 * rate_hz), (32, 24))
    path = write_video(tmp_path / "a.avi", shown, rate_hz)
    ticks = [
        next(i for i in range(len(shown)) if i / rate_hz >= k * INTERVAL_S - 1e-6)
        for k in range(int((len(shown) - 1) / rate_hz / INTERVAL_S + 1e-6) + 1)
    ]
    prepared = np.stack([prepare_frame(shown[i], classifier.manifest.frame) for i in ticks])
    windows = [prepared[s : s + FRAMES] for s in window_starts(len(ticks), FRAMES, 1)]
    expected = np.mean([WholeClip(colour_bundle()).clip(window) for window in windows], axis=0)
    assert list(classifier.file(str(path)).scores.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_files_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path, classifier: Classifier) -> None:
    good = str(write_video(tmp_path / "a.avi", painted("Red", 50)))
    text = str(write_text_as_video(tmp_path / "b.avi"))
    first, second, third = classifier.files([text, good, str(tmp_path / "none.avi")])
    assert isinstance(first, UnreadableFile) and first.to_json() == {
        "path": text,
        "error": "a text file, not a video",
    }
    assert isinstance(second, Result) and second.label == "Red"
    assert isinstance(third, UnreadableFile) and third.error == "no such file"


def test_what_could_not_be_read_is_a_warning(tmp_path: Path, classifier: Classifier) -> None:
    whole = write_video(tmp_path / "a.avi", noise(50, (64, 48)))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "ends after" in classifier.file(str(cut)).to_json()["warning"]


def test_nothing_decoded_is_an_error(classifier: Classifier) -> None:
    with pytest.raises(SourceError, match="no frame"):
        classifier.source(Shown([], []), "x")


def test_folders_are_searched_in_sorted_order_and_named_files_always_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.MP4", "b/1.avi", "a.mkv", "notes.txt", ".hidden.avi", "b/.git/x.avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert find_files(["."]) == ["./a.mkv", "./b/1.avi", "./b/2.MP4"]
    assert find_files(["notes.txt", "none.avi", "b"]) == ["notes.txt", "none.avi", "b/1.avi", "b/2.MP4"]
    assert find_files(["b/*.avi", "*.nothing"]) == ["b/1.avi", "*.nothing"]


def test_nothing_to_do_is_misuse(tmp_path: Path) -> None:
    for paths in ([], [str(tmp_path)]):
        with pytest.raises(MisuseError):
            find_files(paths)


def test_an_address_that_is_no_file_shows_no_password() -> None:
    classifier = Classifier(colour_bundle())
    for path in ("rtsp://me:12/s3cret@h/x", "rtsp:/me:s3cret@h/x"):
        (outcome,) = classifier.files(find_files([path]))
        assert isinstance(outcome, UnreadableFile) and "no such file" in outcome.error
        assert "s3cret" not in outcome.path + outcome.error and outcome.path not in outcome.error
