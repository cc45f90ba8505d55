"""Real, small trainings: they learn, stop, resume after a kill, weigh classes and leave RUNs that say what they are."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from tests.helpers.need import need_module
from tests.helpers.videos import make_dataset

need_module("tensorflow", "pip install -e '.[workstation]'")
from train import runs
from train.data.index import Dataset, load_clips
from train.data.splits import Split
from train.fitting import fit
from train.models.architectures import build, build_convlstm
from train.models.fused_convlstm import training_twin
from train.runs import TrainConfig, default_config, load_run
from train.tf import keras, tf

LABELS = ("Down", "Right")
SPLIT = Split(("g01", "g02"), ("g03",), ("g04",))
SMALL = TrainConfig(
    "motion", frames=4, size=16, epochs=2, windows_per_epoch=16, batch=8, average=0.5, mirror="off", seed=3
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return load_clips(make_dataset(tmp_path_factory.mktemp("clips"), LABELS, groups=4, frames=20))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def enough(tmp_path_factory) -> Dataset:
    """Enough clips to learn from."""
    folder = tmp_path_factory.mktemp("enough")
    return load_clips(make_dataset(folder, LABELS, groups=4, clips_per_group=4, frames=25))


@pytest.fixture(scope="module")
def trained(enough, cache, tmp_path_factory) -> tuple[runs.Run, list[str]]:
    lines: list[str] = []
    config = replace(
        SMALL,
        size=32,
        epochs=16,
        patience=16,
        windows_per_epoch=64,
        learning_rate=5e-3,
        average=0.8,
        augmentation=0.2,
    )
    folder = tmp_path_factory.mktemp("runs") / "RUN"
    return fit.train_run(config, enough, folder, split=SPLIT, cache=cache, report=lines.append), lines


def test_it_learns_which_way_a_square_moves(trained) -> None:
    run, _ = trained
    assert run.metrics["test"]["clip_accuracy"] >= 0.75
    assert run.metrics["trained_on"] == {"groups": ["g01", "g02"], "clips": {"Down": 8, "Right": 8}}


def test_a_run_holds_model_config_history_split_metrics_and_confusion(trained, enough) -> None:
    run, _ = trained
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "config.json",
        "split.json",
        "index.csv",
        "history.csv",
        "model.keras",
        "metrics.json",
        "confusion.png",
    }
    assert run.labels == LABELS and run.config.frames == 4 and run.index_sha256 == enough.sha256
    assert run.split["parts"] == SPLIT.to_json()
    assert cv2.imread(str(run.folder / "confusion.png")) is not None
    with (run.folder / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == run.metrics["epochs_run"]
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert int(best["epoch"]) == run.metrics["best_epoch"]


def test_the_best_weights_are_the_ones_kept(trained, enough, cache) -> None:
    run, _ = trained
    with (run.folder / "history.csv").open() as lines:
        best_loss = min(float(row["validation_loss"]) for row in csv.DictReader(lines))
    clips = fit.cache_clips(SPLIT.clips(enough, "validation"), run.labels, run.config.frame_spec, cache)
    predictions = fit.predict_clips(fit.keras_predict(run.model()), clips, run.config.contract)
    assert fit.measures(predictions, run.labels)["window_loss"] == pytest.approx(best_loss, rel=1e-3)


def test_progress_tells_the_time_left(trained) -> None:
    _, lines = trained
    assert any("training on" in line for line in lines)
    assert any(line.startswith("epoch 1/16 ") and line.endswith(" left") for line in lines)


def test_a_finished_run_is_not_trained_again_and_another_training_is_refused(trained, enough, cache) -> None:
    run, _ = trained
    lines: list[str] = []
    again = fit.train_run(run.config, enough, run.folder, split=SPLIT, cache=cache, report=lines.append)
    assert again.metrics == run.metrics and lines == [f"{run.folder} is finished already"]
    with pytest.raises(MisuseError, match=r"holds another training \(settings.seed: 3 there, 4 here\)"):
        fit.train_run(replace(run.config, seed=4), enough, run.folder, split=SPLIT, cache=cache)
    with pytest.raises(MisuseError, match=r"another training \(split\.parts\.test"):
        other = Split(("g01", "g02"), ("g04",), ("g03",))
        fit.train_run(run.config, enough, run.folder, split=other, cache=cache)


def test_a_changed_model_file_is_refused(trained, tmp_path) -> None:
    run, _ = trained
    for name in ("config.json", "split.json", "metrics.json", "model.keras"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    (tmp_path / "model.keras").write_bytes(b"something else")
    with pytest.raises(DataError, match="not the model this RUN was finished with"):
        load_run(tmp_path).model()


@pytest.mark.parametrize("kind", ["lrcn", "convlstm"])
def test_the_published_models_train(kind: str, dataset, cache, tmp_path) -> None:
    config = default_config(kind, frames=4, epochs=1, windows_per_epoch=4, batch=2)
    run = fit.train_run(config, dataset, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.model().count_params() == build(kind, 4, 64, 2).count_params()
    assert 0 <= run.metrics["test"]["clip_accuracy"] <= 1


def test_training_on_everything_runs_all_epochs_and_has_no_figures(dataset, cache, tmp_path) -> None:
    run = fit.train_run(SMALL, dataset, tmp_path / "RUN", cache=cache, report=lambda _: None)
    assert run.metrics["epochs_run"] == run.metrics["best_epoch"] == 2
    assert run.metrics["trained_on"]["groups"] == ["g01", "g02", "g03", "g04"]
    assert "test" not in run.metrics and not (run.folder / "confusion.png").exists()


def test_without_validation_its_groups_train_too(dataset, cache, tmp_path) -> None:
    config = replace(SMALL, validate=False)
    run = fit.train_run(config, dataset, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.metrics["trained_on"]["groups"] == ["g01", "g02", "g03"]
    assert "validation" not in run.metrics and run.metrics["test"]["groups"] == ["g04"]


def test_early_stopping_ends_training(dataset, cache, tmp_path) -> None:
    config = replace(SMALL, epochs=30, patience=1, learning_rate=1e-9, average=0.0)
    run = fit.train_run(config, dataset, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.metrics["epochs_run"] < 30
    assert run.metrics["best_epoch"] == run.metrics["epochs_run"] - 1


def test_synthetic_clips_join_training_and_their_seeds_are_recorded(cache, tmp_path, monkeypatch) -> None:
    from train.fitting import synthetic_clips

    monkeypatch.setattr(synthetic_clips, "CLIPS_PER_LABEL", 2)
    data = load_clips(make_dataset(tmp_path / "clips", ("Run", "Walk"), groups=3, frames=20))
    config = replace(SMALL, epochs=1, synthetic_share=0.25)
    run = fit.train_run(config, data, tmp_path / "RUN", cache=cache, report=lambda _: None)
    said = json.loads((run.folder / "config.json").read_text())["synthetic"]
    assert said["first_seed"] == 1000 and said["last_seed"] == 1003 and said["share"] == 0.25
    still = replace(config, still_share=0.125)
    cast = synthetic_clips.cache_synthetic(still, data.labels, cache)
    assert sorted(clip.label for clip in cast) == [fit.BACKGROUND] * 2 + [0, 0, 1, 1]
    standing = [clip.frames().astype(int) for clip in cast if clip.label == fit.BACKGROUND]
    acting = [clip.frames().astype(int) for clip in cast if clip.label != fit.BACKGROUND]
    moves = [[np.abs(np.diff(frames, axis=0)).mean() for frames in clips] for clips in (standing, acting)]
    assert max(moves[0]) < min(moves[1])
    with pytest.raises(MisuseError, match="cannot do 'Juggle'"):
        synthetic_clips.synthetic_identity(config, ["Juggle", "Walk"])


def test_class_weights_let_classes_count_alike() -> None:
    weights = fit.class_weights([0, 0, 0, 1], 2)
    np.testing.assert_allclose(weights, [4 / 6, 2])
    np.testing.assert_allclose(fit.class_weights([0, 1, 2], 3), 1)


def test_the_training_twin_computes_the_same() -> None:
    model = build_convlstm(5, 32, 3)
    twin = training_twin(model)
    clips = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(twin(clips).numpy(), model(clips).numpy(), atol=1e-6)
    assert [v.shape for v in twin.variables] == [v.shape for v in model.variables]
    wanted = tf.one_hot([0, 2], 3)

    def gradients(one: object) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(keras.losses.categorical_crossentropy(wanted, one(clips)))
        return [g.numpy() for g in tape.gradient(loss, one.trainable_variables)]

    for ours, theirs in zip(gradients(twin), gradients(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_kept_weights_and_statistics_are_a_running_mean_that_forgets_the_first_ones() -> None:
    model, averaged = (build("motion", 4, 16, 2) for _ in range(2))
    averaged.set_weights(model.get_weights())
    expected = [weight.copy() for weight in model.get_weights()]
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    step = fit._train_step(replace(SMALL, average=0.7), model, averaged, optimizer, np.ones(2, np.float32))
    clips = np.random.default_rng(0).integers(0, 256, (4, 4, 16, 16, 3)).astype(np.float32)
    moving = [i for i, v in enumerate(model.variables) if "moving_mean" in v.name]
    assert moving
    for done in range(1, 30):
        step(clips, np.int32([0, 1, 0, 1]))
        momentum = min(0.7, done / (done + fit.AVERAGE_START_STEPS))
        expected = [
            momentum * mean + (1 - momentum) * weight
            for mean, weight in zip(expected, model.get_weights(), strict=True)
        ]
    for ours, theirs in zip(averaged.get_weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_best_epoch_goes_by_what_is_monitored(enough, cache, tmp_path) -> None:
    config = replace(SMALL, size=16, epochs=6, patience=6, monitor="accuracy", windows_per_epoch=64)
    run = fit.train_run(config, enough, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    with (run.folder / "history.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    marks = [(-float(r["validation_window_accuracy"]), float(r["validation_loss"])) for r in rows]
    assert run.metrics["best_epoch"] == 1 + marks.index(min(marks))


def test_standardised_pixels_are_part_of_the_model(enough, cache, tmp_path) -> None:
    lines: list[str] = []
    config = replace(SMALL, size=16, epochs=1, standardise=True)
    run = fit.train_run(config, enough, tmp_path / "RUN", split=SPLIT, cache=cache, report=lines.append)
    mean, deviation = run.metrics["pixels"]["mean"], run.metrics["pixels"]["deviation"]
    assert 0 < mean < 255 and 1 <= deviation < 128
    stored = keras.models.load_model(run.folder / "model.keras", compile=False)
    for model in (stored, run.model()):
        scaling = model.get_layer("scale")
        assert (scaling.scale, scaling.offset) == (1 / deviation, -mean / deviation)
    assert not any("contrast" in line for line in lines)


def test_clips_of_little_contrast_are_told(enough, cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fit, "LOW_CONTRAST", 128.0)
    lines: list[str] = []
    config = replace(SMALL, size=16, epochs=1)
    run = fit.train_run(config, enough, tmp_path / "RUN", split=SPLIT, cache=cache, report=lines.append)
    assert any("--standardise" in line for line in lines) and "pixels" not in run.metrics


def test_statistics_of_pixels_weigh_every_clip_alike() -> None:
    class Clip:
        def __init__(self, frames):
            self.frames = lambda: frames

    dark, light = np.full((9, 4, 4, 3), 10, np.uint8), np.full((1, 4, 4, 3), 30, np.uint8)
    assert fit.pixel_statistics([Clip(dark), Clip(light)]) == pytest.approx((20.0, 10.0))
    assert fit.pixel_statistics([Clip(dark)]) == pytest.approx((10.0, 1.0))


def test_a_training_from_before_a_setting_was_added_stays_the_same() -> None:
    assert "standardise" not in runs.settings_json(SMALL)
    said = runs.settings_json(replace(SMALL, standardise=True))
    assert said["standardise"] is True and runs.config_from_json(said).standardise


def test_without_a_monitor_the_last_epoch_is_kept(enough, cache, tmp_path) -> None:
    config = replace(SMALL, size=16, epochs=4, patience=1, monitor="none", windows_per_epoch=16)
    run = fit.train_run(config, enough, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.metrics["best_epoch"] == 4
    assert run.metrics["trained_on"]["groups"] == list(SPLIT.train)


def test_a_window_in_which_nothing_is_done_counts_in_the_loss_and_not_in_the_accuracy(dataset, cache) -> None:
    model, averaged = (
        keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
        for _ in range(2)
    )
    for made in (model, averaged):
        made.build((None, 4, 16, 16, 3))
    optimizer = keras.optimizers.Adam(0.0)
    optimizer.build(model.trainable_variables)
    config = replace(SMALL, label_smoothing=0.0)
    step = fit._train_step(config, model, averaged, optimizer, np.array([0.5, 1.5], np.float32))
    clips = np.random.default_rng(0).random((2, 4, 16, 16, 3), np.float32)
    scores = model(clips, training=True).numpy()
    loss, right = step(clips, np.int32([1, fit.BACKGROUND]))
    expected = (-1.5 * np.log(scores[0, 1]) - np.log(scores[1]).mean()) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(right) == float(scores[0].argmax() == 1)


KILLED = """
import sys
from pathlib import Path
from tests.test_train_fitting_fit import SMALL, SPLIT
from train.fitting.fit import train_run
from train.data.index import load_clips
from dataclasses import replace
config = replace(SMALL, epochs=400, patience=400)
train_run(config, load_clips(sys.argv[1]), sys.argv[2], split=SPLIT, cache=Path(sys.argv[3]))
"""


def test_a_killed_training_is_not_finished_and_goes_on_where_it_was(tmp_path, cache) -> None:
    clips = make_dataset(tmp_path / "clips", LABELS, groups=4, frames=20)
    out = tmp_path / "RUN"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(clips), str(out), str(cache)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not (out / "history.csv").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    with pytest.raises(DataError, match="not finished; the same 'edge-har train' goes on"):
        load_run(out)
    with np.load(out / runs.CHECKPOINT) as stored:
        before = json.loads(str(stored["progress"]))["history"]
    assert 1 <= len(before) < 400

    config = json.loads((out / "config.json").read_text())
    config["settings"]["epochs"] = len(before) + 2  # so that the rest is short; all else is what was begun
    (out / "config.json").write_text(json.dumps(config))
    lines: list[str] = []
    shorter = runs.config_from_json(config["settings"])
    run = fit.train_run(shorter, load_clips(clips), out, split=SPLIT, cache=cache, report=lines.append)
    assert f"going on after epoch {len(before)}" in lines
    with (out / "history.csv").open() as rows:
        after = list(csv.DictReader(rows))
    assert [float(row["loss"]) for row in after[: len(before)]] == [row["loss"] for row in before]
    assert run.metrics["epochs_run"] == len(before) + 2 and not (out / runs.CHECKPOINT).exists()


def test_a_resumed_training_has_the_state_of_one_that_never_stopped(dataset, cache, tmp_path) -> None:
    clips = fit._cached_parts(SMALL, dataset, SPLIT, cache, lambda _: None)
    mirror = fit.decide_mirror("off", LABELS)
    (tmp_path / "a").mkdir()
    first = fit._Training(SMALL, clips, LABELS, mirror, tmp_path / "a")
    first._one_epoch(first._batches())
    first._save()
    second = fit._Training(SMALL, clips, LABELS, mirror, tmp_path / "a")
    second.resume(lambda _: None)
    assert second.history == first.history and second.best_mark == first.best_mark
    for ours, theirs in zip(second._variables(), first._variables(), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    for ours, theirs in zip(second.best, first.best, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_whose_start_was_cut_off_can_be_begun_again(tmp_path) -> None:
    run = tmp_path / "RUN"
    run.mkdir()
    (run / runs.SPLIT).write_text("{}")
    assert not runs.start_run(run, {"settings": {}}, {"parts": {}})
    assert json.loads((run / runs.SPLIT).read_text()) == {"parts": {}}


def test_a_cache_that_vanishes_during_training_is_one_line(dataset, tmp_path) -> None:
    config = replace(SMALL, epochs=50)
    lost = tmp_path / "cache"

    def lose(line: str) -> None:
        if line.startswith("epoch 1/"):
            for path in lost.iterdir():
                path.unlink()

    with pytest.raises(DataError, match="training stopped after epoch") as caught:
        fit.train_run(config, dataset, tmp_path / "RUN", cache=lost, report=lose)
    assert "\n" not in str(caught.value) and "No such file" in str(caught.value)
    with pytest.raises(DataError, match="not finished"):
        load_run(tmp_path / "RUN")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet"}, "one of lrcn, convlstm, motion"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"hop_ticks": 3}, "hop_ticks must divide"),
        ({"average": 1.0}, "average must be 0 or more and below 1"),
        ({"monitor": "luck"}, "monitor must be one of loss, accuracy"),
        ({"still_share": 0.5}, "under half"),
        ({"size": 0}, "1 to 4096 pixels"),
    ],
)
def test_settings_check_themselves(change: dict, message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        replace(SMALL, **change)


def test_folders_that_are_no_run_say_so(tmp_path, dataset) -> None:
    with pytest.raises(DataError, match="no such RUN folder"):
        load_run(tmp_path / "absent")
    with pytest.raises(DataError, match="not a RUN"):
        load_run(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(MisuseError, match="exists and is not a RUN"):
        fit.train_run(SMALL, dataset, tmp_path)


def test_a_damaged_checkpoint_is_one_line(dataset, cache, tmp_path) -> None:
    run = tmp_path / "RUN"
    fit.train_run(SMALL, dataset, run, cache=cache, report=lambda _: None)
    (run / runs.METRICS).unlink()
    (run / runs.CHECKPOINT).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"checkpoint\.npz: damaged"):
        fit.train_run(SMALL, dataset, run, cache=cache, report=lambda _: None)


def test_the_names_without_tensorflow_are_the_builders() -> None:
    from train.models.architectures import BUILDERS

    assert tuple(BUILDERS) == runs.MODELS
    assert default_config("convlstm").hop_ticks == 5 and default_config("lrcn").hop_ticks == 1
    assert default_config("convlstm", frames=6).hop_ticks == 1
