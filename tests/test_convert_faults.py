"""Faults planted into conversions of really trained models:
each is refused in words, and leaves no bundle.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_har.errors import ConversionError, ParityError
from edge_har.model.interpreter import Array, Graph
from edge_har.model.recognizer import TickRecognizer
from tests.helpers.need import need_module
from tests.helpers.runs import LABELS

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert import pipeline
from convert.inputs.source_model import SourceModel, source_model_of_run
from convert.pipeline import Conversion, Options, convert_source_model
from convert.tflite.build import GraphBuilder
from train.data.batches import CachedClip, store
from train.tf import keras

ModelOfKind = Callable[[str], SourceModel]
BUILDER_OF = pipeline.builder_of
NOISE_LEVELS = 8  # grey levels: what a capped camera shows


def silent(line: str) -> None:
    """Progress is not looked at here."""


@pytest.fixture(scope="module")
def model_of_kind(trained: Callable[..., Path], runs_folder: Path) -> ModelOfKind:
    made: dict[str, SourceModel] = {}

    def model_of(kind: str) -> SourceModel:
        if kind not in made:
            made[kind] = source_model_of_run(trained(kind), None, runs_folder / "cache", silent)
        return made[kind]

    return model_of


def refused(source_model: SourceModel, folder: Path, **options: Any) -> str:
    """Why no bundle was made of `source_model`; the reports are there and say so too."""
    with pytest.raises(ParityError) as caught:
        convert_source_model(source_model, folder / "bad.ehar", Options(**options), report=silent)
    record = str(caught.value)
    assert caught.value.exit_code == 1 and "\n" not in record and "no bundle is written" in record
    assert {path.name for path in folder.iterdir()} == {"bad.report.json", "bad.report.html"}
    assert "Refused: no bundle was written." in (folder / "bad.report.html").read_text()
    return record


def with_noise(clips: list[CachedClip], folder: Path) -> list[CachedClip]:
    """The same clips showing dark noise."""
    folder.mkdir()
    random = np.random.default_rng(3)
    noisy = []
    for clip in clips:
        fake = replace(clip, stem=folder / clip.stem.name)
        store(fake, clip.times_s(), random.integers(0, NOISE_LEVELS, clip.frames().shape, np.uint8))
        noisy.append(fake)
    return noisy


def plant(monkeypatch: pytest.MonkeyPatch, damage: Callable[[SourceModel], SourceModel]) -> None:
    """Have the graphs made of a damaged source model, while the float model stays what it was."""

    def faulty(conversion: Conversion) -> GraphBuilder:
        return BUILDER_OF(replace(conversion, source_model=damage(conversion.source_model)))

    monkeypatch.setattr(pipeline, "builder_of", faulty)


def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the checks of structure out, so that the gate alone has to notice."""
    monkeypatch.setattr(pipeline, "checked_structure", lambda built: {})


def with_weights(model: Any, change: Callable[[list[Array]], list[Array]]) -> Any:
    copy = keras.models.clone_model(model)
    copy.set_weights(change(model.get_weights()))
    return copy


def blue_first(weights: list[Array]) -> list[Array]:
    """The first kernel's colours in the order that OpenCV reads."""
    return [weights[0][:, :, ::-1], *weights[1:]]


def never_forgetting(weights: list[Array]) -> list[Array]:
    """The forget gates of every ConvLSTM2D open: what a state held stays in it."""
    biases = [weight for weight in weights if weight.ndim == 1][:-1]  # the last is the Dense layer's
    for bias in biases:
        filters = len(bias) // 4
        bias[filters : 2 * filters] = 5.0
    return weights


def turned(weights: list[Array]) -> list[Array]:
    """The answers one label further on."""
    return [*weights[:-2], np.roll(weights[-2], 1, axis=-1), np.roll(weights[-1], 1)]


def test_calibration_on_noise(model_of_kind: ModelOfKind, tmp_path: Path) -> None:
    source_model = model_of_kind("motion")
    noisy = with_noise(list(source_model.clip_parts.training), tmp_path / "noise")
    (tmp_path / "out").mkdir()
    broken = replace(source_model, clip_parts=replace(source_model.clip_parts, training=noisy))
    assert "train on clips like those the camera will see" in refused(broken, tmp_path / "out")


def test_swapped_colours(model_of_kind: ModelOfKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch,
        lambda model: replace(model, model=with_weights(model.model, blue_first)),
    )
    assert "accuracy falls from" in refused(model_of_kind("motion"), tmp_path)


def test_outputs_in_another_order(
    model_of_kind: ModelOfKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(
        monkeypatch,
        lambda model: replace(model, model=with_weights(model.model, turned)),
    )
    assert "gives the float model's label on" in refused(model_of_kind("motion"), tmp_path)


def test_labels_in_another_order_than_the_outputs(
    model_of_kind: ModelOfKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, lambda source_model: replace(source_model, labels=LABELS[::-1]))
    assert "gives the float model's label on" in refused(model_of_kind("motion"), tmp_path)


def test_labels_given_in_another_order_than_the_models(model_of_kind: ModelOfKind, tmp_path: Path) -> None:
    """As a user would for a model file: every way agrees, only the clips' own labels can tell."""

    def renamed(clips: Any) -> list[CachedClip]:
        return [replace(clip, label=len(LABELS) - 1 - clip.label) for clip in clips]

    source_model = model_of_kind("motion")
    given = source_model.clip_parts
    clip_parts = replace(
        given,
        training=renamed(given.training),
        validation=renamed(given.validation),
        test=renamed(given.test),
    )
    record = refused(replace(source_model, labels=LABELS[::-1], clip_parts=clip_parts), tmp_path)
    assert "labels are mixed up" in record and "in the order of the model's outputs" in record


def test_the_lstm_state_not_reset(
    model_of_kind: ModelOfKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_model = model_of_kind("lrcn")
    made: list[GraphBuilder] = []

    # The same graphs, whatever they meet.
    def once(conversion: Conversion) -> GraphBuilder:
        made.extend([] if made else [BUILDER_OF(conversion)])
        return made[0]

    monkeypatch.setattr(pipeline, "builder_of", once)
    monkeypatch.setattr(Graph, "reset", lambda graph: None)
    with pytest.raises(ConversionError, match="the same clip two results") as caught:
        convert_source_model(source_model, tmp_path / "bad.ehar", Options(), report=silent)
    assert caught.value.exit_code == 1 and list(tmp_path.iterdir()) == []
    unchecked(monkeypatch)
    refused(source_model, tmp_path)


def test_the_states_of_a_bank_not_reset(
    model_of_kind: ModelOfKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_model = model_of_kind("convlstm")
    source_model = replace(source_model, model=with_weights(source_model.model, never_forgetting))
    fresh = TickRecognizer._zero_states

    def stale(recognizer: TickRecognizer, step: Graph) -> list[Array]:
        return list(recognizer._banks[0].states) if recognizer._banks else fresh(recognizer, step)

    monkeypatch.setattr(TickRecognizer, "_zero_states", stale)
    unchecked(monkeypatch)
    record = refused(source_model, tmp_path, allow_drop=True)
    assert "the stream differs from the whole clip" in record
