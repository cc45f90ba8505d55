"""Pretrained encoders: that they compute what Keras' own application does, whatever the head, and that wrong
weights are refused in one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from edge_har.sources.synthetic import render_clip
from tests.helpers.need import need_encoders, need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.models import architectures, encoders
from train.models.families import HEADS, INPUTS, Design
from train.tf import keras

PX = 96
V1 = "mobilenet_v1_0.25"


@pytest.fixture
def stirred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of random weights for `V1`, which it then takes."""
    keras.utils.set_random_seed(3)
    app = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(224, 224, 3))
    rng = np.random.default_rng(0)
    app.set_weights([w + rng.uniform(0.02, 0.1, w.shape).astype(w.dtype) for w in app.get_weights()])
    path = tmp_path / f"{V1}_224.h5"
    app.save_weights(path)
    monkeypatch.setitem(encoders.ENCODERS, V1, replace(encoders.ENCODERS[V1], sha256=None))
    return path


def clips(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, frames, PX, PX, 3), np.uint8)


def quarters(maps: np.ndarray) -> np.ndarray:
    """Means over the quarters of maps [n, 3, 3, width], which share the middle: [n, 4 x width]."""
    parts = [
        maps[:, row : row + 2, column : column + 2].mean(axis=(1, 2)) for row in (0, 1) for column in (0, 1)
    ]
    return np.concatenate(parts, axis=-1)


def application_maps(frames: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """What Keras' application makes of frames float32 [n, PX, PX, 3], -1..1, with a border of black, which
    its padding takes for grey: [n, 3, 3, width]."""
    app = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(PX, PX, 3))
    app.set_weights(weights)
    first, rest = app.get_layer("conv1"), app.get_layer("conv1_bn")
    kernel = first.get_weights()[0]
    padded = np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-1.0)
    x = keras.layers.Conv2D(8, 3, 2, "valid", use_bias=False, weights=[kernel])(padded)
    for layer in app.layers[app.layers.index(rest) :]:
        x = layer(x, training=False) if isinstance(layer, keras.layers.BatchNormalization) else layer(x)
    return np.asarray(x)


def loaded_arrays(path: Path) -> list[np.ndarray]:
    app = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False, input_shape=(224, 224, 3))
    app.load_weights(path)
    return app.get_weights()


@pytest.mark.parametrize("inputs", INPUTS)
def test_features_are_those_of_the_application(
    stirred: Path, inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "on_integers", lambda kernel, axes: kernel)
    design = Design(V1, inputs, "statistics")
    model = architectures.build("lrcn", 4, PX, 3, design=design)
    encoders.load_weights(model, design, stirred)
    clip = clips(4)
    made = architectures.appearance_of(model, design)(clip[:, : design.frames_per_step]).numpy()
    pixels = clip[0, : design.frames_per_step].astype(np.float32)
    scaled = pixels / 127.5 - 1
    expected = []
    if inputs != "difference":
        grey = np.moveaxis(scaled @ np.array(encoders.LUMA, np.float32), 0, -1)
        seen = grey if inputs == "grey3" else scaled[-1]
        expected.append(quarters(application_maps(seen[np.newaxis], loaded_arrays(stirred))))
    if inputs in ("difference", "both"):
        app = keras.applications.MobileNet(
            alpha=0.25, weights=None, include_top=False, input_shape=(PX, PX, 3), pooling="avg"
        )
        app.set_weights(loaded_arrays(stirred))
        expected.append(app((pixels[1] - pixels[0])[np.newaxis] / 127.5).numpy())
    expected = np.concatenate(expected, axis=-1)
    np.testing.assert_allclose(made, expected, atol=2e-4)


@pytest.mark.parametrize("inputs", INPUTS)
def test_kernels_are_on_the_steps_of_int8(stirred: Path, inputs: str) -> None:
    design = Design(V1, inputs, "statistics")
    model = architectures.build("lrcn", 4, PX, 3, design=design)
    encoders.load_weights(model, design, stirred)
    for layer in model.layers:
        if layer.name.startswith(("enc_", "change_")) and layer.get_weights():
            kernel = layer.get_weights()[0]
            depthwise = isinstance(layer.layer, keras.layers.DepthwiseConv2D)
            axes = (0, 1) if depthwise else (0, 1, 2)
            steps = kernel / np.abs(kernel).max(axis=axes, keepdims=True) * 127
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def test_rounding_the_kernels_keeps_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(encoders.FOLDER_VARIABLE, str(need_encoders()))
    design = Design(V1, "rgb", "statistics")
    drawn = [render_clip(label, 0, 3, 2.0, (PX, PX)) for label in ("Walk", "WaveOneHand", "Bend", "Run")]
    pictures = np.concatenate(drawn)[:, np.newaxis]

    def features() -> np.ndarray:
        model = architectures.build("lrcn", 4, PX, 3, design=design)
        encoders.load_weights(model, design)
        return np.asarray(architectures.appearance_of(model, design).predict(pictures, verbose=0))

    rounded = features()
    means = encoders._means
    monkeypatch.setattr(encoders, "_means", lambda app: {name: 0 * mean for name, mean in means(app).items()})
    uncorrected = features()
    monkeypatch.setattr(encoders, "on_integers", lambda kernel, axes: kernel)
    exact = features()
    errors = [np.sqrt(np.square(made - exact).mean()) for made in (rounded, uncorrected)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("inputs", "motion_branch"), [("rgb", False), ("rgb", True), ("both", False)])
