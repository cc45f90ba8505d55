"""Shrinking removes whole filters and units alike wherever they are made and read, the useless ones first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_har.errors import ConversionError, MisuseError
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.compress.finetune import FineTuning
from convert.compress.prune import prune
from convert.compress.shrink import importance, least_important, shrink, trace_units, without
from convert.graphs.float_graphs import float_graphs
from tests.helpers.converted import zero_fraction
from train.models.architectures import build
from train.tf import keras, tf

L = keras.layers
SIZES = {"lrcn": 64, "motion": 32, "convlstm": 32}
FRAMES = 4
STEPS = 3


def silent(line: str) -> None:
    """Progress is not looked at here."""


def tuning(shape: tuple[int, ...], **changes: Any) -> FineTuning:
    """Bright clips and dark ones."""
    random = np.random.default_rng(0)
    labels = np.arange(STEPS * 8) % 2
    clips = random.integers(0, 80, (len(labels), *shape)) + labels.reshape(-1, *[1] * len(shape)) * 150
    batches = tf.data.Dataset.from_tensor_slices((clips.astype(np.float32), labels.astype(np.int32))).batch(8)
    return FineTuning(**({"batches": batches, "steps": STEPS, "learning_rate": 1e-2} | changes))


def known(kind: str) -> Any:
    return build(kind, FRAMES, SIZES[kind], 2)


def branched() -> Any:
    """Added, concatenated and normalised channels, a recurrent head,
    and a layer that shrinking does not know.
    """
    clip = L.Input((FRAMES, 16, 16, 3), name="clip")
    x = L.TimeDistributed(L.Rescaling(1 / 255), name="scale")(clip)
    x = L.TimeDistributed(L.Conv2D(8, 3, padding="same"), name="first")(x)
    x = L.TimeDistributed(L.BatchNormalization(), name="first_bn")(x)
    x = L.TimeDistributed(L.ReLU(), name="first_relu")(x)
    y = L.TimeDistributed(L.Conv2D(8, 3, padding="same", activation="relu"), name="second")(x)
    x = L.Add(name="sum")([x, y])
    y = L.TimeDistributed(L.Conv2D(6, 3, padding="same", activation="relu"), name="third")(x)
    x = L.Concatenate(name="both")([x, y])
    x = L.TimeDistributed(L.MaxPooling2D(4), name="pool")(x)
    x = L.TimeDistributed(L.Flatten(), name="flat")(x)
    x = L.GRU(2, return_sequences=True, name="gru")(x)
    x = L.SimpleRNN(4, name="rnn")(x)
    x = L.Dense(6, name="kept")(x)
    x = L.LayerNormalization(name="unknown")(x)
    return keras.Model(clip, L.Dense(2, activation="softmax", name="scores")(x))


def sequential() -> Any:
    return keras.Sequential(
        [
            L.Input((FRAMES, 16, 16, 3)),
            L.TimeDistributed(L.Conv2D(4, 3, strides=2, activation="relu"), name="conv"),
            L.Flatten(name="flat"),
            L.Dense(8, activation="relu", name="hidden"),
            L.Dense(2, activation="softmax", name="scores"),
        ]
    )


MODELS: dict[str, Callable[[], Any]] = {
    "lrcn": lambda: known("lrcn"),
    "motion": lambda: known("motion"),
    "convlstm": lambda: known("convlstm"),
    "branched": branched,
    "sequential": sequential,
}
WIDTHS = {  # after half is removed
    "lrcn": {"conv_1": 8, "conv_2": 16, "conv_3": 32, "conv_4": 32, "lstm": 16, "scores": 2},
    "motion": {
        "conv_1": 12,
        "conv_2": 24,
        "conv_3": 32,
        "embed": 32,
        "time_1": 32,
        "time_2": 32,
        "scores": 2,
    },
    "convlstm": {"convlstm_1": 2, "convlstm_2": 4, "convlstm_3": 7, "convlstm_4": 8, "scores": 2},
    "branched": {"first": 4, "second": 4, "third": 3, "gru": 1, "rnn": 2, "kept": 6, "scores": 2},
    "sequential": {"conv": 2, "hidden": 4, "scores": 2},
}


def kill(model: Any, name: str, dead: list[int]) -> None:
    """Set what makes these units to zero, so that they always give zero."""
    layer = model.get_layer(name)
    weights, width = layer.get_weights(), layer.output_shape[-1]
    for weight in weights:
        for gate in range(weight.shape[-1] // width):
            weight[..., [unit + gate * width for unit in dead]] = 0
    layer.set_weights(weights)


@pytest.mark.parametrize("kind", MODELS)
def test_dead_units_go_first_and_nothing_else_changes(kind: str) -> None:
    keras.utils.set_random_seed(2)
    model, random = MODELS[kind](), np.random.default_rng(4)
    for layer in model.layers:  # biases that are not zero; moving means of dead channels stay at zero
        if not isinstance(getattr(layer, "layer", layer), L.BatchNormalization):
            layer.set_weights([w + random.normal(0, 0.05, w.shape) for w in layer.get_weights()])
    before = {name: model.get_layer(name).output_shape[-1] for name in WIDTHS[kind]}
    dead = {name: random.permutation(before[name])[left:].tolist() for name, left in WIDTHS[kind].items()}
    if kind == "branched":
        dead["second"] = dead["first"]  # they are added up, and go together
    for name, which in dead.items():
        kill(model, name, which)
    units = trace_units(model)
    teaching = tuning(model.input_shape[1:])
    smaller = without(model, units, least_important(units, importance(model, units, teaching), 0.5))
    assert {name: smaller.get_layer(name).output_shape[-1] for name in before} == WIDTHS[kind]
    clips = next(iter(teaching.batches))[0]
    np.testing.assert_allclose(smaller(clips), model(clips), atol=1e-5)
    assert type(smaller) is type(model)
    assert [type(layer) for layer in smaller.layers] == [type(layer) for layer in model.layers]


@pytest.mark.parametrize("kind", ["lrcn", "motion", "convlstm"])
def test_a_shrunk_model_learns_is_pruned_and_streams(kind: str) -> None:
    keras.utils.set_random_seed(3)
    model, record = known(kind), list[str]()
    kept = [weight.copy() for weight in model.get_weights()]
    teaching = tuning(model.input_shape[1:])
    made = shrink(model, 0.5, teaching, report=record.append)
    assert made.count_params() < 0.5 * model.count_params()
    assert record[0] == f"shrunk from {model.count_params()} to {made.count_params()} parameters"
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.get_weights(), strict=True))
    pruned = prune(made, 0.8, teaching, report=silent)
    assert zero_fraction(pruned) == pytest.approx(0.8, abs=0.02)
    clip = np.random.default_rng(1).integers(0, 256, (1, *model.input_shape[1:])).astype(np.float32)
    scores = float_graphs(pruned).clip.run(clip=clip)["scores"]
    np.testing.assert_allclose(scores, pruned(clip), atol=1e-4)


def test_one_filter_stays() -> None:
    clip = L.Input((FRAMES, 8, 8, 3))
    x = L.TimeDistributed(L.Conv2D(1, 3), name="one")(clip)
    x = L.TimeDistributed(L.Conv2D(4, 3), name="four")(x)
    model = keras.Model(clip, L.Dense(2, activation="softmax")(L.Flatten()(x)))
    made = shrink(model, 0.75, tuning(model.input_shape[1:]), report=silent)
    assert [made.get_layer(name).layer.filters for name in ("one", "four")] == [1, 1]


@pytest.mark.parametrize("share", [-0.1, 0.76])
def test_what_cannot_be(share: float) -> None:
    with pytest.raises(MisuseError, match=r"0 to 0\.75"):
        shrink(sequential(), share, tuning((FRAMES, 16, 16, 3)), report=silent)


def test_a_model_without_anything_to_remove() -> None:
    model = keras.Sequential([L.Input((FRAMES, 8, 8, 3)), L.Flatten(), L.Dense(2, activation="softmax")])
    with pytest.raises(ConversionError, match="no layer of the model can lose 50%"):
        shrink(model, 0.5, tuning((FRAMES, 8, 8, 3)), report=silent)


def test_a_layer_used_twice_is_refused() -> None:
    clip, dense = L.Input((FRAMES, 8, 8, 3)), L.Dense(3, name="again")
    model = keras.Model(clip, L.Dense(2, activation="softmax")(L.Flatten()(dense(dense(clip)))))
    with pytest.raises(ConversionError, match="'again' is used more than once"):
        shrink(model, 0.5, tuning((FRAMES, 8, 8, 3)), report=silent)
