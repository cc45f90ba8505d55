"""The float model as ONNX, for TensorRT, ONNX Runtime and others.

It is checked in ONNX Runtime before it is returned.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from convert.graphs.float_graphs import FloatGraph, check_input, float_graphs
from convert.inputs.canonical import PixelsAs, canonical
from convert.inputs.keras_file import SUFFIXES, read_model
from edge_har.errors import ConversionError, MisuseError, ParityError, RuntimeMissingError
from edge_har.model.bundle import Bundle
from edge_har.model.manifest import Manifest
from edge_har.model.preprocess import Pixels
from edge_har.system.files import PathKind, path_kind
from train.runs import load_run
from train.tf import tf

OPSET = 17  # TensorRT 8.6 and OpenCV 4.10 know all of it
LIMIT = 1e-4  # of a probability; float noise is a thousandth of it
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")
INSTALL = "pip install -e '.[workstation]'"
NOISE_CLIPS = 4
NOISE_SEED = 9


def export_onnx(source: Path, bundle: Bundle) -> tuple[bytes, dict[str, Any]]:
    """The ONNX file of the float model behind `bundle`, and what was found of it.

    source: the RUN that the bundle was made from, or a `.keras` file with the bundle's input and labels. The
    graph is the exact inference graph of the whole clip (a ConvLSTM unrolled, without loops): `clip` float32
    [1, N, H, W, 3], RGB of 0 to 255, -> `scores` float32 [1, labels]. Raises MisuseError for a model that is
    not the bundle's, RuntimeMissingError where tf2onnx is not installed, ConversionError where it cannot, and
    ParityError where a probability differs by more than LIMIT between Keras and ONNX Runtime on the golden
    clips and on noise.
    """
    _check_packages()
    model = _float_model(source, bundle.manifest)
    content = onnx_of(float_graphs(model).clip)
    difference, clips = parity(content, model, _clips(bundle))
    return content, {"opset": OPSET, "clips_compared": clips, "max_difference": difference, "limit": LIMIT}


def onnx_of(graph: FloatGraph) -> bytes:
    """The ONNX file of a float graph; inputs and outputs keep their roles as names.

    Raises ConversionError.
    """
    import onnx
    import tf2onnx

    specs = [tf.TensorSpec(shape, tf.float32, name=role) for role, shape in graph.inputs.items()]

    @tf.function(input_signature=specs, autograph=False)
    def call(*tensors: Any) -> dict[str, Any]:
        return graph.function(**dict(zip(graph.inputs, tensors, strict=True)))

    try:
        model, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=OPSET)
        onnx.checker.check_model(model, full_check=True)
    except (ValueError, RuntimeError, KeyError, onnx.checker.ValidationError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ConversionError(f"tf2onnx cannot export the graph {graph.name!r}: {why}") from error
    return bytes(model.SerializeToString())


def parity(content: bytes, model: Any, clips: Iterable[Pixels]) -> tuple[float, int]:
    """The largest difference of a probability between Keras and ONNX Runtime, and over how many clips.

    clips: uint8 [N, H, W, 3] each. Raises ParityError beyond LIMIT.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    worst, count = 0.0, 0
    for clip in clips:
        (scores,) = session.run(None, {taken.name: clip[np.newaxis].astype(np.float32)})
        expected = model(clip[np.newaxis], training=False).numpy()
        worst, count = max(worst, float(np.abs(scores - expected).max())), count + 1
    if not worst <= LIMIT:
        raise ParityError(
            f"ONNX Runtime differs from Keras by {worst:.2g} in a probability, more than {LIMIT:g}: nothing "
            "is exported"
        )
    return worst, count


def _check_packages() -> None:
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise RuntimeMissingError(f"ONNX needs the package {error.name}: {INSTALL}") from error


def _float_model(source: Path, manifest: Manifest) -> Any:
    kind = path_kind(source, MisuseError)
    if kind is PathKind.ABSENT:
        raise MisuseError(f"{source}: no such RUN or file")
    model = _run_model(source, manifest) if kind is PathKind.FOLDER else _file_model(source, manifest)
    frames, height, width, _ = check_input(model)
    found = (frames, width, height, int(model.output_shape[-1]))
    expected = (manifest.temporal.frames, *manifest.frame.size_wh, len(manifest.labels))
    if found != expected:
        raise MisuseError(
            f"{source}: not the model of this bundle: {found[0]} frames of {found[1]}x{found[2]} and "
            f"{found[3]} labels; "
            f"the bundle has {expected[0]} of {expected[1]}x{expected[2]} and {expected[3]}"
        )
    return model


def _run_model(folder: Path, manifest: Manifest) -> Any:
    run = load_run(folder)
    made_from = manifest.provenance.get("model_sha256")
    if made_from is not None and made_from != run.metrics["model_sha256"]:
        raise MisuseError(f"{folder}: this bundle was made from another RUN (its model's sha256 differs)")
    return run.model()


def _file_model(path: Path, manifest: Manifest) -> Any:
    """The model file rewritten to uint8 RGB as the bundle's was.

    One that has no record of its pixels takes these.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise MisuseError(f"{path}: expected a RUN folder or a model file ({', '.join(SUFFIXES)})")
    made_from = manifest.provenance
    pixels = PixelsAs(made_from.get("input_range", "0..255"), made_from.get("color", "rgb"))
    return canonical(read_model(path), pixels).model


def _clips(bundle: Bundle) -> list[Pixels]:
    """The golden clips, which the model is sure of, and noise, which it is not."""
    frames, (width, height) = bundle.manifest.temporal.frames, bundle.manifest.frame.size_wh
    noise = np.random.default_rng(NOISE_SEED).integers(
        0, 256, (NOISE_CLIPS, frames, height, width, 3), np.uint8
    )
    return [*(clip for _, clip in bundle.golden_clips()), *noise]
