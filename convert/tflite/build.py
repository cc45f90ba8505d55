"""A trained model to a bundle in memory.

It is made of exact float graphs, checked, their TFLite files, and the manifest that describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from convert.graphs.float_graphs import FloatGraphs, float_graphs
from convert.graphs.integer_graphs import integer_graphs
from convert.precisions import (
    CALIBRATED,
    FLOAT32,
    INT8,
    INT8_CELLS16,
    INT8_WEIGHTS,
    INT16X8,
    MIXED,
    PRECISIONS,
)
from convert.tflite import flatbuffer
from convert.tflite.quantise import TIMEOUT_S, Job, Samples, calibration_samples, convert_each
from edge_har.errors import ConversionError, MisuseError
from edge_har.model.bundle import MODEL_CARD, Bundle, pack_bundle, read_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.interpreter import Graph, TensorInfo
from edge_har.model.manifest import Graphs, GraphTensors, Manifest, TensorSpec
from edge_har.model.preprocess import FrameSpec, Pixels
from train.tf import keras

REBUILD_LIMIT = 1e-4  # probabilities; a wrong rebuild is off by far more, float noise by far less
REBUILD_CLIPS = 4

CLIP = "clip.tflite"
PLACEHOLDER_CARD = b"# In the making\n"
L = keras.layers


@dataclass(frozen=True)
class GraphPrecision:
    """How one graph holds its numbers.

    name: one of convert.precisions.PRECISIONS. float_layers: of an INT8 graph, how many layers stay float.
    """

    name: str
    float_layers: int = 0

    def __str__(self) -> str:
        return f"{self.name} but {self.float_layers} float" if self.float_layers else self.name


# `clip`, `step` or `head`, and its precision.
Part = tuple[str, GraphPrecision]
FLOAT_CLIP: Part = ("clip", GraphPrecision(FLOAT32))


@dataclass(frozen=True)
class PrecisionPlan:
    """The precision of each of a bundle's graphs."""

    clip: GraphPrecision
    step: GraphPrecision
    head: GraphPrecision

    @classmethod
    def uniform(cls, name: str) -> PrecisionPlan:
        """Every graph in one precision."""
        return cls(GraphPrecision(name), GraphPrecision(name), GraphPrecision(name))

    @property
    def by_part(self) -> dict[str, GraphPrecision]:
        """Each graph's precision, by part: `clip`, `step`, `head`."""
        return dict(vars(self))

    @property
    def precision(self) -> str:
        """How a manifest names it: the graphs' own name where they share one, else `mixed`."""
        first, *others = self.by_part.values()
        same = not first.float_layers and all(precision == first for precision in others)
        return first.name if same else MIXED

    def __str__(self) -> str:
        shared = self.precision != MIXED
        return (
            self.precision
            if shared
            else ", ".join(f"{part} {precision}" for part, precision in self.by_part.items())
        )


