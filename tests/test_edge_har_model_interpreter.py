"""Quantising is written once, and it is right; a missing or refusing runtime is one clear line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_har.errors import BundleError, MisuseError
from edge_har.model.interpreter import (
    Graph,
    TensorInfo,
    dequantise,
    quantise,
    requantise,
    runtime_name,
    zeros,
)

FRAME = TensorInfo("frame", 0, (1, 4), np.dtype(np.int8), 1.0, -128)


def info(scale: float, zero_point: int, dtype: type = np.int8) -> TensorInfo:
    return TensorInfo("made", 0, (1, 4), np.dtype(dtype), scale, zero_point)


def test_bytes_of_a_frame_take_the_same_values_by_the_fast_way() -> None:
    every = np.arange(256, dtype=np.uint8)
    fast = quantise(every, FRAME)
    assert fast.dtype == np.int8
    assert np.array_equal(fast, quantise(every.astype(np.float32), FRAME))
    assert np.array_equal(dequantise(fast, FRAME), every.astype(np.float32))


@given(
    scale=st.floats(1e-3, 10),
    zero_point=st.integers(-128, 127),
    stored=st.lists(st.integers(-128, 127), min_size=1, max_size=20),
)
def test_what_was_dequantised_quantises_back(scale: float, zero_point: int, stored: list[int]) -> None:
    held = np.array(stored, np.int8)
    tensor = info(scale, zero_point)
    assert np.array_equal(quantise(dequantise(held, tensor), tensor), held)
    assert requantise(held, tensor, tensor) is held


@pytest.mark.parametrize(
    ("real", "scale", "zero_point", "stored"),
    [
        (0.0, 0.5, 3, 3),
        (1.0, 0.5, 3, 5),
        (-1.0, 0.5, 3, 1),
        (0.26, 0.5, 0, 1),
        (0.24, 0.5, 0, 0),
        (1000.0, 0.5, 0, 127),
        (-1000.0, 0.5, 0, -128),
    ],
)
def test_rounding_and_clipping(real: float, scale: float, zero_point: int, stored: int) -> None:
    assert quantise(np.array([real], np.float32), info(scale, zero_point)).tolist() == [stored]


def test_requantising_keeps_the_real_numbers_within_half_a_step() -> None:
    held = np.arange(-100, 100, dtype=np.int8)
    coarse = info(0.02, 5)
    carried = requantise(held, info(0.01, -7), coarse)
    difference = dequantise(held, info(0.01, -7)) - dequantise(carried, coarse)
    assert np.abs(difference).max() <= 0.5 * coarse.scale + 1e-6


def test_zero_is_the_zero_point() -> None:
    assert zeros(info(0.1, 9)).tolist() == [[9, 9, 9, 9]]
    assert zeros(info(0.0, 0, np.float32)).tolist() == [[0.0, 0.0, 0.0, 0.0]]
    floats = np.array([1.5], np.float32)
    assert dequantise(floats, info(0.0, 0, np.float32)) is floats


def test_a_graph_that_cannot_be_loaded() -> None:
    with pytest.raises(BundleError, match="cannot load the graph"):
        Graph(b"this is no flatbuffer")
    with pytest.raises(MisuseError, match="threads must be 1 or more"):
        Graph(b"", threads=0)


def test_the_runtime_says_its_name_and_version() -> None:
    name, number = runtime_name().split()
    assert name in ("ai-edge-litert", "tflite-runtime") and number[0].isdigit()


def test_without_a_runtime_the_error_says_what_to_install() -> None:
    code = (
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n in ('ai_edge_litert', 'tflite_runtime') else found(n, *a)\n"
        "from edge_har.model.interpreter import Graph\n"
        "from edge_har.errors import RuntimeMissingError\n"
        "try:\n    Graph(b'')\nexcept RuntimeMissingError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install ai-edge-litert" in done.stdout
