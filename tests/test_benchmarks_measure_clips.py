"""Accuracy is counted over the windows that `classify` takes, and the stream answers as `run` does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure.clips import (
    Figures,
    HeldOut,
    by_stream,
    by_window,
    clip_ticks,
    clip_windows,
    figures,
    indexed_clips,
)
from edge_har.errors import DataError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from edge_har.model.recognizer import TickRecognizer, WholeClip
from tests.helpers.bundles import tiny_bundle
from tests.helpers.videos import noise, numbered, write_video

LABELS = ("a", "b")


def scores_of(*windows: str) -> np.ndarray:
    """Probabilities that name these labels."""
    return np.array([[0.8, 0.2] if label == "a" else [0.3, 0.7] for label in windows], np.float32)


def test_clips_and_windows_are_counted_apart() -> None:
    answers = {"one": scores_of("a", "a", "b"), "two": scores_of("b", "a"), "three": scores_of("a")}
    clips = [(HeldOut(Path(), name, "a", "g1"), np.array(name)) for name in answers]
    found = figures(lambda ticks: answers[str(ticks)], clips, LABELS)
    assert (found.clips, found.missed, found.right) == (3, 0, 3)
    assert (found.windows, found.windows_right) == (6, 4)
    clips = [(HeldOut(Path(), name, "b", "g1"), np.array(name)) for name in answers]
    found = figures(lambda ticks: answers[str(ticks)], clips, LABELS)
    assert found.missed == 3 and found.wrong[1] == {"clip": "two", "label": "b", "answer": "a"}
    assert Figures.from_json(found.to_json()) == found


def test_a_total_is_the_sum() -> None:
    total = Figures.total([Figures(9, 1, ({"clip": "x"},), 20, 15), Figures(11, 2, (), 30, 30)])
    assert total == Figures(20, 3, ({"clip": "x"},), 50, 45)
    assert total.accuracy == pytest.approx(0.85) and total.window_accuracy == pytest.approx(0.9)


def test_the_ticks_of_a_file_are_the_models(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", numbered(21), 25.0)
    ticks = clip_ticks(path, FrameSpec((32, 24)), TemporalContract(4, 80.0))
    assert ticks[:, 0, 0, 0].tolist() == list(range(0, 21, 2))


@pytest.mark.parametrize(("ticks", "hop", "firsts"), [(3, 1, [0]), (6, 1, [0, 1, 2]), (7, 2, [0, 2, 3])])
def test_windows_end_with_the_clip(ticks: int, hop: int, firsts: list[int]) -> None:
    windows = clip_windows(numbered(ticks), TemporalContract(4, 80.0, hop))
    assert [int(window[0, 0, 0, 0]) for window in windows] == firsts
    assert all(len(window) == 4 for window in windows)


@pytest.mark.parametrize("ticks", [2, 4, 9])
def test_the_stream_answers_each_window_as_the_whole_clip_does(ticks: int) -> None:
    bundle = tiny_bundle()
    clip = noise(ticks, bundle.manifest.frame.size_wh)
    stream = by_stream(TickRecognizer(bundle))(clip)
    whole = by_window(bundle.manifest.temporal, WholeClip(bundle).clip)(clip)
    assert stream.shape == whole.shape == (max(1, ticks - 3), 3)
    assert np.abs(stream - whole).max() < 1e-5


def test_clips_of_an_index_are_found_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "clips" / "Walk").mkdir(parents=True)
    run = tmp_path / "deep" / "runs" / "RUN"
    run.mkdir(parents=True)
    (run / "index.csv").write_text("path,label,group\n../../../clips/Walk/a.avi,Walk,g01\n")
    (tmp_path / "RUN").symlink_to(run)
    for folder in (run, tmp_path / "RUN"):
        (clip,) = indexed_clips(folder / "index.csv")
        assert clip.path == Path(os.path.realpath(tmp_path)) / "clips" / "Walk" / "a.avi"
    with pytest.raises(DataError, match="cannot be read"):
        indexed_clips(tmp_path / "index.csv")
