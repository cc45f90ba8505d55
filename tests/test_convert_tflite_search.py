"""The choice of a precision: the fastest that passes, what is tried instead of a refused one,
and who measured it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.graphs.float_graphs import float_graphs
from convert.pipeline import checked_structure
from convert.precisions import CALIBRATED, FLOAT16, FLOAT32, INT8, INT8_CELLS16, INT8_WEIGHTS, INT16X8
from convert.tflite.build import Built, GraphBuilder, GraphPrecision, PrecisionPlan
from convert.tflite.flatbuffer import operators
from convert.tflite.quantise import calibration_samples
from convert.tflite.search import (
    NoPassingPlanError,
    Trial,
    TrialResult,
    _partly_float,
    _Search,
    _shares_fault,
    choose,
    interleaved_ms,
)
from convert.tflite.worker import worst_layers
from edge_har.errors import ConversionError, MisuseError
from edge_har.model.bundle import Bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.interpreter import Graph
from edge_har.model.preprocess import FrameSpec
from edge_har.model.recognizer import TickRecognizer
from train.models.architectures import build as build_model
from train.tf import keras

FRAMES, SIZE, LABELS = 4, 16, ("A", "B")
CANDIDATES = (INT8, INT16X8, INT8_WEIGHTS, FLOAT16, FLOAT32)
PARTS = ("clip", "step", "head")
GOOD = TrialResult(agreement=1.0, max_error=0.01, drop_points=0.0)
BAD = TrialResult(agreement=0.5, max_error=0.6, drop_points=9.0, refused="agrees on 0.500")
NO_HOPE = replace(BAD, hopeless=True)
L = keras.layers


def model_of(kind: str) -> Any:
    keras.utils.set_random_seed(3)
    if kind != "convlstm":
        return build_model(kind, FRAMES, SIZE, len(LABELS))
    inputs = L.Input((FRAMES, SIZE, SIZE, 3))
    x = L.ConvLSTM2D(2, 3, recurrent_activation="hard_sigmoid", return_sequences=True)(
        L.Rescaling(1 / 255)(inputs)
    )
    x = L.TimeDistributed(L.MaxPooling2D(4))(x)
    return keras.Model(inputs, L.Dense(len(LABELS), activation="softmax")(L.Flatten()(x)))


def windows(count: int = 4, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, FRAMES, size, size, 3), np.uint8)


def contract(kind: str) -> TemporalContract:
    return TemporalContract(FRAMES, 80.0, 2 if kind == "convlstm" else 1)


def described(folder: Path, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "labels": LABELS,
        "frame": FrameSpec((SIZE, SIZE)),
        "temporal": contract(kind),
        "calibration": windows(),
        "log": folder / "convert.log",
    }


@pytest.fixture(scope="module")
def builder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GraphBuilder]:
    """A model's graphs in every form, each kind's made in one child process."""
    made: dict[str, GraphBuilder] = {}

    def builder(kind: str) -> GraphBuilder:
        if kind not in made:
            made[kind] = GraphBuilder(model_of(kind), **described(tmp_path_factory.mktemp(kind), kind))
            layers = (1, 2, 4) if kind == "motion" else ()
            modes = CANDIDATES if kind == "motion" else (*CANDIDATES, INT8_CELLS16)
            by_part = [*map(GraphPrecision, modes), *(GraphPrecision(INT8, count) for count in layers)]
            made[kind].make([(part, form) for part in PARTS for form in by_part])
        return made[kind]

    return builder


@pytest.fixture
def motion(builder_of: Callable[[str], GraphBuilder]) -> GraphBuilder:
    return builder_of("motion")


def auto(
    builder: GraphBuilder, validate: Callable[[Bundle], TrialResult]
) -> tuple[Built, list[Trial], list[str]]:
    record: list[str] = []
    built, trials = choose(builder, validate, record.append)
    return built, trials, record


def test_the_fastest_that_passes_is_taken(motion: GraphBuilder) -> None:
    seen: list[Bundle] = []

    def validate(bundle: Bundle) -> TrialResult:
        seen.append(bundle)
        return GOOD

    built, trials, record = auto(motion, validate)
    (taken,) = [trial for trial in trials if trial.taken]
    assert taken.plan == built.plan and len(seen) == 1
    measured = [trial.tick_ms for trial in trials if trial.tick_ms is not None]
    assert len(trials) == len(measured) == len({trial.plan for trial in trials}) == 16
    assert taken.tick_ms is not None and taken.tick_ms <= 1.05 * min(measured)
    assert TickRecognizer(seen[0]).clip(windows()[0]).shape == (2,)
    assert seen[0].manifest.precision == built.plan.precision
    row = taken.to_json()
    assert row["taken"] and row["agreement"] == 1.0 and row["refused"] is None and row["bytes"] > 0
    assert any("making step int8" in line for line in record) and any("; passes" in line for line in record)


def takes_bytes(bundle: Bundle) -> bool:
    """Whether frames go in as int8."""
    inputs = bundle.manifest.tensors[bundle.manifest.graphs.step].inputs
    return any(tensor.role == "frames" and tensor.dtype == "int8" for tensor in inputs)


def test_a_refused_int8_is_tried_with_its_worst_layers_in_float(motion: GraphBuilder) -> None:
    requested: list[Bundle] = []

    def all_but_float(bundle: Bundle) -> TrialResult:
        requested.append(bundle)
        return GOOD if bundle.manifest.precision == "float32" else BAD

    built, trials, _ = auto(motion, all_but_float)
    assert built.plan == PrecisionPlan.uniform(FLOAT32) and len(requested) > 1
    assert len({trial.plan for trial in trials}) == len(trials)
    first = requested[0]
    if takes_bytes(first):  # the fastest, unless this machine knows no int8
        assert {1, 2, 4} <= {trial.plan.step.float_layers for trial in trials if trial.tick_ms}
    assert all(trial.refused for trial in trials if trial.tick_ms and not trial.taken and trial.outcome)


def test_the_worst_layers_stay_float_between_int8_inputs_and_outputs(motion: GraphBuilder) -> None:
    whole, one, two = motion.make([("step", GraphPrecision(INT8, layers)) for layers in (0, 1, 2)])
    assert not floats(whole) and 0 < floats(one) < floats(two)
    for content in (whole, one, two):
        graph = Graph(content)
        assert (graph.inputs[0].dtype, graph.inputs[0].scale, graph.inputs[0].zero_point) == (
            np.int8,
            1.0,
            -128,
        )
        assert graph.outputs[0].dtype == np.int8
    built = motion.build(
        PrecisionPlan(GraphPrecision(INT8, 1), GraphPrecision(INT8, 1), GraphPrecision(FLOAT16))
    )
    assert built.manifest.precision == "mixed" and "int8 but 1 float" in str(built.plan)
    assert TickRecognizer(built.bundle()).clip(windows()[0]).sum() == pytest.approx(1)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_partly_float_plan_has_the_structure_that_it_promises(motion: GraphBuilder, layers: int) -> None:
    """Each float layer has a cast on either side, which counts as none of them."""
    partly = GraphPrecision(INT8, layers)
    built = motion.build(PrecisionPlan(partly, partly, partly))
    found = checked_structure(built)["files"]
    assert all(file["float_operators"] > 0 for file in found.values())
    fewer = GraphPrecision(INT8, layers - 1)
    with pytest.raises(ConversionError, match="operators compute in float"):
        checked_structure(replace(built, plan=PrecisionPlan(fewer, fewer, fewer)))


def test_files_that_are_not_as_they_must_be_are_passed_over(motion: GraphBuilder) -> None:
    validated: list[str] = []

    def check(built: Built) -> None:
        if "int8" in str(built.plan):
            raise ConversionError("computes in float: use --precision auto")

    def validate(bundle: Bundle) -> TrialResult:
        validated.append(bundle.manifest.precision)
        return GOOD

    record: list[str] = []
    built, _ = choose(motion, validate, record.append, check=check)
    assert "int8" not in str(built.plan) and len(validated) == 1
    assert not any("--precision auto" in line for line in record)


def floats(content: bytes) -> int:
    """Operators with weights that compute in float."""
    heavy = ("CONV_2D (float)", "FULLY_CONNECTED (float)")
    return sum(count for name, count in operators(content).items() if name in heavy)


def test_the_worst_layer_is_that_whose_error_is_most_of_its_scale() -> None:
    table = "tensor_name,scale,mean_squared_error\nfine,1.0,0.04\ncoarse,0.1,0.01\nodd,0.5,0.09\n"
    assert worst_layers(table, 2) == ["coarse", "odd"]
    assert worst_layers(table, 9) == ["coarse", "odd", "fine"]


def test_where_float_breaks_every_limit_nothing_else_is_tried(motion: GraphBuilder) -> None:
    requested: list[Bundle] = []

    def refuse(bundle: Bundle) -> TrialResult:
        requested.append(bundle)
        return NO_HOPE

    with pytest.raises(NoPassingPlanError, match=r"no precision passes; float32: agrees on 0\.500") as caught:
        auto(motion, refuse)
    assert len(requested) <= 2
    assert any(trial.plan == PrecisionPlan.uniform(FLOAT32) for trial in caught.value.trials)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1


@pytest.mark.parametrize("passing", [INT8_WEIGHTS, FLOAT16])
def test_float_that_breaks_its_own_limit_alone_ends_no_search(
    motion: GraphBuilder, passing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float32 has to agree on nearly every window, the others on fewer. It is the fastest here, and what
    passes the next, whatever this machine measures.
    """
    measured = _Search._trial

    def made_up(search: _Search, plan: PrecisionPlan) -> Trial:
        trial = measured(search, plan)
        order = {PrecisionPlan.uniform(FLOAT32): 1e-5, PrecisionPlan.uniform(passing): 1e-4}
        return replace(trial, tick_ms=order.get(plan, trial.tick_ms))

    monkeypatch.setattr(_Search, "_trial", made_up)
    nearly = replace(GOOD, agreement=0.998, refused="agrees on 0.998", refused_on="test")
    judged: list[str] = []

    def validate(bundle: Bundle) -> TrialResult:
        judged.append(bundle.manifest.precision)
        return GOOD if judged[-1] == passing else nearly

    built, trials, record = auto(motion, validate)
    assert built.plan == PrecisionPlan.uniform(passing) and "float32" in judged
    assert len(judged) == len({trial.plan for trial in trials if trial.outcome})
    (taken,) = [trial for trial in trials if trial.taken]
    fastest = min((t for t in trials if t.outcome and t.refused), key=lambda trial: trial.tick_ms or 0)
    assert record[-1] == (
        f"precision: {passing}, {taken.tick_ms:.3f} ms a tick instead of {fastest.tick_ms:.3f}, "
        f"{(taken.file_bytes or 0) / 1000:.0f} kB instead of {(fastest.file_bytes or 0) / 1000:.0f}, "
        f"0.0 points of accuracy: {fastest.plan} was refused"
    )
    assert any(line.endswith("; refused on test") for line in record)
    assert fastest.to_json()["refused_on"] == "test" and taken.to_json()["refused_on"] is None


