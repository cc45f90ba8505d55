"""What int8 is calibrated on: each choice's windows, and the table of a small trained RUN, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.need import need_module
from tests.helpers.runs import train_tiny

need_module("tensorflow", "pip install -e '.[workstation]'")

from benchmarks.pages.calibration import ALL, NOISE, NONE, calibration_of, compare_calibrations, page
from convert.inputs.clips import ClipParts, choose_calibration, clip_parts_of_run
from edge_har.errors import MisuseError
from train.runs import Run, load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    return load_run(train_tiny("motion", folder, epochs=3, frames=4, size=16))


@pytest.fixture(scope="module")
def material(run: Run) -> ClipParts:
    return clip_parts_of_run(run, None, run.folder.parent / "cache", lambda line: None)


def test_each_choice_has_its_windows(run: Run, material: ClipParts) -> None:
    contract = run.config.contract
    assert calibration_of(NONE, material, contract) is None
    eight, noise, every = (calibration_of(choice, material, contract) for choice in ("8", NOISE, ALL))
    assert eight is not None and noise is not None and every is not None
    assert len(eight.pixels) == 8 and len(noise.pixels) == 64 and noise.names == ()
    assert eight.sha256 == choose_calibration(material, contract, windows=8).sha256
    assert list(every.names) == sorted({clip.name for clip in material.training})
    assert set(eight.names) <= set(every.names) and len(every.pixels) > len(every.names)
    held_out = {clip.name for clip in (*material.validation, *material.test)}
    assert held_out and not held_out & set(every.names)
    with pytest.raises(MisuseError, match="or a number, got 'few'"):
        calibration_of("few", material, contract)


def test_the_table_is_made_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HAR_CACHE", str(run.folder.parent / "cache"))
    lines: list[str] = []
    measured = compare_calibrations(None, [run.folder], choices=(NONE, "8"), say=lines.append, cache=tmp_path)
    rows = measured.rows
    assert [row.windows for row in rows] == [0, 8] and rows[0].compared == rows[1].compared > 0
    assert all(0 <= row.stream <= 1 and 0 <= row.mean_error <= row.max_error <= 1 for row in rows)
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    again = compare_calibrations(None, [run.folder], choices=(NONE, "8"), say=lines.append, cache=tmp_path)
    assert again == measured and len(results) == 2
    assert results == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    text = page(measured, ["python", "-m", "benchmarks", "calibration"])
    assert "| motion | none" in text and "| 8" in text and measured.index_sha256 in text
