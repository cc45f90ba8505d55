"""docs/mistakes.md: each mistake of a person who has read no source has one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.mistakes import answer, in_folder, mistakes, write_files
from tests.helpers.need import need_module

MISTAKES = mistakes()
NEEDS_WORKSTATION = ("data", "train", "convert", "benchmark")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("typed")
    write_files(path)
    return path


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_has_the_answer_of_the_page(line: str, folder: Path) -> None:
    if line.split()[1] in NEEDS_WORKSTATION:
        need_module("tensorflow", "make test")
    with in_folder(folder):
        code, output, errors = answer(line)
    assert (errors, output) == (MISTAKES[line], "")
    assert code in (1, 2)
    assert errors.startswith("error: ") and errors.count("\n") == 1


def test_there_are_enough_of_them() -> None:
    assert len(MISTAKES) >= 60