def test_where_nothing_passes_the_reason_and_what_helps_are_there_once(motion: GraphBuilder) -> None:
    def agreement(bundle: Bundle) -> TrialResult:
        share = {"float16": 0.96, "int8": 0.7}.get(bundle.manifest.precision, 0.8)
        return TrialResult(share, 0.5, 3.0, f"agrees on {share}", "validation", "prune less or train longer")

    record: list[str] = []
    with pytest.raises(NoPassingPlanError) as caught:
        choose(motion, agreement, record.append)
    assert str(caught.value) == (
        "no precision passes; float16: agrees on 0.96: prune less or train longer; no bundle is written"
    )
    assert not any("agrees on" in line or "train longer" in line for line in record)
    assert caught.value.closest is not None and caught.value.closest.manifest.precision == FLOAT16


def test_where_nothing_passes_the_closest_that_the_user_accepts_is_taken(motion: GraphBuilder) -> None:
    def validate(bundle: Bundle) -> TrialResult:
        share = {"float16": 0.96, "float32": 0.99}.get(bundle.manifest.precision, 0.8)
        return replace(BAD, agreement=share, acceptable=bundle.manifest.precision != FLOAT32)

    built, trials, _ = auto(motion, validate)
    assert built.manifest.precision == FLOAT16
    (taken,) = [trial for trial in trials if trial.taken]
    assert taken.plan == built.plan and taken.refused == BAD.refused


