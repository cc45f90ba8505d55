"""Somebody else's Keras 2 files: read as data, rewritten exactly,
refused in one line where they cannot be.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from edge_har.errors import ConversionError, DataError, EdgeHarError, MisuseError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.recognizer import TickRecognizer, WholeClip
from tests.helpers.need import need_clips, need_module
from tests.helpers.runs import LABELS, coloured_squares

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.cli import convert as convert_command
from convert.cli import read_labels
from convert.graphs.float_graphs import check_input, float_graphs
from convert.inputs import source_model as source_model_module
from convert.inputs.canonical import INPUT_CHANNELS, WHOLE_CLIP, PixelsAs, canonical
from convert.inputs.clips import held_out_clips
from convert.inputs.keras_file import read_model, settle
from convert.inputs.source_model import FileFacts, source_model_of_file
from convert.pipeline import Options, checked_structure, convert, convert_file
from convert.tflite.build import GraphBuilder, rebuild_error
from convert.tflite.search import TrialResult, choose
from convert.verify.comparison import stream_scores
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from train.data.videos import decode_ticks
from train.models.families import CONVLSTM, LRCN
from train.tf import keras

L = keras.layers
FRAMES, SIZE, CLASSES = 4, 16, 3
BGR = PixelsAs("0..1", "bgr")


def silent(line: str) -> None:
    """Progress is not looked at here."""


def lrcn_layers() -> list[Any]:
    """The notebooks' LRCN, smaller."""
    layers: list[Any] = []
    for filters in (4, 6):
        layers += [
            L.TimeDistributed(L.Conv2D(filters, (3, 3), padding="same", activation="relu")),
            L.TimeDistributed(L.MaxPooling2D((2, 2))),
            L.TimeDistributed(L.Dropout(0.25)),
        ]
    return [*layers, L.TimeDistributed(L.Flatten()), L.LSTM(8), L.Dense(CLASSES, activation="softmax")]


def convlstm_layers() -> list[Any]:
    """The notebooks' ConvLSTM, smaller."""
    layers: list[Any] = []
    for filters in (3, 4):
        layers += [
            L.ConvLSTM2D(filters, (3, 3), activation="tanh", recurrent_dropout=0.2, return_sequences=True),
            L.MaxPooling3D((1, 2, 2), padding="same"),
            L.TimeDistributed(L.Dropout(0.2)),
        ]
    return [*layers[:-1], L.Flatten(), L.Dense(CLASSES, activation="softmax")]


def sequential(layers: list[Any], channels: int = 3, frames: int = FRAMES) -> Any:
    return stirred(keras.Sequential([L.InputLayer((frames, SIZE, SIZE, channels)), *layers]))


def functional(layers: list[Any]) -> Any:
    x = inputs = L.Input((FRAMES, SIZE, SIZE, 3))
    for layer in layers:
        x = layer(x)
    return stirred(keras.Model(inputs, x))


def stirred(model: Any) -> Any:
    """Weights as after training: no bias is zero, no variance one. What was counted stays as it is."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype.is_floating:
            variable.assign_add(random.normal(0, 0.2, variable.shape) ** 2)
    settle(model)
    return model


def clips(count: int, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, frames, SIZE, SIZE, 3), np.uint8)


def saved(model: Any, folder: Path, suffix: str = ".h5") -> Path:
    path = folder / f"model{suffix}"
    model.save(path)
    return path


def check_exact(model: Any, pixels: PixelsAs, kind: str) -> Any:
    """Ours on uint8 RGB is the file's on its own pixels, and so are the float graphs."""
    made = canonical(model, pixels)
    assert made.kind == kind
    seen = clips(2, int(model.input_shape[1]))
    expected = model(pixels.applied(seen, int(model.input_shape[-1])), training=False).numpy()
    np.testing.assert_allclose(made.model(seen.astype(np.float32)).numpy(), expected, atol=1e-5)
    assert rebuild_error(made.model, float_graphs(made.model), seen) < 1e-5
    return made.model


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("form", [sequential, functional])
@pytest.mark.parametrize(("layers", "kind"), [(lrcn_layers, LRCN), (convlstm_layers, CONVLSTM)])
def test_the_notebooks_models_are_read_and_stream(
    tmp_path: Path,
    layers: Callable[[], list[Any]],
    kind: str,
    form: Callable[[list[Any]], Any],
    suffix: str,
) -> None:
    model = form(layers())
    read = read_model(saved(model, tmp_path, suffix))
    seen = clips(2).astype(np.float32) / 255
    np.testing.assert_allclose(read(seen).numpy(), model(seen, training=False).numpy(), atol=1e-6)
    check_exact(read, BGR, kind)


