"""RUN to bundle, for every kind of model: parity, sizes, zeros, provenance, sameness;
and nothing left when it fails.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

from edge_har.errors import ConversionError, DataError, EdgeHarError, MisuseError, ParityError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.interpreter import runtime_name
from edge_har.model.manifest import Smoothing
from edge_har.model.recognizer import TickRecognizer, WholeClip, check_golden
from tests.helpers.need import need_clips, need_module
from tests.helpers.runs import LABELS

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert import pipeline
from convert.cli import convert
from convert.inputs.clips import ClipParts, choose_calibration, clip_parts_of_run
from convert.inputs.source_model import check_keras_file
from convert.pipeline import CALIBRATE, LOOK_FOR_ONE, TRAIN_ON, Conversion, Options, convert_run
from convert.precisions import FLOAT16, INT8
from convert.tflite import flatbuffer
from convert.tflite.build import GraphBuilder
from convert.verify.comparison import Comparison, Reference, compare, stream_scores
from convert.verify.figures import figures
from convert.verify.gate import Limits, Verdict
from edge_har.model.manifest import Manifest
from edge_har.model.preprocess import Pixels
from train.data.videos import decode_ticks
from train.runs import default_config, load_run
from train.tf import keras

KINDS = ("lrcn", "motion", "convlstm")
STEPS = 20
PRUNED: dict[str, dict[str, Any]] = {"motion": {"prune": 0.5, "control": True}}
STREAM_ERROR = 0.005  # of a probability, stream against whole clip, on these models
Converted = tuple[Path, Bundle, dict[str, Any]]


def silent(line: str) -> None:
    """Progress is not looked at here."""


@pytest.fixture(scope="module")
def folder(runs_folder: Path) -> Path:
    return runs_folder


@pytest.fixture(scope="module")
def run_of(trained: Callable[..., Path]) -> Callable[..., Path]:
    return trained


@pytest.fixture(scope="module")
def converted(folder: Path, run_of: Callable[[str], Path]) -> Callable[[str], Converted]:
    made: dict[str, Converted] = {}

    def bundle(kind: str) -> Converted:
        if kind not in made:
            path = folder / f"{kind}.ehar"
            record = convert_run(run_of(kind), path, options(folder, **PRUNED.get(kind, {})), report=silent)
            made[kind] = (path, open_bundle(path), record)
        return made[kind]

    return bundle


def options(folder: Path, **changes: Any) -> Options:
    return Options(**({"fine_tune_steps": STEPS, "cache": folder / "cache", "control": False} | changes))


def moving(bundle: Bundle, ticks: int) -> Pixels:
    """Noise that slides over the picture: no frame is like another."""
    width, height = bundle.manifest.frame.size_wh
    ground = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    return np.stack([np.roll(ground, 3 * tick, axis=1) for tick in range(ticks)])


def check_stream_equals_whole_clip(bundle: Bundle, frames: Pixels, tolerance: float) -> None:
    """At every offset, and for the same top label wherever the whole clip is not itself undecided."""
    window = bundle.manifest.temporal.frames
    whole = WholeClip(bundle, plain=True)
    expected = np.stack([whole.clip(frames[at : at + window]) for at in range(len(frames) - window + 1)])
    got = stream_scores(TickRecognizer(bundle, plain=True), frames)
    np.testing.assert_allclose(got, expected, atol=tolerance)
    np.testing.assert_array_equal(got.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_becomes_a_bundle(converted: Callable[[str], Converted], kind: str) -> None:
    path, bundle, record = converted(kind)
    manifest = bundle.manifest
    assert manifest.kind == kind and manifest.labels == LABELS and manifest.name == kind
    assert manifest.precision == ("int8-weights" if kind == "convlstm" else "int8")
    assert check_golden(bundle) < 1e-3
    assert 1 <= len(manifest.golden) <= 4
    assert path.stat().st_size < 1024 * 1024
    test = record["parity"]["test"]
    assert test["agreement"]["share"] >= record["gate"]["min_agreement"] >= 0.97
    assert test["drop"]["points"] <= record["gate"]["max_drop_points"] == 2
    assert test["agreement_float_tflite"]["share"] == 1
    assert manifest.metrics["gate"] == record["gate"] and record["gate"]["passed"]
    assert test["stream_against_whole_clip"]["max_error"] <= STREAM_ERROR
    assert manifest.metrics["test"]["windows"] == test["windows"] >= 80
    compared = [row["name"] for row in record.get("compactness", {}).get("rows", ())]
    assert compared == (["original", "dense control", "pruned 50%"] if kind in PRUNED else [])
    assert ("tfmot" in manifest.provenance["versions"]) == (kind in PRUNED)
    assert manifest.protocol == "held-out groups"
    assert json.loads(path.with_suffix(".report.json").read_text()) == record
    assert "Passed: the quantised stream" in path.with_suffix(".report.html").read_text()
    assert not path.with_suffix(".convert.log").exists()


@pytest.mark.parametrize("kind", PRUNED)
def test_half_of_the_exported_weights_are_zero(converted: Callable[[str], Converted], kind: str) -> None:
    _, bundle, record = converted(kind)
    graphs = bundle.manifest.graphs
    for name in (graphs.step, graphs.head):
        for kernel in flatbuffer.kernels(bundle.read(name)):
            assert 0.45 <= kernel.zero_fraction <= 0.75, kernel.name
        assert set(record["zero_share"][name].values())
    assert record["provenance"]["zero_share"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_are_the_graphs_own(converted: Callable[[str], Converted], kind: str) -> None:
    _, bundle, _ = converted(kind)
    graphs, tensors = bundle.manifest.graphs, bundle.manifest.tensors
    step, head = tensors[graphs.step], tensors[graphs.head]
    (frames,) = (t for t in step.inputs if t.role == "frames")
    (feature,) = (t for t in step.outputs if t.role == "feature")
    states = {t.role: t.shape for t in step.inputs if t.role.startswith("state_")}
    assert states == {t.role: t.shape for t in step.outputs if t.role.startswith("state_")}
    assert len(states) == (8 if kind == "convlstm" else 0)
    if kind != "convlstm":
        assert (frames.dtype, frames.scale, frames.zero_point) == ("int8", 1.0, -128)
        assert (feature.scale, feature.zero_point) == (head.inputs[0].scale, head.inputs[0].zero_point)
        assert not any(
            "float" in name
            for file in graphs.by_part.values()
            for name in flatbuffer.operators(bundle.read(file))
        )
    else:
        kernels = flatbuffer.kernels(bundle.read(graphs.step))
        assert {kernel.values.dtype for kernel in kernels} == {np.dtype(np.int8)} and len(kernels) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_int8_stream_equals_its_whole_clip(converted: Callable[[str], Converted], kind: str) -> None:
    _, bundle, _ = converted(kind)
    check_stream_equals_whole_clip(bundle, moving(bundle, 20), STREAM_ERROR)


@pytest.mark.parametrize("kind", KINDS)
def test_the_float_stream_equals_its_whole_clip_and_keras(
    run_of: Callable[[str], Path], folder: Path, kind: str
) -> None:
    run = load_run(run_of(kind))
    clip_parts = clip_parts_of_run(run, None, folder / "cache", silent)
    made = GraphBuilder(
        run.model(),
        kind=kind,
        labels=run.labels,
        frame=run.config.frame_spec,
        temporal=run.config.contract,
        calibration=choose_calibration(clip_parts, run.config.contract, windows=4).pixels,
        log=folder / "float.log",
    ).forced("float32")
    bundle = made.bundle()
    assert made.rebuild_error < 1e-5
    check_stream_equals_whole_clip(bundle, moving(bundle, 20), 1e-5)
    reference = Reference(run.model(), clip_parts.test, run.labels, run.config.contract)
    record = figures(compare(reference, bundle))
    assert record["agreement"]["share"] == 1 and record["probability_error"]["max_error"] < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_real_clips_stream_as_a_whole(converted: Callable[[str], Converted], kind: str) -> None:
    _, bundle, _ = converted(kind)
    clip = next(iter(sorted((need_clips() / "Walk").glob("*.avi"))))
    frames = decode_ticks(clip, bundle.manifest.frame, bundle.manifest.temporal.interval_ms)
    assert len(frames) > bundle.manifest.temporal.frames + 4
    check_stream_equals_whole_clip(bundle, frames, STREAM_ERROR)


def test_equal_runs_give_equal_bundles(
    run_of: Callable[[str], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests make environments of older runtimes meanwhile, and a bundle lists those that load it.
    monkeypatch.setattr(pipeline, "interpreters", lambda requested, report: (Path(sys.executable),))
    # A forced precision: what `auto` takes follows from times, which a busy machine changes.
    paths = [folder / name / "equal.ehar" for name in ("once", "again")]
    for path in paths:
        path.parent.mkdir()
        convert_run(run_of("motion"), path, options(folder, precision=INT8), report=silent)
    once, again = (open_bundle(path) for path in paths)
    different = [name for name in once.contents if once.contents[name] != again.contents.get(name)]
    assert set(different) <= {"MODEL_CARD.md"} and once.contents.keys() == again.contents.keys()
    if again.manifest.provenance["commit"] == once.manifest.provenance["commit"]:
        assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1
    text = json.dumps(once.manifest.to_json())
    assert str(folder) not in text and str(Path.home()) not in text


def test_calibration_is_of_training_groups_alone(run_of: Callable[[str], Path], folder: Path) -> None:
    run = load_run(run_of("motion"))
    clip_parts = clip_parts_of_run(run, None, folder / "cache", silent)
    trained = set(run.metrics["trained_on"]["groups"])
    assert {clip.group for clip in clip_parts.training} == trained
    assert not trained & {clip.group for clip in (*clip_parts.validation, *clip_parts.test)}
    one = choose_calibration(clip_parts, run.config.contract)
    assert one.pixels.shape == (100, *run.model().input_shape[1:]) and one.pixels.dtype == np.uint8
    assert one.sha256 == choose_calibration(clip_parts, run.config.contract).sha256
    known = {frame.tobytes() for clip in clip_parts.training for frame in clip.frames()}
    assert all(frame.tobytes() in known for window in one.pixels for frame in window)


def test_no_clip_may_stand_on_both_sides(run_of: Callable[[str], Path], folder: Path) -> None:
    clip_parts = clip_parts_of_run(load_run(run_of("motion")), None, folder / "cache", silent)
    with pytest.raises(DataError, match="was trained on and cannot be held out"):
        ClipParts(clip_parts.training, (), clip_parts.training[:1])


def test_a_model_of_all_groups_has_its_outputs_compared(
    run_of: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    run = run_of("motion", everything=True)
    out = folder / "all.ehar"
    metrics = {"leave_one_group_out": {"clip_accuracy": 0.97}}
    protocol = "leave-one-group-out"
    lines: list[str] = []
    own, other = Path(sys.executable), tmp_path / "other-python"
    other.write_text("#!/bin/sh\necho 'no such runtime' >&2\nexit 1\n")
    other.chmod(0o755)
    requested = options(folder, metrics=metrics, protocol=protocol, release=7, runtimes=(own, other))
    record = convert_run(run, out, requested, report=lines.append)
    assert any("other-python: does not run this bundle: no such runtime" in line for line in lines)
    manifest = open_bundle(out).manifest
    assert list(record["parity"]) == ["outputs_only"] and "accuracy" not in record["parity"]["outputs_only"]
    assert manifest.metrics["leave_one_group_out"] == {"clip_accuracy": 0.97}
    assert manifest.runtimes[0] == runtime_name()  # then what `make runtimes` made, where it did
    assert manifest.protocol == protocol and manifest.release == 7 and manifest.version == "7.0"
    assert "zero_share" not in manifest.provenance
    card = open_bundle(out).read("MODEL_CARD.md").decode()
    assert "leave-one-group-out" in card and "code: Apache-2.0" in card and "weights: " in card
    assert pipeline.checked_release(out, options(folder)) == 8


def refusing(
    monkeypatch: pytest.MonkeyPatch, precisions: set[str] | None, of_clips: str, run: Path
) -> list[str]:
    """Let the gate refuse these precisions (None: the first it judges, which on each machine is the fastest
    there) on one part of the clips; the precisions judged there.
    """
    groups = set(load_run(run).metrics[of_clips]["groups"])
    judged: list[str] = []
    real = pipeline.gate

    def gate(comparison: Comparison, limits: Limits, **more: Any) -> Verdict:
        verdict = real(comparison, limits, **more)
        if set(comparison.groups) != groups or "remedies" not in more:
            return verdict
        judged.append(precision[-1])
        if precision[-1] not in (judged[:1] if precisions is None else precisions):
            return verdict
        losses = ("it lost accuracy",)
        if more.get("allow_drop"):
            return replace(verdict, allowed=losses)
        return replace(verdict, breaches=losses, remedies=(*more["remedies"], "accept it"))

    precision: list[str] = []
    limits_of = pipeline.limits_of

    def noted(conversion: Conversion, manifest: Manifest) -> Limits:
        precision.append(manifest.precision)
        return limits_of(conversion, manifest)

    monkeypatch.setattr(pipeline, "gate", gate)
    monkeypatch.setattr(pipeline, "limits_of", noted)
    return judged


def test_auto_goes_on_where_the_test_clips_refuse_its_choice(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out, lines = run_of("motion"), tmp_path / "auto.ehar", []
    judged = refusing(monkeypatch, None, "test", run)
    record = convert_run(run, out, options(folder, precision="auto"), report=lines.append)
    bundle = open_bundle(out)
    assert bundle.manifest.precision == judged[-1] != judged[0]
    refused = bundle.manifest.metrics["gate"]["refused_before"]
    assert refused and record["gate"] == bundle.manifest.metrics["gate"]
    assert [trial["refused_on"] for trial in record["trials"] if trial["refused"] == "it lost accuracy"] == [
        "test"
    ] * len(refused)
    assert f"they refused {'; '.join(refused)} before it" in bundle.read("MODEL_CARD.md").decode()
    assert any("refused on test" in line for line in lines)
    # The plan in words: which one is fastest, and so taken, hangs on the machine.
    (route,) = [trial["route"] for trial in record["trials"] if trial["taken"]]
    plan = ", ".join(f"{part} {precision}" for part, precision in route.items())
    plan = plan if judged[-1] == "mixed" else judged[-1]
    assert any(line.startswith(f"precision: {plan}, ") and line.endswith(" was refused") for line in lines)
    assert len(lines) == len(set(lines)), "no sentence twice"


def test_where_no_precision_passes_the_report_has_the_figures_of_the_closest(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out, lines = run_of("motion"), tmp_path / "auto.ehar", []
    refusing(monkeypatch, {"int8", "int8-weights", "float16", "float32", "mixed"}, "test", run)
    requested = options(folder, precision="auto")
    with pytest.raises(
        ParityError, match=r"no precision passes; .*: it lost accuracy: .*train longer"
    ) as error:
        convert_run(run, out, requested, report=lines.append)
    assert "--precision" not in one_line(error) and not any("it lost accuracy" in line for line in lines)
    record = json.loads((tmp_path / "auto.report.json").read_text())
    assert record["failed"] == str(error.value) and record["parity"]["test"]["windows"] > 0
    assert len(record["trials"]) >= 16 and not out.exists()
    allowed = convert_run(run, out, replace(requested, allow_drop=True), report=lines.append)
    assert open_bundle(out).manifest.metrics["gate"]["allowed_by_user"] == ["it lost accuracy"]
    assert sum(trial["taken"] for trial in allowed["trials"]) == 1


@pytest.mark.parametrize(
    ("changes", "external", "precision", "expected"),
    [
        ({"prune": 0.5}, False, "int8", [LOOK_FOR_ONE, TRAIN_ON, "prune less"]),
        ({"precision": "auto", "prune": 0.5}, False, "int8-weights", ["prune less"]),
        ({"precision": "auto", "shrink": 0.5}, False, "int8", [TRAIN_ON, "shrink less"]),
        ({"precision": "auto"}, True, "mixed", [CALIBRATE]),
        ({"precision": "auto"}, True, "float16", []),
    ],
)
def test_advice_is_what_this_command_can_still_do(
    changes: dict[str, Any], external: bool, precision: str, expected: list[str]
) -> None:
    run = SimpleNamespace(config=default_config("motion"))
    source_model = SimpleNamespace(run=None if external else run)
    conversion = SimpleNamespace(options=Options(**changes), source_model=source_model)
    manifest = SimpleNamespace(precision=precision)
    made = pipeline.remedies_of(cast(Any, conversion), cast(Any, manifest))
    assert made == [*expected, "train longer"]


def untrained(run: Path, folder: Path) -> Path:
    """The same RUN with fresh weights: it gives one label to everything."""
    from train.models.architectures import build as build_model
    from train.runs import MODEL, _sha256

    copy = folder / "untrained"
    shutil.copytree(run, copy)
    keras.utils.set_random_seed(11)
    known = load_run(run)
    build_model(known.config.model, known.config.frames, known.config.size, len(LABELS)).save(copy / MODEL)
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(metrics | {"model_sha256": _sha256(copy / MODEL)}))
    return copy


def test_a_failed_gate_leaves_no_bundle(run_of: Callable[[str], Path], folder: Path, tmp_path: Path) -> None:
    run, out = untrained(run_of("motion"), folder), tmp_path / "bad.ehar"
    result = CliRunner().invoke(convert, [str(run), "--out", str(out), "--cache", str(folder / "cache")])
    assert isinstance(result.exception, ParityError) and result.exception.exit_code == 1
    assert "collapsed" in str(result.exception) and "\n" not in str(result.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.report.json", "bad.report.html"}
    record = json.loads((tmp_path / "bad.report.json").read_text())
    assert "collapsed" in record["failed"] and record["parity"]["test"]["windows"] > 0


def test_a_converter_that_cannot_finish_leaves_no_bundle(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"took longer than 0\.01 s"):
        convert_run(
            run_of("motion"),
            tmp_path / "late.ehar",
            options(folder, timeout_s=0.01),
            report=silent,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["late.convert.log"]


def one_line(error: pytest.ExceptionInfo[EdgeHarError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_input_is_told_before_any_work(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    run = run_of("motion")
    for out, match in (
        ("x.zip", "ends with .ehar"),
        ("absent/x.ehar", "no such folder"),
        ("a b.ehar", "a bundle's name is"),
    ):
        with pytest.raises(MisuseError, match=match):
            convert_run(run, tmp_path / out, options(folder), report=silent)
    (tmp_path / "golden").mkdir()
    for number in range(9):
        (tmp_path / "golden" / f"{number}.avi").touch()
    # The RUN is not even looked for.
    for changes, error, match in (
        ({"golden": tmp_path / "none"}, DataError, "no such folder of golden clips"),
        ({"golden": tmp_path / "golden"}, DataError, "expected 1 to 8 golden clips, found 9 videos"),
        ({"runtimes": (tmp_path / "python",)}, MisuseError, "no program that can be started"),
    ):
        with pytest.raises(error, match=match):
            convert_run(tmp_path / "none", tmp_path / "x.ehar", Options(**changes), report=silent)
    with pytest.raises(DataError, match="no such RUN"):
        convert_run(tmp_path / "none", tmp_path / "x.ehar", report=silent)
    for wrong in (
        {"prune": 1.0},
        {"fine_tune_steps": 0},
        {"precision": "int4"},
        {"release": 0},
        {"release": 2**53},
        {"name": "../up"},
        {"version": "1\x1b"},
        {"temperature": 0.0},
        {"reject_threshold": 2.0},
        {"smoothing": Smoothing(smooth_s=61.0)},
    ):
        with pytest.raises(MisuseError):
            Options(**wrong)


def test_other_clips_than_those_trained_on(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "clips", tmp_path / "clips")
    shutil.rmtree(tmp_path / "clips" / LABELS[0])
    with pytest.raises(DataError, match="other clips") as error:
        convert_run(
            run_of("motion"), tmp_path / "x.ehar", options(folder, data=tmp_path / "clips"), report=silent
        )
    assert "--data" in one_line(error)


def test_a_keras_model_that_no_bundle_can_feed(
    run_of: Callable[[str], Path], folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_of("motion"), copy)
    inputs = keras.layers.Input((64, 64, 3))
    scores = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, scores).save(copy / "model.keras")
    with pytest.raises(ConversionError, match=r"rank 4.*expected \[None or 1, frames") as error:
        convert_run(copy, tmp_path / "x.ehar", options(folder), report=silent)
    assert "model.keras" in one_line(error)
    (copy / "model.keras").write_bytes(b"not a model")
    with pytest.raises(ConversionError, match="not a Keras model that can be read"):
        convert_run(copy, tmp_path / "x.ehar", options(folder), report=silent)
    assert not (tmp_path / "x.ehar").exists()


def test_a_lambda_layer_is_refused_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HAR_TEST_EXECUTED", "")
    inputs = keras.layers.Input((4, 8, 8, 3))
    note = keras.layers.Lambda(
        lambda x: (__import__("os").environ.__setitem__("EDGE_HAR_TEST_EXECUTED", "yes"), x)[1]
    )
    scores = keras.layers.Dense(2)(keras.layers.Flatten()(note(inputs)))
    keras.Model(inputs, scores).save(tmp_path / "model.keras")
    assert os.environ["EDGE_HAR_TEST_EXECUTED"] == "yes"
    monkeypatch.setenv("EDGE_HAR_TEST_EXECUTED", "")
    with pytest.raises(ConversionError, match="not a Keras model that can be read"):
        check_keras_file(tmp_path / "model.keras")
    assert os.environ["EDGE_HAR_TEST_EXECUTED"] == ""


@pytest.mark.parametrize(
    ("settings", "precision"),
    [({"model": "motion"}, None), ({"model": "lrcn", "encoder": "mobilenet_v1_0.25"}, FLOAT16)],
)
def test_the_precision_of_a_pretrained_encoder_is_float(
    settings: dict[str, Any], precision: str | None
) -> None:
    source_model = cast("Any", SimpleNamespace(run=SimpleNamespace(config=default_config(**settings))))
    assert Options().chosen_precision(source_model) == precision
    assert Options(precision=INT8).chosen_precision(source_model) == INT8
