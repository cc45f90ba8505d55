"""Quantising is written once, and it is right; a missing or refusing runtime is one clear line."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_har.errors import BundleError, MisuseError
from edge_har.model.interpreter import (
    Graph,
    TensorInfo,
    _info,
    dequantise,
    quantise,
    requantise,
    runtime_name,
    zeros,
)
from tests.helpers.colours import colour_graphs
from tests.helpers.fuzz_graph import with_recipe

SEEDS = {"divides_by_zero": 1}  # whose choice is a division, and by 0
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


@pytest.mark.parametrize(
    "content",
    [np.zeros((2, 4, 3), np.float32), np.zeros((1, 4, 3), np.float64), np.zeros((), np.float32), "text"],
)
def test_what_the_runtime_does_not_take_is_a_line(content: object) -> None:
    with pytest.raises(BundleError, match=r"cannot run the graph: .+") as caught:
        Graph(colour_graphs()["head.tflite"]).run_raw(content)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("divides_by_zero", r"cannot run the graph: .*div"),
        ("grows_as_it_runs", r"has the shape \(12, 3\) when it runs"),
        ("odd_names", r"cannot load the graph: .*utf-8"),
        ("text_output", r"holds no real numbers"),
    ],
)
def test_a_graph_that_fails_as_it_runs_is_a_line(recipe: str, why: str) -> None:
    with pytest.raises(BundleError, match=why) as caught:
        graph = Graph(with_recipe(colour_graphs()["head.tflite"], recipe, Random(SEEDS.get(recipe, 0))))
        graph.run_raw(np.zeros((1, 4, 3), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scale", "zero_point", "dtype", "meaningful"),
    [
        (0.5, 3, np.int8, True),
        (0.0, 0, np.float32, True),
        (0.5, 128, np.int8, False),
        (0.5, 0, np.float32, False),
        (float("inf"), 0, np.int8, False),
        (float("nan"), 0, np.int8, False),
        (-1.0, 0, np.int8, False),
        (3e38, 0, np.int8, False),
        (0.0, 0, np.complex64, False),
        (0.0, 0, np.bytes_, False),
    ],
)
def test_quantisation_that_means_nothing_is_refused(
    scale: float, zero_point: int, dtype: type, meaningful: bool
) -> None:
    detail = {"name": "x", "index": 0, "shape": [1], "dtype": dtype, "quantization": (scale, zero_point)}
    with nullcontext() if meaningful else pytest.raises(BundleError, match="the graph's tensor 'x'"):
        assert _info(detail).scale == scale


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
