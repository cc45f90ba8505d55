"""Every page command measures, writes the page of its name and states how it was made;
limits fail after writing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import PAGES, Page, group
from edge_har.errors import EdgeHarError, MisuseError


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.name)
def test_a_page_command_writes_what_its_module_makes(
    kind: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module(f"benchmarks.pages.{kind.name}")
    calls = []

    def measure(clips: Path, *, say: object, jobs: int) -> SimpleNamespace:
        calls.append((clips, jobs))
        return SimpleNamespace(figure=7)

    monkeypatch.setattr(module, kind.measure, measure)
    monkeypatch.setattr(module, "page", lambda measured, command: f"{measured.figure} {' '.join(command)}")
    out = tmp_path / f"{kind.name}.md"
    words = [kind.name, "--clips", str(tmp_path / "some"), "--jobs", "3", "--out", str(out)]
    done = CliRunner().invoke(group, words, catch_exceptions=False)
    assert done.exit_code == 0 and calls == [(tmp_path / "some", 3)]
    made_by = f"python -m benchmarks {kind.name} --clips some --out docs/figures/{kind.name}.md"
    assert out.read_text() == f"7 {made_by}"


def test_a_page_past_a_limit_is_written_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("benchmarks.pages.parity")

    def fail() -> None:
        raise EdgeHarError("past its limit")

    monkeypatch.setattr(module, "measure_parity", lambda *_, **__: SimpleNamespace(check_limits=fail))
    monkeypatch.setattr(module, "page", lambda *_: "page")
    out = tmp_path / "parity.md"
    done = CliRunner().invoke(group, ["parity", "--clips", "some", "--out", str(out)])
    assert isinstance(done.exception, EdgeHarError) and out.read_text() == "page"


def test_the_accuracy_command_takes_sets_and_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("benchmarks.pages.accuracy")
    calls = []

    def measure(
        clips: Path,
        *,
        say: object,
        jobs: int,
        only: tuple[str, ...],
        quick: bool,
        seeds: int | None,
        brief: bool,
        results: Path,
    ) -> str:
        assert results == tmp_path / "accuracy.results.json"
        calls.append((clips.name, jobs, only, quick, seeds, brief))
        return "measured"

    monkeypatch.setattr(module, "measure_accuracy", measure)
    monkeypatch.setattr(module, "write", lambda out, measured, command: out.write_text(" ".join(command)))
    out = tmp_path / "accuracy.md"
    words = ["accuracy", "--clips", str(tmp_path / "some"), "--jobs", "3", "--out"]
    CliRunner().invoke(group, [*words, str(out)], catch_exceptions=False)
    assert out.read_text() == "python -m benchmarks accuracy --clips some --out docs/figures/accuracy.md"
    more = ["--set", "ucf9", "--set", "fight", "--quick", "--brief", "--seeds", "2"]
    CliRunner().invoke(group, [*words, str(out), *more], catch_exceptions=False)
    assert " --set ucf9 --set fight --quick --brief --seeds 2 " in out.read_text()
    assert calls == [("some", 3, (), False, None, False), ("some", 3, ("ucf9", "fight"), True, 2, True)]
    refused = CliRunner().invoke(group, [*words, str(tmp_path / "accuracy.txt")])
    assert isinstance(refused.exception, MisuseError)


def test_the_names_of_the_commands() -> None:
    assert set(group.commands) == {
        "accuracy",
        "age",
        "calibration",
        "cameras",
        "check",
        "code-hash",
        "compactness",
        "decoding",
        "demo",
        "distillation",
        "disturbances",
        "overhead",
        "parity",
        "qat",
        "recipe",
        "shapes",
        "ship-model",
        "unknown",
    }
