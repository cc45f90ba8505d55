"""The converter's child process: what it makes, and one clear line when it crashes, fails or hangs."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.graphs.float_graphs import FloatGraph
from convert.precisions import FLOAT32, INT8, INT8_WEIGHTS
from convert.tflite import flatbuffer
from convert.tflite.quantise import Job, convert_each
from edge_har.errors import ConversionError
from edge_har.model.interpreter import Graph, TensorInfo
from tests.helpers.converted import tflite_files
from tests.helpers.processes import wait_until_gone
from train.tf import tf

SHAPE = (1, 8, 8, 3)
KERNEL = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 4)).astype(np.float32)
DENSE = np.random.default_rng(1).normal(0, 0.2, (144, 10)).astype(np.float32)


def graph() -> FloatGraph:
    def function(pixels: object) -> dict[str, object]:
        x = tf.nn.relu(tf.nn.conv2d(pixels, KERNEL / 255, 1, "VALID"))
        return {"scores": tf.nn.softmax(tf.reshape(x, (1, -1)) @ DENSE), "twice": x * 2.0}

    return FloatGraph("small", {"pixels": SHAPE}, function)


def pixels(count: int) -> np.ndarray:
    made = np.random.default_rng(2).integers(0, 256, (count, *SHAPE), np.uint8)
    made[0], made[1] = 0, 255
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    log = tmp_path_factory.mktemp("log") / "convert.log"
    jobs = {
        precision: Job(graph(), precision, {"pixels": pixels(20)} if precision == INT8 else None)
        for precision in (FLOAT32, INT8_WEIGHTS, INT8)
    }
    made = tflite_files(jobs, log=log)
    assert not log.exists()
    return made


def roles(content: bytes, outputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    _, out = flatbuffer.roles(content)
    place = {info.index: at for at, info in enumerate(Graph(content).outputs)}
    return {role: outputs[place[index]] for role, index in out.items()}


@pytest.mark.parametrize(("precision", "tolerance"), [(FLOAT32, 1e-5), (INT8_WEIGHTS, 0.02), (INT8, 0.03)])
def test_each_mode_computes_the_same(made: dict[str, bytes], precision: str, tolerance: float) -> None:
    given = pixels(5)[4]
    expected = graph().run(pixels=given)
    got = roles(made[precision], Graph(made[precision]).run(given))
    assert got.keys() == {"scores", "twice"}
    np.testing.assert_allclose(got["scores"], expected["scores"], atol=tolerance)


def test_int8_takes_pixels_as_they_are(made: dict[str, bytes]) -> None:
    (info,) = Graph(made[INT8]).inputs
    assert (info.dtype, info.scale, info.zero_point) == (np.int8, 1.0, -128)
    assert all(out.dtype == np.int8 for out in Graph(made[INT8]).outputs)
    assert not any("float" in name for name in flatbuffer.operators(made[INT8]))


def test_int8_weights_however_few(made: dict[str, bytes]) -> None:
    kernels = {kernel.operator: kernel for kernel in flatbuffer.kernels(made[INT8_WEIGHTS])}
    assert kernels["CONV_2D"].values.dtype == np.int8 and kernels["CONV_2D"].values.size < 1024
    assert kernels["FULLY_CONNECTED"].values.dtype == np.int8
    assert all(kernel.values.dtype == np.float32 for kernel in flatbuffer.kernels(made[FLOAT32]))


def test_zero_share_counts_what_is_stored() -> None:
    kernel = flatbuffer.Kernel("CONV_2D", "k", np.array([[0, 1], [0, 0]], np.int8))
    assert kernel.zero_fraction == 0.75


def input_of(content: bytes) -> TensorInfo:
    return Graph(content).inputs[0]


def test_an_input_is_tied_to_a_scale_that_differs_by_noise_alone(made: dict[str, bytes]) -> None:
    content = made[INT8]
    nearly = float(np.nextafter(np.float32(1), np.float32(2)))
    tied = flatbuffer.tie_input(content, nearly, -128)
    assert input_of(tied).scale == nearly
    assert input_of(flatbuffer.tie_input(content, 1.1, -128)).scale == 1.0
    assert input_of(flatbuffer.tie_input(content, nearly, 0)).scale == 1.0
    given = pixels(5)[4]
    for before, after in zip(Graph(content).run(given), Graph(tied).run(given), strict=True):
        np.testing.assert_array_equal(before, after)


def fails(tmp_path: Path, script: str, timeout_s: float = 60.0) -> str:
    """What is raised when the worker is this script, which has begun the graph `small`."""
    program = "import os, signal, sys, time; " + script
    log = tmp_path / "convert.log"
    with pytest.raises(ConversionError) as caught:
        tflite_files(
            {"small": Job(graph(), FLOAT32)},
            log=log,
            timeout_s=timeout_s,
            worker=[sys.executable, "-c", program],
        )
    message = str(caught.value)
    assert "\n" not in message and "'small'" in message and str(log) in message and log.is_file()
    return message


def test_a_segmentation_fault_is_one_line(tmp_path: Path) -> None:
    assert "crashed (SIGSEGV)" in fails(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_failure_says_its_last_line(tmp_path: Path) -> None:
    assert "op FOO is not known" in fails(tmp_path, "sys.exit('op FOO is not known')")


def test_a_hang_ends_and_its_children_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = (
        "import subprocess; child = subprocess.Popen(['sleep', '600']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    assert "took longer than 2 s" in fails(tmp_path, script, timeout_s=2.0)
    wait_until_gone(int(note.read_text()))


def test_the_real_worker_fails_in_one_line(tmp_path: Path) -> None:
    strings = FloatGraph(
        "odd", {"pixels": SHAPE}, lambda pixels: {"scores": tf.strings.length(tf.strings.as_string(pixels))}
    )
    log = tmp_path / "convert.log"
    with pytest.raises(ConversionError) as caught:
        tflite_files({"odd": Job(strings, FLOAT32)}, log=log)
    assert str(caught.value) == (
        "the converter failed on the graph 'odd': TFLite has no operator for AsString, StringLength: use "
        "layers "
        f"that do without; see {log}"
    )
    assert "Traceback" in log.read_text()
    before = log.read_text()
    assert tflite_files({"small": Job(graph(), FLOAT32)}, log=log).keys() == {"small"}
    assert log.read_text() == before, "what went well leaves nothing in the log"


# Answers with its process and how many jobs it had done, and notes every job that it begins.
SCRIPTED = """
import json, os, signal, sys, time
for done, line in enumerate(sys.stdin):
    job = json.loads(line)
    with open({note!r}, "a") as note:
        note.write(job["name"])
    if job["name"] in {faulty!r} and {when}:
        {fault}
    with open(job["out"], "w") as out:
        out.write(f"{{os.getpid()}} {{done}}")
    os.write(int(sys.argv[1]), b'{{"error": null}}\\n')
