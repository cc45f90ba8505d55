"""Real, small trainings: they learn, stop, resume after a kill, weigh classes and leave RUNs that say what
they are.
"""

import csv
import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
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
from train.data.sampling import BACKGROUND
from train.data.splits import Split
from train.fitting import callbacks, fit
from train.fitting.budget import Budget, budget_of
from train.models.architectures import build, build_convlstm
from train.models.families import FAMILIES
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
        "curves.png",
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


def test_progress_lines_give_the_time_left(trained) -> None:
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
    record = json.loads((run.folder / "config.json").read_text())["synthetic"]
    assert record["first_seed"] == 1000 and record["last_seed"] == 1003 and record["share"] == 0.25
    still = replace(config, still_share=0.125)
    cast = synthetic_clips.cache_synthetic(still, data.labels, cache)
    assert sorted(clip.label for clip in cast) == [BACKGROUND] * 2 + [0, 0, 1, 1]
    standing = [clip.frames().astype(int) for clip in cast if clip.label == BACKGROUND]
    acting = [clip.frames().astype(int) for clip in cast if clip.label != BACKGROUND]
    moves = [[np.abs(np.diff(frames, axis=0)).mean() for frames in clips] for clips in (standing, acting)]
    assert max(moves[0]) < min(moves[1])
    with pytest.raises(MisuseError, match="cannot do 'Juggle'"):
        synthetic_clips.synthetic_identity(config, ["Juggle", "Walk"])


