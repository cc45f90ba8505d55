"""A RUN whose head was finally trained on validation clips too: what may still be claimed of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edge_har.model.bundle import Bundle
from tests.helpers.need import need_module
from tests.helpers.runs import LABELS, coloured_squares

need_module("tensorflow", "pip install -e '.[workstation]'")
from convert.graphs.float_graphs import float_graphs
from convert.inputs.clips import choose_calibration
from convert.inputs.source_model import SourceModel, source_model_of_run
from convert.pipeline import OUTPUTS, TEST, VALIDATION, Conversion, Options, builder_of, references_of
from convert.verify.rejection import seen_windows
from tests.helpers.pretrained import train_pretrained
from train.data.sampling import OTHER
from train.fitting.evaluate import keras_predict, predict_clips


@pytest.fixture(scope="module")
def source_model(tmp_path_factory: pytest.TempPathFactory) -> SourceModel:
    """Of a RUN with a refit, and with clips of no label in every group."""
    folder = tmp_path_factory.mktemp("refit")
    for clip in (coloured_squares(folder / "clips") / LABELS[0]).glob("*_c01.avi"):
        unlabelled = folder / "clips" / OTHER / clip.name.replace(LABELS[0], OTHER)
        unlabelled.parent.mkdir(exist_ok=True)
        shutil.copy(clip, unlabelled)
    run, _ = train_pretrained(folder, inputs="rgb", epochs=6)
    return source_model_of_run(run.folder, None, folder / "cache", lambda line: None)


@pytest.fixture(scope="module")
def bundle(source_model: SourceModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its stream in float32."""
    calibration = choose_calibration(source_model.clip_parts, source_model.temporal, synthetic_fraction=0.0)
    out = tmp_path_factory.mktemp("bundle") / "refit.ehar"
    conversion = Conversion(source_model, calibration, Options(), out, 1, print)
    return builder_of(conversion).forced("float32").bundle()


def test_clips_of_no_label_that_were_trained_on_count_no_events(source_model: SourceModel) -> None:
    run = source_model.run
    assert run is not None
    groups = {clip.group for clip in source_model.clip_parts.other}
    assert groups == set(run.metrics["test"]["groups"])


def test_few_windows_are_taken_from_the_middle_of_a_clip(source_model: SourceModel, bundle: Bundle) -> None:
    clips = source_model.clip_parts.training[:2]
    frames = bundle.manifest.temporal.frames
    every, middle = (seen_windows(bundle, clips, most_ticks=most) for most in (None, frames))
    of_first = np.flatnonzero(every.clips == 0)
    assert list(middle.clips) == [0, 1] and len(of_first) > 2
    assert middle.summaries is not None and every.summaries is not None
    ends = (every.summaries[of_first[0]], every.summaries[of_first[-1]])
    assert not any(np.array_equal(middle.summaries[0], end) for end in ends)


def test_validation_clips_that_were_trained_on_are_compared_but_not_claimed(
    source_model: SourceModel,
) -> None:
    references = references_of(source_model)
    assert not references[VALIDATION].held_out and references[TEST].held_out
    assert OUTPUTS not in references
    earlier = references_of(source_model.without_refit())
    assert earlier[VALIDATION].held_out and earlier[VALIDATION].model is source_model.before_refit


def test_what_is_changed_further_begins_with_the_model_before_the_refit(source_model: SourceModel) -> None:
    earlier = source_model.without_refit()
    run = source_model.run
    assert run is not None and earlier.before_refit is None
    assert set(source_model.provenance["trained_on"]) == run.learned_groups
    assert set(earlier.provenance["trained_on"]) == set(run.metrics["trained_on"]["groups"])
    assert earlier.provenance["model_sha256"] == run.metrics["refit"]["model_sha256"]
    assert earlier.without_refit() is earlier


def test_rejection_is_fitted_with_the_scores_of_the_model_that_had_not_seen_the_clips(
    source_model: SourceModel, bundle: Bundle
) -> None:
    validation = source_model.clip_parts.validation
    head = float_graphs(source_model.before_refit).head
    before, final = seen_windows(bundle, validation, head), seen_windows(bundle, validation)
    np.testing.assert_array_equal(before.summaries, final.summaries)
    assert np.abs(before.scores - final.scores).max() > 1e-3
    contract = bundle.manifest.temporal
    expected = predict_clips(keras_predict(source_model.before_refit), validation, contract)
    np.testing.assert_allclose(before.scores.mean(0), expected.windows.mean(0), atol=5e-3)