def test_every_head_streams_what_the_whole_model_computes(
    head: str, inputs: str, motion_branch: bool
) -> None:
    design = Design(V1, inputs, head, motion_branch)
    model = architectures.build("lrcn", 5, PX, 3, design=design)
    clip = clips(5)
    parts = architectures.split_stream(model)
    k = parts.frames_per_step
    assert k == design.frames_per_step == 1 + (motion_branch or inputs == "both")
    features = np.stack([parts.encoder(clip[:, i : i + k]).numpy() for i in range(5 - k + 1)], axis=1)
    np.testing.assert_allclose(parts.head(features).numpy(), model(clip).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.5", "mobilenet_v2_0.35"])
def test_other_encoders_take_random_weights(name: str, tmp_path: Path) -> None:
    design = Design(name, "rgb", "statistics")
    known = encoders.ENCODERS[name]
    function = getattr(keras.applications, known.application)
    app = function(alpha=known.alpha, weights=None, include_top=False, input_shape=(224, 224, 3))
    app.save_weights(tmp_path / "weights.h5")
    model = architectures.build("lrcn", 3, PX, 3, design=design)
    assert len(encoders.load_weights(model, design, tmp_path / "weights.h5")) == 64
    clip = clips(3)
    other = function(alpha=known.alpha, weights=None, include_top=False, input_shape=(PX, PX, 3))
    other.set_weights(app.get_weights())
    grey = np.full_like(clip[:, 0], 127)  # far from the border both see the same
    made = architectures.appearance_of(model, design)(grey[:, np.newaxis]).numpy()
    assert made.shape[-1] == 4 * other.output_shape[-1]
    assert np.isfinite(made).all()


def test_the_published_lrcn_is_unchanged() -> None:
    plain = architectures.build_lrcn(4, 64, 3)
    assert [layer.name for layer in plain.layers][-3:] == ["features", "lstm", "scores"]
    assert architectures.build("lrcn", 20, 64, 4, design=Design()).count_params() == 73_060


def test_the_rest_behind_the_encoder_gives_the_models_scores() -> None:
    design = Design(V1, "rgb", "statistics", motion_branch=True)
    model = architectures.build("lrcn", 4, PX, 3, design=design)
    clip = clips(4)
    appearance = architectures.appearance_of(model, design)
    features = np.stack([appearance(clip[:, i : i + 2]).numpy() for i in range(3)], axis=1)
    small = clip.astype(np.float32).reshape(1, 4, 32, 3, 32, 3, 3).mean(axis=(3, 5)) / 127.5
    behind = architectures.behind_encoder(model, design)
    np.testing.assert_allclose(
        behind([features, small[:, 1:] - small[:, :-1]]).numpy(), model(clip).numpy(), atol=1e-5
    )


def test_wrong_weights_are_refused_in_one_line(
    stirred: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    design = Design(V1)
    model = architectures.build("lrcn", 3, PX, 3, design=design)
    monkeypatch.setitem(encoders.ENCODERS, V1, replace(encoders.ENCODERS[V1], sha256="0" * 64))
    with pytest.raises(DataError, match=r"not the weights of mobilenet_v1_0\.25: its arrays have sha256"):
        encoders.load_weights(model, design, stirred)
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(DataError, match="not the weights"):
        encoders.load_weights(model, design, tmp_path / "text.h5")
    monkeypatch.setenv(encoders.FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="no such file; EDGE_HAR_ENCODERS names a folder"):
        encoders.load_weights(model, design)


def test_no_network_is_one_line_that_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**settings: object) -> None:
        if settings["weights"] == "imagenet":
            raise OSError("URL fetch failure on https://example.org: None -- no network")
        return keras.applications.MobileNetV2(**settings)

    design = Design("mobilenet_v2_0.35")
    monkeypatch.delenv(encoders.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(encoders, "_function", lambda name: refused)
    with pytest.raises(DataError, match=r"cannot be downloaded \(URL fetch failure.*--encoder-weights"):
        encoders.load_weights(None, design)


def test_the_weights_at_hand_have_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(encoders.FOLDER_VARIABLE, str(need_encoders()))
    design = Design(V1, "rgb", "statistics")
    model = architectures.build("lrcn", 3, PX, 3, design=design)
    assert encoders.load_weights(model, design) == encoders.ENCODERS[V1].sha256


def test_what_cannot_be_built_says_so() -> None:
    with pytest.raises(MisuseError, match="96, 128, 160, 192, 224 pixels a side, got 100"):
        architectures.build("lrcn", 4, 100, 3, design=Design(V1))
    with pytest.raises(MisuseError, match="choices of lrcn, not of motion"):
        architectures.build("motion", 4, 64, 3, design=Design(head="gru"))
    with pytest.raises(MisuseError, match="inputs 'both' needs a pretrained encoder"):
        architectures.build("lrcn", 4, 64, 3, design=Design(inputs="both"))
    with pytest.raises(MisuseError, match="head must be one of lstm, gru"):
        Design(head="transformer")
    with pytest.raises(MisuseError, match="more than 3 frames"):
        architectures.build("lrcn", 3, PX, 3, design=Design(V1, "grey3"))
