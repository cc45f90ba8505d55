"""The only file that knows LiteRT and tflite-runtime:
graphs run here, and here alone numbers are quantised.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import BundleError, MisuseError, RuntimeMissingError
from edge_har.system.stderr import quiet_stderr

Array = NDArray[Any]

_starting = threading.Lock()
_started = threading.Event()  # whether this process has begun to make its first interpreter

# In order of preference: module, distribution.
RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)

NUMBERS, INTEGERS = "biuf", "iu"  # kinds of dtypes
MAX_SCALE = 1e28  # times any difference of whole numbers of 32 bits, it is still a float32
MIB = 1024 * 1024
MAX_REASON = 300  # characters of the runtime's own words

# What keeps something inside the interpreter from one run to the next.
STATE_OPS = frozenset(
    [
        *("LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"),
        *("BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"),
        *("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"),
    ]
)


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a graph. scale is 0 where the tensor is not quantised."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @property
    def quantised(self) -> bool:
        """Whether its integers represent real numbers."""
        return self.scale > 0


def quantise(real: Array, info: TensorInfo) -> Array:
    """Real numbers as the tensor holds them: round(x / scale) + zero point, clipped to the dtype's range."""
    if not info.quantised:
        return np.asarray(real, info.dtype)
    if real.dtype == np.uint8 and info.dtype == np.int8 and info.scale == 1.0 and info.zero_point == -128:
        return cast(Array, (real ^ np.uint8(0x80)).view(np.int8))  # the same arithmetic on bytes, for frames
    limits = np.iinfo(info.dtype)
    steps = np.rint(np.asarray(real, np.float32) / np.float32(info.scale)) + info.zero_point
    return cast(Array, np.clip(steps, limits.min, limits.max).astype(info.dtype))


def dequantise(stored: Array, info: TensorInfo) -> Array:
    """The real numbers (float32) that the tensor's integers represent; floats pass unchanged."""
    if not info.quantised:
        return stored
    return cast(Array, (stored.astype(np.float32) - np.float32(info.zero_point)) * np.float32(info.scale))


def requantise(stored: Array, held_as: TensorInfo, needed_as: TensorInfo) -> Array:
    """Carry a tensor's content from one quantisation into another; equal ones pass unchanged."""
    same = (held_as.dtype, held_as.scale, held_as.zero_point) == (
        needed_as.dtype,
        needed_as.scale,
        needed_as.zero_point,
    )
    return stored if same else quantise(dequantise(stored, held_as), needed_as)


def zeros(info: TensorInfo) -> Array:
    """A tensor whose content represents 0.0, as `info` holds it."""
    return np.full(info.shape, info.zero_point if info.quantised else 0, info.dtype)


def _load_runtime() -> tuple[ModuleType, str]:
    for module, distribution in RUNTIMES:
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            return importlib.import_module(module), distribution
    raise RuntimeMissingError(
        "no TFLite runtime is installed: pip install ai-edge-litert (64-bit only), or tflite-runtime on "
        "Python 3.11 or older"
    )


