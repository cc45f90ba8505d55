"""What a TFLite file says of itself: its operators, its weights, which tensor plays which role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.tf import tf  # the flatbuffer schema below comes with it

from tensorflow.lite.python import schema_py_generated as schema  # isort: skip
from tensorflow.lite.tools import flatbuffer_utils  # isort: skip

assert tf is not None
INT8_LIMIT = 127
FLOAT_MARK = " (float)"  # after an operator's name
SCALE_NOISE = 1e-4  # relative; far below what changes a result
INT16_LIMIT = 32767
INT16_TANH_SCALE = INT16_SOFTMAX_SCALE = 1 / 32768  # TFLite prescribes it for their outputs
INT16_VERSIONS = {  # since when these take int16 of any scale
    "ADD": 4,
    "CAST": 1,
    "FULLY_CONNECTED": 7,
    "MUL": 4,
    "QUANTIZE": 2,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "TANH": 3,
}
HYBRID_PER_CHANNEL_VERSION = 5  # of CONV_2D: float input, int8 weights with a scale per output channel
WEIGHT_INPUTS = {  # operator -> which of its inputs are kernels
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "FULLY_CONNECTED": (1,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3, 4, 5, 6, 7, 8),
}
_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
_DTYPES = {"int8": np.int8, "float32": np.float32, "float16": np.float16, "int16": np.int16}


@dataclass(frozen=True)
class Kernel:
    """The weights of one operator: stored values in the file's own layout, output channel first."""

    operator: str
    name: str
    values: NDArray[Any]

    @property
    def zero_fraction(self) -> float:
        """Fraction of weights that are zero as stored, 0 to 1."""
        return float(np.mean(self.values == 0))


def read(content: bytes) -> Any:
    """The flatbuffer as an object tree."""
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def operators(content: bytes) -> dict[str, int]:
    """The count of each operator in the graph, the float ones under `NAME (float)`."""
    model = read(content)
    graph = model.subgraphs[0]
    names = (
        _name(model, op) + (FLOAT_MARK if _type(graph.tensors[op.outputs[0]]).startswith("float") else "")
        for op in graph.operators
    )
    return dict(sorted(Counter(names).items()))


def kernels(content: bytes) -> list[Kernel]:
    """Every convolution's, dense layer's and LSTM's weights, in the graph's order; shared ones once."""
    model = read(content)
    graph = model.subgraphs[0]
    seen: dict[int, Kernel] = {}
    for operator, index in _kernel_inputs(model):
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        if index in seen or data is None:
            continue
        values = np.frombuffer(bytes(data), _DTYPES[_type(tensor)])
        seen[index] = Kernel(operator, _short(tensor.name), values.reshape(tensor.shape))
    return list(seen.values())


