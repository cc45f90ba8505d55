"""The published sizes, and that stream parts and folded models compute what the whole model computes."""

import numpy as np
import pytest

from edge_har.errors import MisuseError
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.models import architectures as models


def clip(frames: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (2, frames, size, size, 3), np.uint8)


@pytest.mark.parametrize(("kind", "parameters"), [("lrcn", 73_060), ("convlstm", 44_524)])
def test_published_sizes(kind: str, parameters: int) -> None:
    assert models.build(kind, 20, 64, 4).count_params() == parameters


def test_scaling_is_the_first_layer_and_gates_are_written_out() -> None:
    for kind in models.BUILDERS:
        assert models.build(kind, 4, 64, 3).layers[1].get_config()["scale"] == 1 / 255
    convlstm = models.build_convlstm(4, 64, 3)
    assert convlstm.get_layer("convlstm_1").get_config()["recurrent_activation"] == "hard_sigmoid"
    assert models.build_lrcn(4).get_layer("lstm").get_config()["recurrent_activation"] == "sigmoid"


def randomise(model: object) -> None:
    rng = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights([w + rng.uniform(0.05, 0.3, w.shape).astype(w.dtype) for w in layer.get_weights()])


@pytest.mark.parametrize(("kind", "frames_per_step"), [("lrcn", 1), ("motion", 2)])
def test_stream_parts_equal_the_whole_model(kind: str, frames_per_step: int) -> None:
    model = models.build(kind, 6, 64, 3)
    if kind == "motion":
        randomise(model)
    clips = clip(6, 64)
    parts = models.split_stream(model)
    k = parts.frames_per_step
    assert k == frames_per_step
    features = np.stack([parts.encoder(clips[:, i : i + k]).numpy() for i in range(6 - k + 1)], axis=1)
    np.testing.assert_allclose(parts.head(features).numpy(), model(clips).numpy(), atol=1e-5)
    assert not any("TimeDistributed" in type(layer).__name__ for layer in parts.encoder.layers)


@pytest.mark.parametrize("kind", ["lrcn", "motion"])
def test_folding_leaves_no_normalisation_and_the_same_output(kind: str) -> None:
    model = models.build(kind, 5, 64, 3)
    randomise(model)
    folded = models.fold_batch_norm(model)
    assert not any(layer.name.endswith("_bn") for layer in folded.layers)
    np.testing.assert_allclose(folded(clip(5, 64)).numpy(), model(clip(5, 64)).numpy(), atol=1e-4)
    parts = models.split_stream(folded)
    assert parts.encoder(clip(parts.frames_per_step, 64)).shape[0] == 2


def test_models_reload_without_custom_objects(tmp_path) -> None:
    from train.tf import keras

    for kind in models.BUILDERS:
        model = models.build(kind, 4, 64, 3)
        model.save(tmp_path / f"{kind}.keras")
        again = keras.models.load_model(tmp_path / f"{kind}.keras", compile=False, safe_mode=True)
        np.testing.assert_allclose(again(clip(4, 64)).numpy(), model(clip(4, 64)).numpy(), atol=1e-6)


def test_what_cannot_be_built_says_so() -> None:
    with pytest.raises(MisuseError, match="one of lrcn, convlstm, motion"):
        models.build("transformer", 20, 64, 4)
    with pytest.raises(MisuseError, match="64 pixels"):
        models.build_lrcn(20, 32, 4)
    with pytest.raises(MisuseError, match="2 labels"):
        models.build_lrcn(20, 64, 1)
    with pytest.raises(MisuseError, match="features"):
        models.split_stream(models.build_convlstm(4, 64, 3))
