"""ONNX of the float model: equal to Keras in ONNX Runtime for every kind;
a model that is not the bundle's is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_har.errors import MisuseError, ParityError
from edge_har.model.bundle import read_bundle
from edge_har.model.export import export_bundle
from tests.helpers.bundles import TINY_FRAMES, TINY_LABELS, TINY_SIDE, tiny_bundle, variant
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
need_module("tf2onnx", "pip install -e '.[workstation]'")
need_module("onnxruntime", "pip install -e '.[workstation]'")

import onnx

from convert.graphs.float_graphs import float_graphs
from convert.package.onnx import LIMIT, OPSET, export_onnx, onnx_of, parity
from edge_har.cli.model import command
from train.models.architectures import build
from train.models.families import FAMILIES
from train.tf import keras

FRAMES = 2  # a ConvLSTM is unrolled: tf2onnx's time grows with its frames


def sure_model(kind: str) -> keras.Model:
    """Fresh weights, the last layer's ten times as large, so that answers are not all alike."""
    keras.utils.set_random_seed(4)
    model = build(kind, FRAMES, FAMILIES[kind].smallest_px, 3)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 10, bias])
    return model


@pytest.mark.parametrize("kind", ["lrcn", "motion", "convlstm"])
def test_every_kind_equals_keras(kind: str) -> None:
    model, size = sure_model(kind), FAMILIES[kind].smallest_px
    content = onnx_of(float_graphs(model).clip)
    clips = np.random.default_rng(0).integers(0, 256, (3, FRAMES, size, size, 3), np.uint8)
    worst, count = parity(content, model, clips)
    assert worst <= LIMIT / 10 and count == 3
    read = onnx.load_from_string(content)
    assert [entry.name for entry in (*read.graph.input, *read.graph.output)] == ["clip", "scores"]
    assert read.opset_import[0].version == OPSET
    assert not {"Loop", "If", "Scan"} & {node.op_type for node in read.graph.node}
    other = build(kind, FRAMES, size, 3)
    other.set_weights([weight * 3 for weight in model.get_weights()])
    with pytest.raises(ParityError, match="ONNX Runtime differs from Keras by") as caught:
        parity(content, other, clips)
    assert "\n" not in str(caught.value)


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    """A model with the tiny bundle's input and labels."""
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inputs = layers.Input((TINY_FRAMES, TINY_SIDE, TINY_SIDE, 3))
    x = layers.TimeDistributed(layers.Flatten(), name="features")(layers.Rescaling(1 / 255)(inputs))
    outputs = layers.Dense(len(TINY_LABELS), activation="softmax")(layers.Flatten()(x))
    path = tmp_path / "model.keras"
    keras.Model(inputs, outputs).save(path)
    return path


def test_the_command_writes_onnx_beside_the_graphs(keras_file: Path, tmp_path: Path) -> None:
    content, facts = export_onnx(keras_file, tiny_bundle())
    assert facts["max_difference"] <= LIMIT and facts["clips_compared"] == 4 + len(
        tiny_bundle().manifest.golden
    )
    folder = tmp_path / "out"
    export_bundle(tiny_bundle(), folder, onnx=content, onnx_facts=facts)
    assert (folder / "clip.onnx").read_bytes() == content
    assert json.loads((folder / "export.json").read_text())["onnx"] == {"file": "clip.onnx", **facts}
    assert "`clip.onnx`" in (folder / "README.md").read_text()


def test_a_model_that_is_not_the_bundles(keras_file: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle()
    four = read_bundle(variant(bundle, labels=(*bundle.manifest.labels, "More"), golden=()))
    with pytest.raises(MisuseError, match="3 labels; the bundle has 4 of 8x8 and 4") as caught:
        export_onnx(keras_file, four)
    assert "\n" not in str(caught.value)
    with pytest.raises(MisuseError, match=r"expected a RUN folder or a model file \(\.h5"):
        export_onnx(keras_file.rename(tmp_path / "model.onnx"), bundle)
    with pytest.raises(MisuseError, match="no such RUN or file"):
        export_onnx(keras_file, bundle)


def test_nothing_is_overwritten_and_nothing_computed_first(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(MisuseError, match="is not empty"):
        CliRunner().invoke(
            command, ["export", "--to", str(tmp_path), "--float", "absent"], catch_exceptions=False
        )
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