def runtime_name() -> str:
    """Name and version of the runtime that graphs run on, such as `ai-edge-litert 2.3.0`."""
    _, distribution = _load_runtime()
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep the runtime's own greeting ("Created ... delegate") off stderr: the runtime has no option for it.

    Once per process, as the greeting is; what goes wrong comes as an exception all the same.
    """
    if _started.is_set():
        yield
        return
    with _starting, nullcontext() if _started.is_set() else quiet_stderr():
        _started.set()
        yield


class Graph:
    """One TFLite graph, ready to run. Not for two threads, nor for two streams where it holds state.

    content: the flatbuffer's bytes. threads: CPU threads. holds_state: whether one run can leave something
    behind for the next, until `reset`. Raises BundleError when the runtime cannot load it or fails in it. A
    graph that nobody has tried can also end or hang this process: see `edge_har.model.trial`.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        if threads < 1:
            raise MisuseError(f"threads must be 1 or more, got {threads}")
        runtime, _ = _load_runtime()
        self._interpreter: Any = None
        try:
            with _quiet_start():
                self._interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
            self.holds_state = _holds_state(self._interpreter)
        except Exception as error:  # of any type: graphs are read by C++ that throws what it likes
            raise _failure("load", error, self._interpreter) from error
        self.inputs = [_info(detail) for detail in inputs]
        self.outputs = [_info(detail) for detail in outputs]

    def run(self, *real: Array) -> list[Array]:
        """Real numbers in and out, in the order of `inputs` and `outputs`; the outputs are copies."""
        stored = self.run_raw(*(quantise(x, info) for x, info in zip(real, self.inputs, strict=True)))
        return [dequantise(x, info) for x, info in zip(stored, self.outputs, strict=True)]

    def run_raw(self, *stored: Array) -> list[Array]:
        """As `run`, with tensors as the graph holds them: nothing is quantised or dequantised."""
        try:
            for info, content in zip(self.inputs, stored, strict=True):
                self._interpreter.set_tensor(info.index, content)
            self._interpreter.invoke()
            outputs = [self._interpreter.get_tensor(info.index) for info in self.outputs]
        except Exception as error:
            raise _failure("run", error) from error
        for info, output in zip(self.outputs, outputs, strict=True):
            if output.shape != info.shape:
                raise BundleError(
                    f"the graph's output {info.name!r} has the shape {output.shape} when it runs, "
                    f"not {info.shape}"
                )
        return outputs

    def reset(self) -> None:
        """Put state that the graph itself holds (a fused LSTM's) back to zero."""
        try:
            self._interpreter.reset_all_variables()
        except Exception as error:
            raise _failure("reset", error) from error


def _failure(doing: str, error: Exception, interpreter: Any = None) -> BundleError:
    """What the runtime raises about a graph, as one of our errors."""
    if isinstance(error, MemoryError):
        reason = "there is not enough memory"
    else:
        reason = str(error).strip().partition("\n")[0][:MAX_REASON] or "it gives no reason"
        if not str(error):
            # So it ends where its tensors find no room, but not there alone.
            with suppress(Exception):
                reason += f"; its tensors need {_tensor_bytes(interpreter) / MIB:,.0f} MiB of memory"
    return BundleError(f"{runtime_name()} cannot {doing} the graph: {reason}")


def _tensor_bytes(interpreter: Any) -> int:
    """What all tensors of a graph take together, as far as its file says."""
    return sum(
        math.prod(int(side) for side in detail["shape"]) * np.dtype(detail["dtype"]).itemsize
        for detail in interpreter.get_tensor_details()
    )


def _holds_state(interpreter: Any) -> bool:
    try:
        names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    except (AttributeError, KeyError):  # a runtime without this list
        return True
    return not names.isdisjoint(STATE_OPS)


def _info(detail: dict[str, Any]) -> TensorInfo:
    """An input or output as the runtime describes it. Raises BundleError where its numbers mean nothing."""
    scale, zero_point = detail["quantization"]
    info = TensorInfo(
        name=str(detail["name"]),
        index=int(detail["index"]),
        shape=tuple(int(n) for n in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
    if info.dtype.kind not in NUMBERS:
        raise BundleError(f"the graph's tensor {info.name!r} holds no real numbers but {info.dtype}")
    if info.quantised:
        limits = np.iinfo(info.dtype) if info.dtype.kind in INTEGERS else None
        if limits is None or not (info.scale <= MAX_SCALE and limits.min <= info.zero_point <= limits.max):
            raise BundleError(
                f"the graph's tensor {info.name!r} cannot be {info.dtype} of scale {info.scale:g} and zero "
                f"point {info.zero_point}"
            )
    elif info.scale != 0:
        raise BundleError(f"the graph's tensor {info.name!r} cannot have the scale {info.scale:g}")
    return info
