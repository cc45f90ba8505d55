"""What runs the TFLite converter in the process of `convert.tflite.child`: `python -m convert.tflite.worker
REPLIES`.

The converter can end in a segmentation fault or never end; a process of its own turns both into an error.
Each line of stdin is a job, {"name", "saved_model", "precision", "calibration", "float_layers", "out",
"log"}; the descriptor REPLIES gets a line for each, {"error": null or why there is no file}. All other output
goes to the job's log.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the converter calibrates on the CPU

import numpy as np

from convert.precisions import CALIBRATED, FLOAT16, FLOAT32, INT8, INT8_CELLS16, INT8_WEIGHTS, INT16X8
from convert.tflite.flatbuffer import input_roles, quantise_float_kernels, widen
from train.tf import tf

from tensorflow.lite.python.convert import mlir_quantize  # isort: skip  # after train.tf, which comes first
from tensorflow.lite.python.convert_phase import ConverterError  # isort: skip

# How the converter names what it has no operator for.
LACKING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
REASON_LENGTH = 200
FAILURES = (ConverterError, tf.errors.OpError, OSError, RuntimeError, TypeError, ValueError)
DEBUGGED_SAMPLES = 32  # the debugger runs without optimised kernels
OPS = tf.lite.OpsSet
OPS_OF = {
    INT8: OPS.TFLITE_BUILTINS_INT8,
    INT16X8: OPS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
TYPE_OF = {INT8: tf.int8, INT8_CELLS16: tf.int8, INT16X8: tf.int16}


def convert_saved_model(folder: str, precision: str, calibration: str | None, float_layers: int = 0) -> bytes:
    """The flatbuffer of a SavedModel in one of convert.precisions.PRECISIONS.

    calibration: samples that set the ranges of integers; None where the graph carries them as fake
    quantisation. float_layers: how many layers of an INT8 graph stay float, those whose rounding costs most.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = [OPS.TFLITE_BUILTINS]
    # tflite-runtime 2.14 cannot load dense layers with one scale per channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if precision != FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if precision in CALIBRATED:
        _set_integers(converter, precision, calibration)
    if float_layers:
        assert precision == INT8 and calibration is not None, "layers stay float in a calibrated int8 graph"
        return _convert_partly(converter, Path(calibration), float_layers)
    content = bytes(converter.convert())
    edit = {INT8_WEIGHTS: quantise_float_kernels, INT8_CELLS16: widen}.get(precision)
    return edit(content) if edit else content


def _set_integers(converter: Any, precision: str, calibration: str | None) -> None:
    # Without calibration the graph carries its ranges.
    if calibration is not None:
        converter.representative_dataset = lambda: _samples(Path(calibration))
        converter.target_spec.supported_ops = [OPS_OF[precision]]
    converter.inference_input_type = TYPE_OF[precision]
    converter.inference_output_type = TYPE_OF[precision]


def _convert_partly(converter: Any, calibration: Path, float_layers: int) -> bytes:
    """int8, but for the layers that `worst_layers` names; inputs and outputs stay int8."""
    debugger: Any = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=lambda: _debug_samples(calibration, input_roles(debugger.calibrated_model)),
    )
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    names = worst_layers(table.getvalue(), float_layers)
    print(f"float: {', '.join(names)}", flush=True)
    return bytes(
        mlir_quantize(
            debugger.calibrated_model,
            input_data_type=tf.int8,
            output_data_type=tf.int8,
            denylisted_nodes=names,
            disable_per_channel_for_dense_layers=True,
        )
    )


def worst_layers(table: str, count: int) -> list[str]:
    """The layers whose error, in steps of their own scale, is largest; worst first.

    table: the debugger's csv, with `tensor_name`, `scale` and `mean_squared_error`.
    """
    error_of = {
        row["tensor_name"]: float(row["mean_squared_error"]) ** 0.5 / float(row["scale"])
        for row in csv.DictReader(io.StringIO(table))
    }
    return sorted(error_of, key=lambda name: (-error_of[name], name))[:count]


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    with np.load(path) as stored:
        arrays = {role: stored[role] for role in stored.files}
    for number in range(len(next(iter(arrays.values())))):
        yield {role: array[number].astype(np.float32) for role, array in arrays.items()}


def _debug_samples(path: Path, roles: Sequence[str]) -> Iterator[list[Any]]:
    """Some samples, spread evenly, as the debugger takes them: in the order of the graph's inputs."""
    every = list(_samples(path))
    for index in np.unique(np.linspace(0, len(every) - 1, DEBUGGED_SAMPLES).astype(int)):
        yield [every[index][role] for role in roles]


def reason_of(error: Exception) -> str:
    """Why the converter failed, in one line; it says so in many, and not in its last."""
    lacking = sorted(set(LACKING.findall(str(error))))
    if lacking:
        return f"TFLite has no operator for {', '.join(lacking)}: use layers that do without"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:REASON_LENGTH]


def make_graph(job: Mapping[str, Any]) -> str | None:
    """Make one graph's file; returns why there is none."""
    print(f"start {job['name']}", flush=True)
    try:
        content = convert_saved_model(
            job["saved_model"], job["precision"], job.get("calibration"), job.get("float_layers", 0)
        )
        Path(job["out"]).write_bytes(content)
    # Anything else ends the process.
    except FAILURES as error:
        traceback.print_exc()
        return reason_of(error)
    print(f"done {job['name']}", flush=True)
    return None


def main(replies: int) -> None:
    """Do one job after another until stdin ends; replies: the descriptor that takes the replies."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        _redirect_output(Path(job["log"]))
        error = make_graph(job)
        os.write(replies, json.dumps({"error": error}).encode() + b"\n")


def _redirect_output(log: Path) -> None:
    """Append stdout and stderr, native code's too, to a file."""
    with log.open("ab") as output:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(output.fileno(), stream.fileno())


if __name__ == "__main__":
    main(int(sys.argv[1]))
