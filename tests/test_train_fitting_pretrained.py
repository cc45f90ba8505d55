"""Training behind a frozen encoder: what is trained on features is the model that is saved."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from tests.helpers.need import need_module
from tests.helpers.runs import LABELS

need_module("tensorflow", "pip install -e '.[workstation]'")
from tests.helpers.pretrained import train_pretrained
from train.data.batches import cache_clips
from train.data.index import load_clips
from train.fitting.evaluate import keras_predict, measures, predict_clips
from train.models.architectures import STATISTICS_NORM, build
from train.models.families import MOBILENET_V1_025, Design
from train.runs import BEFORE_REFIT, Run, default_config, load_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Run, list[str]]]:
    """Trains with random weights; returns the RUN and the lines reported."""
    return partial(train_pretrained, tmp_path_factory.mktemp("pretrained"))


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


def test_the_final_head_has_seen_validation_clips_and_the_one_before_is_kept(trained) -> None:
    run, lines = trained(inputs="rgb")
    held_out = set(run.metrics["validation"]["groups"])
    assert set(run.metrics["refit"]["groups"]) == held_out
    assert run.learned_groups == held_out | set(run.metrics["trained_on"]["groups"])
    assert not held_out & set(run.metrics["trained_on"]["groups"])
    assert not run.learned_groups & set(run.metrics["test"]["groups"])
    assert "training again on 24 clips, with those of validation" in lines
    before, final = run.before_refit(), run.model()
    kept = [
        np.array_equal(one, other)
        for one, other in zip(before.get_weights(), final.get_weights(), strict=True)
    ]
    assert any(kept) and not all(kept)  # the encoder is the same, scores and normalisation are not
    dataset = load_clips(run.folder.parent / "clips")
    cached = cache_clips(dataset.clips, dataset.labels, run.config.frame_spec, run.folder.parent / "cache")
    validation = [clip for clip in cached if clip.group in held_out]
    figures = measures(predict_clips(keras_predict(before), validation, run.config.contract), list(LABELS))
    np.testing.assert_allclose(figures["window_loss"], run.metrics["validation"]["window_loss"], atol=0.02)
    assert not (run.folder / "checkpoint").exists()


def test_an_interrupted_refit_goes_on_where_it_was(trained) -> None:
    settings = {"inputs": "rgb", "seed": 2, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        trained(**settings, stop_at="training again")
    run, lines = trained(**settings)
    assert lines.count("going on after epoch 2") == 1  # the first training is over
    assert any(line.startswith("epoch 1/2") for line in lines)  # of the second
    assert run.before_refit() is not None and run.metrics["refit"]["epochs"] == 2


def test_without_a_refit_there_is_one_model(trained) -> None:
    run, _ = trained(inputs="rgb", refit=False)
    assert run.before_refit() is None and not (run.folder / BEFORE_REFIT).exists()
    assert run.learned_groups == set(run.metrics["trained_on"]["groups"])


def test_a_model_before_the_refit_that_was_changed_is_refused(trained) -> None:
    run, _ = trained(inputs="rgb", seed=1)
    (run.folder / BEFORE_REFIT).write_bytes((run.folder / "model.keras").read_bytes())
    with pytest.raises(DataError, match=r"before_refit\.keras: not the model this RUN was finished with"):
        run.before_refit()


@pytest.mark.parametrize("settings", [{}, {"encoder": MOBILENET_V1_025, "fine_tune": 1}])
def test_only_the_head_of_a_frozen_encoder_is_trained_again(settings: dict[str, Any]) -> None:
    assert not default_config("lrcn", **settings).refit
    with pytest.raises(MisuseError, match="--refit is for a pretrained encoder that is not fine-tuned"):
        default_config("lrcn", refit=True, **settings)
