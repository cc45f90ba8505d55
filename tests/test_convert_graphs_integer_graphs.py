"""The all-integer ConvLSTM: exact before rounding, integers alone after it, states fed back as bytes."""

from typing import Any

import numpy as np
import pytest

from edge_har.errors import ConversionError
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.graphs.convlstm import Cell
from convert.graphs.float_graphs import FloatGraphs
from convert.graphs.integer_graphs import RangeObserver, integer_form, integer_graphs
from convert.precisions import INT8, INT8_CELLS16
from convert.tflite import flatbuffer
from convert.tflite.quantise import Job
from edge_har.model.interpreter import Graph, dequantise, zeros
from tests.helpers.converted import tflite_files
from train.models.architectures import build
from train.tf import keras, tf

L = keras.layers
FRAMES, SIZE = 4, 16


def clips(count: int, size: int = SIZE) -> np.ndarray:
    made = np.random.default_rng(3).integers(0, 256, (count, FRAMES, size, size, 3), np.uint8)
    return np.sort(made, axis=1)  # something grows brighter


def stirred(model: Any) -> Any:
    """Weights as after training: gates open and close, states grow."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([1.5 * w + random.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    return model


def small(hidden: str = "relu", **changes: Any) -> Any:
    """Two ConvLSTMs and two dense layers. hidden: activation of the first of these.
    changes: of the second ConvLSTM.
    """
    settings = {"filters": 4, "kernel_size": 3, "recurrent_activation": "hard_sigmoid"} | changes
    inputs = L.Input((FRAMES, SIZE, SIZE, 3))
    x = L.Rescaling(1 / 255)(inputs)
    x = L.ConvLSTM2D(3, 3, recurrent_activation="hard_sigmoid", return_sequences=True, name="first")(x)
    x = L.TimeDistributed(L.MaxPooling2D(2))(x)
    x = L.ConvLSTM2D(**settings, return_sequences=True, name="second")(x)
    x = L.Dense(8, activation=hidden)(L.Flatten()(x))
    return stirred(keras.Model(inputs, L.Dense(3, activation="softmax")(x)))


VARIANTS: dict[str, dict[str, Any]] = {
    "joined": {},
    "joined, padded": {"padding": "same", "kernel_size": 2},
    "added": {"strides": 2, "kernel_size": 5, "recurrent_activation": "sigmoid", "hidden": "linear"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_before_rounding_it_computes_what_keras_computes(variant: str) -> None:
    model = small(**VARIANTS[variant])
    scores = integer_form(model).clip(tf.cast(clips(3), tf.float32), RangeObserver())
    np.testing.assert_allclose(scores, model(clips(3)).numpy(), atol=1e-5)


def test_the_published_model_too_its_pixels_standardised() -> None:
    model = stirred(build("convlstm", FRAMES, 32, 3, (100.0, 60.0)))
    form = integer_form(model)
    assert isinstance(form.parts.body[0], Cell), "the scaling is in the first cell's weights"
    scores = form.clip(tf.cast(clips(2, 32), tf.float32), RangeObserver())
    np.testing.assert_allclose(scores, model(clips(2, 32)).numpy(), atol=1e-5)


CANDIDATES = [("joined", INT8), ("joined, padded", INT8), ("joined", INT8_CELLS16), ("added", INT8_CELLS16)]


@pytest.fixture(scope="module", params=CANDIDATES, ids=" ".join)
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, FloatGraphs, dict[str, bytes]]:
    variant, precision = request.param
    model = small(**VARIANTS[variant])
    graphs = integer_graphs(model, clips(12))[precision]
    jobs = {
        part: Job(graph, precision)
        for part, graph in (("clip", graphs.clip), ("step", graphs.step), ("head", graphs.head))
    }
    return model, graphs, tflite_files(jobs, log=tmp_path_factory.mktemp("log") / "convert.log")


Converted = tuple[Any, FloatGraphs, dict[str, bytes]]


def test_there_is_no_float(converted: Converted) -> None:
    for content in converted[2].values():
        graph = Graph(content)
        types = {str(info.dtype) for info in (*graph.inputs, *graph.outputs)}
        assert types <= {"int8", "int16"}
        widened = "CAST" in flatbuffer.operators(content)
        kept = {"int8", "int32"} | ({"int16", "uint8", "int64"} if widened else set())
        tensors = flatbuffer.read(content).subgraphs[0].tensors
        assert {flatbuffer._TYPES[tensor.type] for tensor in tensors} <= kept


def by_role(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    graph, roles = Graph(content), flatbuffer.roles(content)
    return tuple(  # type: ignore[return-value]
        {
            role: next((at, info) for at, info in enumerate(infos) if info.index == index)
            for role, index in named.items()
        }
        for infos, named in zip((graph.inputs, graph.outputs), roles, strict=True)
    )


def test_states_features_and_pixels_pass_as_bytes(converted: Converted) -> None:
    inputs, outputs = by_role(converted[2]["step"])
    states = [role for role in inputs if role.startswith("state_")]
    assert len(states) == 4
    for role in states:
        (_, into), (_, out) = inputs[role], outputs[role]
        assert (into.dtype, into.scale, into.zero_point) == (out.dtype, out.scale, out.zero_point), role
    features = by_role(converted[2]["head"])[0]["features"][1]
    feature = outputs["feature"][1]
    assert (features.scale, features.zero_point) == (feature.scale, feature.zero_point)
    for content, role in ((converted[2]["step"], "frames"), (converted[2]["clip"], "clip")):
        frames = by_role(content)[0][role][1]
        assert (frames.scale, frames.zero_point) == (1.0, -128)


def stream(files: dict[str, bytes], clip: np.ndarray) -> np.ndarray:
    """Scores [labels] of one clip, every tensor handed on as bytes."""
    inputs, outputs = by_role(files["step"])
    step, head = Graph(files["step"]), Graph(files["head"])
    held = {role: zeros(info) for role, (_, info) in inputs.items()}
    features = []
    for frame in clip:
        held["frames"] = (frame ^ np.uint8(0x80)).view(np.int8)[np.newaxis, np.newaxis]
        ordered = sorted((at, held[role]) for role, (at, _) in inputs.items())
        made = step.run_raw(*(array for _, array in sorted(ordered, key=lambda pair: pair[0])))
        held = {role: made[at] for role, (at, _) in outputs.items() if role != "feature"}
        features.append(made[outputs["feature"][0]][0])
    (scores,) = head.run_raw(np.stack(features)[np.newaxis])
    return dequantise(scores[0], head.outputs[0])


def test_the_stream_is_the_whole_clip_and_near_to_keras(converted: Converted) -> None:
    model, graphs, files = converted
    for clip in clips(4):
        streamed = stream(files, clip)
        (whole,) = Graph(files["clip"]).run(clip[np.newaxis])
        np.testing.assert_array_equal(streamed, whole[0])
        foretold = graphs.clip.run(clip=clip[np.newaxis])["scores"][0]
        np.testing.assert_allclose(streamed, foretold, atol=0.03)
        np.testing.assert_allclose(streamed, model(clip[np.newaxis]).numpy()[0], atol=0.06)


def test_layers_without_integers_are_named() -> None:
    inputs = L.Input((FRAMES, SIZE, SIZE, 3))

    def lstm(x: Any) -> Any:
        return L.ConvLSTM2D(2, 3, recurrent_activation="hard_sigmoid", return_sequences=True)(x)

    x = lstm(L.TimeDistributed(L.Conv2D(2, 3), name="conv")(inputs))
    with pytest.raises(ConversionError, match="'conv"):
        integer_form(keras.Model(inputs, L.Dense(2, activation="softmax")(L.Flatten()(x))))
    x = L.Dense(2, activation="selu", name="odd")(L.Flatten()(lstm(inputs)))
    with pytest.raises(ConversionError, match=r"'odd' \(Dense\) cannot be made all-integer"):
        integer_form(keras.Model(inputs, x))
