"""Structure checks: made graphs pass and are described;
each planted fault is one line that names its file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.graphs.float_graphs import FloatGraph
from convert.precisions import FLOAT32, INT8
from convert.tflite.build import Built, GraphBuilder, graph_tensors
from convert.tflite.flatbuffer import read, schema
from convert.tflite.quantise import Job
from convert.verify import structure
from convert.verify.structure import StructureReport, check_structure
from edge_har.errors import ConversionError
from edge_har.model.cadence import TemporalContract
from edge_har.model.manifest import Manifest, TensorSpec
from edge_har.model.preprocess import FrameSpec
from tests.helpers.converted import tflite_files
from train.models.architectures import build as build_model
from train.models.families import FAMILIES, Design
from train.tf import keras, tf

from tensorflow.lite.tools import flatbuffer_utils  # isort: skip

FRAMES, LABELS = 4, ("Left", "Right")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Graphs of untrained models: structure does not ask what they have learnt."""
    log = tmp_path_factory.mktemp("log") / "convert.log"
    kept: dict[str, Built] = {}

    def of_kind(kind: str) -> Built:
        if kind not in kept:
            keras.utils.set_random_seed(3)
            size = FAMILIES[kind].smallest_px
            calibration = np.random.default_rng(0).integers(0, 256, (4, FRAMES, size, size, 3), np.uint8)
            kept[kind] = GraphBuilder(
                build_model(kind, FRAMES, size, len(LABELS)),
                kind=kind,
                labels=LABELS,
                frame=FrameSpec((size, size)),
                temporal=TemporalContract(FRAMES, 80.0),
                calibration=calibration,
                log=log,
            ).forced()
        return kept[kind]

    return of_kind


def check(built: Built, **changes: Any) -> StructureReport:
    return check_structure(built.manifest, built.files, built.manifest.precision, **changes)


@pytest.mark.parametrize("kind", ["lrcn", "motion"])
def test_an_int8_stream_is_all_integer(made: Callable[[str], Built], kind: str) -> None:
    report = check(made(kind))
    assert set(report.files) == set(made(kind).files)
    for file in report.files.values():
        assert file.float_operators == 0 and set(file.ends.values()) == {"int8"} and file.operators > 0
    assert {link.how for link in report.links} <= {"equal", "requantised"} and len(report.links) == 1
    assert report.files["head.tflite"].keeps_state == (kind == "lrcn")
    assert not report.files["encoder.tflite"].keeps_state


@pytest.mark.parametrize(
    ("design", "size"),
    [
        (Design(inputs="grey3", head="gru"), 64),
        (Design(inputs="difference", head="convolution"), 64),
        (Design("mobilenet_v1_0.25", head="statistics", motion_branch=True), 96),
    ],
)
def test_every_design_is_all_integer(design: Design, size: int, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)  # weights with which the converter left a GRU's split gates in float
    calibration = np.random.default_rng(0).integers(0, 256, (2, FRAMES, size, size, 3), np.uint8)
    built = GraphBuilder(
        build_model("lrcn", FRAMES, size, len(LABELS), design=design),
        kind="lrcn",
        labels=LABELS,
        frame=FrameSpec((size, size)),
        temporal=TemporalContract(FRAMES, 80.0),
        calibration=calibration,
        log=tmp_path / "convert.log",
    ).forced()
    for file in check(built).files.values():
        assert file.float_operators == 0 and not file.keeps_state


def test_int8_weights_keep_float_between(made: Callable[[str], Built]) -> None:
    report = check(made("convlstm"))
    assert report.files["step.tflite"].float_operators > 0 and not report.files["step.tflite"].keeps_state
    assert {link.how for link in report.links} == {"float"} and len(report.links) == 9
    record = report.to_json()
    assert record["files"]["step.tflite"]["ends"]["state_0"] == "float32"
    assert record["links"][0] == {
        "written": "step.tflite state_0",
        "read": "step.tflite state_0",
        "how": "float",
    }