@pytest.mark.parametrize(
    "pixels", [PixelsAs("0..1"), BGR, PixelsAs("0..255", "bgr"), PixelsAs("-1..1", "bgr")]
)
@pytest.mark.parametrize(("layers", "kind"), [(lrcn_layers, LRCN), (convlstm_layers, CONVLSTM)])
def test_ranges_and_colours_are_exact(layers: Callable[[], list[Any]], kind: str, pixels: PixelsAs) -> None:
    made = check_exact(sequential(layers()), pixels, kind)
    assert not any("conv2d" in layer.name and layer.count_params() == 9 for layer in made.layers)


@pytest.mark.parametrize(("layers", "kind"), [(lrcn_layers, LRCN), (convlstm_layers, CONVLSTM)])
def test_one_channel_is_grey(layers: Callable[[], list[Any]], kind: str) -> None:
    check_exact(sequential(layers(), channels=1), PixelsAs("0..1"), kind)


def normed() -> list[Any]:
    return [
        L.Rescaling(1 / 127.5, offset=-1),
        L.TimeDistributed(L.Conv2D(4, 3, strides=2, use_bias=False)),
        L.TimeDistributed(L.BatchNormalization(scale=False)),
        L.TimeDistributed(L.Activation("relu")),
        L.TimeDistributed(L.GlobalAveragePooling2D()),
        L.Conv1D(6, 3, padding="same", activation="relu"),
        L.Bidirectional(L.GRU(5)),
        L.BatchNormalization(),
        L.Dense(CLASSES),
        L.Activation("softmax"),
    ]


def standardised() -> list[Any]:
    """Pixels by the mean and deviation that the file learnt of them."""
    layer = L.Normalization()
    layer.adapt(
        np.random.default_rng(5).normal((0.2, 0.4, 0.6), (0.1, 0.2, 0.3), (300, 3)).astype(np.float32)
    )
    return [layer, *lrcn_layers()]


def nested() -> list[Any]:
    per_frame = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.Flatten()])
    return [
        L.TimeDistributed(per_frame),
        L.SimpleRNN(6, return_sequences=True),
        L.TimeDistributed(L.Dense(4)),
        L.Flatten(),
        L.Dense(CLASSES, activation="softmax"),
    ]


def flattened() -> list[Any]:
    return [
        L.MaxPooling3D((1, 2, 2)),
        L.TimeDistributed(L.Conv2D(3, 3)),
        L.Reshape((FRAMES, -1)),
        L.LSTM(5, recurrent_activation="hard_sigmoid"),
        L.Dense(CLASSES, activation="softmax"),
    ]


def colours_at_once() -> list[Any]:
    """Nothing with a kernel per channel comes first: a fixed convolution has to order the colours."""
    return [L.TimeDistributed(L.Flatten()), L.LSTM(5), L.Dense(CLASSES, activation="softmax")]


def all_frames_flat() -> list[Any]:
    return [L.TimeDistributed(L.Conv2D(2, 3)), L.Flatten(), L.Dense(CLASSES, activation="softmax")]