def test_a_fault_is_that_of_the_graph_beside_a_float_one() -> None:
    int8, weights, half = GraphPrecision(INT8), GraphPrecision(INT8_WEIGHTS), GraphPrecision(FLOAT16)
    refused = PrecisionPlan(int8, int8, half)
    assert _shares_fault(refused, PrecisionPlan(int8, int8, weights))
    assert not _shares_fault(refused, PrecisionPlan(weights, weights, half))
    assert _shares_fault(PrecisionPlan(half, half, int8), PrecisionPlan(weights, weights, int8))
    assert not _shares_fault(PrecisionPlan(int8, int8, int8), PrecisionPlan(int8, int8, half))


def test_layers_in_float_are_those_of_int8_graphs_alone() -> None:
    made = _partly_float(PrecisionPlan(GraphPrecision(INT8), GraphPrecision(INT8), GraphPrecision(FLOAT16)))
    assert [plan.step.float_layers for plan in made] == [1, 2, 4]
    assert all(plan.head == GraphPrecision(FLOAT16) and plan.clip == plan.step for plan in made)
    assert str(made[0]) == "clip int8 but 1 float, step int8 but 1 float, head float16"
    assert _partly_float(PrecisionPlan.uniform(INT8_WEIGHTS)) == _partly_float(made[0]) == []


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *((kind, precision) for kind in ("motion", "convlstm") for precision in CANDIDATES),
        ("convlstm", INT8_CELLS16),
    ],
)
def test_one_precision_is_that_of_every_graph(
    builder_of: Callable[[str], GraphBuilder], kind: str, precision: str
) -> None:
    built = builder_of(kind).build(PrecisionPlan.uniform(precision))
    assert built.manifest.precision == str(built.plan) == precision
    held_as = {INT8: {"int8"}, INT16X8: {"int16"}, INT8_CELLS16: {"int8", "int16"}}.get(
        precision, {"float32"}
    )
    every = [t for tensors in built.manifest.tensors.values() for t in (*tensors.inputs, *tensors.outputs)]
    assert {tensor.dtype for tensor in every} == held_as
    if precision == INT8_CELLS16:
        in_16_bits = {tensor.role for tensor in every if tensor.dtype == "int16"}
        assert in_16_bits == {"state_1", "scores"}
    if precision in CALIBRATED:
        assert not [op for counts in built.operators.values() for op in counts if "float" in op]
    clip = windows()[0]
    expected = model_of(kind)(clip[np.newaxis], training=False).numpy()[0]
    np.testing.assert_allclose(TickRecognizer(built.bundle()).clip(clip), expected, atol=0.1)


