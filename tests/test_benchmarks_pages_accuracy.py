"""The accuracy page says what was measured, and no more; what is not reached and a failed gate are named."""

from __future__ import annotations

import socket
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import controls
from benchmarks.experiments.cache import RESULT, Published, read_published, write_published
from benchmarks.experiments.crossed import CROSSINGS, Crossed
from benchmarks.experiments.entries import ACCURACY_SETS, MIDDLE, PUBLISHED, SMALL, WINNER
from benchmarks.experiments.evaluation import Row, SetAccuracy
from benchmarks.experiments.folds import Experiment, FoldResult, Folds, GateResult
from benchmarks.measure.clips import Figures, HeldOut
from benchmarks.pages.accuracy import Accuracy, measure_accuracy, page, panels, write
from benchmarks.pages.marks import CONTROL, FLOAT, STREAM
from edge_har.errors import MisuseError
from tests.helpers.need import need_module

COMMAND = ["python", "-m", "benchmarks", "accuracy", "--clips", "made"]
GROUPS = ("g01", "g02", "g03")
LABELS = ("Run", "Walk")
HELD_OUT = {
    group: tuple(
        HeldOut(Path(f"{label}/{group}.avi"), f"{label}/{group}.avi", label, group) for label in LABELS
    )
    for group in GROUPS
}
RIGHT = Figures(2, 0, (), 40, 38)
PASSED = GateResult(100, 0.99, None)
REFUSED = GateResult(100, 0.9, "the quantised stream agrees with the float model on 0.900")


def wrong(group: str) -> Figures:
    return Figures(2, 1, ({"clip": f"Run/{group}.avi", "label": "Run", "answer": "Walk"},), 40, 20)


def result(
    entry: Experiment, group: str, figures: Figures, stream: Figures | None = None, gate: GateResult = PASSED
) -> FoldResult:
    made_at, conversion = ("abc", "abd"), None
    kept = gate if stream else None
    return FoldResult(entry, group, Path(), 30, figures, stream, kept, None, conversion, made_at, 120.0)


def seed(entry: Experiment, number: int) -> Experiment:
    return replace(entry, seed=number, converted=number == 0)


def small() -> list[FoldResult]:
    """Seed 0 misses one clip of six, its stream two; seeds 1 and 2 miss none."""
    first = [
        result(seed(SMALL, 0), "g01", RIGHT, RIGHT),
        result(seed(SMALL, 0), "g02", wrong("g02"), wrong("g02")),
        result(seed(SMALL, 0), "g03", RIGHT, wrong("g03")),
    ]
    return first + [result(seed(SMALL, number), group, RIGHT) for number in (1, 2) for group in GROUPS]


def measured(name: str = "weizmann_full") -> SetAccuracy:
    nameless = replace(wrong("g01"), wrong=())
    results = [
        *small(),
        *(result(seed(WINNER, number), group, RIGHT, RIGHT) for number in (0,) for group in GROUPS),
        result(MIDDLE, "g01", RIGHT, RIGHT),
        result(MIDDLE, "g02", RIGHT, RIGHT),
        result(PUBLISHED[0], "g01", RIGHT, nameless, REFUSED),
        result(PUBLISHED[1], "g01", wrong("g01")),
    ]
    rows = (
        Row(SMALL, 3),
        Row(WINNER),
        Row(MIDDLE, folds=2),
        Row(PUBLISHED[0], folds=1),
        Row(replace(PUBLISHED[1], converted=False), folds=1),
    )
    simple = {
        controls.FIRST_FRAME: (wrong("g01"), wrong("g02"), wrong("g03")),
        controls.HAND_MADE: (RIGHT, wrong("g02"), RIGHT),
        controls.RANDOM: (wrong("g01"), RIGHT, wrong("g03")),
    }
    folds = Folds(Path("index.csv"), Path("folds.json"), f"{name[:4]}" * 16, GROUPS, name)
    return SetAccuracy(folds, HELD_OUT, rows, tuple(results), simple)


@pytest.fixture
def accuracy() -> Accuracy:
    by_name = {kind.name: kind for kind in ACCURACY_SETS}
    crossed = (
        Crossed(CROSSINGS[0], SMALL.name, "Fight", {"Punch": 90, "Bowling": 30}, 0.61),
        Crossed(CROSSINGS[0], WINNER.name, "Fight", {}, 0.0),
    )
    kinds = (by_name["weizmann_full"], by_name["fight"])
    return Accuracy(kinds, (measured(), measured("fight")), crossed, weights=False)


