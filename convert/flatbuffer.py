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
SCALE_NOISE = 1e-4  # relative; far below what changes a result
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
    def zero_share(self) -> float:
        """Share of weights that are zero as stored, 0 to 1."""
        return float(np.mean(self.values == 0))


def read(content: bytes) -> Any:
    """The flatbuffer as an object tree."""
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def operators(content: bytes) -> dict[str, int]:
    """How often each operator stands in the graph, the float ones under `NAME (float)`."""
    model = read(content)
    graph = model.subgraphs[0]
    names = (
        _name(model, op) + (" (float)" if _type(graph.tensors[op.outputs[0]]).startswith("float") else "")
        for op in graph.operators
    )
    return dict(sorted(Counter(names).items()))


def kernels(content: bytes) -> list[Kernel]:
    """Every convolution's, dense layer's and LSTM's weights, in the graph's order; shared ones once."""
    model = read(content)
    graph = model.subgraphs[0]
    seen: dict[int, Kernel] = {}
    for operator, index in _kernel_places(model):
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

    Two calibrations over the same numbers can differ in a scale's last digit; tied, one graph's output is the next
    one's input byte for byte. A graph that differs by more is returned as it is.
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
    wanted = {
        index
        for operator, index in _kernel_places(model)
        if operator == "CONV_2D" and _type(graph.tensors[index]) == "float32"
    }
    for index in sorted(wanted):
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
        if _name(model, op) == "CONV_2D" and op.inputs[1] in wanted:
            op.opcodeIndex = code
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _kernel_places(model: Any) -> Iterator[tuple[str, int]]:
    for op in model.subgraphs[0].operators:
        name = _name(model, op)
        for place in WEIGHT_INPUTS.get(name, ()):
            if op.inputs[place] >= 0:
                yield name, int(op.inputs[place])


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
