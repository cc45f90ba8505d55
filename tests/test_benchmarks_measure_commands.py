"""Commands run in processes of their own: their failure is one line here, and they can be interrupted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from benchmarks.measure.commands import edge_har, interrupt_all, last_line
from edge_har.errors import EdgeHarError
from tests.helpers.bundles import TINY, tiny_bundle


def test_output_comes_back_and_errors_go_to_the_log(tmp_path: Path) -> None:
    assert "edge-har" in edge_har("--version", log=tmp_path / "log.txt")
    with pytest.raises(EdgeHarError, match=r"edge-har data ended with 1: error: .*absent.*no such folder"):
        edge_har("data", "index", tmp_path / "absent", "--out", tmp_path / "i.csv", log=tmp_path / "log.txt")
    assert last_line(tmp_path / "log.txt").startswith("error: ")


def test_the_last_line_is_what_a_progress_bar_shows_last(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert last_line(log) == ""
    log.write_text("epoch 1/40\nchecking  10%\rchecking  90%\n\n")
    assert last_line(log) == "checking  90%"


def test_a_running_command_ends_as_by_ctrl_c(tmp_path: Path) -> None:
    ended: list[str] = []
    log = tmp_path / "log.txt"
    tiny_bundle()  # on disk from here on

    def run() -> None:
        try:
            edge_har("run", "--model", TINY, "--source", "synthetic:Walk", "--realtime", log=log)
        except EdgeHarError as error:
            ended.append(str(error))
        else:
            ended.append("done")

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(1.0)
        interrupt_all()
    assert len(ended) == 1, "a stream without end went on"
    assert "no model" not in last_line(log)