@pytest.mark.parametrize(
    "layers", [normed, standardised, nested, flattened, colours_at_once, all_frames_flat]
)
def test_other_layers_of_the_family_stream(tmp_path: Path, layers: Callable[[], list[Any]]) -> None:
    range_ = "0..255" if layers is normed else "0..1"
    model = sequential(layers())
    read = read_model(saved(model, tmp_path))
    seen = clips(1).astype(np.float32) / 255
    np.testing.assert_allclose(read(seen).numpy(), model(seen, training=False).numpy(), atol=1e-6)
    check_exact(read, PixelsAs(range_, "bgr"), LRCN)


def test_a_convlstm_that_keeps_its_last_state_alone_streams() -> None:
    layers = [
        L.TimeDistributed(L.Conv2D(3, 3)),
        L.ConvLSTM2D(2, 3, return_sequences=True, recurrent_activation="sigmoid"),
        L.BatchNormalization(),
        L.ConvLSTM2D(3, 3),
        L.MaxPooling2D(2),
        L.Flatten(),
        L.Dense(CLASSES, activation="softmax"),
    ]
    check_exact(sequential(layers), BGR, CONVLSTM)


def time_pooled() -> list[Any]:
    """Frames are mixed between the cells: nothing here can be run a frame at a time."""
    return [
        L.ConvLSTM2D(3, 3, return_sequences=True, recurrent_dropout=0.2),
        L.MaxPooling3D((2, 2, 2), padding="same"),
        L.ConvLSTM2D(4, 3),
        L.MaxPooling2D(2),
        L.Flatten(),
        L.Dense(CLASSES, activation="softmax"),
    ]


def test_a_convlstm_whose_frames_are_pooled_is_a_whole_clip(tmp_path: Path) -> None:
    ours = check_exact(read_model(saved(sequential(time_pooled()), tmp_path)), BGR, WHOLE_CLIP)
    built = builder_of(ours, tmp_path).forced()
    assert built.manifest.precision == "int8-weights" and built.manifest.graphs.step is None
    scores = TickRecognizer(built.bundle()).clip(clips(1)[0])
    np.testing.assert_allclose(scores, ours(clips(1).astype(np.float32)).numpy()[0], atol=0.02)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_backbone_in_a_time_distributed_keeps_its_weights(tmp_path: Path, frozen: bool) -> None:
    inputs = L.Input((SIZE, SIZE, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, strides=2, use_bias=False)(inputs)))
    x = L.BatchNormalization()(L.DepthwiseConv2D(3)(x))
    backbone = keras.Model(inputs, L.GlobalAveragePooling2D()(x))
    backbone.trainable = not frozen
    layers = [L.TimeDistributed(backbone), L.LSTM(5), L.Dense(CLASSES, activation="softmax")]
    check_exact(read_model(saved(sequential(layers), tmp_path)), BGR, LRCN)


def c3d() -> Any:
    return sequential(
        [
            L.Conv3D(3, 3, padding="same", activation="relu"),
            L.MaxPooling3D((2, 2, 2)),
            L.AveragePooling3D((2, 3, 3), strides=(1, 2, 2), padding="same"),
            L.Flatten(),
            L.Dense(CLASSES, activation="softmax"),
        ]
    )


def attention() -> Any:
    inputs = L.Input((FRAMES, SIZE, SIZE, 3))
    x = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv2D(2, 3, strides=2))(inputs))
    x = L.Dense(8)(x)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)]))
    return stirred(keras.Model(inputs, L.Dense(CLASSES, activation="softmax")(L.GlobalAveragePooling1D()(x))))


def builder_of(model: Any, folder: Path) -> GraphBuilder:
    """Where the graphs of a model that is run whole are made."""
    return GraphBuilder(
        model,
        kind=WHOLE_CLIP,
        labels=LABELS,
        frame=FrameSpec((SIZE, SIZE)),
        temporal=TemporalContract(FRAMES, 80, 2),
        calibration=clips(8),
        log=folder / "log",
    )


