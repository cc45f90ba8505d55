"""The page on pruning and shrinking: a section per conversion, its own table or why there is none."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.experiments.folds import REPORT, Experiment, FoldResult, GateResult
from benchmarks.measure.clips import Figures
from benchmarks.pages.compactness import Compactness, page, section_of

ROW = {
    "name": "pruned 80%",
    "parameters": 73060,
    "zero_share": 0.79,
    "bytes": 90000,
    "zipped_bytes": 40000,
    "tick_ms": 0.2,
    "tick_ratio": 1.01,
    "tick_ratio_quartiles": [0.99, 1.03],
}


def test_a_section_is_a_conversions_own_table_or_why_it_was_refused(tmp_path: Path) -> None:
    sections = []
    for failed in (None, "it has collapsed"):
        folder = tmp_path / str(failed)
        folder.mkdir()
        report = {"failed": failed} | (
            {} if failed else {"compactness": {"rows": [ROW], "says": ["no speed-up"]}}
        )
        (folder / REPORT).write_text(json.dumps(report))
        entry = Experiment("LRCN --prune 0.8", "lrcn", conversion=("--prune", "0.8"))
        floats = Figures(20, 9, (), 200, 110)
        gate = GateResult(200, 0.99, failed)
        result = FoldResult(entry, "2 groups", folder, 50, floats, None, gate, None, folder, ("c0ffee",), 1.0)
        sections.append(section_of(result))
    shown = page(
        Compactness(tuple(sections), "5dfd", ("c0ffee",)), ["python", "-m", "benchmarks", "compactness"]
    )
    assert shown.count("## LRCN, `--prune 0.8`") == 2
    assert "| pruned 80% | 73,060 | 79% | 88 | 39 | not measured | not measured | 0.200 ms, × 1.01 |" in shown
    assert "no speed-up" in shown and "The gate refused it: it has collapsed" in shown
