"""A fold is trained, converted and measured for real, once; other clips or other code are another fold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.experiments.cache import key_of, result_in
from benchmarks.experiments.folds import (
    LOG,
    RUN,
    Experiment,
    Work,
    describe,
    prepare_folds,
    prepare_split,
    run_fold,
    training_of,
)
from edge_har.errors import DataError, EdgeHarError
from tests.helpers.need import need_module
from tests.helpers.videos import make_dataset, moving_square, write_video

LABELS = ("Right", "Down")
SMALL = ("--epochs", "2", "--windows", "16", "--batch", "8", "--frames", "4", "--size", "16")
TINY = Experiment("tiny", "motion", SMALL, conversion=("--fine-tune-steps", "2"))


def test_a_fold_is_made_once_and_known_by_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_module("tensorflow", "pip install -e '.[workstation]'")
    monkeypatch.setenv("EDGE_HAR_CACHE", str(tmp_path / "decoded"))
    clips, cache, lines = (
        make_dataset(tmp_path / "clips", LABELS, groups=3, frames=20),
        tmp_path / "folds",
        [],
    )
    folds = prepare_folds(clips, cache, lines.append)
    assert folds.groups == ("g01", "g02", "g03") and lines
    assert [clip.label for clip in folds.held_out(1)] == ["Down", "Right"]
    made_of = describe(TINY, folds, cache)

    result = run_fold(TINY, folds, 1, made_of, cache, threads=1)
    assert (result.group, result.float_figures.clips, result.best_epoch in (1, 2)) == ("g02", 2, True)
    assert result.stream is not None and result.stream.clips == 2 and result.stream.windows >= 2
    assert result.gate is not None and (result.gate.failed is None) == (result.bundle is not None)
    trained_on = json.loads((result.folder / RUN / "metrics.json").read_text())["trained_on"]["groups"]
    assert trained_on == ["g01"]  # g02 is held out, g03 validates

    log = result.folder / LOG
    before = log.stat()
    assert run_fold(TINY, folds, 1, made_of, cache, threads=1) == result
    assert log.stat() == before

    assert result.conversion is not None and "unknown" not in result.machines
    kept = {folder.name: result_in(folder) or {} for folder in (result.folder, result.conversion)}
    elsewhere = run_fold(TINY, folds, 1, made_of, tmp_path / "elsewhere", 1, kept)
    assert not elsewhere.folder.exists() and elsewhere.folder.name == result.folder.name
    assert replace(elsewhere, folder=result.folder, conversion=result.conversion) == result

    del kept[result.conversion.name]  # its stream is to be made again, for which its RUN is needed
    again = run_fold(TINY, folds, 1, made_of, tmp_path / "elsewhere", 1, kept)
    assert (again.folder / RUN).is_dir() and again.stream is not None

    write_video(clips / "Right" / "v_Right_g01_c01.avi", moving_square(0, 20, seed=99))
    changed = prepare_folds(clips, cache, lines.append)
    assert changed.sha256 != folds.sha256
    keys = {
        key_of(training_of(made, one, fold))
        for made, one in ((made_of, folds), (describe(TINY, changed, cache), changed))
        for fold in (0, 1)
    }
    assert len(keys) == 4


def test_a_failure_names_its_fold(tmp_path: Path) -> None:
    folds = prepare_folds(make_dataset(tmp_path / "clips", LABELS, groups=3, frames=8), tmp_path, print)
    entry = Experiment("odd", "motion", ("--size", "0"))
    with pytest.raises(EdgeHarError, match="odd without g01: edge-har train ended with 2"):
        run_fold(entry, folds, 0, {}, tmp_path, threads=1)


def test_clips_without_groups_cannot_be_left_out_by_group(tmp_path: Path) -> None:
    for label in LABELS:
        for number in range(3):
            write_video(tmp_path / "clips" / label / f"{number}.avi", moving_square(0, 5, seed=number))
    with pytest.raises(DataError, match="groups are known"):
        prepare_folds(tmp_path / "clips", tmp_path / "cache", print)


def test_one_split_is_a_fold_of_its_own(tmp_path: Path) -> None:
    clips = make_dataset(tmp_path / "clips", LABELS, groups=5, frames=5)
    one = prepare_split(clips, "40,20,40", tmp_path, print)
    assert one.groups == ("2 groups",) and one.options(0) == ["--split", str(one.splits)]
    split = one.split(0)
    assert [len(split[part]) for part in ("train", "validation", "test")] == [2, 1, 2]
    assert {clip.group for clip in one.held_out(0)} == set(split["test"])
    assert prepare_folds(clips, tmp_path, print).options(3)[-2:] == ["--fold", "3"]
    three = prepare_folds(clips, tmp_path, print, 3)
    assert three.groups == ("fold 1 of 3", "fold 2 of 3", "fold 3 of 3") and three.name == clips.name
    assert three.splits != prepare_folds(clips, tmp_path, print).splits
    assert {clip.group for fold in range(3) for clip in three.held_out(fold)} == {
        clip.group for clip in three.clips()
    }


def test_the_time_left_goes_by_what_such_folds_took() -> None:
    work = Work(4, jobs=2, waiting=["motion", "lrcn", "motion", "lrcn"])
    assert work.left_s() is None
    work.finished("motion", 100.0)
    assert work.left_s() == pytest.approx((100 + 100 + 100) / 2)  # nothing is known of the others yet
    work.finished("lrcn", 300.0)
    assert work.left_s() == pytest.approx((100 + 300) / 2)
    work.finished("lrcn", 200.0)
    assert work.left_s() == pytest.approx(100.0)
