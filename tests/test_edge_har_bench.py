"""`edge-har bench`: every part is measured, percentiles are right, the output is for people or programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_har import bench as bench_module
from edge_har.bench import Timing, bench, machine, report_lines
from edge_har.cli.bench import command
from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import write_bundle
from tests.helpers.bundles import some_bundle


@pytest.fixture(scope="module")
def report() -> bench_module.BenchReport:
    return bench(some_bundle(), ticks=some_bundle().manifest.temporal.frames + 1)


def test_percentiles_of_known_durations() -> None:
    timing = Timing.of([n / 1000 for n in range(1, 102)])  # 1 to 101 ms
    assert (timing.calls, timing.mean_ms, timing.p50_ms) == (101, pytest.approx(51), pytest.approx(51))
    assert (timing.p95_ms, timing.p99_ms) == (pytest.approx(96), pytest.approx(100))
    with pytest.raises(MisuseError, match="no durations"):
        Timing.of([])


def test_every_part_is_measured_for_every_tick(report: bench_module.BenchReport) -> None:
    temporal = some_bundle().manifest.temporal
    ticks = temporal.frames + 1
    counts = {part: timing.calls for part, timing in report.parts.items()}
    assert counts["prepare"] == counts["tick"] == counts["pipeline"] == counts["clip"] == ticks
    assert counts["step"] == ticks * report.steps_per_tick
    assert counts["result"] == ticks // temporal.hop_ticks
    for timing in report.parts.values():
        assert 0 < timing.p50_ms <= timing.p95_ms <= timing.p99_ms


def test_a_tick_holds_its_step_and_head(report: bench_module.BenchReport) -> None:
    total_ms = {part: timing.calls * timing.mean_ms for part, timing in report.parts.items()}
    assert total_ms["tick"] > total_ms["step"] + total_ms["head"]
    assert total_ms["pipeline"] == pytest.approx(total_ms["tick"] + total_ms["prepare"])


def test_memory_and_machine_are_read(report: bench_module.BenchReport) -> None:
    assert report.peak_stream_mb is not None and report.peak_all_mb is not None
    assert 10 < report.peak_stream_mb <= report.peak_all_mb
    assert machine().cpu and machine().cores >= 1


def test_the_table_names_model_machine_and_parts(report: bench_module.BenchReport) -> None:
    text = "\n".join(report_lines(report))
    for expected in (
        some_bundle().model_id,
        machine().cpu,
        "edge_har",
        "python",
        "640x480",
        "p99",
        "peak memory",
    ):
        assert expected in text


def test_the_command_prints_one_json_object_and_nothing_else(tmp_path: Path) -> None:
    bundle = some_bundle()
    path = tmp_path / "some.ehar"
    files = {name: content for name, content in bundle.contents.items() if name != "labels.txt"}
    write_bundle(path, bundle.manifest, files)
    ticks = bundle.manifest.temporal.frames
    done = subprocess.run(
        [sys.executable, "-m", "edge_har", "bench", "--model", path, "--ticks", str(ticks), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(done.stdout)
    assert report["model"] == bundle.model_id and report["ticks"] == ticks
    assert set(report["parts"]) == {"step", "head", "prepare", "tick", "pipeline", "result", "clip"}
    assert report["open_ms"] > 0 and report["graphs_ms"] > 0
    assert report["versions"]["numpy"] == np.__version__


def test_misuse_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="--ticks must be at least one window"):
        bench(some_bundle(), ticks=1)
    with pytest.raises(BundleError, match="no such bundle"):
        bench(tmp_path / "absent.ehar", ticks=100)
    assert CliRunner().invoke(command, ["--threads", "0"]).exit_code == 2
