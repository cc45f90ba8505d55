"""Keys go by what code does: moved code keeps its hash, renamed code may carry an earlier one over."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import group
from benchmarks.experiments import code
from benchmarks.experiments.code import CARRIED_OVER, PACKAGE, ROOT, TEXTS, code_sha256, package_sha256

HALF = '"""Prune."""\nimport math\n\ndef half(x):\n    """Half of x."""\n    return x / 2\n'
USE = "from convert.prune import half\n\ndef quarter(x):\n    return half(half(x))\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules, in place of the real one."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "prune.py").write_text(HALF)
    (folder / "use.py").write_text(USE)
    return folder


def test_what_code_does_counts_not_how_it_looks(package: Path) -> None:
    before = code_sha256()
    (package / "prune.py").write_text(
        '"""Prune!"""\nimport math\ndef half(x):  # of it\n    return (x / 2)\n'
    )
    assert code_sha256() == before
    (package / "prune.py").write_text(HALF.replace("2", "3"))
    assert code_sha256() != before


def test_code_in_folders_counts_and_may_move(package: Path) -> None:
    before = code_sha256()
    (package / "compress").mkdir()
    (package / "prune.py").rename(package / "compress" / "amounts.py")
    (package / "use.py").write_text(USE.replace("convert.prune", "convert.compress.amounts"))
    assert code_sha256() == before
    (package / "compress" / "amounts.py").write_text(HALF.replace("2", "3"))
    assert code_sha256() != before


def test_code_may_be_split_or_joined(package: Path) -> None:
    before = code_sha256()
    (package / "use.py").unlink()
    (package / "prune.py").write_text(HALF + USE.partition("\n")[2])
    assert code_sha256() == before


@pytest.mark.parametrize("name", TEXTS)
def test_texts_do_not_count_wherever_they_are(package: Path, name: str) -> None:
    before = code_sha256()
    (package / "package").mkdir()
    (package / "package" / name).write_text("TEXT = 1\n")
    assert code_sha256() == before
    assert list((ROOT / PACKAGE).rglob(name)), "renamed: its text would count"


def test_an_earlier_hash_is_carried_over(package: Path) -> None:
    current = code_sha256()
    assert package_sha256(carried_over={}) == current
    assert package_sha256(carried_over={current: "earlier"}) == "earlier"
    (package / "use.py").write_text(USE.replace("half(half(x))", "x / 4"))
    assert package_sha256(carried_over={current: "earlier"}) == code_sha256()


def test_hashes_are_whole_and_lead_to_no_other_entry() -> None:
    assert all(len(digest) == 64 for entry in CARRIED_OVER.items() for digest in entry)
    assert not set(CARRIED_OVER) & set(CARRIED_OVER.values())


def test_the_command_prints_the_current_hash(package: Path) -> None:
    done = CliRunner().invoke(group, ["code-hash"])
    assert (done.exit_code, done.output) == (0, f"{code_sha256()}\n")


def test_folds_side_by_side_do_not_parse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = [0], [0]

    def counted(package: str) -> str:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.01)
        at_work[0] -= 1
        return package

    monkeypatch.setattr(code, "code_sha256", counted)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(package_sha256, ["convert"] * 16)) == {"convert"}
    assert most == [1]