def refused(built: Built, *, match: str, precision: Any = None) -> None:
    with pytest.raises(ConversionError, match=match) as caught:
        check_structure(built.manifest, built.files, precision or built.manifest.precision)
    assert "\n" not in str(caught.value)


def altered(built: Built, name: str, change: Callable[[Any], None]) -> Built:
    """The same with one flatbuffer changed."""
    model = read(built.files[name])
    change(model)
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return replace(built, files={**built.files, name: content})


def retold(built: Built, name: str, **changes: Any) -> Built:
    """The same with one tensor described otherwise: role=changed TensorSpec fields."""

    def changed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(replace(spec, **changes.get(spec.role, {})) for spec in specs)

    tensors = built.manifest.tensors[name]
    facts = replace(tensors, inputs=changed(tensors.inputs), outputs=changed(tensors.outputs))
    manifest = replace(built.manifest, tensors={**built.manifest.tensors, name: facts})
    return replace(built, manifest=manifest)


def with_graph(built: Built, name: str, graph: FloatGraph, tmp_path: Path) -> Built:
    """The same with one graph put in the place of another."""
    (content,) = tflite_files({name: Job(graph, FLOAT32)}, log=tmp_path / "log").values()
    tensors = {**built.manifest.tensors, name: graph_tensors(content)}
    return replace(
        built, manifest=replace(built.manifest, tensors=tensors), files={**built.files, name: content}
    )


def test_another_precision_than_promised(made: Callable[[str], Built]) -> None:
    refused(made("convlstm"), precision="int8", match=r"clip\.tflite: \w+ is float32; int8 promises int8")
    refused(made("motion"), precision="float32", match="is int8; float32 promises float32")
    refused(made("motion"), precision="int4", match="unknown precision 'int4'")