def test_a_forced_precision_is_built(tmp_path: Path) -> None:
    builder = GraphBuilder(model_of("convlstm"), **described(tmp_path, "convlstm"))
    built = builder.forced("float16")
    assert built.manifest.precision == "float16" and not (tmp_path / "convert.log").exists()
    with pytest.raises(MisuseError, match=r"precision must be one of int8, .* got 'int4'"):
        builder.forced("int4")


def test_a_fused_lstm_in_int16x8_is_one_line_that_says_what_to_use(tmp_path: Path) -> None:
    given = described(tmp_path, "lrcn") | {"frame": FrameSpec((64, 64)), "calibration": windows(2, 64)}
    with pytest.raises(ConversionError, match="no int16x8 of a fused LSTM; use --precision int8"):
        GraphBuilder(build_model("lrcn", FRAMES, 64, 2), **given).forced("int16x8")


def test_what_cannot_be_made_is_a_refused_trial(tmp_path: Path) -> None:
    builder = GraphBuilder(model_of("motion"), **described(tmp_path, "motion"), timeout_s=0.01)
    with pytest.raises(NoPassingPlanError, match=r"took longer than 0\.01 s") as caught:
        choose(builder, lambda bundle: GOOD, lambda line: None)
    assert all(trial.refused and trial.tick_ms is None for trial in caught.value.trials)
    step = ("step", GraphPrecision(INT8))
    assert builder.attempt([step])[step] is builder.attempt([step])[step], "a hang is not waited for again"


def test_graphs_are_timed_in_turns(motion: GraphBuilder) -> None:
    whole, step = (
        Graph(content)
        for content in motion.make([("clip", GraphPrecision(FLOAT32)), ("step", GraphPrecision(FLOAT32))])
    )
    whole_ms, step_ms = interleaved_ms([whole, step])
    assert whole_ms > step_ms > 0


def test_a_step_with_states_is_calibrated_on_a_rollout() -> None:
    graphs = float_graphs(model_of("convlstm"))
    samples = calibration_samples(graphs, windows())
    states = samples["step"]["state_1"]
    count = (4 + 2) * FRAMES  # black and white come with them
    assert samples["step"]["frames"].shape == (count, 1, 1, SIZE, SIZE, 3) and len(states) == count
    assert not states[::FRAMES].any() and all(state.any() for state in states[1:FRAMES])
    assert samples["head"]["features"].shape == (6, 1, FRAMES, graphs.head.inputs["features"][2])


def test_a_trial_that_was_not_compared_has_no_figures() -> None:
    trial = Trial(PrecisionPlan.uniform(INT8), refused="the converter crashed")
    assert trial.to_json()["agreement"] is None and trial.to_json()["ms_per_tick"] is None
    assert replace(trial, outcome=GOOD).to_json()["max_error"] == 0.01