@dataclass(frozen=True)
class Built:
    """The graphs of a bundle, before it is checked.

    manifest: without golden clips, figures and provenance. files: the graphs by name. rebuild_error: the
    largest difference of a probability between Keras and the float graphs. operators: per file, the count of
    each operator. plan: how each graph holds its numbers.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    rebuild_error: float
    operators: Mapping[str, Mapping[str, int]]
    plan: PrecisionPlan

    def bundle(self) -> Bundle:
        """A bundle to run; for checks, not for people: its model card is empty."""
        return read_bundle(pack_bundle(self.manifest, {MODEL_CARD: PLACEHOLDER_CARD, **self.files})[0])

    def zero_fractions(self) -> dict[str, dict[str, float]]:
        """Fraction of zero weights in the exported files: file -> kernel -> 0 to 1."""
        return {
            name: {f"{kernel.name} {list(kernel.values.shape)}": kernel.zero_fraction for kernel in kernels}
            for name, kernels in ((name, flatbuffer.kernels(content)) for name, content in self.files.items())
        }


class GraphBuilder:
    """Makes a trained Keras model's graphs in any precision, each once.

    All that a conversion tries shares the calibration and the finished files.

    calibration: windows of training clips, uint8 [n, N, H, W, 3]. log: where the converter's output goes.
    timeout_s: of one graph in the converter. Raises ConversionError for a model that cannot be rebuilt or
    does not compute what Keras does.
    """

    def __init__(
        self,
        model: Any,
        *,
        kind: str,
        labels: Sequence[str],
        frame: FrameSpec,
        temporal: TemporalContract,
        calibration: Pixels,
        log: Path,
        name: str = "model",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.graphs = float_graphs(model)
        _check_shapes(self.graphs, len(labels), int(model.output_shape[-1]), frame, temporal)
        self.rebuild_error = rebuild_error(model, self.graphs, calibration[:REBUILD_CLIPS])
        if not self.rebuild_error <= REBUILD_LIMIT:
            raise ConversionError(
                f"the float graphs differ from Keras by {self.rebuild_error:.2g}, more than {REBUILD_LIMIT:g}"
            )
        self._model, self._calibration = model, calibration
        self._log, self._timeout_s = log, timeout_s
        self._describe = partial(
            Manifest, name, "0", 1, kind, labels=tuple(labels), frame=frame, temporal=temporal
        )
        self.temporal = temporal
        self._made: dict[Part, bytes] = {}
        self._failed: dict[Part, ConversionError] = {}

    @cached_property
    def file_names(self) -> dict[str, str]:
        """Part to file; a model that cannot be cut has its clip alone."""
        step = "step.tflite" if self.graphs.states else "encoder.tflite"
        names = {"clip": CLIP, "step": step, "head": "head.tflite"}
        return {part: names[part] for part in self.graphs.parts}

    @cached_property
    def _samples(self) -> dict[str, Samples]:
        return calibration_samples(self.graphs, self._calibration)

    @cached_property
    def _integer_graphs(self) -> dict[str, FloatGraphs]:
        return integer_graphs(self._model, self._calibration)

    def make(self, parts: Sequence[Part]) -> list[bytes]:
        """The TFLite files of parts in these precisions. Raises ConversionError at the first that cannot be
        made; it says what to use instead where that is known.
        """
        self._fill(parts, stop_at_error=True)
        for part in parts:
            if part in self._failed:
                raise self._failed[part]
        return [self._made[part] for part in parts]

    def attempt(self, parts: Sequence[Part]) -> dict[Part, bytes | ConversionError]:
        """The file of each part, or why it cannot be made.

        What failed is not tried again, here or in `make`.
        """
        self._fill(parts, stop_at_error=False)
        return {part: self._failed[part] if part in self._failed else self._made[part] for part in parts}

    def _fill(self, parts: Sequence[Part], *, stop_at_error: bool) -> None:
        jobs: dict[str, Job] = {}
        named = {f"{part} as {precision}": (part, precision) for part, precision in parts}
        for name, part in named.items():
            if part not in self._made and part not in self._failed:
                try:
                    jobs[name] = self._job(*part)
                except ConversionError as error:
                    self._failed[part] = error
        if not jobs or (stop_at_error and any(part in self._failed for part in parts)):
            return
        with closing(convert_each(jobs, log=self._log, timeout_s=self._timeout_s)) as results:
            for name, result in results:
                if isinstance(result, bytes):
                    self._made[named[name]] = result
                    continue
                self._failed[named[name]] = result
                if stop_at_error:
                    return

    def _job(self, part: str, precision: GraphPrecision) -> Job:
        if precision.name == INT16X8 and part != "step" and self._has_fused_lstm():
            raise ConversionError(
                "the converter makes no int16x8 of a fused LSTM; use --precision int8, int8-weights or auto"
            )
        if precision.name == INT8_CELLS16 and not self.graphs.states:
            raise ConversionError(f"only a ConvLSTM has cells to keep in 16 bits; use --precision {INT8}")
        if precision.name in (INT8, INT8_CELLS16) and self.graphs.states:
            return Job(
                getattr(self._integer_graphs[precision.name], part), precision.name
            )  # it carries its ranges
        samples = self._samples[part] if precision.name in CALIBRATED else None
        return Job(getattr(self.graphs, part), precision.name, samples, precision.float_layers)

    def _has_fused_lstm(self) -> bool:
        models = [model for graph in self.graphs.parts.values() for model in graph.tracked]
        return any(isinstance(layer, L.LSTM) for model in models for layer in model.layers)

    @property
    def float_clip(self) -> bytes:
        """The whole-clip graph in float32: one of the ways that the parity gate compares."""
        return self.make([FLOAT_CLIP])[0]

    def forced(self, precision: str | None = None, *, beside: Sequence[Part] = ()) -> Built:
        """Every graph in one precision. beside: other parts to make in the same run.

        precision: one of convert.precisions.PRECISIONS; None is int8, or int8 weights for a model with cells
        (ConvLSTM), which keeps float between its convolutions. Raises MisuseError for an unknown precision,
        ConversionError when a graph cannot be made.
        """
        if precision is not None and precision not in PRECISIONS:
            raise MisuseError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        name = precision or (INT8_WEIGHTS if self.graphs.has_cells else INT8)
        self.make([*((part, GraphPrecision(name)) for part in self.file_names), *beside])
        return self.build(PrecisionPlan.uniform(name))

    def build(self, plan: PrecisionPlan) -> Built:
        """The bundle's parts in the precisions of a plan. Raises ConversionError."""
        parts = list(self.file_names)
        contents = self.make([(part, plan.by_part[part]) for part in parts])
        files = {self.file_names[part]: content for part, content in zip(parts, contents, strict=True)}
        names = self.file_names
        if "step" in names and plan.step.name == plan.head.name == INT8:
            feature = next(
                spec for spec in graph_tensors(files[names["step"]]).outputs if spec.role == "feature"
            )
            files[names["head"]] = flatbuffer.tie_input(
                files[names["head"]], feature.scale, feature.zero_point
            )
        manifest = self._describe(
            precision=plan.precision,
            graphs=Graphs(**names, frames_per_step=self.graphs.frames_per_step),
            tensors={file: graph_tensors(content) for file, content in files.items()},
        )
        operators = {file: flatbuffer.operators(content) for file, content in files.items()}
        return Built(manifest, files, self.rebuild_error, operators, plan)


def graph_tensors(content: bytes) -> GraphTensors:
    """The tensors as the interpreter lists them, each with its role in the graph's own signature."""
    graph = Graph(content)
    roles_in, roles_out = flatbuffer.roles(content)
    return GraphTensors(_specs(graph.inputs, roles_in), _specs(graph.outputs, roles_out))


def _specs(tensors: Sequence[TensorInfo], roles: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    role_of = {index: role for role, index in roles.items()}
    if len(role_of) != len(roles) or {info.index for info in tensors} != set(role_of):
        raise ConversionError(
            "the converter fused or dropped tensors of a graph, so its signature no longer fits"
        )
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
