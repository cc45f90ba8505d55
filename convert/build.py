"""A trained model to a bundle in memory: exact float graphs, checked; TFLite files; the manifest that describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert import flatbuffer
from convert.graphs import FloatGraphs, float_graphs
from convert.modes import DYNAMIC, FLOAT32, INT8
from convert.quantise import TIMEOUT_S, calibration_samples, convert_graphs
from edge_har.bundle import (
    MODEL_CARD,
    Bundle,
    Graphs,
    GraphTensors,
    Manifest,
    TensorSpec,
    pack_bundle,
    read_bundle,
)
from edge_har.cadence import TemporalContract
from edge_har.errors import ConversionError, MisuseError
from edge_har.interpreter import Graph, TensorInfo
from edge_har.preprocess import FrameSpec, Pixels

PRECISIONS = ("int8", "float32")
INT8_WEIGHTS = "int8-weights"  # how a manifest names int8 weights with float between the operators
REBUILD_LIMIT = 1e-4  # probabilities; a wrong rebuild is off by far more, float noise by far less
REBUILD_CLIPS = 4

CLIP = "clip.tflite"
PLACEHOLDER_CARD = b"# In the making\n"


@dataclass(frozen=True)
class Built:
    """manifest: without golden clips, figures and provenance. files: the graphs by name. rebuild_error: the largest
    difference of a probability between Keras and the float graphs. operators: per file, how often each stands there.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    rebuild_error: float
    operators: Mapping[str, Mapping[str, int]]

    def bundle(self) -> Bundle:
        """A bundle to run; for checks, not for people: its model card is empty."""
        return read_bundle(pack_bundle(self.manifest, {MODEL_CARD: PLACEHOLDER_CARD, **self.files})[0])

    def zero_shares(self) -> dict[str, dict[str, float]]:
        """Share of zero weights in the exported files: file -> kernel -> share."""
        return {
            name: {f"{kernel.name} {list(kernel.values.shape)}": kernel.zero_share for kernel in kernels}
            for name, kernels in ((name, flatbuffer.kernels(content)) for name, content in self.files.items())
        }


def build(
    model: Any,
    *,
    kind: str,
    labels: Sequence[str],
    frame: FrameSpec,
    temporal: TemporalContract,
    calibration: Pixels,
    log: Path,
    precision: str = "int8",
    name: str = "model",
    timeout_s: float = TIMEOUT_S,
) -> Built:
    """Convert a trained Keras model: whole clip, step and head, in int8 (or float32, for comparison).

    calibration: windows of training clips, uint8 [n, N, H, W, 3]. log: where the converter's output goes. A model
    with states (ConvLSTM) keeps float between its convolutions, whose weights are int8: that measured fastest and
    nearest to float. Raises ConversionError when a graph cannot be made or does not compute what Keras does.
    """
    if precision not in PRECISIONS:
        raise MisuseError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    graphs = float_graphs(model)
    _check_shapes(graphs, len(labels), int(model.output_shape[-1]), frame, temporal)
    error = rebuild_error(model, graphs, calibration[:REBUILD_CLIPS])
    if not error <= REBUILD_LIMIT:
        raise ConversionError(
            f"the float graphs differ from Keras by {error:.2g}, more than {REBUILD_LIMIT:g}"
        )
    mode = FLOAT32 if precision == "float32" else DYNAMIC if graphs.states else INT8
    samples = calibration_samples(graphs, calibration) if mode == INT8 else {}
    names = {
        "clip": CLIP,
        "step": "step.tflite" if graphs.states else "encoder.tflite",
        "head": "head.tflite",
    }
    parts = graphs.parts
    files = convert_graphs(
        {names[part]: (graph, mode, samples.get(part)) for part, graph in parts.items()},
        log=log,
        timeout_s=timeout_s,
    )
    if mode == INT8 and "step" in parts:
        feature = Graph(files[names["step"]]).outputs[0]
        files[names["head"]] = flatbuffer.tie_input(files[names["head"]], feature.scale, feature.zero_point)
    manifest = Manifest(
        name=name,
        version="0",
        release=1,
        kind=kind,
        precision=INT8_WEIGHTS if mode == DYNAMIC else mode,
        labels=tuple(labels),
        frame=frame,
        temporal=temporal,
        graphs=(
            Graphs(names["clip"], names["step"], names["head"], graphs.frames_per_step)
            if "step" in parts
            else Graphs(names["clip"])
        ),
        tensors={file: graph_tensors(content) for file, content in files.items()},
    )
    operators = {file: flatbuffer.operators(content) for file, content in files.items()}
    return Built(manifest, files, error, operators)


def graph_tensors(content: bytes) -> GraphTensors:
    """The tensors as the interpreter lists them, each with the role that the graph's own signature gives it."""
    graph = Graph(content)
    roles_in, roles_out = flatbuffer.roles(content)
    return GraphTensors(_specs(graph.inputs, roles_in), _specs(graph.outputs, roles_out))


def _specs(tensors: Sequence[TensorInfo], roles: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    role_of = {index: role for role, index in roles.items()}
    if len(role_of) != len(roles) or {info.index for info in tensors} != set(role_of):
        raise ConversionError("the converter merged or lost tensors of a graph: its signature no longer fits")
    return tuple(
        TensorSpec(info.name, role_of[info.index], info.shape, str(info.dtype), info.scale, info.zero_point)
        for info in tensors
    )


def rebuild_error(model: Any, graphs: FloatGraphs, clips: Pixels) -> float:
    """Largest difference of a probability between Keras and the float graphs, whole clip and stream."""
    worst = 0.0
    for clip in clips:
        expected = model(clip[np.newaxis], training=False).numpy()
        whole = graphs.clip.run(clip=clip[np.newaxis])["scores"]
        for scores in (whole, *_float_stream(graphs, clip)):
            worst = max(worst, float(np.abs(scores - expected).max()))
    return worst


def _float_stream(graphs: FloatGraphs, clip: Pixels) -> list[Any]:
    """The stream's scores of one window; none where the model does not stream."""
    if graphs.step is None or graphs.head is None:
        return []
    states = {role: np.zeros(shape, np.float32) for role, shape in graphs.states.items()}
    features = []
    for at in range(len(clip) - graphs.frames_per_step + 1):
        made = graphs.step.run(frames=clip[np.newaxis, at : at + graphs.frames_per_step], **states)
        features.append(made.pop("feature")[0])
        states = made
    return [graphs.head.run(features=np.stack(features)[np.newaxis])["scores"]]


def _check_shapes(
    graphs: FloatGraphs, labels: int, outputs: int, frame: FrameSpec, temporal: TemporalContract
) -> None:
    _, frames, height, width, _ = graphs.clip.inputs["clip"]
    if outputs != labels:
        raise ConversionError(f"the model has {outputs} outputs for {labels} labels")
    if frames != temporal.frames or (width, height) != tuple(frame.size_wh):
        raise ConversionError(
            f"the model takes {frames} frames of {width}x{height}; the contract says {temporal.frames} of "
            f"{frame.size_wh[0]}x{frame.size_wh[1]}"
        )


def float_clip(model: Any, *, log: Path, timeout_s: float = TIMEOUT_S) -> bytes:
    """The whole-clip graph in float32, as a TFLite file: one of the ways that the parity gate compares.

    Raises ConversionError, as `build`.
    """
    graph = float_graphs(model).clip
    return convert_graphs({CLIP: (graph, FLOAT32, None)}, log=log, timeout_s=timeout_s)[CLIP]
