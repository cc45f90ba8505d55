"""The only file that knows LiteRT and tflite-runtime:
graphs run here, and here alone numbers are quantised.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
    behind for the next, until `reset`. Raises BundleError when the runtime cannot load it.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        if threads < 1:
            raise MisuseError(f"threads must be 1 or more, got {threads}")
        runtime, _ = _load_runtime()
        try:
            with _quiet_start():
                self._interpreter = runtime.Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise BundleError(f"{runtime_name()} cannot load the graph: {first_line}") from error
        self.inputs = [_info(detail) for detail in self._interpreter.get_input_details()]
        self.outputs = [_info(detail) for detail in self._interpreter.get_output_details()]
        self.holds_state = _holds_state(self._interpreter)

    def run(self, *real: Array) -> list[Array]:
        """Real numbers in and out, in the order of `inputs` and `outputs`; the outputs are copies."""
        stored = self.run_raw(*(quantise(x, info) for x, info in zip(real, self.inputs, strict=True)))
        return [dequantise(x, info) for x, info in zip(stored, self.outputs, strict=True)]

    def run_raw(self, *stored: Array) -> list[Array]:
        """As `run`, with tensors as the graph holds them: nothing is quantised or dequantised."""
        for info, content in zip(self.inputs, stored, strict=True):
            self._interpreter.set_tensor(info.index, content)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(info.index) for info in self.outputs]

    def reset(self) -> None:
        """Put state that the graph itself holds (a fused LSTM's) back to zero."""
        self._interpreter.reset_all_variables()


def _holds_state(interpreter: Any) -> bool:
    try:
        names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    except (AttributeError, KeyError):  # a runtime without this list
        return True
    return not names.isdisjoint(STATE_OPS)


def _info(detail: dict[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    return TensorInfo(
        name=str(detail["name"]),
        index=int(detail["index"]),
        shape=tuple(int(n) for n in detail["shape"]),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
