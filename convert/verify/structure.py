"""What the made TFLite files must be, whatever their figures.

This is read from the flatbuffers, and from one clip run twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from convert.precisions import KNOWN_PRECISIONS
from convert.tflite.build import PLACEHOLDER_CARD
from convert.tflite.flatbuffer import read, schema
from edge_har.errors import BundleError, ConversionError
from edge_har.model.bundle import MODEL_CARD, Bundle, pack_bundle, read_bundle
from edge_har.model.manifest import Manifest, TensorSpec
from edge_har.model.recognizer import TickRecognizer, WholeClip

FLEX_PREFIX = "Flex"  # how the converter names TensorFlow's own operators
FILE_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every TFLite file
SMALLEST_COVER = (
    0.5  # of a written range that its reader must be able to hold; calibrations differ by far less
)
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
FLOAT_ONLY = ("CONV_3D", "CONV_3D_TRANSPOSE")  # what TFLite has no integer kernels of
# What surrounds those in a graph of integers.
CASTS = ("QUANTIZE", "DEQUANTIZE")
HEIGHT, WIDTH = 1, 2  # axes of an image tensor, and of a kernel as stored: [out, height, width, in]
SPARSE = "DENSIFY"
CLIP_SEED = 8

_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}


@dataclass(frozen=True)
class FileStructure:
    """Of one file. float_operators: those with a float number going in (weights aside) or coming out.
    float_only: those among them that TFLite has in float alone, and the casts beside such. keeps_state:
    whether it remembers from one call to the next until it is reset, as a fused LSTM does. ends: role ->
    dtype.
    """

    precision: str
    operators: int
    float_operators: int
    float_only: int
    keeps_state: bool
    ends: Mapping[str, str]


@dataclass(frozen=True)
class Link:
    """A tensor that goes from one graph (or one tick) to the next. how: `float`, `equal` (the same scale and
    zero point: bytes pass unchanged) or `requantised` (by the runtime, which knows both scales).
    """

    written: str
    read: str
    how: str


@dataclass(frozen=True)
class StructureReport:
    """What was found; the checks passed."""

    files: Mapping[str, FileStructure]
    links: tuple[Link, ...]

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        return {
            "files": {name: asdict(file) for name, file in self.files.items()},
            "links": [asdict(link) for link in self.links],
        }


def check_structure(
    manifest: Manifest,
    files: Mapping[str, bytes],
    precision: str | Mapping[str, str],
    *,
    float_layers: Mapping[str, int] | None = None,
) -> StructureReport:
    """Check the graphs of a bundle in the making.

    files: the graphs by name, others aside. precision: a key of KNOWN_PRECISIONS, for all graphs or by file.
    float_layers: file -> how many its plan keeps float on purpose, with casts around each, where the
    precision is all integer.
    Raises ConversionError, in one line naming the file, for an operator that devices lack or compute wrongly,
    for numbers of another type than promised, for graphs that do not fit each other, and where the same clip
    gives two results.
    """
    allowed = float_layers or {}
    found = {}
    for name, tensors in manifest.tensors.items():
        named = precision if isinstance(precision, str) else precision[name]
        model = _read(name, files[name])
        _check_operators(name, model)
        _check_shapes(name, model)
        in_float = [_name(model, op) for graph, op in _operators(model) if _computes_float(model, graph, op)]
        found[name] = FileStructure(
            named,
            sum(len(graph.operators) for graph in model.subgraphs),
            len(in_float),
            _float_only(in_float),
            any(_keeps_state(model, graph, op) for graph, op in _operators(model)),
            {spec.role: spec.dtype for spec in (*tensors.inputs, *tensors.outputs)},
        )
        _check_promise(name, found[name], allowed.get(name, 0), in_float)
    links = tuple(_link(*pair) for pair in _pairs(manifest))
    bundle = _bundle(manifest, files)
    _check_scores(bundle)
    _check_repeatable(bundle)
    return StructureReport(found, links)


def _read(name: str, content: bytes) -> Any:
    if content[4:8] != FILE_IDENTIFIER:
        raise ConversionError(f"{name}: not a TFLite file")
    return read(content)


def _operators(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every operator with its graph, those inside loops and branches too."""
    for graph in model.subgraphs:
        for op in graph.operators:
            yield graph, op


