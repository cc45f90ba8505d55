"""Knowledge distillation: which targets a student gets, and that no held-out group reaches it through a
teacher.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from tests.helpers.need import need_module
from tests.helpers.videos import make_dataset

need_module("tensorflow", "pip install -e '.[workstation]'")
from tests.helpers.pretrained import train_pretrained
from train.data.augment import NEVER, Mirror
from train.data.batches import CachedClip, cache_clips
from train.data.index import Dataset, load_clips
from train.data.splits import Split, make_split
from train.fitting.distillation import check_teacher, softened, taught, teach
from train.fitting.fit import train_run, weighted_targets
from train.models import encoders
from train.runs import MODEL_SHA256, Run, TrainConfig

LABELS = ("Down", "Right")
SPLIT = Split(("g01", "g02"), ("g03",), ("g04",))
SMALL = TrainConfig(
    "motion", frames=4, size=16, epochs=2, windows_per_epoch=16, batch=8, average=0.5, mirror="off", seed=3
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_clips(make_dataset(tmp_path_factory.mktemp("clips"), LABELS, groups=4, frames=20))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def teacher(dataset: Dataset, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train_run(replace(SMALL, size=24), dataset, out, split=SPLIT, cache=cache)


def clips(*labels: int) -> list[CachedClip]:
    return [CachedClip(f"{number}.avi", label, "g01", Path("x")) for number, label in enumerate(labels)]


def test_a_target_is_in_part_the_label_and_in_part_what_the_teacher_says() -> None:
    teaching = np.float32([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    made = taught(clips(0, 2), Mirror((1, 0, NEVER), ""), teaching, 0.5)
    targets = weighted_targets(np.float32([1, 2, 3])[made.label_of], made.table)
    rows = [clip.label for clip in made.clips]
    mirrored = [made.mirror.target[row] for row in rows]
    assert mirrored[1] == NEVER
    _, given, weights = targets(None, np.int32([*rows, mirrored[0], 1, -1]))
    expected = [[0.8, 0.15, 0.05], [0.1, 0.1, 0.8], [0.15, 0.8, 0.05], [0, 1, 0], [1 / 3] * 3]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    np.testing.assert_allclose(weights, [1, 3, 2, 2, 1])


def test_a_softened_teacher_says_more_of_other_labels() -> None:
    made = softened(np.float32([[0.98, 0.02], [1.0, 0.0]]))
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-6)
    assert made[0, 1] == pytest.approx(0.125, abs=1e-3) and 0 < made[1, 1] < 1e-3


def test_a_student_is_trained_and_says_who_taught_it(
    dataset: Dataset, cache: Path, teacher: Run, tmp_path: Path
) -> None:
    config = replace(SMALL, teacher=teacher.metrics[MODEL_SHA256])
    lines: list[str] = []
    run = train_run(
        config, dataset, tmp_path / "run", split=SPLIT, cache=cache, teacher=teacher, report=lines.append
    )
    assert any("says what it knows of 4 clips" in line for line in lines)
    assert run.config.teacher == teacher.metrics[MODEL_SHA256]
    plain = train_run(SMALL, dataset, tmp_path / "plain", split=SPLIT, cache=cache)
    weights = zip(run.model().get_weights(), plain.model().get_weights(), strict=True)
    assert any(not np.array_equal(one, other) for one, other in weights)


def test_what_the_teacher_says_is_in_the_order_of_the_clips(
    dataset: Dataset, cache: Path, teacher: Run
) -> None:
    named = [CachedClip(clip.name, 0, clip.group, Path("x")) for clip in dataset.clips]
    made = teach(teacher, dataset, named, cache, None, print)
    back = teach(teacher, dataset, named[::-1], cache, None, print)
    assert made.shape == (len(dataset.clips), 2)
    np.testing.assert_array_equal(made, back[::-1])


def test_a_teacher_that_saw_what_is_held_out_or_knows_other_labels_is_refused(
    dataset: Dataset, cache: Path, teacher: Run, tmp_path: Path
) -> None:
    config = replace(SMALL, teacher=teacher.metrics[MODEL_SHA256])

    def refused(split: Split, taught_by: Run, settings: TrainConfig = config) -> None:
        train_run(settings, dataset, tmp_path / "no", split=split, cache=cache, teacher=taught_by)

    other = Split(("g03", "g02"), ("g04",), ("g01",))
    with pytest.raises(DataError, match="trained on group g01, which this split holds out"):
        refused(other, teacher)
    with pytest.raises(DataError, match="knows the same labels"):
        refused(SPLIT, replace(teacher, labels=("Up", "Right")))
    with pytest.raises(MisuseError, match="not the teacher of these settings"):
        refused(SPLIT, teacher, replace(config, teacher="0" * 64))
    with pytest.raises(MisuseError, match="name its RUN"):
        train_run(config, dataset, tmp_path / "no", split=SPLIT, cache=cache)
    assert not (tmp_path / "no").exists()


def test_a_teacher_with_a_refit_speaks_as_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = train_pretrained(tmp_path, inputs="rgb")
    dataset = load_clips(tmp_path / "clips")
    split = make_split(dataset, 0)
    assert run.learned_groups & set(split.groups("validation"))
    check_teacher(run, replace(SMALL, teacher=run.metrics[MODEL_SHA256]), dataset, split)
    (run.folder / "model.keras").write_bytes(b"that which has seen the validation groups")
    known = encoders.ENCODERS[run.config.encoder]
    monkeypatch.setitem(encoders.ENCODERS, run.config.encoder, replace(known, sha256=None))
    seen = cache_clips(dataset.clips, dataset.labels, SMALL.frame_spec, tmp_path / "cache")
    made = teach(run, dataset, seen, tmp_path / "cache", tmp_path / "weights.h5", print)
    assert made.shape == (len(seen), len(dataset.labels))
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-5)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(MisuseError, match="from 0 to 1"):
        replace(SMALL, teacher_share=1.5)
    with pytest.raises(MisuseError, match="without a pretrained encoder"):
        TrainConfig("lrcn", encoder="mobilenet_v1_0.25", size=96, teacher="0" * 64)
