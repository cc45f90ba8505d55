"""Every number of a manifest has bounds: both ends are taken, what lies beyond is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_har.errors import BundleError
from edge_har.model.bundle import open_bundle, read_bundle
from edge_har.model.manifest import MAX_WINDOW_PIXELS, Manifest
from tests.helpers.colours import colour_bytes

DOCS = Path(__file__).parents[1] / "docs" / "bundle.md"

Place = tuple[str | int, ...]


def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(read_bundle(colour_bytes()).manifest_bytes)
    content["metrics"] = {"slow_source": {"window_accuracy": {"1": 0.9, "2": 0.8}}}
    return content


def changed(*changes: tuple[Place, object]) -> bytes:
    content = manifest()
    for place, value in changes:
        holder: Any = content
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
    return json.dumps(content).encode()


TENSOR: Place = ("tensors", "clip.tflite", "inputs", 0)
GRAPH: Place = ("files", "clip.tflite", "size")
SMALL: tuple[tuple[Place, object], ...] = ((("frame", "size_wh"), [1, 1]),)
# Place of a number, the ends of what it may be, what lies beyond them.
BOUNDS: list[tuple[Place, tuple[float, float], tuple[float, ...]]] = [
    (("temporal", "interval_ms"), (10, 10_000), (0.001, 0.01, 9.99, 10_001, 1e12, 0, -80)),
    (("temporal", "frames"), (2, 600), (1, 0, -4, 601, 10**9)),
    (("temporal", "hop_ticks"), (1, 4), (0, -1, 3, 8, 10**9)),
    (("temporal", "max_gap_ms"), (80, 60_000), (79, 60_001, 1e12, 0)),
    (("release",), (1, 2**53 - 1), (0, -1, 2**53, 10**30)),
    (("temperature",), (0.01, 100), (0.0099, 101, 0, -1, 1e300)),
    (("reject_threshold",), (0, 1), (-0.01, 1.01)),
    (("smoothing", "smooth_s"), (0, 60), (-0.1, 60.1, 1e300)),
    (("smoothing", "min_s"), (0, 3600), (-0.1, 3601, 1e300)),
    (("smoothing", "enter"), (0.6, 1), (1.01, -1)),
    (("smoothing", "leave"), (0, 0.4), (-0.1, 1.01)),
    (("golden", "tolerance"), (0, 0.5), (-0.01, 0.51, 1e9)),
    (("golden", "clips", 0, "scores", 0), (0, 1), (-0.1, 1.1, 1e300)),
    (("graphs", "frames_per_step"), (1, 4), (0, -1, 5, 10**9)),
    (("frame", "size_wh", 0), (1, 4096), (0, -8, 4097)),
    (("frame", "size_wh", 1), (1, 4096), (0, -8, 4097)),
    ((*TENSOR, "shape", 0), (1, 2**31 - 1), (0, -1, 2**31)),
    ((*TENSOR, "scale"), (0, 1e30), (-0.1, 1e39)),
    ((*TENSOR, "zero_point"), (-(2**31), 2**31 - 1), (2**31, -(2**31) - 1)),
    (GRAPH, (0, 64 * 1024 * 1024), (-1, 64 * 1024 * 1024 + 1, 10**30)),
    (("metrics", "slow_source", "window_accuracy", "2"), (0, 1), (-0.1, 1.1)),
    (("schema_version",), (1, 1), (0, -1, 2)),
]


@pytest.mark.parametrize(("place", "ends", "beyond"), BOUNDS, ids=lambda v: ".".join(map(str, v)))
def test_a_number_is_taken_to_its_bounds_and_no_further(
    place: Place, ends: tuple[float, float], beyond: tuple[float, ...]
) -> None:
    others: list[tuple[Place, object]] = []
    if place == ("temporal", "interval_ms"):
        others = [(("temporal", "max_gap_ms"), None)]
    if place == ("smoothing", "enter"):
        others = [(("smoothing", "leave"), 0.0)]
    if place == ("temporal", "frames"):
        others = [(("temporal", "hop_ticks"), 1)]
    for value in ends:
        Manifest.from_bytes(changed(*others, (place, value)))
    for odd in (*beyond, float("nan"), float("inf"), True, "1", [], {}):
        with pytest.raises(BundleError) as caught:
            Manifest.from_bytes(changed(*others, (place, odd)))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_no_number_of_a_manifest_is_without_bounds() -> None:
    """A key that a later version adds needs a line above, and one in the documentation."""
    known = {tuple(key for key in place if not isinstance(key, int)) for place, _, _ in BOUNDS}

    def numbers(value: Any, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        if isinstance(value, dict):
            return set().union(*(numbers(below, (*place, key)) for key, below in value.items()))
        if isinstance(value, list):
            return set().union(*(numbers(below, place) for below in value))
        return {place} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()

    content = manifest()
    content["reject_threshold"] = 0.5
    for table, kept in (("tensors", "clip.tflite"), ("files", "clip.tflite")):
        content[table] = {kept: content[table][kept]}
    content["tensors"]["clip.tflite"]["outputs"] = []
    content["metrics"]["slow_source"]["window_accuracy"].pop("1")
    assert numbers(content) == known


def test_whole_numbers_are_not_cut_down_to_whole_ones() -> None:
    for place in (("temporal", "frames"), ("release",), ("temporal", "hop_ticks"), GRAPH):
        with pytest.raises(BundleError, match=r"expected a whole number, got 2\.5"):
            Manifest.from_bytes(changed((place, 2.5)))


def test_a_window_that_no_device_holds_is_refused() -> None:
    fits = ((("temporal", "frames"), 512), (("temporal", "hop_ticks"), 1), (("frame", "size_wh"), [256, 256]))
    assert MAX_WINDOW_PIXELS == 512 * 256 * 256
    Manifest.from_bytes(changed(*fits))
    with pytest.raises(BundleError, match="a window of 512 frames of 257x256 has 33,685,504 pixels"):
        Manifest.from_bytes(changed(*fits, (("frame", "size_wh"), [257, 256])))


def test_golden_clips_and_tensors_have_a_number() -> None:
    (clip,) = manifest()["golden"]["clips"]
    Manifest.from_bytes(changed((("golden", "clips"), [clip] * 32)))
    with pytest.raises(BundleError, match="the number of golden clips must be 0 to 32, got 33"):
        Manifest.from_bytes(changed((("golden", "clips"), [clip] * 33)))
    with pytest.raises(BundleError, match="the number of dimensions must be 0 to 8, got 9"):
        Manifest.from_bytes(changed(((*TENSOR, "shape"), [1] * 9)))


@pytest.mark.parametrize("key", ["version", "kind", "precision"])
def test_short_texts_are_short_and_show(key: str) -> None:
    Manifest.from_bytes(changed(((key,), "x" * 64)))
    for odd in ("", "x" * 65, "a\x1b[2Jb", "a\nb", "a\u200bb"):
        with pytest.raises(BundleError, match=f"{key} must be 1 to 64 characters that show"):
            Manifest.from_bytes(changed(((key,), odd)))


def test_the_documentation_states_the_bounds() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for stated in ("10 to 10,000", "2 to 600", "0 to 0.5", "0.01 to 100", "0 to 60", "0 to 3,600"):
        assert f"| {stated} |" in text


def test_bundles_with_bounds_are_still_those_of_before() -> None:
    bundle = open_bundle(Path(__file__).parent / "fixtures" / "compatibility" / "tiny.ehar")
    assert Manifest.from_bytes(bundle.manifest_bytes) == bundle.manifest