@pytest.mark.parametrize("make", [c3d, attention])
def test_what_cannot_be_cut_is_a_whole_clip_and_streams_over_a_ring(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    made = check_exact(read_model(saved(make(), tmp_path)), BGR, WHOLE_CLIP)
    built = builder_of(made, tmp_path).forced()
    (found,) = checked_structure(built)["files"].values()
    assert found["float_operators"] == found["float_only"] == (3 if make is c3d else 0)
    bundle = built.bundle()
    assert bundle.manifest.graphs.step is None and set(bundle.manifest.tensors) == {"clip.tflite"}
    stream, whole, frames = TickRecognizer(bundle), WholeClip(bundle), np.concatenate(clips(3))
    for tick, frame in enumerate(frames):
        scores = stream.tick(frame)
        due = tick >= FRAMES - 1 and (tick + 1 - FRAMES) % 2 == 0
        assert (scores is not None) == due
        if scores is not None:
            np.testing.assert_array_equal(scores, whole.clip(frames[tick + 1 - FRAMES : tick + 1]))


def test_auto_chooses_for_a_whole_clip_too(tmp_path: Path) -> None:
    made = canonical(sequential(all_at_once()), BGR)
    assert made.kind == WHOLE_CLIP
    requested: list[str] = []

    def but_int8(bundle: Bundle) -> TrialResult:
        requested.append(bundle.manifest.precision)
        return TrialResult(1.0, 0.0, refused="too coarse" if requested[-1] in ("int8", "mixed") else None)

    built, trials = choose(builder_of(made.model, tmp_path), but_int8, silent)
    assert built.manifest.precision == requested[-1] not in ("int8", "mixed")
    assert {"int8", "int8-weights", "float16", "float32"} <= {trial.plan.precision for trial in trials}
    assert sum(trial.taken for trial in trials) == 1 and set(built.files) == {"clip.tflite"}


def all_at_once() -> list[Any]:
    return [L.Conv3D(2, 3, strides=(1, 4, 4)), L.Flatten(), L.Dense(CLASSES, activation="softmax")]


def one_line(error: pytest.ExceptionInfo[EdgeHarError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


class Own(L.Layer):  # type: ignore[misc]
    """Somebody's own layer."""


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_lambda_and_a_custom_layer_are_refused_not_executed(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark(x: Any) -> Any:
        import os

        os.environ["EDGE_HAR_TEST_EXECUTED"] = "yes"
        return x

    monkeypatch.setenv("EDGE_HAR_TEST_EXECUTED", "")
    with_lambda = sequential([L.Lambda(mark, name="sneaky"), L.Flatten(), L.Dense(CLASSES)])
    path = saved(with_lambda, tmp_path, suffix)
    monkeypatch.setenv("EDGE_HAR_TEST_EXECUTED", "")
    with pytest.raises(ConversionError, match=r"layer 'sneaky' is a Lambda: it runs code") as error:
        read_model(path)
    assert os.environ["EDGE_HAR_TEST_EXECUTED"] == "" and str(path) in one_line(error)
    path = saved(sequential([Own(name="mine"), L.Flatten(), L.Dense(CLASSES)]), tmp_path, suffix)
    with pytest.raises(ConversionError, match=r"layer 'mine' is a Own: not one of Keras' own") as error:
        read_model(path)
    one_line(error)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The .h5 file with its configuration changed by hand."""
    with h5py.File(path, "r+") as file:
        record = json.loads(file.attrs["model_config"])
        change(record)
        file.attrs["model_config"] = json.dumps(record)
    return path


def test_configurations_of_other_versions_are_read(tmp_path: Path) -> None:
    model = sequential(lrcn_layers())

    def as_keras_2_9(record: dict[str, Any]) -> None:
        for layer in record["config"]["layers"]:
            config = layer["config"]
            config |= {"dtype": "float32", "unknown_to_us": 3}
            if layer["class_name"] == "InputLayer":
                config["batch_input_shape"][0] = 1
            if layer["class_name"] == "LSTM":
                config |= {"time_major": False, "implementation": 1, "unroll": False}
                config["kernel_initializer"] = {"class_name": "Mine", "config": {}, "shared_object_id": 3}

    read = read_model(edited(saved(model, tmp_path), as_keras_2_9))
    assert read.input_shape[0] == 1
    seen = clips(1).astype(np.float32)
    np.testing.assert_allclose(read(seen).numpy(), model(seen).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"time_major": True}, "time_major=True"),
        ({"stateful": True}, "stateful=True"),
        ({"activation": "mine"}, "Unknown activation function"),
        ({"activation": {"class_name": "Mine", "config": {}}}, "holds an object in 'activation'"),
        ({"units": 9}, "has the weights"),
    ],
)
def test_settings_that_would_change_the_answers(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    def apply(record: dict[str, Any]) -> None:
        (lstm,) = (layer for layer in record["config"]["layers"] if layer["class_name"] == "LSTM")
        lstm["config"] |= change

    with pytest.raises(ConversionError, match=match) as error:
        read_model(edited(saved(sequential(lrcn_layers()), tmp_path), apply))
    one_line(error)


def test_files_that_are_no_keras_2_model(tmp_path: Path) -> None:
    absent, text, weights = (tmp_path / name for name in ("absent.h5", "text.h5", "weights.h5"))
    text.write_text("not a model")
    sequential(lrcn_layers()).save_weights(weights)
    newer, other = saved(sequential(lrcn_layers()), tmp_path), tmp_path / "other.keras"
    with h5py.File(newer, "r+") as file:
        file.attrs["keras_version"] = "3.3.3"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a", "b")
    for path, match in (
        (absent, "no such model file"),
        (text, "not a Keras model"),
        (weights, "weights alone"),
        (newer, "saved by Keras 3.3.3"),
        (other, "has no config.json"),
    ):
        with pytest.raises(ConversionError, match=match) as error:
            read_model(path)
        assert path.name in one_line(error)


def inputs_of(*shapes: tuple[int | None, ...]) -> Any:
    inputs = [L.Input(batch_shape=shape) for shape in shapes]
    flat = [
        L.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else L.GlobalAveragePooling3D()(x) for x in inputs
    ]
    return keras.Model(inputs, L.Dense(3)(L.Concatenate()(flat) if len(flat) > 1 else flat[0]))


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ([(None, 4, 8, 8, 3), (None, 4, 8, 8, 3)], "2 inputs"),
        ([(None, 8, 8, 3)], "rank 4"),
        ([(8, 4, 8, 8, 3)], "batch is fixed at 8"),
        ([(None, None, 8, 8, 3)], r"\[None, None, 8, 8, 3\]"),
        ([(None, 4, 8, 8, 4)], r"\[None, 4, 8, 8, 4\]"),
    ],
)
def test_inputs_that_no_bundle_can_feed(shapes: list[tuple[int | None, ...]], match: str) -> None:
    with pytest.raises(ConversionError, match=match) as error:
        check_input(inputs_of(*shapes), INPUT_CHANNELS)
    one_line(error)


def test_models_in_other_forms_are_named_as_such(tmp_path: Path) -> None:
    folder, other = tmp_path / "saved", tmp_path / "model.onnx"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    other.write_bytes(b"x")
    for path, match in ((folder, "a SavedModel folder"), (other, "neither a RUN folder nor a Keras model")):
        with pytest.raises(ConversionError, match=f"{match}.*save it with model.save") as error:
            convert(path, tmp_path / "x.ehar", Options(file=FileFacts(LABELS, "0..1")), report=silent)
        assert str(path) in one_line(error)


def test_one_output_is_no_label_for_each() -> None:
    model = sequential([L.Flatten(), L.Dense(1, activation="sigmoid")])
    with pytest.raises(ConversionError, match=r"output is \[None, 1\].* 2 labels or more"):
        canonical(model, BGR)


def test_what_cannot_be_rewritten_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squares: Path
) -> None:
    both_ways = sequential(
        [L.Bidirectional(L.ConvLSTM2D(2, 3)), L.Flatten(), L.Dense(CLASSES, activation="softmax")]
    )
    facts = FileFacts(LABELS, "0..1", "bgr", 80.0, squares)
    with pytest.raises(ConversionError, match="is a Bidirectional ConvLSTM2D") as error:
        source_model_of_file(saved(both_ways, tmp_path), facts, None, silent)
    one_line(error)

    def surprised(*_: Any) -> Any:
        raise TypeError("Keras says\nmore than one line")

    monkeypatch.setattr(source_model_module, "canonical", surprised)
    with pytest.raises(ConversionError, match="cannot be rewritten: Keras says") as error:
        source_model_of_file(saved(sequential(lrcn_layers()), tmp_path), facts, None, silent)
    one_line(error)


def test_outputs_that_are_no_probabilities() -> None:
    layers = [L.Flatten(), L.Dense(CLASSES)]
    with pytest.raises(ConversionError, match="softmax"):
        canonical(sequential(layers), BGR)


def test_what_a_file_does_not_say_is_asked_for(tmp_path: Path) -> None:
    path, out = saved(sequential(lrcn_layers()), tmp_path), tmp_path / "x.ehar"
    result = CliRunner().invoke(convert_command, [str(path), "--out", str(out), "--color", "bgr"])
    assert isinstance(result.exception, MisuseError) and result.exception.exit_code == 2
    for option in ("--labels", "--input-range", "--interval-ms", "--calibration"):
        assert option in str(result.exception)
    assert "--color" not in str(result.exception) and "\n" not in str(result.exception)
    facts = FileFacts(("A", "B"), "0..1", "bgr", 80.0, tmp_path)
    with pytest.raises(MisuseError, match="3 outputs, --labels names 2"):
        convert_file(path, out, Options(file=facts), report=silent)
    with pytest.raises(MisuseError, match="for a model file"):
        convert(tmp_path, out, Options(file=facts), report=silent)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("Walk", "walk"), "differ only in case"),
        (("Walk", "Walk"), "occurs twice"),
        (("Walk", "Ru\u200bn"), "does not show"),
        (("Walk", "x" * 65), "64 characters at most"),
        (("Walk",), "only one label"),
    ],
)
def test_labels_that_cannot_be_are_misuse(labels: tuple[str, ...], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        FileFacts(labels)


def test_calibration_folders_that_are_a_label_but_for_their_case(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels 'RED' and 'Red' differ only in case"):
        held_out_clips(squares, ("RED", "Green", "Blue"), FrameSpec((SIZE, SIZE)), tmp_path, silent)


def test_labels_are_a_list_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("Walk\nRun fast\n")
    assert read_labels("Walk, Run") == ("Walk", "Run")
    assert read_labels("Ge\u0301rer,Run") == ("G\u00e9rer", "Run")
    assert read_labels(str(tmp_path / "labels.txt")) == ("Walk", "Run fast")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured_squares(tmp_path_factory.mktemp("squares"))


def test_calibration_clips_with_and_without_labels(squares: Path, tmp_path: Path) -> None:
    spec, cache = FrameSpec((SIZE, SIZE)), tmp_path / "cache"
    held_out = held_out_clips(squares, LABELS[::-1], spec, cache, silent)
    assert held_out.labelled and held_out.groups_known
    clip_parts = held_out.clip_parts
    parts = [
        {c.group for c in part} for part in (clip_parts.training, clip_parts.validation, clip_parts.test)
    ]
    assert all(parts) and not parts[0] & parts[2]
    assert {LABELS[::-1][clip.label] for clip in clip_parts.test if "Red" in clip.name} == {"Red"}
    lines: list[str] = []
    held_out = held_out_clips(squares, ("A", "B", "C"), spec, cache, lines.append)
    assert not held_out.labelled and "accuracy is not measured" in lines[0]
    assert {clip.label for clip in held_out.clip_parts.test} == {-1}
    assert not {c.name for c in held_out.clip_parts.training} & {c.name for c in held_out.clip_parts.test}
    with pytest.raises(DataError, match="no such folder"):
        held_out_clips(tmp_path / "absent", LABELS, spec, cache, silent)


@pytest.fixture(scope="module")
def fitted(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks' LRCN, fitted to the squares as their code does: BGR, 0..1."""
    folder = tmp_path_factory.mktemp("fitted")
    keras.utils.set_random_seed(2)
    model = keras.Sequential([L.InputLayer((FRAMES, SIZE, SIZE, 3)), *lrcn_layers()])
    windows, truth = [], []
    for label, name in enumerate(LABELS):
        for path in sorted((squares / name).glob("*.avi")):
            frames = decode_ticks(path, FrameSpec((SIZE, SIZE), "stretch", "linear"), 80.0)
            for start in range(len(frames) - FRAMES + 1):
                windows.append(frames[start : start + FRAMES])
                truth.append(label)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    order = np.random.default_rng(0).permutation(len(truth))
    pixels = BGR.applied(np.stack(windows)[order], 3)
    model.fit(pixels, np.array(truth)[order], 32, epochs=12, verbose=0)
    return saved(model, folder)


def test_a_file_becomes_a_bundle_that_agrees_with_it(fitted: Path, squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "squares.ehar"
    arguments = [str(fitted), "--out", str(out), "--labels", ",".join(LABELS), "--input-range", "0..1"]
    arguments += ["--color", "bgr", "--interval-ms", "80", "--calibration", str(squares), "--enter", "0.7"]
    arguments += ["--min-duration", "0.4", "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(convert_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    bundle = open_bundle(out)
    manifest = bundle.manifest
    assert manifest.kind == LRCN and manifest.precision == "int8" and manifest.labels == LABELS
    assert manifest.smoothing.enter == 0.7 and manifest.smoothing.min_s == 0.4
    assert "prune" not in manifest.provenance["command"] and str(tmp_path) not in json.dumps(
        manifest.to_json()
    )
    assert manifest.metrics["test"]["accuracy"]["stream"]["windows"]["share"] > 0.9
    original = keras.models.load_model(fitted, compile=False)
    frames = decode_ticks(next((squares / "Red").glob("*.avi")), manifest.frame, 80.0)
    got = stream_scores(TickRecognizer(bundle), frames)
    windows = np.stack([frames[at : at + FRAMES] for at in range(len(got))])
    expected = original(BGR.applied(windows, 3)).numpy()
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.97
    assert np.abs(got - expected).max() < 0.1


def test_pruning_a_file_without_labelled_clips_is_misuse(fitted: Path, squares: Path, tmp_path: Path) -> None:
    facts = FileFacts(("A", "B", "C"), "0..1", "bgr", 80.0, squares)
    with pytest.raises(MisuseError, match="folder of clips per label"):
        convert_file(
            fitted,
            tmp_path / "x.ehar",
            Options(file=facts, prune=0.5, cache=tmp_path / "cache"),
            report=silent,
        )


@pytest.mark.parametrize("frames", [20, 30])
@pytest.mark.parametrize("layers", [lrcn_layers, convlstm_layers])
def test_the_float_stream_is_the_files_own_answer_on_real_windows(
    tmp_path: Path, layers: Callable[[], list[Any]], frames: int
) -> None:
    original = sequential(layers(), frames=frames)
    ours = canonical(read_model(saved(original, tmp_path)), BGR)
    clip = min((need_clips() / "Walk").glob("*.avi"))
    ticks = decode_ticks(clip, FrameSpec((SIZE, SIZE)), 40.0)
    windows = np.stack([ticks[at : at + frames] for at in range(0, len(ticks) - frames, 7)][:3])
    expected = original(BGR.applied(windows, 3), training=False).numpy()
    np.testing.assert_allclose(ours.model(windows.astype(np.float32)).numpy(), expected, atol=1e-5)
    assert rebuild_error(ours.model, float_graphs(ours.model), windows[:1]) < 1e-5