def _name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _OPERATORS.get(number, f"operator {number}")


def _check_operators(name: str, model: Any) -> None:
    for code in model.operatorCodes:
        if code.customCode is None:
            continue
        custom = code.customCode.decode()
        if custom.startswith(FLEX_PREFIX):
            raise ConversionError(
                f"{name}: needs TensorFlow's own operator {custom.removeprefix(FLEX_PREFIX)}, which a "
                "device's runtime "
                "lacks; replace the layer that uses it"
            )
        raise ConversionError(f"{name}: needs the custom operator {custom}, which a device's runtime lacks")
    for graph, op in _operators(model):
        if _name(model, op) == SPARSE:
            raise ConversionError(f"{name}: holds sparse weights ({SPARSE}), which litert cannot load")
        if _name(model, op) in CONVOLUTIONS:
            _check_convolution(name, graph, op)


def _check_convolution(name: str, graph: Any, op: Any) -> None:
    """Refuse a padded convolution whose windows end before the picture does.

    XNNPACK of litert 1.4 (and of tflite-runtime 2.14, in float) takes the missing padding for padding and
    computes something else, in every precision; 1x1 kernels are right, and so are ai-edge-litert 2.3 and
    unpadded ones.
    """
    options = op.builtinOptions
    if options.padding != schema.Padding.SAME:
        return
    image, kernel, made = (graph.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    strides = {HEIGHT: options.strideH, WIDTH: options.strideW}
    dilations = {HEIGHT: options.dilationHFactor, WIDTH: options.dilationWFactor}
    if all(kernel.shape[axis] == 1 for axis in strides):
        return
    for axis, stride in strides.items():
        side = (kernel.shape[axis] - 1) * dilations[axis] + 1
        if (made.shape[axis] - 1) * stride + side < image.shape[axis]:
            raise ConversionError(
                f"{name}: the convolution {_short(made)!r} has a stride ({stride}) larger than its kernel "
                f"({side}) and "
                "'same' padding, which litert 1.4 computes wrongly without a word; use padding='valid' or a "
                "kernel as "
                "large as the stride"
            )


def _check_shapes(name: str, model: Any) -> None:
    graph = model.subgraphs[0]
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
        if min(signature, default=1) < 1:
            raise ConversionError(
                f"{name}: {_short(tensor)!r} has the open shape {[int(n) for n in signature]}; expected a "
                "fixed one, batch 1"
            )


def _computes_float(model: Any, graph: Any, op: Any) -> bool:
    read_indices = op.inputs if op.inputs is not None else ()
    tensors = [graph.tensors[i] for i in read_indices if i >= 0 and not _is_constant(model, graph.tensors[i])]
    tensors += [graph.tensors[i] for i in (op.outputs if op.outputs is not None else ())]
    return any(_TYPES[tensor.type].startswith("float") for tensor in tensors)


def _float_only(in_float: Sequence[str]) -> int:
    """How many of the operators that compute in float cannot do otherwise, or lead to such and back."""
    if not any(name in FLOAT_ONLY for name in in_float):
        return 0
    return sum(name in (*FLOAT_ONLY, *CASTS) for name in in_float)


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _keeps_state(model: Any, graph: Any, op: Any) -> bool:
    inputs = op.inputs if op.inputs is not None else ()
    return _name(model, op) == "VAR_HANDLE" or any(graph.tensors[i].isVariable for i in inputs if i >= 0)


def _short(tensor: Any) -> str:
    return str(tensor.name.decode().split(";", 1)[0])


def _check_promise(name: str, file: FileStructure, allowed: int, in_float: Sequence[str]) -> None:
    if file.precision not in KNOWN_PRECISIONS:
        raise ConversionError(
            f"{name}: unknown precision {file.precision!r}; expected one of {', '.join(KNOWN_PRECISIONS)}"
        )
    promise = KNOWN_PRECISIONS[file.precision]
    for role, dtype in file.ends.items():
        if dtype not in promise.ends:
            raise ConversionError(
                f"{name}: {role} is {dtype}; {file.precision} promises {' or '.join(promise.ends)}"
            )
    if allowed:
        too_many = sum(operator not in (*FLOAT_ONLY, *CASTS) for operator in in_float) > allowed
    else:
        too_many = file.float_operators > file.float_only
    if promise.all_integer and too_many:
        names = ", ".join(operator for operator in dict.fromkeys(in_float) if operator not in CASTS)
        raise ConversionError(
            f"{name}: {file.float_operators} of {file.operators} operators compute in float ({names}); "
            f"{file.precision} "
            f"promises {allowed or 'none'}: use --precision int8-weights or auto"
        )


def _pairs(manifest: Manifest) -> Iterator[tuple[str, TensorSpec, str, TensorSpec]]:
    """Tensors that are written and read again: file and tensor of both ends."""
    step, head = manifest.graphs.step, manifest.graphs.head
    # A whole-clip graph alone has none.
    if step is None or head is None:
        return
    written = {spec.role: spec for spec in manifest.tensors[step].outputs}
    states = {spec.role: spec for spec in manifest.tensors[step].inputs if spec.role.startswith("state_")}
    features = {spec.role: spec for spec in manifest.tensors[head].inputs}
    lost = sorted(({"feature", *states} - written.keys()) | ({"features"} - features.keys()))
    if lost:
        raise ConversionError(f"{step}, {head}: no tensor plays the role {lost[0]}")
    for role, spec in sorted(states.items()):
        if written[role].shape != spec.shape:
            raise ConversionError(
                f"{step}: {role} leaves as {list(written[role].shape)}, enters as {list(spec.shape)}"
            )
        yield step, written[role], step, spec
    width_out, width_in = written["feature"].shape[-1], features["features"].shape[-1]
    if width_out != width_in:
        raise ConversionError(f"{step} makes features of {width_out}, {head} reads features of {width_in}")
    yield step, written["feature"], head, features["features"]


def _link(file_out: str, out: TensorSpec, file_in: str, into: TensorSpec) -> Link:
    written, reads = f"{file_out} {out.role}", f"{file_in} {into.role}"
    if not (out.scale > 0 and into.scale > 0):
        return Link(written, reads, "float" if out.scale == into.scale else "requantised")
    if (out.dtype, out.scale, out.zero_point) == (into.dtype, into.scale, into.zero_point):
        return Link(written, reads, "equal")
    cover = _cover(_range(out), _range(into))
    if cover < SMALLEST_COVER:
        raise ConversionError(
            f"{reads} can hold {cover:.0%} of the range of {written}: they were calibrated on different "
            "numbers"
        )
    return Link(written, reads, "requantised")


def _range(spec: TensorSpec) -> tuple[float, float]:
    limits = np.iinfo(spec.dtype)
    return (limits.min - spec.zero_point) * spec.scale, (limits.max - spec.zero_point) * spec.scale


def _cover(written: tuple[float, float], reads: tuple[float, float]) -> float:
    shared = min(written[1], reads[1]) - max(written[0], reads[0])
    return max(0.0, shared) / (written[1] - written[0])


def _bundle(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    graphs = {name: files[name] for name in manifest.tensors}
    bare = {**graphs, MODEL_CARD: PLACEHOLDER_CARD}
    return read_bundle(pack_bundle(replace(manifest, golden=()), bare)[0])


def _check_scores(bundle: Bundle) -> None:
    labels = len(bundle.manifest.labels)
    for name, tensors in bundle.manifest.tensors.items():
        for spec in tensors.outputs:
            if spec.role == "scores" and spec.shape[-1] != labels:
                raise ConversionError(f"{name}: gives {spec.shape[-1]} scores for {labels} labels")


def _check_repeatable(bundle: Bundle) -> None:
    """One clip, another, the first again: what the graphs hold by themselves must not reach the next clip."""
    (width, height), frames = bundle.manifest.frame.size_wh, bundle.manifest.temporal.frames
    noise = np.random.default_rng(CLIP_SEED)
    first, other = noise.integers(0, 256, (2, frames, height, width, 3), np.uint8)
    try:
        ways: dict[str, TickRecognizer | WholeClip] = {
            "stream": TickRecognizer(bundle),
            "whole clip": WholeClip(bundle),
        }
    except BundleError as error:
        raise ConversionError(f"the graphs do not load: {error}") from error
    for name, way in ways.items():
        before = way.clip(first)
        way.clip(other)
        apart = float(np.abs(way.clip(first) - before).max())
        if apart > 0:
            raise ConversionError(
                f"the {name} gives the same clip two results, {apart:.3f} apart: a state outlives its clip"
            )
