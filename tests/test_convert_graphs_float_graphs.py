"""The float graphs compute what Keras computes, whole clip and stream, and refuse what no bundle can feed."""

from typing import Any

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.graphs.float_graphs import check_input, float_graphs, fold_scale
from convert.tflite.build import rebuild_error
from edge_har.errors import ConversionError
from train.models.architectures import build, fold_batch_norm
from train.models.families import Design
from train.tf import keras

L = keras.layers
SIZES = {"lrcn": 64, "motion": 32, "convlstm": 32}


def clips(count: int, frames: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, frames, size, size, 3), np.uint8)


def stirred(model: Any) -> Any:
    """Weights as after training: nothing is zero or one any more."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([w + random.normal(0, 0.1, w.shape) ** 2 for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("kind", ["lrcn", "motion", "convlstm"])
def test_the_rebuilt_graphs_equal_keras(kind: str) -> None:
    model = stirred(build(kind, 6, SIZES[kind], 3))
    graphs = float_graphs(model)
    assert rebuild_error(model, graphs, clips(2, 6, SIZES[kind])) < 1e-5
    assert bool(graphs.states) == (kind == "convlstm")
    assert graphs.frames_per_step == (2 if kind == "motion" else 1)
    assert graphs.head.inputs["features"][1] == 6 - graphs.frames_per_step + 1


@pytest.mark.parametrize(
    ("design", "size"),
    [
        (Design(inputs="difference", head="gru"), 64),
        (Design(inputs="grey3", head="convolution", motion_branch=True), 64),
        (Design("mobilenet_v1_0.25", head="statistics", motion_branch=True), 96),
        (Design("mobilenet_v2_0.35", head="statistics"), 96),
    ],
)
def test_the_graphs_of_every_design_equal_keras(design: Design, size: int) -> None:
    model = build("lrcn", 5, size, 3, design=design)
    for layer in model.layers:
        if layer.name.endswith(("_bn", "_norm")):
            layer.set_weights([w + 0.3 for w in layer.get_weights()])
    graphs = float_graphs(model)
    assert rebuild_error(model, graphs, clips(2, 5, size)) < 1e-5
    assert graphs.frames_per_step == design.frames_per_step


def test_the_published_convlstm_is_exact_at_its_own_size() -> None:
    model = build("convlstm", 20, 64, 4)
    assert model.count_params() == 44_524
    graphs = float_graphs(model)
    assert rebuild_error(model, graphs, clips(1, 20, 64)) < 1e-5
    assert len(graphs.states) == 8


def test_a_convlstm_with_other_gates_and_padding() -> None:
    inputs = L.Input((4, 12, 12, 3))
    x = L.ConvLSTM2D(3, 3, padding="same", recurrent_activation="sigmoid", return_sequences=True)(inputs)
    x = L.TimeDistributed(L.AveragePooling2D(2))(x)
    x = L.ConvLSTM2D(2, 5, strides=2, recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    x = L.Dense(8, activation="relu")(L.Flatten()(x))
    model = stirred(keras.Model(inputs, L.Dense(2, activation="softmax")(x)))
    assert rebuild_error(model, float_graphs(model), clips(2, 4, 12)) < 1e-5


def test_scaling_moves_into_the_first_kernels() -> None:
    model = fold_batch_norm(stirred(build("motion", 4, 32, 3)))
    folded = fold_scale(model)
    assert folded.layers[1].scale == 1.0 and folded is not model
    pixels = clips(2, 4, 32).astype(np.float32)
    np.testing.assert_allclose(folded(pixels).numpy(), model(pixels).numpy(), atol=1e-5)


def test_scaling_stays_where_something_between_is_not_linear() -> None:
    inputs = L.Input((4, 16, 16, 3))
    x = L.Activation("tanh")(L.Rescaling(1 / 255)(inputs))
    x = L.TimeDistributed(L.Conv2D(2, 3))(x)
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))
    assert fold_scale(model) is model


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, 64, 64, 3), r"rank 4"),
        ((2, 20, 64, 64, 3), r"batch is fixed at 2"),
        ((None, None, 64, 64, 3), r"\[None, None, 64, 64, 3\]"),
        ((None, 20, None, None, 3), r"\[None, 20, None, None, 3\]"),
        ((None, 20, 64, 64, 1), r"\[None, 20, 64, 64, 1\]"),
    ],
)
def test_an_input_that_no_bundle_can_feed(shape: tuple[int | None, ...], message: str) -> None:
    inputs = L.Input(batch_shape=shape)
    x = L.Lambda(lambda x: x[:, 0, 0, 0] if len(shape) == 5 else x[:, 0, 0])(inputs)
    with pytest.raises(ConversionError, match=message) as caught:
        check_input(keras.Model(inputs, L.Dense(3)(x)))
    assert "expected [None or 1, frames, height, width, 3]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_batch_one_is_taken() -> None:
    inputs = L.Input(batch_shape=(1, 4, 8, 8, 3))
    assert check_input(keras.Model(inputs, L.Dense(3)(L.Flatten()(inputs)))) == (4, 8, 8, 3)


def test_layers_that_are_not_rebuilt_are_named() -> None:
    inputs = L.Input((4, 12, 12, 3))
    lstm = L.ConvLSTM2D(2, 3, return_sequences=True, name="first")
    relu = L.ConvLSTM2D(2, 3, return_sequences=True, activation="relu", name="second")
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(relu(lstm(inputs)))))
    with pytest.raises(ConversionError, match="'second' has activation='relu'"):
        float_graphs(model)
    normed = keras.Model(inputs, L.Dense(2)(L.Flatten()(L.BatchNormalization(name="norm")(lstm(inputs)))))
    with pytest.raises(ConversionError, match="'norm'"):
        float_graphs(normed)


def test_a_model_without_a_cut_is_a_whole_clip() -> None:
    inputs = L.Input((4, 12, 12, 3))
    model = stirred(keras.Model(inputs, L.Dense(2, activation="softmax")(L.Flatten()(inputs))))
    graphs = float_graphs(model)
    assert set(graphs.parts) == {"clip"} and not graphs.states
    assert rebuild_error(model, graphs, clips(2, 4, 12)) < 1e-5
