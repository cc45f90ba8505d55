"""A stream that remembers gives what the stream gives, and runs its step graph once for the same frames."""

from __future__ import annotations

import numpy as np
import pytest

from convert.verify import streams
from convert.verify.streams import remembering_recognizer
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle
from edge_har.model.interpreter import Graph
from edge_har.model.recognizer import TickRecognizer
from tests.helpers.colours import colour_bundle


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry each time a graph runs: its number of inputs."""
    counted: list[int] = []
    real = Graph.run_raw

    def run_raw(graph: Graph, *stored: np.ndarray) -> list[np.ndarray]:
        counted.append(len(stored))
        return real(graph, *stored)

    monkeypatch.setattr(Graph, "run_raw", run_raw)
    monkeypatch.setattr(streams, "_outputs", {})
    return counted


def shown(bundle: Bundle, ticks: int = 45) -> np.ndarray:
    width, height = bundle.manifest.frame.size_wh
    return np.random.default_rng(0).integers(0, 256, (ticks, height, width, 3)).astype(np.uint8)


def results(recognizer: TickRecognizer, frames: np.ndarray) -> np.ndarray:
    recognizer.reset()
    return np.stack([scores for frame in frames if (scores := recognizer.tick(frame)) is not None])


def test_what_is_remembered_is_what_the_stream_gives(runs: list[int]) -> None:
    bundle = open_bundle(default_bundle_path())
    frames = shown(bundle)
    expected = results(TickRecognizer(bundle, plain=True), frames)
    runs.clear()
    first = results(remembering_recognizer(bundle, plain=True), frames)
    steps = len(runs) - len(first)
    runs.clear()
    again = results(remembering_recognizer(bundle, plain=True), frames)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(again, expected)
    assert steps == len(frames) - bundle.manifest.graphs.frames_per_step + 1
    assert len(runs) == len(again)  # the head alone


def test_outputs_of_another_step_graph_are_forgotten_and_old_ones_too(
    runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_TICKS", 10)
    bundle = open_bundle(default_bundle_path())
    results(remembering_recognizer(bundle), shown(bundle))
    (outputs,) = streams._outputs.values()
    assert len(outputs) == 10
    colours = colour_bundle()
    assert remembering_recognizer(colours).step is not None
    assert len(streams._outputs) == 1 and outputs not in streams._outputs.values()
