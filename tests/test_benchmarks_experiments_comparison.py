"""Every form is measured on the same held-out clips; ratios, page and picture say what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import benchmark
from benchmarks.experiments.comparison import (
    CALL,
    FLOAT,
    PREDICT,
    RESULT,
    SHIPPED,
    TICK,
    ComparedModel,
    Measured,
    ModelComparison,
    accuracy_of,
    compare,
    subject_of_run,
)
from benchmarks.measure.clips import Figures, HeldOut
from benchmarks.measure.latency import interleaved
from benchmarks.pages.latency import page, write
from edge_har.bench import Timing
from edge_har.errors import DataError, MisuseError
from tests.helpers.bundles import TINY, TINY_FEATURES, TINY_FRAMES, TINY_LABELS, TINY_SIDE, tiny_bundle
from tests.helpers.need import need_module
from tests.helpers.videos import moving_square, write_video


def timing(p50_ms: float) -> Timing:
    return Timing(100, p50_ms, p50_ms, p50_ms * 1.5, p50_ms * 2)


def made_forms() -> tuple[Measured, ...]:
    good, fair = Figures(65, 1, (), 1000, 980), Figures(65, 2, (), 1000, 970)
    return (
        Measured(PREDICT, timing(40.0), 700_000, good),
        Measured(CALL, timing(30.0), 700_000, None),
        Measured(FLOAT, timing(1.6), 300_000, good),
        Measured(SHIPPED, timing(1.0), 90_000, fair),
        Measured(RESULT, timing(0.25), 95_000, fair),
    )


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> ComparedModel:
    """The tiny bundle as both forms, a Keras model of its shape, and clips it never saw."""
    need_module("tensorflow", "pip install -e '.[workstation]'")
    tiny_bundle()
    run, folder = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("clips")
    from train.tf import keras

    shape = (TINY_FRAMES, TINY_SIDE, TINY_SIDE, 3)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Reshape((TINY_FRAMES, -1)),
            layers.Dense(TINY_FEATURES, activation="tanh"),
            layers.Flatten(),
            layers.Dense(len(TINY_LABELS), activation="softmax"),
        ]
    )
    model.save(run / "model.keras")
    test = {"clips": 3, "wrong": [], "windows": 9, "window_accuracy": 8 / 9}
    (run / "metrics.json").write_text(json.dumps({"test": test}))
    clips = []
    for number, label in enumerate(TINY_LABELS):
        path = write_video(folder / f"{label}.avi", moving_square(number, 13, seed=number))
        clips.append(HeldOut(path, path.name, label, "g01"))
    return ComparedModel("tiny", run, TINY, TINY, tuple(clips))


def test_the_same_clips_for_every_form(subject: ComparedModel) -> None:
    found = accuracy_of([subject, subject])
    assert set(found) == {PREDICT, FLOAT, SHIPPED, RESULT}
    assert {figures.clips for figures in found.values()} == {6}
    assert found[PREDICT].windows_right == 16
    assert (
        found[FLOAT] == found[SHIPPED] == found[RESULT]
    )  # the same graphs: the stream equals the whole clip
    refused = ComparedModel(subject.name, subject.run, subject.float_bundle, None, subject.held_out)
    assert set(accuracy_of([subject, refused])) == {PREDICT, FLOAT}
    reported = {form: Figures(3, 2, (), 9, 4) for form in (SHIPPED, RESULT)}
    found = accuracy_of([subject, replace(refused, reported=reported)])
    assert found[RESULT].windows_right == accuracy_of([subject])[RESULT].windows_right + 4


def test_all_forms_are_timed_in_one_run_and_told_apart(subject: ComparedModel) -> None:
    rounds: list[tuple[int, int]] = []
    (compared,) = compare(
        {"tiny": [subject]},
        rounds=10,
        threads=1,
        say=lambda line: None,
        on_progress=lambda *done: rounds.append(done),
    )
    assert [form.form for form in compared.forms] == [PREDICT, CALL, FLOAT, SHIPPED, RESULT]
    assert all(form.timing is not None and form.timing.calls == 10 for form in compared.forms)
    assert rounds[-1] == (10, 10)
    keras, stream = compared.forms[0], compared.forms[-1]
    assert compared.ratio(keras) == 1.0
    assert compared.ratio(stream) == keras.timing.p50_ms / stream.timing.p50_ms  # type: ignore[union-attr]


def test_calls_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[str] = []
    timings = interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, 4)
    assert {name: timing.calls for name, timing in timings.items()} == {"a": 4, "b": 4, "c": 4}
    assert len(calls) == 3 * 9
    assert [calls[at] for at in range(15, 27, 3)] == ["a", "b", "c", "a"]  # who is first moves on


def test_the_page_gives_ratios_accuracy_and_size() -> None:
    text = page(
        [ModelComparison("motion", 1, "int8", made_forms())], "benchmark.png", "Protocol.", ["- commit: abc"]
    )
    assert "| shipped, stream, a result (1 tick) | 0.25 | 0.375 | 0.5 | 160 | 95 | 63/65 | 0.969 (" in text
    assert "| Keras model(x) | 30 | 45 | 60 | 1.33 | 700 | - | as predict | - |" in text
    assert "![](benchmark.png)" in text and "- commit: abc" in text and TICK not in text


def test_a_stream_with_states_says_what_a_tick_costs() -> None:
    forms = (*made_forms(), Measured(TICK, timing(1.1), 95_000, None))
    text = page([ModelComparison("convlstm", 5, "int8-weights", forms)], "benchmark.png", "Protocol.", [])
    assert "a result (5 ticks)" in text and "| shipped, stream, a tick | 1.1 |" in text
    assert "several banks" in text and "float states" in text


def test_the_picture_is_drawn_beside_the_page(tmp_path: Path) -> None:
    slow = tuple(
        Measured(form.form, timing(form.timing.p50_ms * 3), form.size_bytes, form.figures)  # type: ignore[union-attr]
        for form in made_forms()
    )
    compared = [ModelComparison("motion", 1, "int8", made_forms()), ModelComparison("LRCN", 1, "int8", slow)]
    write(tmp_path / "benchmark.md", compared, "Protocol.", ["edge-har", "benchmark"], "5dfd", 1)
    picture = cv2.imread(str(tmp_path / "benchmark.png"))
    assert picture is not None and picture.shape[1] > 1000
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    assert len(colours) > 100  # not an empty page


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--out", "x.md"], "name either --clips DIR or one or more --run RUN"),
        (["--clips", "c", "--run", "r", "--out", "x.md"], "name either"),
        (["--run", "r", "--out", "x.txt"], "a Markdown file ending with .md, got x.txt"),
    ],
)
def test_misuse_is_one_line(options: list[str], line: str) -> None:
    done = CliRunner().invoke(benchmark, options)
    assert isinstance(done.exception, MisuseError) and line in str(done.exception)


def test_a_run_without_held_out_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a finished RUN: split.json cannot be read"):
        subject_of_run(tmp_path, tmp_path, lambda line: None)
    (tmp_path / "split.json").write_text(
        json.dumps({"parts": {"train": ["g1"], "validation": [], "test": []}})
    )
    (tmp_path / "index.csv").write_text("path,label,group\na.avi,Run,g1\n")
    with pytest.raises(DataError, match="trained on every group"):
        subject_of_run(tmp_path, tmp_path, lambda line: None)
