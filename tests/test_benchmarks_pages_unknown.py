"""The page of movements never seen: what counts as an event, and the table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.experiments.novelty import Noticed
from benchmarks.pages.unknown import TRIALS, Counts, Measured, Unknown, count_events, page
from tests.helpers.colours import GREY, colour_bundle, painted
from tests.helpers.videos import write_video
from train.data.videos import FoundClip


def test_an_event_called_unknown_does_not_count(tmp_path: Path) -> None:
    shown = {"Red": "Red", "Green": "Red", "Blue": GREY}
    clips = [
        FoundClip(write_video(tmp_path / f"{label}.avi", painted(colour, 60, (32, 24))), label, "g01")
        for label, colour in shown.items()
    ]
    counts = count_events(colour_bundle(reject_threshold=0.7), clips)
    assert counts == Counts(clips=3, started=2, right=1, rejected=1, plain=2)


def test_the_table_has_a_row_for_each_model_and_a_sentence_for_each_kind() -> None:
    known, other = Counts(20, 19, 18, 1, 20), Counts(50, 5, 0, 40, 43)
    measured = tuple(Measured(trial, known, other, 0.5, "0" * 64, "abc") for trial in TRIALS[:2])
    ways = {"ucf9": {"energy": Noticed(0.72, 0.24)}, "weizmann_full": {"energy": Noticed(0.62, 0.12)}}
    text = page(Unknown(measured, ways, ("ucf9 123456789abc",)), ["python", "-m", "benchmarks", "unknown"])
    row = "| weizmann_full | motion | Walk, WaveTwoHands | 0.500 | 19/20 | 18 | 1 | 20 | 5/50 | 40 | 43 |"
    assert row in text
    assert "0.95 of 40 known clips start a label" in text
    assert "0.10 of 100 other clips start a label (0.06 to 0.17)" in text and "at: abc" in text
    assert "| energy | 0.72 | 0.24 | 0.62 | 0.12 |" in text and "ucf9 123456789abc, weizmann" in text


def test_without_weights_no_ways_are_compared() -> None:
    measured = (Measured(TRIALS[0], Counts(1, 1, 1, 0, 1), Counts(1, 0, 0, 1, 1), 0.5, "0" * 64, "abc"),)
    assert "## Ways" not in page(Unknown(measured), ["python"])