def test_float_operators_count_against_the_promise(
    made: Callable[[str], Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_float(model: Any) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[1].outputs[0]].type = schema.TensorType.FLOAT32

    built = altered(made("motion"), "encoder.tflite", to_float)
    refused(
        built,
        match=r"encoder\.tflite: 2 of \d+ operators compute in float \(\w+(, \w+)*\); int8 promises none",
    )
    monkeypatch.setattr(structure, "_check_repeatable", lambda bundle: None)  # the altered graph cannot run
    assert check(built, float_layers={"encoder.tflite": 2}).files["encoder.tflite"].float_operators == 2


@pytest.mark.parametrize(
    ("custom", "match"),
    [
        ("FlexMaxPool3D", "needs TensorFlow's own operator MaxPool3D"),
        ("MyOp", "needs the custom operator MyOp"),
    ],
)
def test_operators_that_devices_lack(made: Callable[[str], Built], custom: str, match: str) -> None:
    def plant(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = custom.encode()

    refused(altered(made("motion"), "head.tflite", plant), match=rf"head\.tflite: {match}")


def test_sparse_weights(made: Callable[[str], Built]) -> None:
    def plant(model: Any) -> None:
        model.operatorCodes[0].builtinCode = schema.BuiltinOperator.DENSIFY
        model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.DENSIFY

    refused(altered(made("motion"), "head.tflite", plant), match="sparse weights")


def test_an_open_shape_and_a_file_of_something_else(made: Callable[[str], Built]) -> None:
    def plant(model: Any) -> None:
        graph = model.subgraphs[0]
        tensor = graph.tensors[graph.inputs[0]]
        tensor.shapeSignature = np.array([-1, *tensor.shape[1:]], np.int32)

    built = made("motion")
    refused(altered(built, "clip.tflite", plant), match=r"has the open shape \[-1, ")
    refused(
        replace(built, files={**built.files, "clip.tflite": b"something else"}), match="not a TFLite file"
    )


def test_ranges_of_different_numbers(made: Callable[[str], Built]) -> None:
    scale = made("lrcn").manifest.tensors["head.tflite"].inputs[0].scale
    narrow = retold(made("lrcn"), "head.tflite", features={"scale": scale / 4})
    refused(narrow, match=r"head\.tflite features can hold 25% of the range of encoder\.tflite feature")


def test_a_requantised_link_is_told(made: Callable[[str], Built]) -> None:
    built = made("lrcn")
    (feature,) = built.manifest.tensors["encoder.tflite"].outputs
    features = replace(
        built.manifest.tensors["head.tflite"].inputs[0],
        scale=feature.scale * 1.1,
        zero_point=feature.zero_point,
    )
    assert structure._link("encoder.tflite", feature, "head.tflite", features).how == "requantised"


def test_states_and_features_that_do_not_fit(made: Callable[[str], Built]) -> None:
    refused(
        retold(made("convlstm"), "step.tflite", feature={"role": "state_9"}), match="no tensor plays the role"
    )
    refused(retold(made("motion"), "head.tflite", features={"shape": (1, 3, 9)}), match="reads features of 9")
    refused(
        retold(made("motion"), "clip.tflite", scores={"shape": (1, 9)}), match="gives 9 scores for 2 labels"
    )


def test_a_state_that_outlives_its_clip(made: Callable[[str], Built], tmp_path: Path) -> None:
    """A head that counts its calls in a variable, which nothing resets."""
    built = made("convlstm")
    (features,) = built.manifest.tensors["head.tflite"].inputs
    calls = tf.Variable(0.0)

    class Counting(FloatGraph):
        def save(self, folder: Path) -> None:
            module = tf.Module()
            module.calls = calls
            spec = tf.TensorSpec(features.shape, tf.float32, name="features")
            call = tf.function(lambda features: self.function(features=features), input_signature=[spec])
            tf.saved_model.save(module, str(folder), signatures=call.get_concrete_function())

    def head(features: Any) -> dict[str, Any]:
        count = calls.assign_add(1.0)
        logits = tf.stack([count, tf.reduce_mean(features)])
        return {"scores": tf.nn.softmax(logits)[tf.newaxis]}

    counting = with_graph(
        built, "head.tflite", Counting("head", {"features": features.shape}, head), tmp_path
    )
    refused(
        counting, match="gives the same clip two results, .* a state outlives its clip", precision="float32"
    )


def convolved(side: int, kernel: int, stride: int, padding: str, tmp_path: Path) -> bytes:
    weights = np.random.default_rng(1).normal(0, 0.2, (kernel, kernel, 3, 4)).astype(np.float32)
    shape = (1, side, side, 3)
    graph = FloatGraph(
        "conv", {"clip": shape}, lambda clip: {"scores": tf.nn.conv2d(clip, weights, stride, padding)}
    )
    samples = {"clip": np.random.default_rng(2).integers(0, 256, (8, *shape), np.uint8)}
    return tflite_files({"conv": Job(graph, INT8, samples)}, log=tmp_path / "log")["conv"]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "allowed"),
    [
        (16, 3, 4, "SAME", False),
        (17, 3, 4, "SAME", True),  # the windows reach the last pixel
        (16, 3, 4, "VALID", True),
        (16, 1, 2, "SAME", True),
        (16, 5, 4, "SAME", True),
    ],
)
def test_a_stride_larger_than_its_kernel(
    side: int, kernel: int, stride: int, padding: str, allowed: bool, tmp_path: Path
) -> None:
    model = read(convolved(side, kernel, stride, padding, tmp_path))
    if allowed:
        structure._check_operators("conv.tflite", model)
        return
    with pytest.raises(ConversionError, match=r"stride \(4\) larger than its kernel \(3\)"):
        structure._check_operators("conv.tflite", model)


def test_the_shipped_bundle() -> None:
    from edge_har.model.bundle import default_bundle_path, open_bundle

    bundle = open_bundle(default_bundle_path())
    manifest: Manifest = bundle.manifest
    report = check_structure(manifest, bundle.contents, manifest.precision)
    assert sum(file.float_operators for file in report.files.values()) == 0
