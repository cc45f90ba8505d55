"""Hostile graphs: TFLite files made of good ones that crash the runtime, hang it, take all memory or compute
nothing.

`RECIPES` are the kinds by name, each of which has taken a process along or could; `hostile_graph` takes one
of them, or changes single values of the flatbuffer, or damages its bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.helpers.fuzzing import damaged

Model = Any  # a schema.ModelT
Recipe = Callable[[random.Random, Model], None]
RECIPES: dict[str, Recipe] = {}

WORDS = (b"TFL3", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x10\x00\x00\x00")
ODD_NUMBERS = (-(2**31), -5, -2, -1, 0, 1, 2, 3, 7, 127, 128, 255, 1000, 65536, 2**24, 2**30, 2**31 - 1)
TYPES = sorted(value for name, value in vars(schema.TensorType).items() if not name.startswith("_"))
TYPE_NAMES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
OPERATORS = sorted(value for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_"))
MIB_OF_FLOATS = 2**18


def read_graph(content: bytes) -> Model:
    """The graph as values that can be changed."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed_graph(model: Model) -> bytes:
    """The graph as a file again, whatever its values say."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def described(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """The inputs and outputs of a graph as a manifest lists them, but for their roles; None where they cannot
    be found.
    """
    try:
        main = read_graph(content).subgraphs[0]
        return tuple(
            [_described(main.tensors[i]) for i in indices] for indices in (main.inputs, main.outputs)
        )  # type: ignore[return-value]
    except Exception:  # noqa: BLE001  the file may hold anything
        return None


def _described(tensor: Any) -> dict[str, Any]:
    quantisation, name = tensor.quantization, TYPE_NAMES[tensor.type]
    scaled = quantisation is not None and quantisation.scale is not None and len(quantisation.scale) == 1
    return {
        "name": tensor.name.decode("utf-8", "replace"),
        "shape": [int(side) for side in ([] if tensor.shape is None else tensor.shape)],
        "dtype": "|S0" if name == "string" else name,
        "scale": float(quantisation.scale[0]) if scaled else 0.0,
        "zero_point": int(quantisation.zeroPoint[0]) if scaled and quantisation.zeroPoint is not None else 0,
    }


def with_recipe(content: bytes, name: str, rng: random.Random | None = None) -> bytes:
    """A good graph made hostile in the way of that name."""
    model = read_graph(content)
    RECIPES[name](rng or random.Random(0), model)
    return packed_graph(model)


def hostile_graph(rng: random.Random, content: bytes) -> bytes:
    """A graph that nobody should trust."""
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(rng, content, WORDS)
    if kind == 1:
        return with_recipe(content, rng.choice(sorted(RECIPES)), rng)
    for _ in range(20):
        model = read_graph(content)
        for _ in range(rng.randrange(1, 4)):
            _change_value(rng, model)
        with suppress(Exception):  # not every value can be written in its place
            return packed_graph(model)
    return damaged(rng, content, WORDS)


def _change_value(rng: random.Random, holder: Any) -> None:
    """Change one value of an object of the schema, or of one below it."""
    while True:
        names = [name for name, value in vars(holder).items() if value is not None]
        name = rng.choice(names)
        value = getattr(holder, name)
        if isinstance(value, (list, np.ndarray)):
            if len(value) == 0 or isinstance(value, np.ndarray):
                break
            at = rng.randrange(len(value))
            if not hasattr(value[at], "__dict__"):
                break
            if rng.random() < 0.1:
                setattr(
                    holder, name, [*value, value[at]] if rng.random() < 0.5 else value[:at] + value[at + 1 :]
                )
                return
            holder = value[at]
        elif hasattr(value, "__dict__"):
            holder = value
        else:
            break
    if isinstance(value, np.ndarray):
        values = value.copy()
        if len(values):
            values[rng.randrange(len(values))] ^= 1 << rng.randrange(8)
        setattr(holder, name, values[: rng.choice((len(values), len(values) // 2))])
    elif isinstance(value, list):
        numbers = [int(n) for n in value if isinstance(n, (int, np.integer))] or [0]
        numbers[rng.randrange(len(numbers))] = rng.choice(ODD_NUMBERS)
        setattr(holder, name, numbers * rng.choice((1, 1, 1, 2)))
    elif isinstance(value, bytes):
        setattr(holder, name, rng.choice((b"", b"\xff\xfe", b"x" * 300, b"\x1b[2J\n", value[::-1])))
    elif isinstance(value, bool):
        setattr(holder, name, not value)
    elif name == "type":
        holder.type = rng.choice(TYPES)
    elif name in ("builtinCode", "deprecatedBuiltinCode"):
        setattr(holder, name, rng.choice(OPERATORS))
    elif isinstance(value, float):
        setattr(holder, name, rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf"))))
    else:
        setattr(holder, name, rng.choice(ODD_NUMBERS))


# The kinds by name ------------------------------------------------------------------------------------------


def recipe(function: Recipe) -> Recipe:
    """Keep a kind under its function's name."""
    RECIPES[function.__name__] = function
    return function


