"""Finished work is found again by its content; interrupted work goes on; other content is other work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments.cache import keep, kept, key_of, read_published, write_published

MADE_OF = {"data": "5dfd", "settings": {"epochs": 40, "labels": ["Run", "Gehen über"]}, "fold": 3}


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    calls = []

    def make(folder: Path) -> dict[str, Any]:
        calls.append(folder)
        return {"right": 9}

    assert kept(tmp_path, MADE_OF) is None
    folder, first = keep(tmp_path, MADE_OF, make)
    again, second = keep(tmp_path, dict(reversed(MADE_OF.items())), make)
    assert calls == [folder] and again == folder
    assert first == second == kept(tmp_path, MADE_OF)
    assert first["right"] == 9 and first["seconds"] >= 0


def test_interrupted_work_goes_on_in_its_folder(tmp_path: Path) -> None:
    def make(folder: Path) -> dict[str, Any]:
        checkpoint = folder / "checkpoint"
        if not checkpoint.is_file():
            checkpoint.write_text("epoch 7")
            raise KeyboardInterrupt
        return {"went_on_from": checkpoint.read_text()}

    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, MADE_OF, make)
    assert kept(tmp_path, MADE_OF) is None
    assert keep(tmp_path, MADE_OF, make)[1]["went_on_from"] == "epoch 7"


@pytest.mark.parametrize(
    "changed",
    [
        MADE_OF | {"data": "5dfe"},
        MADE_OF | {"settings": {"epochs": 41, "labels": ["Run", "Gehen über"]}},
        MADE_OF | {"settings": {"epochs": 40, "labels": ["Gehen über", "Run"]}},
        MADE_OF | {"fold": 4},
        MADE_OF | {"more": None},
    ],
)
def test_other_content_is_other_work(tmp_path: Path, changed: dict[str, Any]) -> None:
    keep(tmp_path, MADE_OF, lambda folder: {})
    assert key_of(changed) != key_of(MADE_OF)
    assert kept(tmp_path, changed) is None


def test_results_of_elsewhere_serve_as_well_and_leave_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "page.results.json"
    assert read_published(path) == {}
    write_published(path, {"b" * 16: {"right": 1}, key_of(MADE_OF): {"right": 9, "label": "Gehen über"}})
    published = read_published(path)
    assert published["b" * 16] == {"right": 1} and len(path.read_text().splitlines()) == 4

    def make(folder: Path) -> dict[str, Any]:
        raise AssertionError("nothing is to be made")

    folder, found = keep(tmp_path, MADE_OF, make, published)
    assert found == {"right": 9, "label": "Gehen über"} and not folder.exists()
    assert kept(tmp_path, MADE_OF) is None