"""


def scripted(tmp_path: Path, names: str, **record: str) -> tuple[list[bytes | ConversionError], str]:
    """What becomes of these graphs, one a letter, and the letters in the order of their beginnings."""
    note = tmp_path / "begun"
    given = {"faulty": "", "when": "True", "fault": "pass", "note": str(note)} | record
    worker = [sys.executable, "-c", SCRIPTED.format(**given)]
    small = graph()
    results = [
        result
        for name in names
        for _, result in convert_each(
            {name: Job(small, FLOAT32)}, log=tmp_path / "log", worker=worker, timeout_s=3.0
        )
    ]
    return results, note.read_text()


def test_one_child_makes_graph_after_graph(tmp_path: Path) -> None:
    results, _ = scripted(tmp_path, "abc")
    (child,) = {result.split()[0] for result in results}
    assert results == [child + b" 0", child + b" 1", child + b" 2"]
    assert not (tmp_path / "log").exists()


def test_a_crash_after_other_graphs_is_tried_in_a_fresh_child(tmp_path: Path) -> None:
    crash = "os.kill(os.getpid(), signal.SIGSEGV)"
    (first, second), begun = scripted(tmp_path, "ab", faulty="b", when="done > 0", fault=crash)
    assert begun == "abb" and first.split()[0] != second.split()[0]
    (again,), begun = scripted(tmp_path, "a", faulty="a", fault=crash)
    assert "crashed (SIGSEGV) on the graph 'a'" in str(again) and begun == "abba"


def test_a_hang_costs_one_timeout_and_the_others_are_made(tmp_path: Path) -> None:
    (before, hung, after), begun = scripted(tmp_path, "abc", faulty="b", fault="time.sleep(600)")
    assert begun == "abc" and isinstance(before, bytes) and isinstance(after, bytes)
    log = tmp_path / "log"
    assert str(hung) == f"the converter took longer than 3 s on the graph 'b' and was stopped; see {log}"
    assert log.is_file()