def _tensor(model: Model, subgraph: int, shape: tuple[int, ...], kind: int, content: Any = None) -> int:
    """Add a tensor to a subgraph, constant where it has content; its index."""
    buffer = schema.BufferT()
    if content is not None:
        buffer.data = np.frombuffer(np.asarray(content).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.buffer = list(shape), kind, len(model.buffers) - 1
    tensor.name, tensor.hasRank = f"added_{len(model.buffers)}".encode(), True
    model.subgraphs[subgraph].tensors.append(tensor)
    return len(model.subgraphs[subgraph].tensors) - 1


def _operator(
    model: Model, subgraph: int, code: int, inputs: list[int], outputs: list[int], options: Any = None
) -> Any:
    """Add an operator at the end of a subgraph."""
    listed = schema.OperatorCodeT()
    listed.builtinCode, listed.deprecatedBuiltinCode, listed.version = code, min(code, 127), 1
    model.operatorCodes.append(listed)
    added = schema.OperatorT()
    added.opcodeIndex, added.inputs, added.outputs = len(model.operatorCodes) - 1, inputs, outputs
    if options is not None:
        added.builtinOptions = options
        added.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    model.subgraphs[subgraph].operators = [*(model.subgraphs[subgraph].operators or []), added]
    return added


def _subgraph(model: Model) -> int:
    added = schema.SubGraphT()
    added.tensors, added.operators, added.inputs, added.outputs = [], [], [], []
    added.name = f"subgraph_{len(model.subgraphs)}".encode()
    model.subgraphs.append(added)
    return len(model.subgraphs) - 1


def _used(model: Model, index: int) -> None:
    """Make a tensor an output too, so that it is computed."""
    main = model.subgraphs[0]
    main.outputs = [*main.outputs, index]


def _loop(
    model: Model, shape: tuple[int, ...], condition: int | None = None, body: int | None = None
) -> None:
    """Add a WHILE over one float tensor whose condition holds for ever."""
    kind = schema.TensorType.FLOAT32
    if condition is None:
        condition = _subgraph(model)
        graph = model.subgraphs[condition]
        graph.inputs = [_tensor(model, condition, shape, kind)]
        one, two = (_tensor(model, condition, (), kind, np.float32(value)) for value in (1, 2))
        graph.outputs = [_tensor(model, condition, (), schema.TensorType.BOOL)]
        _operator(
            model, condition, schema.BuiltinOperator.LESS, [one, two], graph.outputs, schema.LessOptionsT()
        )
    if body is None:
        body = _subgraph(model)
        graph = model.subgraphs[body]
        graph.inputs, graph.outputs = [_tensor(model, body, shape, kind)], [_tensor(model, body, shape, kind)]
        _operator(model, body, schema.BuiltinOperator.ABS, graph.inputs, graph.outputs, schema.AbsOptionsT())
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = condition, body
    entry, end = _tensor(model, 0, shape, kind, np.ones(shape, np.float32)), _tensor(model, 0, shape, kind)
    _operator(model, 0, schema.BuiltinOperator.WHILE, [entry], [end], options)
    _used(model, end)


@recipe
def endless_loop(rng: random.Random, model: Model) -> None:
    """A WHILE that never ends."""
    _loop(model, (1,))


@recipe
def loop_of_itself(rng: random.Random, model: Model) -> None:
    """A WHILE whose body is the graph that it is in."""
    _loop(model, (1,), body=0)


@recipe
def loop_into_nowhere(rng: random.Random, model: Model) -> None:
    """A WHILE whose body is no subgraph."""
    _loop(model, (1,), body=rng.choice((-1, 99, 2**31 - 1)))


def _integers(model: Model, code: int, options: Any, first: int, second: int) -> None:
    kind = schema.TensorType.INT32
    result = _tensor(model, 0, (4,), kind)
    inputs = [_tensor(model, 0, (4,), kind, np.full(4, value, np.int32)) for value in (first, second)]
    _operator(model, 0, code, inputs, [result], options)
    _used(model, result)


@recipe
def divides_by_zero(rng: random.Random, model: Model) -> None:
    """Whole numbers divided by 0, or the smallest by -1."""
    code, options = rng.choice(
        (
            (schema.BuiltinOperator.DIV, schema.DivOptionsT()),
            (schema.BuiltinOperator.FLOOR_DIV, schema.FloorDivOptionsT()),
            (schema.BuiltinOperator.FLOOR_MOD, schema.FloorModOptionsT()),
        )
    )
    _integers(model, code, options, *rng.choice(((1, 0), (-(2**31), -1))))


@recipe
def smallest_by_minus_one(rng: random.Random, model: Model) -> None:
    """A quotient that no 32 bits hold: the processor refuses it."""
    _integers(model, schema.BuiltinOperator.FLOOR_MOD, schema.FloorModOptionsT(), -(2**31), -1)


@recipe
def reads_far_outside(rng: random.Random, model: Model) -> None:
    """A GATHER of an index that is not there."""
    table = _tensor(model, 0, (4,), schema.TensorType.FLOAT32, np.ones(4, np.float32))
    index = _tensor(model, 0, (1,), schema.TensorType.INT32, np.int32(rng.choice((10**9, -(2**31), 5))))
    result = _tensor(model, 0, (1,), schema.TensorType.FLOAT32)
    _operator(model, 0, schema.BuiltinOperator.GATHER, [table, index], [result], schema.GatherOptionsT())
    _used(model, result)


def allocate(model: Model, mib: int) -> None:
    """Add a tensor of so many MiB that is filled each time, of which one value is used."""
    kind = schema.TensorType.FLOAT32
    count = mib * MIB_OF_FLOATS
    one = _tensor(model, 0, (), kind, np.float32(1))
    shape = _tensor(model, 0, (1,), schema.TensorType.INT32, np.int32(count))
    large, biggest = _tensor(model, 0, (count,), kind), _tensor(model, 0, (1,), kind)
    axis = _tensor(model, 0, (1,), schema.TensorType.INT32, np.int32(0))
    _operator(model, 0, schema.BuiltinOperator.FILL, [shape, one], [large], schema.FillOptionsT())
    options = schema.ReducerOptionsT()
    options.keepDims = True
    _operator(model, 0, schema.BuiltinOperator.REDUCE_MAX, [large, axis], [biggest], options)
    _used(model, biggest)


@recipe
def much_memory(rng: random.Random, model: Model) -> None:
    """More memory than a small device has, or nearly so much."""
    allocate(model, rng.choice((200, 280, 310, 400, 900)))


@recipe
def gigabytes(rng: random.Random, model: Model) -> None:
    """More memory than any device has."""
    allocate(model, rng.choice((4000, 8000 - 1)))


@recipe
def huge_shapes(rng: random.Random, model: Model) -> None:
    """Sides whose product is more than 64 bits hold."""
    kind = schema.TensorType.FLOAT32
    shape = (2**31 - 1,) * rng.choice((2, 3, 8))
    start, end = _tensor(model, 0, shape, kind), _tensor(model, 0, shape, kind)
    _operator(model, 0, schema.BuiltinOperator.ABS, [start], [end], schema.AbsOptionsT())
    _used(model, end)


@recipe
def not_a_number(rng: random.Random, model: Model) -> None:
    """The first output is NaN everywhere."""
    main = model.subgraphs[0]
    before = main.outputs[0]
    tensor = main.tensors[before]
    shape = tuple(int(side) for side in tensor.shape)
    result = _tensor(model, 0, shape, tensor.type)
    value = rng.choice((np.nan, np.inf))
    added = _tensor(model, 0, (1,), tensor.type, np.float32(value))
    _operator(model, 0, schema.BuiltinOperator.ADD, [before, added], [result], schema.AddOptionsT())
    main.outputs = [result, *main.outputs[1:]]


@recipe
def nan_scale(rng: random.Random, model: Model) -> None:
    """An output's quantisation that means nothing."""
    main = model.subgraphs[0]
    quantisation = schema.QuantizationParametersT()
    quantisation.scale = [rng.choice((float("nan"), float("inf"), 3e38, -1.0, 1e-45))]
    quantisation.zeroPoint = [rng.choice((0, 2**40, -(2**62), -128))]
    main.tensors[rng.choice((main.inputs[0], main.outputs[0]))].quantization = quantisation


@recipe
def other_type(rng: random.Random, model: Model) -> None:
    """An input or output of another type."""
    main = model.subgraphs[0]
    main.tensors[rng.choice((main.inputs[0], main.outputs[0]))].type = rng.choice(TYPES)


@recipe
def text_output(rng: random.Random, model: Model) -> None:
    """Outputs that are strings."""
    main = model.subgraphs[0]
    main.tensors[main.outputs[0]].type = schema.TensorType.STRING


@recipe
def other_shape(rng: random.Random, model: Model) -> None:
    """Any tensor of another shape."""
    tensor = rng.choice(model.subgraphs[0].tensors)
    tensor.shape = [rng.choice(ODD_NUMBERS[3:11]) for _ in range(rng.randrange(7))]


@recipe
def unknown_sides(rng: random.Random, model: Model) -> None:
    """Sides that are known only when it runs."""
    main = model.subgraphs[0]
    for index in (main.inputs[0], main.outputs[0]):
        main.tensors[index].shapeSignature = [-1 for _ in main.tensors[index].shape]


@recipe
def grows_as_it_runs(rng: random.Random, model: Model) -> None:
    """The first output has another shape than it says: each value of a comparison that holds, by WHERE."""
    main = model.subgraphs[0]
    kind = schema.TensorType
    given = main.inputs[0]
    held = _tensor(model, 0, tuple(main.tensors[given].shape), kind.BOOL)
    code, compare = schema.BuiltinOperator.GREATER_EQUAL, schema.GreaterEqualOptionsT()
    _operator(model, 0, code, [given, given], [held], compare)
    found = _tensor(model, 0, tuple(main.tensors[main.outputs[0]].shape), kind.INT64)
    result = _tensor(model, 0, tuple(main.tensors[main.outputs[0]].shape), kind.FLOAT32)
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = kind.INT64, kind.FLOAT32
    _operator(model, 0, schema.BuiltinOperator.WHERE, [held], [found], schema.WhereOptionsT())
    _operator(model, 0, schema.BuiltinOperator.CAST, [found], [result], options)
    main.outputs = [result, *main.outputs[1:]]


@recipe
def lost_buffers(rng: random.Random, model: Model) -> None:
    """Weights and constants that are not there, or fewer than the shapes need."""
    for tensor in model.subgraphs[0].tensors:
        choice = rng.randrange(4)
        buffer = model.buffers[tensor.buffer] if tensor.buffer < len(model.buffers) else None
        if choice == 0:
            tensor.buffer = rng.choice((0, 99, 2**31 - 1))
        elif choice == 1 and buffer is not None and buffer.data is not None:
            buffer.data = buffer.data[: len(buffer.data) // 2]


@recipe
def buffer_elsewhere(rng: random.Random, model: Model) -> None:
    """Weights that lie behind the end of the file."""
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data, buffer.offset, buffer.size = None, rng.choice((2**20, 2**40, 2**63)), 64


@recipe
def tensors_that_are_not(rng: random.Random, model: Model) -> None:
    """Operators, inputs or outputs that name tensors which are not there."""
    main = model.subgraphs[0]
    number = rng.choice((-2, 99, 2**31 - 1, -(2**31)))
    operator = rng.choice(main.operators)
    rng.choice(
        (
            lambda: setattr(operator, "inputs", [number, *operator.inputs[1:]]),
            lambda: setattr(operator, "outputs", [number]),
            lambda: setattr(main, "inputs", [number]),
            lambda: setattr(main, "outputs", [number]),
            lambda: setattr(operator, "inputs", []),
            lambda: setattr(operator, "opcodeIndex", 99),
        )
    )()


@recipe
def no_options(rng: random.Random, model: Model) -> None:
    """Operators without the options that they need, or with others'."""
    for operator in model.subgraphs[0].operators:
        operator.builtinOptions, operator.builtinOptionsType = None, rng.choice((0, 1, 22, 88))


@recipe
def other_operator(rng: random.Random, model: Model) -> None:
    """An operator of another kind on the same tensors."""
    code = rng.choice(model.operatorCodes)
    code.builtinCode = rng.choice(OPERATORS)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = rng.choice((1, 2, 4, 99))


@recipe
def custom_operator(rng: random.Random, model: Model) -> None:
    """An operator that this runtime does not know."""
    code = rng.choice(model.operatorCodes)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = rng.choice((b"FlexConv3D", b"\x1b[2J\n\xff", b""))


@recipe
def no_graph(rng: random.Random, model: Model) -> None:
    """A file without a graph, or one without operators."""
    rng.choice(
        (
            lambda: setattr(model, "subgraphs", []),
            lambda: setattr(model.subgraphs[0], "operators", []),
            lambda: setattr(model.subgraphs[0], "inputs", []),
            lambda: setattr(model.subgraphs[0], "outputs", []),
            lambda: setattr(model, "buffers", []),
        )
    )()


@recipe
def odd_names(rng: random.Random, model: Model) -> None:
    """Names that are no text."""
    for tensor in model.subgraphs[0].tensors:
        tensor.name = rng.choice((b"\xff\xfe", b"", b"\x1b[2J\nx", b"y" * 5000))


def crash_at_grey(content: bytes, value: int) -> bytes:
    """The colours' head made to crash the process where a feature is `value`, and at nothing else that is
    likely: no trial can know.
    """
    model = read_graph(content)
    kind, main = schema.TensorType, model.subgraphs[0]
    shape = tuple(int(side) for side in main.tensors[main.inputs[0]].shape)
    whole, least = _tensor(model, 0, shape, kind.INT32), np.full(shape, -(2**31), np.int32)
    offset = _tensor(model, 0, shape, kind.INT32, np.full(shape, value + 1, np.int32))
    dividend, divisor, rest = (_tensor(model, 0, shape, kind.INT32, c) for c in (least, None, None))
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = kind.FLOAT32, kind.INT32
    code = schema.BuiltinOperator
    _operator(model, 0, code.CAST, [main.inputs[0]], [whole], cast)
    _operator(model, 0, code.SUB, [whole, offset], [divisor], schema.SubOptionsT())
    _operator(model, 0, code.FLOOR_MOD, [dividend, divisor], [rest], schema.FloorModOptionsT())
    return packed_graph(model)
