"""Training behind a frozen encoder: what is trained on features is the model that is saved."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.need import need_module
from tests.helpers.runs import LABELS, coloured_squares

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.data.batches import cache_clips
from train.data.index import load_clips
from train.data.splits import make_split
from train.fitting.evaluate import keras_predict, measures, predict_clips
from train.fitting.fit import train_run
from train.models import encoders
from train.models.architectures import STATISTICS_NORM, build
from train.models.families import MOBILENET_V1_025, Design
from train.runs import Run, default_config, load_run
from train.tf import keras

QUICK = {"frames": 4, "epochs": 1, "windows_per_epoch": 16, "batch": 8, "hop_ticks": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Run, list[str]]]:
    """Trains with random weights; returns the RUN and the lines reported."""
    folder = tmp_path_factory.mktemp("pretrained")
    clips = coloured_squares(folder / "clips")
    keras.utils.set_random_seed(0)
    app = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(224, 224, 3))
    app.save_weights(folder / "weights.h5")
    known = encoders.ENCODERS[MOBILENET_V1_025]

    def train(**settings: object) -> tuple[Run, list[str]]:
        encoders.ENCODERS[MOBILENET_V1_025] = replace(known, sha256=None)
        try:
            config = default_config("lrcn", encoder=MOBILENET_V1_025, **(QUICK | settings))
            dataset, lines = load_clips(clips), []
            run = train_run(
                config,
                dataset,
                folder / str(abs(hash(str(settings)))),
                split=make_split(dataset, 0),
                cache=folder / "cache",
                report=lines.append,
                encoder_weights=folder / "weights.h5",
            )
        finally:
            encoders.ENCODERS[MOBILENET_V1_025] = known
        return run, lines

    return train


@pytest.mark.parametrize("design", [{"head": "gru", "inputs": "rgb", "motion_branch": True}, {}])
def test_the_saved_model_is_what_was_trained_and_measured(trained, design: dict[str, object]) -> None:
    run, lines = trained(**design)
    assert any(line.startswith("features, pass 3 of 3: ") for line in lines)
    assert len(run.metrics["encoder_sha256"]) == 64
    assert design or run.config.inputs == "both"
    assert load_run(run.folder).config == run.config
    assert sum(run.metrics["trained_on"]["clips"].values()) == 18  # without their variants
    folder = run.folder.parent
    dataset = load_clips(folder / "clips")
    cached = cache_clips(dataset.clips, dataset.labels, run.config.frame_spec, folder / "cache")
    test = [clip for clip in cached if clip.group in run.metrics["test"]["groups"]]
    figures = measures(predict_clips(keras_predict(run.model()), test, run.config.contract), list(LABELS))
    # Rows hold features in 16 bits, and small frames in whole grey levels.
    np.testing.assert_allclose(figures["window_loss"], run.metrics["test"]["window_loss"], atol=0.02)


def test_statistics_are_normalised_once_by_training_windows(trained) -> None:
    run, _ = trained(label_smoothing=0.0)
    mean, variance = run.model().get_layer(STATISTICS_NORM).get_weights()
    # Learnt by batches, two of them would have left the variances, 1 at first, above .8.
    assert mean.any() and variance.mean() > 0 and variance.max() < 0.5


def test_scores_of_statistics_start_from_zero() -> None:
    design = Design(MOBILENET_V1_025, "both", "statistics")
    weights = build("lrcn", 4, 96, 3, design=design).get_layer("scores").get_weights()
    assert not any(array.any() for array in weights)
    of_lstm = build("lrcn", 4, 96, 3, design=Design(MOBILENET_V1_025)).get_layer("scores").get_weights()
    assert of_lstm[0].any()


def test_settings_of_a_pretrained_encoder_are_stored(trained) -> None:
    run, _ = trained(head="statistics", motion_branch=True)
    settings = json.loads((run.folder / "config.json").read_text())["settings"]
    assert settings["encoder"] == MOBILENET_V1_025 and settings["size"] == 96 and settings["motion_branch"]


def test_fine_tuning_changes_the_encoder_or_says_that_it_did_not_help(trained) -> None:
    run, lines = trained(head="convolution", inputs="difference", fine_tune=1)
    assert any(line.startswith("fine-tuning epoch 1/1 loss") for line in lines)
    assert lines[-1].startswith("fine-tuning")
    assert run.metrics["test"]["clips"] > 0
