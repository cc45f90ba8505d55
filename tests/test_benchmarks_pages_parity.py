"""The parity table: what is trained and converted, what is in a row, and when it is past a limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.conversions import ALL_INTEGER, AUTO, PRECISIONS, ParityRow, entries_of, row_of
from benchmarks.experiments.entries import SETS
from benchmarks.experiments.folds import REPORT, FoldResult, GateResult
from benchmarks.measure.clips import Figures
from benchmarks.pages.parity import Parity, page
from edge_har.errors import EdgeHarError


def share(value: float) -> dict[str, object]:
    return {"share": value, "interval": [value - 0.02, value + 0.01], "interval_by": "groups"}


def report(*, agreement: float = 0.99, drop: float = 0.4) -> dict[str, object]:
    return {
        "windows": 250,
        "clips": 20,
        "groups": ["g02", "g06"],
        "agreement": share(agreement),
        "accuracy": {way: {"windows": share(0.5)} for way in ("float", "whole_clip", "stream")},
        "drop": {"points": drop, "interval": [drop - 1, drop + 1], "interval_by": "groups"},
    }


ROW = ParityRow("weizmann", "LRCN", AUTO, "int8", 0.55, report(), None)


def test_every_model_is_trained_once_a_set_and_converted_in_every_precision() -> None:
    for clips in SETS:
        trained, converted = (entries_of(clips, converted=value) for value in (False, True))
        assert {entry.model for entry in trained} == {"lrcn", "convlstm"}
        assert {entry.options for entry in trained} == {entry.options for entry in converted}
        precisions = [*PRECISIONS.values(), *(ALL_INTEGER.values() if clips.all_integer else ())]
        assert len({entry.name for entry in converted}) == sum(map(len, precisions))
        assert all(PRECISIONS[name][0] == AUTO for name in PRECISIONS)


def test_a_row_is_what_the_conversion_reported(tmp_path: Path) -> None:
    written = {
        "precision": "mixed",
        "trials": [
            {"route": {"step": "int8", "head": "int8"}, "taken": False},
            {"route": {"step": "int8", "head": "int8-weights"}, "taken": True},
        ],
        "parity": {"validation": report(agreement=0.1), "test": report(agreement=0.981)},
        "failed": None,
    }
    (tmp_path / REPORT).write_text(json.dumps(written))
    entry = entries_of(SETS[0], converted=True)[0]
    floats, gate = Figures(20, 9, (), 200, 110), GateResult(250, 0.981, None)
    result = FoldResult(entry, "2 groups", tmp_path, 50, floats, None, gate, None, tmp_path, ("c0ffee",), 1.0)
    row = row_of("weizmann", result)
    assert (row.model, row.requested, row.made) == ("LRCN", AUTO, "step int8, head int8-weights")
    assert (row.agreement, row.trained) == (0.981, 0.55)


@pytest.mark.parametrize(
    ("row", "breach"),
    [
        (ROW, None),
        (replace(ROW, report=report(agreement=0.969)), "LRCN on weizmann: agrees on 0.969"),
        (replace(ROW, report=report(drop=2.1)), "LRCN on weizmann: loses 2.1 points"),
        (replace(ROW, failed="the float model is no better than guessing"), None),
        (replace(ROW, requested="int8", report=report(drop=9.0), failed="no"), None),
    ],
)
def test_what_should_ship_is_held_to_the_limits(row: ParityRow, breach: str | None) -> None:
    measured = Parity((ROW, row), ("5dfd",), ("c0ffee",))
    if breach is None:
        measured.check_limits()
    else:
        with pytest.raises(EdgeHarError, match=breach):
            measured.check_limits()


def test_the_page_shows_every_row_and_why_one_was_refused() -> None:
    refused = replace(
        ROW,
        model="ConvLSTM",
        requested="int8",
        failed="the quantised stream differs",
        report=report(drop=-1.5),
    )
    shown = page(Parity((ROW, refused), ("5dfd",), ("c0ffee",)), ["python", "-m", "benchmarks", "parity"])
    assert "| weizmann | LRCN | auto (int8) | 0.550 | 0.500 (0.48 to 0.51) |" in shown
    assert "| -1.5 (-2.5 to -0.5) | refused |" in shown
    assert "- weizmann, ConvLSTM, int8: the quantised stream differs" in shown
    assert "250 windows of 20 clips, 2 groups" in shown and "c0ffee" in shown
