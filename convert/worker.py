"""The child process that runs the TFLite converter: `python -m convert.worker SPEC.json`.

The converter can end in a segmentation fault or never end; a process of its own turns both into an error. SPEC holds
{"jobs": [{"name", "saved_model", "mode", "calibration", "out"}]}; each job's start and end go to stdout.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the converter calibrates on the CPU

import numpy as np

from convert.flatbuffer import quantise_float_kernels, widen_cells
from convert.modes import DYNAMIC, FLOAT32, INT8, INT8_CELLS16
from train.tf import tf


def convert_saved_model(folder: str, mode: str, calibration: str | None) -> bytes:
    """The flatbuffer of a SavedModel: float32, int8 weights with float activations, or integers throughout.

    calibration: samples that set the ranges of integers; None where the graph carries them as fake quantisation.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # tflite-runtime 2.14 cannot load dense layers with one scale per channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if mode != FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode in (INT8, INT8_CELLS16):
        if calibration is not None:
            converter.representative_dataset = lambda: _samples(Path(calibration))
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    content = bytes(converter.convert())
    edit = {DYNAMIC: quantise_float_kernels, INT8_CELLS16: widen_cells}.get(mode)
    return edit(content) if edit else content


def _samples(path: Path) -> Iterator[dict[str, Any]]:
    with np.load(path) as stored:
        arrays = {role: stored[role] for role in stored.files}
    for number in range(len(next(iter(arrays.values())))):
        yield {role: array[number].astype(np.float32) for role, array in arrays.items()}


def main(spec_path: str) -> None:
    """Run every job of the spec in order."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for job in json.loads(Path(spec_path).read_text())["jobs"]:
        print(f"start {job['name']}", flush=True)
        content = convert_saved_model(job["saved_model"], job["mode"], job.get("calibration"))
        Path(job["out"]).write_bytes(content)
        print(f"done {job['name']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