def roles(content: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Role to tensor index, of inputs and of outputs, as the graph's signature names them."""
    signature = read(content).signatureDefs[0]
    return (
        {entry.name.decode(): int(entry.tensorIndex) for entry in signature.inputs},
        {entry.name.decode(): int(entry.tensorIndex) for entry in signature.outputs},
    )


def input_roles(content: bytes) -> list[str]:
    """The roles of the inputs, in the graph's own order."""
    role_of = {index: role for role, index in roles(content)[0].items()}
    return [role_of[int(index)] for index in read(content).subgraphs[0].inputs]


def tie_input(content: bytes, scale: float, zero_point: int) -> bytes:
    """Give the only input of an int8 graph exactly this scale, where its own differs by float noise alone.

    Two calibrations over the same numbers can differ in a scale's last digit; tied, one graph's output is the
    next one's input byte for byte. A graph that differs by more is returned as it is.
    """
    model = read(content)
    graph = model.subgraphs[0]
    own = graph.tensors[graph.inputs[0]].quantization
    if own is None or own.scale is None or own.zeroPoint[0] != zero_point:
        return content
    before = np.float32(own.scale[0])
    if abs(before - scale) > SCALE_NOISE * scale:
        return content
    for tensor in graph.tensors:
        held = tensor.quantization
        if held is not None and held.scale is not None and len(held.scale) == 1 and held.scale[0] == before:
            held.scale = np.array([scale], np.float32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def quantise_float_kernels(content: bytes) -> bytes:
    """Make every float convolution kernel int8, one scale per output channel; activations stay float.

    The converter leaves kernels below 1,024 weights in float when it quantises weights alone.
    """
    model = read(content)
    graph = model.subgraphs[0]
    float_kernels = {
        index
        for operator, index in _kernel_inputs(model)
        if operator == "CONV_2D" and _type(graph.tensors[index]) == "float32"
    }
    for index in sorted(float_kernels):
        tensor = graph.tensors[index]
        real = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
        scale = np.maximum(np.abs(real).max(axis=(1, 2, 3)), 1e-8) / INT8_LIMIT
        stored = np.rint(real / scale[:, None, None, None]).astype(np.int8)
        if sum(other.buffer == tensor.buffer for other in graph.tensors) > 1:
            model.buffers.append(schema.BufferT())
            tensor.buffer = len(model.buffers) - 1
        model.buffers[tensor.buffer].data = np.frombuffer(stored.tobytes(), np.uint8)
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scale.astype(np.float32)
        tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
        tensor.quantization.quantizedDimension = 0
    code = _operator_code(model, schema.BuiltinOperator.CONV_2D, HYBRID_PER_CHANNEL_VERSION)
    for op in graph.operators:
        if _name(model, op) == "CONV_2D" and op.inputs[1] in float_kernels:
            op.opcodeIndex = code
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def widen(content: bytes) -> bytes:
    """What makes INT8_CELLS16 of an all-int8 graph of a ConvLSTM."""
    return widen_scores(widen_cells(content))


def widen_cells(content: bytes) -> bytes:
    """Compute the cells of an all-int8 ConvLSTM in 16 bits from gates and candidate to the new h; what
    convolutions read and write, h among it, stays int8.

    A cell adds small steps to large numbers: c reaches the window's length while a step below 1/256 of its
    range would be lost. Between convolutions nothing but h is rounded to 8 bits then.
    """
    graph = _Editable(read(content))
    for tanh in [op for op in graph.operators if graph.name(op) == "TANH"]:
        add = graph.maker(tanh.inputs[0])
        if add is not None and all(graph.is_made_by(product, "MUL") for product in add.inputs):
            _widen_cell(graph, add, tanh)
    return graph.content()


def widen_scores(content: bytes) -> bytes:
    """Compute the scores of an all-int8 graph in 16 bits: the dense layer before its softmax, and the
    softmax.

    Steps of 1/256 make ties of near scores. A graph that ends otherwise, or whose dense layer reads what
    cannot be cast, is returned as it is.
    """
    graph = _Editable(read(content))
    softmax = graph.operators[-1]
    dense = graph.maker(softmax.inputs[0]) if graph.name(softmax) == "SOFTMAX" else None
    if dense is None or graph.name(dense) != "FULLY_CONNECTED" or not graph.can_be_cast(dense.inputs[0]):
        return content
    logits, scores = int(dense.outputs[0]), int(softmax.outputs[0])
    graph.input_to_int16(dense, 0)
    # A bias of zeros is omitted.
    if len(dense.inputs) > 2 and dense.inputs[2] >= 0:
        graph.bias_to_int64(int(dense.inputs[2]))
    graph.make_int16(logits, graph.largest(logits) / INT16_LIMIT)
    graph.make_int16(scores, INT16_SOFTMAX_SCALE)
    graph.set_version(dense)
    graph.set_version(softmax)
    return graph.content()


def _widen_cell(graph: _Editable, add: Any, tanh: Any) -> None:
    """add: gate x c + gate x candidate, the new c. tanh: of it."""
    enter, keep = (
        graph.maker(product)
        for product in sorted(add.inputs, key=lambda product: not graph.reads_tanh(graph.maker(product)))
    )
    show = graph.reader(tanh.outputs[0])
    (cell,) = (tensor for tensor in keep.inputs if not graph.is_made_by(tensor, "SPLIT"))
    (gate,) = (tensor for tensor in keep.inputs if graph.is_made_by(tensor, "SPLIT"))
    (candidate,) = (tensor for tensor in enter.inputs if graph.is_made_by(tensor, "TANH"))
    split, squash = graph.maker(gate), graph.maker(candidate)
    gates_scale = graph.input_to_int16(split, 1)
    for tensor in split.outputs:
        graph.make_int16(tensor, gates_scale)
    graph.input_to_int16(squash, 0)
    for tensor in (candidate, enter.outputs[0], tanh.outputs[0]):
        graph.make_int16(tensor, INT16_TANH_SCALE)
    cell_scale = graph.largest(add.outputs[0]) / INT16_LIMIT
    for tensor in (cell, keep.outputs[0], add.outputs[0]):
        graph.make_int16(tensor, cell_scale)
    graph.output_from_int16(show)
    add.builtinOptions.potScaleInt16 = False
    for op in (split, squash, keep, enter, add, tanh, show):
        graph.set_version(op)


class _Editable:
    """A flatbuffer's graph with the questions and changes that widening needs; tensors go by index."""

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._makers = {int(out): op for op in self._graph.operators for out in op.outputs}

    @property
    def operators(self) -> list[Any]:
        """In the order they run."""
        return list(self._graph.operators)

    def name(self, op: Any) -> str:
        """Such as `ADD`."""
        return _name(self._model, op)

    def maker(self, tensor: int) -> Any:
        """The operator that makes a tensor; None for inputs and constants."""
        return self._makers.get(int(tensor))

    def reader(self, tensor: int) -> Any:
        """The only operator that reads a tensor."""
        (op,) = (op for op in self._graph.operators if tensor in op.inputs)
        return op

    def is_made_by(self, tensor: int, name: str) -> bool:
        """Whether an operator of this name makes it."""
        op = self.maker(tensor)
        return op is not None and self.name(op) == name

    def reads_tanh(self, op: Any) -> bool:
        """Whether one of its inputs is a tanh."""
        return any(self.is_made_by(tensor, "TANH") for tensor in op.inputs)

    def largest(self, tensor: int) -> float:
        """The largest magnitude that an int8 tensor can hold."""
        held = self._graph.tensors[tensor].quantization
        return float(held.scale[0]) * (INT8_LIMIT + 1 + abs(int(held.zeroPoint[0])))

    def make_int16(self, index: int, scale: float) -> None:
        """Hold a tensor in 16 bits; a constant must be zeros."""
        tensor = self._graph.tensors[index]
        tensor.type = schema.TensorType.INT16
        tensor.quantization = _scaled(scale)
        if self._model.buffers[tensor.buffer].data is not None:
            self._model.buffers.append(schema.BufferT())
            tensor.buffer = len(self._model.buffers) - 1
            self._model.buffers[-1].data = np.zeros(2 * int(np.prod(tensor.shape)), np.uint8)

    def can_be_cast(self, index: int) -> bool:
        """Whether the zero of an int8 tensor is where `input_to_int16` can take it."""
        return int(self._graph.tensors[index].quantization.zeroPoint[0]) in (0, -INT8_LIMIT - 1)

    def input_to_int16(self, op: Any, at: int) -> float:
        """Let `op` read one of its inputs in 16 bits, made just before it; returns their scale, the input's
        own.

        By a cast, since QUANTIZE goes from 8 to 16 bits in new runtimes alone; numbers whose zero is at the
        lowest int8 become uint8 first, whose zero is at 0 as it must be in 16 bits.
        """
        index, position = int(op.inputs[at]), self._graph.operators.index(op)
        held = self._graph.tensors[index].quantization
        scale, zero_point = float(held.scale[0]), int(held.zeroPoint[0])
        assert self.can_be_cast(index), f"a tensor with its zero at {zero_point} cannot be cast"
        made = self._like(index, schema.TensorType.INT16, scale)
        op.inputs[at] = made
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.INT8, schema.TensorType.INT16
        if zero_point:
            index, signed = self._like(index, schema.TensorType.UINT8, scale), index
            self._insert("QUANTIZE", signed, index, position)
            options.inDataType, position = schema.TensorType.UINT8, position + 1
        cast = self._insert("CAST", index, made, position)
        cast.builtinOptions, cast.builtinOptionsType = options, schema.BuiltinOptions.CastOptions
        return scale

    def bias_to_int64(self, index: int) -> None:
        """Hold a bias in the 64 bits that go with an input of 16."""
        tensor = self._graph.tensors[index]
        values = np.frombuffer(bytes(self._model.buffers[tensor.buffer].data), np.int32)
        self._model.buffers.append(schema.BufferT())
        self._model.buffers[-1].data = np.frombuffer(values.astype(np.int64).tobytes(), np.uint8)
        tensor.buffer, tensor.type = len(self._model.buffers) - 1, schema.TensorType.INT64

    def output_from_int16(self, op: Any) -> None:
        """Let `op` write 16 bits, which become its int8 output just after it."""
        output = int(op.outputs[0])
        made = self._like(output, schema.TensorType.INT16, self.largest(output) / INT16_LIMIT)
        op.outputs = np.array([made], np.int32)
        self._insert("QUANTIZE", made, output, self._graph.operators.index(op) + 1)

    def _like(self, index: int, kind: int, scale: float) -> int:
        """A new tensor of another type and scale, its zero at 0."""
        held, tensor = self._graph.tensors[index], schema.TensorT()
        tensor.shape, tensor.shapeSignature = held.shape, held.shapeSignature
        tensor.name = held.name + b"/" + _TYPES[kind].encode()
        tensor.type, tensor.quantization = kind, _scaled(scale)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _insert(self, name: str, source: int, target: int, position: int) -> Any:
        op = schema.OperatorT()
        op.inputs, op.outputs = np.array([source], np.int32), np.array([target], np.int32)
        builtin = getattr(schema.BuiltinOperator, name)
        op.opcodeIndex = _operator_code(self._model, builtin, INT16_VERSIONS[name])
        self._graph.operators.insert(position, op)
        return op

    def set_version(self, op: Any) -> None:
        """Declare that it takes 16 bits."""
        name = self.name(op)
        op.opcodeIndex = _operator_code(
            self._model, getattr(schema.BuiltinOperator, name), INT16_VERSIONS[name]
        )

    def content(self) -> bytes:
        """The flatbuffer."""
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self._model))


def _scaled(scale: float) -> Any:
    held = schema.QuantizationParametersT()
    held.scale, held.zeroPoint = np.array([scale], np.float32), np.zeros(1, np.int64)
    return held


def _kernel_inputs(model: Any) -> Iterator[tuple[str, int]]:
    for op in model.subgraphs[0].operators:
        name = _name(model, op)
        for position in WEIGHT_INPUTS.get(name, ()):
            if op.inputs[position] >= 0:
                yield name, int(op.inputs[position])


def _operator_code(model: Any, builtin: int, version: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    return _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _type(tensor: Any) -> str:
    return _TYPES[tensor.type]


def _short(name: bytes) -> str:
    """`model/conv_1/Conv2D;model/...` -> `model/conv_1/Conv2D`."""
    return name.decode().split(";", 1)[0]