def test_each_row_shows_float_seeds_and_stream(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    row = next(line for line in text.splitlines() if line.startswith(f"| {SMALL.name} | 3 x 3"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == "0.944" and cells[4] == "0.833 to 1.000"  # 17 of 18; seed 0, seeds 1 and 2
    assert cells[5] == "0.900"  # windows: 324 of 360
    assert cells[6] == "0.667" and cells[7].startswith("16.7 (") and cells[8] == "0.990"
    assert cells[9] == "2.0"
    assert f"| {PUBLISHED[1].name} | 1 x 1 | 0.500 |" in text  # not converted
    assert f"| {MIDDLE.name} | 2 x 1 | 1.000 |" in text


def test_controls_stand_above_the_models(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    assert "| *the commonest label* | - | 0.500 |" in text
    assert f"| *{controls.HAND_MADE}* | 3 x 1 | 0.833 |" in text
    assert text.index(f"| *{controls.FIRST_FRAME}*") < text.index(f"| {SMALL.name} | 3 x 3")
    assert "32x32 grey pixels" in text


def test_goals_are_reached_or_not_and_by_how_much(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    start = f"| weizmann_full | 0.98 | {SMALL.name} | 3 of 3 | 0.944 |"
    assert f"{start} **no**, by 3.6 points | 16.7 | **no** |" in text
    assert (
        f"| weizmann_full | 0.98 | {WINNER.name} | 3 of 3 | 1.000 | yes, by 2.0 points | 0.0 | yes |" in text
    )
    assert f"| fight | - | {MIDDLE.name} | 2 of 3 | 1.000 | - |" in text
    assert f"| fight | 0.75 | {SMALL.name} |" in text and f"| fight | 0.80 | {SMALL.name} |" in text


def test_a_refused_fold_and_the_mistakes_are_named(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    assert f"{PUBLISHED[0].name} without g01: the quantised stream agrees" in text
    assert f"What {SMALL.name} confuses, 1 of 18 predictions of float Keras: Run as Walk (1)." in text
    assert f"| {SMALL.name} | float | 2/2 | 1/2 | 2/2 |" in text
    assert f"|  | {STREAM} | 2/2 | 1/2 | 1/2 |" in text


def test_what_a_model_says_of_another_set(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    crossing = f"| ucf9 | {SMALL.name} | fight | Fight | 120 | `Punch` | 0.75 | 0.61 | Punch (90) |"
    assert crossing in text
    assert f"| ucf9 | {WINNER.name} | fight | Fight | - | the gate refused every fold |" in text
    assert "two sets share" not in page(replace(accuracy, crossed=()), COMMAND, "accuracy.png")


def test_the_page_says_what_was_run_and_names_neither_host_nor_place(accuracy: Accuracy) -> None:
    text = page(accuracy, COMMAND, "accuracy.png")
    assert f"| weizmann_full | {MIDDLE.name} | `--model lrcn --preset m` | 2 of 3 | 0 |" in text
    assert f"| fight | {SMALL.name} | `--model motion` | 3 of 3 | 0, 1, 2 |" in text
    assert "weizmann_full " + "weiz" * 16 in text and "abc, abd" in text
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text and str(Path.cwd()) not in text
    assert "A try:" not in text
    assert "A try:" in page(replace(accuracy, quick=True), COMMAND, "accuracy.png")


def test_the_picture_shows_every_row_once_a_form(accuracy: Accuracy, tmp_path: Path) -> None:
    need_module("matplotlib", "pip install -e '.[workstation]'")
    panel, _ = panels(accuracy)
    shown = [(mark.row, mark.form) for mark in panel.marks]
    assert len(shown) == len(set(shown))
    assert (controls.RANDOM, CONTROL) in shown and (SMALL.name, STREAM) in shown
    assert (PUBLISHED[1].name, FLOAT) in shown and (PUBLISHED[1].name, STREAM) not in shown
    assert panel.chance == 0.5
    write(tmp_path / "accuracy.md", accuracy, COMMAND)
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "(accuracy.png)" in (tmp_path / "accuracy.md").read_text()


def test_a_set_that_is_not_known_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="weizmann_full, ucf9, fight, thermal; got 'other'"):
        measure_accuracy(tmp_path, say=print, jobs=1, only=("other",))


def test_an_interrupted_run_leaves_its_results_beside_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("benchmarks.pages.accuracy")
    path, folder = tmp_path / "accuracy.results.json", tmp_path / "0123456789abcdef"
    write_published(path, {"earlier": {"right": 1}})
    folder.mkdir()
    (folder / RESULT).write_text('{"right": 2}')

    def interrupted(*args: Any, published: Published, on_result: Any, **more: Any) -> None:
        assert published == {"earlier": {"right": 1}}
        on_result(replace(result(SMALL, "g01", RIGHT), folder=folder))
        on_result(replace(result(SMALL, "g02", RIGHT), folder=tmp_path / "earlier"))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure_sets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_accuracy(tmp_path, say=print, jobs=1, results=path)
    assert read_published(path) == {"earlier": {"right": 1}, folder.name: {"right": 2}}


def test_the_plan_has_every_family_and_few_folds_of_most() -> None:
    for kind in ACCURACY_SETS:
        plan = kind.plan(Path("clips"))
        names = [row.entry.name for row in plan.rows]
        assert len(names) == len(set(names))
        assert (MIDDLE.name in names) == kind.middle
        assert {SMALL.name, WINNER.name, *(entry.name for entry in kind.published)} <= set(names)
        full = [row.entry.name for row in plan.rows if row.folds is None]
        assert full == [SMALL.name, WINNER.name]
        assert {(row.seeds, row.folds) for row in plan.shortened().rows} == {(1, 1)}
        assert {row.seeds for row in plan.rows if row.folds is None} == {3}
        assert {row.seeds for row in plan.rows if row.folds is not None} <= {1}
        assert max(row.seeds for row in plan.with_seeds(2).rows) == 2
        brief = plan.briefly(WINNER).rows
        assert [row for row in brief if row.entry == plan.rows[1].entry] == [plan.rows[1]]
        assert {row.seeds for row in brief if row.entry.name != WINNER.name} == {1}
        assert [row.folds for row in brief] == [row.folds for row in plan.rows]
    families = {row.entry.model for kind in ACCURACY_SETS for row in kind.plan(Path("clips")).rows}
    assert families == {"motion", "lrcn"}