def test_clips_of_no_label_train_and_are_judged_apart(cache, tmp_path) -> None:
    made = load_clips(make_dataset(tmp_path / "clips", (*LABELS, "_other"), groups=4, frames=20))
    run = fit.train_run(SMALL, made, tmp_path / "run", split=SPLIT, cache=cache, report=lambda line: None)
    assert run.labels == LABELS == tuple(run.metrics["trained_on"]["clips"])
    assert run.metrics["test"]["clips"] == 2 and run.metrics["test"]["labels"] == list(LABELS)
    other = run.metrics["other"]
    assert set(other) == {"validation", "test"} and other["test"]["clips"] == 1
    assert 0.5 <= other["test"]["mean_top_probability"] <= 1 and other["test"]["clips_above_half"] in (0, 1)


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
    expected = tf.one_hot([0, 2], 3)

    def gradients(one: object) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(keras.losses.categorical_crossentropy(expected, one(clips)))
        return [g.numpy() for g in tape.gradient(loss, one.trainable_variables)]

    for ours, theirs in zip(gradients(twin), gradients(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def batches_of(clips: np.ndarray, labels: list[int], weights: list[float], steps: int = 1) -> object:
    """The same batch at every step, in the form that `fit` takes."""
    data = tf.data.Dataset.from_tensors((clips, np.int32(labels))).repeat(steps)
    return data.map(fit.weighted_targets(np.float32(weights)))


def test_kept_weights_and_statistics_are_a_running_mean_that_forgets_the_first_ones() -> None:
    model, averaged = (build("motion", 4, 16, 2) for _ in range(2))
    averaged.set_weights(model.get_weights())
    expected = [weight.copy() for weight in model.get_weights()]
    config = replace(SMALL, learning_rate=1e-2)
    fit.compiled(model, config, budget_of(config, 16))
    steps: list[int] = []

    def follow(batch: int, logs: object) -> None:
        steps.append(batch)
        done = len(steps)
        momentum = min(0.7, done / (done + callbacks.AVERAGE_START_STEPS))
        expected[:] = [
            momentum * mean + (1 - momentum) * weight
            for mean, weight in zip(expected, model.get_weights(), strict=True)
        ]

    clips = np.random.default_rng(0).integers(0, 256, (4, 4, 16, 16, 3)).astype(np.float32)
    assert any("moving_mean" in v.name for v in model.variables)
    average = callbacks.WeightAverage(averaged, 0.7)
    followed = keras.callbacks.LambdaCallback(on_batch_end=follow)
    model.fit(
        batches_of(clips, [0, 1, 0, 1], [1, 1], steps=29),
        steps_per_epoch=29,
        callbacks=[average, followed],
        verbose=0,
    )
    assert len(steps) == 29
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


def test_clips_of_little_contrast_are_reported(enough, cache, tmp_path, monkeypatch) -> None:
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
    settings = runs.settings_json(replace(SMALL, standardise=True))
    assert settings["standardise"] is True and runs.config_from_json(settings).standardise


def test_without_a_monitor_the_last_epoch_is_kept(enough, cache, tmp_path) -> None:
    config = replace(SMALL, size=16, epochs=4, patience=1, monitor="none", windows_per_epoch=16)
    run = fit.train_run(config, enough, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.metrics["best_epoch"] == 4
    assert run.metrics["trained_on"]["groups"] == list(SPLIT.train)


def test_a_window_in_which_nothing_is_done_counts_in_the_loss_and_not_in_the_accuracy() -> None:
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")])
    model.build((None, 4, 16, 16, 3))
    fit.compiled(model, replace(SMALL, label_smoothing=0.0), budget_of(SMALL, 16))
    clips = np.random.default_rng(0).random((2, 4, 16, 16, 3), np.float32)
    scores = model(clips).numpy()
    figures = model.evaluate(batches_of(clips, [1, BACKGROUND], [0.5, 1.5]), return_dict=True, verbose=0)
    expected = (-1.5 * np.log(scores[0, 1]) - np.log(scores[1]).mean()) / 2
    assert figures["loss"] == pytest.approx(expected, rel=1e-4)
    assert figures["accuracy"] == float(scores[0].argmax() == 1)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.test_train_fitting_fit import LONGER, SPLIT, build_without_dropout
from train.data.batches import WindowPlan
from train.data.index import load_clips
from train.fitting import fit
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests in the background ignores it
fit.build = build_without_dropout
whole, killer = WindowPlan.batch, int(sys.argv[4])
def batch(plan, step):
    if step == killer:
        os.kill(os.getpid(), int(sys.argv[5]))
    return whole(plan, step)
WindowPlan.batch = batch
fit.train_run(LONGER, load_clips(sys.argv[1]), sys.argv[2], split=SPLIT, cache=Path(sys.argv[3]))
"""
LONGER = replace(
    SMALL, windows_per_epoch=64, epochs=5, patience=5
)  # 8 steps in an epoch, of which 4 are loaded ahead


def build_without_dropout(*arguments: object) -> keras.Model:
    """Dropout draws from a state that no checkpoint holds: without it a resumed training is the same to the
    bit.
    """
    model = build(*arguments)
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if isinstance(inner, keras.layers.Dropout):
            inner.rate = 0.0
    return model


def killed_run(dataset_folder: Path, out: Path, cache: Path, step: int, number: int) -> int:
    """Train LONGER in a process that gets a signal when it loads the batch of `step`; its exit code."""
    arguments = [dataset_folder, out, cache, step, int(number)]
    child = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        timeout=240,
        check=False,
    )
    return child.returncode


def history_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_cut_off_in_an_epoch_goes_on_to_what_an_uninterrupted_one_gives(
    number: signal.Signals, tmp_path, cache, monkeypatch
) -> None:
    monkeypatch.setattr(fit, "build", build_without_dropout)
    clips = make_dataset(tmp_path / "clips", LABELS, groups=4, frames=20)
    out = tmp_path / "RUN"
    # In the fourth epoch, or its batches loaded ahead. The signal alone ends it: no thread hangs or aborts.
    assert killed_run(clips, out, cache, 28, number) == -number
    with pytest.raises(DataError, match="not finished; the same 'edge-har train' goes on"):
        load_run(out)
    before = callbacks.Progress.load(out / runs.CHECKPOINT).history
    assert 1 <= len(before) < 5
    lines: list[str] = []
    dataset = load_clips(clips)
    run = fit.train_run(LONGER, dataset, out, split=SPLIT, cache=cache, report=lines.append)
    whole = fit.train_run(
        LONGER, dataset, tmp_path / "whole", split=SPLIT, cache=cache, report=lambda _: None
    )
    assert f"going on after epoch {len(before)}" in lines
    assert [float(row["loss"]) for row in history_of(out)[: len(before)]] == [row["loss"] for row in before]
    assert not (out / runs.CHECKPOINT).exists()
    assert history_of(out) == history_of(whole.folder)
    assert run.metrics["best_epoch"] == whole.metrics["best_epoch"]
    for ours, theirs in zip(run.model().get_weights(), whole.model().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Interrupted(Exception):
    """Ends a training from its own report, as a kill after a backup would."""


def interrupted_training(config: TrainConfig, dataset: Dataset, out: Path, cache: Path, epoch: int) -> None:
    def stop(line: str) -> None:
        if line.startswith(f"epoch {epoch}/"):
            raise Interrupted

    with pytest.raises(Interrupted):
        fit.train_run(config, dataset, out, split=SPLIT, cache=cache, report=stop)


def test_a_resumed_training_has_the_state_of_one_that_never_stopped(dataset, cache, tmp_path) -> None:
    config = replace(SMALL, epochs=3, patience=3)
    clips = fit._cached_parts(config, dataset, SPLIT, cache, lambda _: None)
    mirror = fit.decide_mirror("off", LABELS)

    def state(training: fit._Training) -> list[np.ndarray]:
        trained = [
            *training.model.variables,
            *training.averaged.variables,
            *training.model.optimizer.variables,
        ]
        return [variable.numpy() for variable in trained]

    (tmp_path / "a").mkdir()
    budget = budget_of(config, 16)
    first = fit._Training(config, clips, LABELS, mirror, tmp_path / "a", budget)
    kept: list[np.ndarray] = []

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            kept.extend(state(first))
            raise Interrupted

    with pytest.raises(Interrupted):
        first.run(stop)
    shorter = replace(config, epochs=2)
    second = fit._Training(shorter, clips, LABELS, mirror, tmp_path / "a", budget_of(shorter, 16))
    second._best.load_best = lambda epoch: None  # the averaged weights as they are, not the best ones
    second.run(lambda _: None)
    assert second.history == first.history and len(second.history) == 2
    for ours, theirs in zip(state(second), kept, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def learns_nothing_at_first(attempts: int) -> object:
    """A builder whose first models give every label alike, whatever they are trained on."""
    made: list[object] = []

    def builder(*arguments: object) -> keras.Model:
        model = build_without_dropout(*arguments)
        if len(made) < attempts:
            model.layers[-1].trainable = False
            model.layers[-1].set_weights([np.zeros_like(one) for one in model.layers[-1].get_weights()])
        made.append(model)
        return model

    return builder


def exactly_chance(budget: Budget, losses: list[float], classes: int) -> bool:
    """What so small trainings leave of the rule: in two epochs even a model that learns is near chance."""
    return len(losses) >= 2 and max(abs(loss - math.log(classes)) for loss in losses[:2]) < 1e-5


def test_a_training_at_chance_starts_again_with_other_weights_also_where_it_was_cut_off(
    dataset, cache, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(fit, "_architecture", lambda config, classes: "the same")
    monkeypatch.setattr(Budget, "at_chance", exactly_chance)
    config = replace(SMALL, epochs=5, patience=5)

    def run(out: Path, stop: str | None = None, attempts: int = 1) -> tuple[list[str], runs.Run | None]:
        monkeypatch.setattr(fit, "build", learns_nothing_at_first(attempts))
        lines: list[str] = []

        def report(line: str) -> None:
            lines.append(line)
            if stop is not None and line.startswith(stop):
                raise Interrupted

        try:
            return lines, fit.train_run(config, dataset, out, split=SPLIT, cache=cache, report=report)
        except Interrupted:
            return lines, None

    lines, whole = run(tmp_path / "whole")
    again = [line for line in lines if "starting again" in line]
    assert len(again) == 1 and again[0].startswith("after 2 epochs the training loss is 0.693, as by chance")
    assert whole is not None and whole.metrics["restarts"] == 1 and whole.metrics["epochs_run"] == 5
    out = tmp_path / "cut"
    assert run(out, stop="epoch 2/")[1] is None
    lines, _ = run(out, stop="epoch 3/")
    assert "going on after epoch 2" in lines and any("starting again" in line for line in lines)
    lines, resumed = run(out, attempts=0)
    assert "going on after epoch 3" in lines and not any("starting again" in line for line in lines)
    assert resumed is not None and resumed.metrics["restarts"] == 1
    assert history_of(out) == history_of(whole.folder)
    for ours, theirs in zip(resumed.model().get_weights(), whole.model().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_restarts_end(dataset, cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Budget, "at_chance", exactly_chance)
    monkeypatch.setattr(fit, "build", learns_nothing_at_first(10))
    monkeypatch.setattr(fit, "_architecture", lambda config, classes: "the same")
    config = replace(SMALL, epochs=4, patience=4)
    run = fit.train_run(config, dataset, tmp_path / "RUN", split=SPLIT, cache=cache, report=lambda _: None)
    assert run.metrics["restarts"] == 2 and run.metrics["epochs_run"] == 4
    assert run.metrics["advice"]["verdict"] == "underfitted"


def test_the_learning_rate_warms_up_and_falls_to_the_end_of_the_budget() -> None:
    config = TrainConfig("motion", epochs=20, windows_per_epoch=320, learning_rate=1e-2)
    budget = budget_of(config, 100)
    rate = fit._rate(config, budget)
    assert (budget.steps, budget.warmup_steps) == (200, 10)
    assert 0 < float(rate(0)) < 2e-3 and float(rate(10)) == pytest.approx(1e-2)
    assert float(rate(200)) == float(rate(300)) == pytest.approx(1e-2 * fit.LAST_RATE_FRACTION)
    assert fit._rate(default_config("lrcn", recipe="notebook"), budget) == 1e-3


def test_early_stopping_goes_on_counting_where_it_was(dataset, cache, tmp_path, monkeypatch) -> None:
    """At this learning rate nothing gets better after the first epoch: patience ends it, however often it is
    cut off.
    """
    monkeypatch.setattr(fit, "build", build_without_dropout)
    config = replace(SMALL, epochs=30, patience=4, learning_rate=1e-9, average=0.0)
    whole = fit.train_run(
        config, dataset, tmp_path / "whole", split=SPLIT, cache=cache, report=lambda _: None
    )
    out = tmp_path / "RUN"
    ended = whole.metrics["epochs_run"]
    assert ended == whole.metrics["best_epoch"] + 4
    for epoch in (ended - 2, ended - 1, ended):
        interrupted_training(config, dataset, out, cache, epoch)
        early = callbacks.Progress.load(out / runs.CHECKPOINT).early_stopping
        assert early["wait"] == 4 - (ended - epoch) and early["best_epoch"] == whole.metrics["best_epoch"] - 1
    lines: list[str] = []
    run = fit.train_run(config, dataset, out, split=SPLIT, cache=cache, report=lines.append)
    assert not any(line.startswith("epoch ") for line in lines), "it was over already"
    assert history_of(out) == history_of(whole.folder)
    for key in ("epochs_run", "best_epoch", "test"):
        assert run.metrics[key] == whole.metrics[key]


def test_weights_of_a_best_epoch_outlive_a_kill_before_the_next_backup(dataset, cache, tmp_path) -> None:
    out = tmp_path / "RUN"
    config = replace(SMALL, epochs=4, patience=4)
    interrupted_training(config, dataset, out, cache, 2)
    best = int(callbacks.Progress.load(out / runs.CHECKPOINT).early_stopping["best_epoch"])
    assert (out / runs.CHECKPOINT / callbacks.BEST_WEIGHTS.format(epoch=best + 1)).is_file()


def test_a_run_that_an_older_version_left_unfinished_is_refused_in_one_line(dataset, cache, tmp_path) -> None:
    run = tmp_path / "RUN"
    interrupted_training(SMALL, dataset, run, cache, 1)
    (run / "checkpoint.npz").write_bytes(b"PK")
    with pytest.raises(MisuseError, match=r"left unfinished by an older version.*checkpoint\.npz") as caught:
        fit.train_run(SMALL, dataset, run, split=SPLIT, cache=cache, report=lambda _: None)
    assert "\n" not in str(caught.value)


def test_figures_go_to_tensorboard_too(dataset, cache, tmp_path, monkeypatch) -> None:
    """Keras' callback needs a package that is not always there: here another callback stands in for it."""
    seen: list[dict[str, float]] = []

    class Recorder(keras.callbacks.Callback):
        def __init__(self, folder: str) -> None:
            super().__init__()
            assert folder == str(tmp_path / "logs")

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            seen.append(dict(logs))

    monkeypatch.setattr(keras.callbacks, "TensorBoard", Recorder)
    monkeypatch.setattr(fit, "find_spec", lambda name: name)
    train = partial(fit.train_run, SMALL, dataset, split=SPLIT, cache=cache, report=lambda _: None)
    run = train(tmp_path / "RUN", tensorboard=tmp_path / "logs")
    assert [row["loss"] for row in seen] == [float(row["loss"]) for row in history_of(run.folder)]
    assert "validation_clip_accuracy" in seen[0]
    monkeypatch.setattr(fit, "find_spec", lambda name: None)
    with pytest.raises(MisuseError, match="--tensorboard needs the package tensorboard"):
        train(tmp_path / "other", tensorboard=tmp_path / "logs")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damaged", ["*.index", "*.data-*", "checkpoint"])
def test_a_damaged_checkpoint_is_one_line(damaged: str, dataset, cache, tmp_path) -> None:
    run = tmp_path / "RUN"
    interrupted_training(SMALL, dataset, run, cache, 1)
    (path,) = (run / runs.CHECKPOINT).rglob(damaged)
    content = path.read_bytes()
    path.write_bytes(b"\xff" * (len(content) // 2) + content[len(content) // 2 :])
    with pytest.raises(DataError, match=r"checkpoint: damaged .*remove it to train from the start") as caught:
        fit.train_run(SMALL, dataset, run, split=SPLIT, cache=cache, report=lambda _: None)
    assert "\n" not in str(caught.value)


def test_the_names_without_tensorflow_are_the_builders() -> None:
    from train.models.architectures import BUILDERS

    assert tuple(BUILDERS) == tuple(FAMILIES)
    assert default_config("convlstm").hop_ticks == 5 and default_config("lrcn").hop_ticks == 1
    assert default_config("convlstm", frames=6).hop_ticks == 1
