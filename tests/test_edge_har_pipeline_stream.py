"""What a stream says of a source that is slower than its model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_har.model.manifest import SLOW_SOURCE
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.stream import SLOW_TICKS, Stream
from tests.helpers.colours import INTERVAL_MS, colour_bundle, painted

MEASURED = {"windows": 100, "window_accuracy": {"1": 0.97, "2": 0.9, "3": 0.61}}
KNOWN = (
    "on held-out clips the window accuracy is {}% where each frame served {} ticks, 97% where it served one"
)


def play(lent: int, metrics: dict[str, object]) -> None:
    """Give a stream frames that serve `lent` ticks each, until it is judged."""
    bundle = colour_bundle()
    bundle = replace(bundle, manifest=replace(bundle.manifest, metrics=metrics))
    stream = Stream("cam", bundle, RunOptions(), event_ids())
    sampler = Sampler(bundle.manifest.frame, bundle.manifest.temporal)
    frame = painted("Red", 1)[0]
    for at in range(0, SLOW_TICKS + lent, lent):
        times_s = tuple((at + k) * INTERVAL_MS / 1000 for k in range(lent))
        stream.recognise(Ticks(times_s, frame, False, 0.0, sampler))


@pytest.mark.parametrize(
    ("lent", "said"), [(2, KNOWN.format(90, 2)), (3, KNOWN.format(61, 3)), (5, KNOWN.format(61, 3))]
)
def test_a_slow_source_is_told_what_it_costs(lent: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    play(lent, {SLOW_SOURCE: MEASURED})
    assert said in caplog.text and f"about {1000 / INTERVAL_MS / lent:.1f} frames a second" in caplog.text


@pytest.mark.parametrize(
    "metrics", [{}, {SLOW_SOURCE: {"window_accuracy": {"1": 0.9}}}, {SLOW_SOURCE: "unknown"}]
)
def test_where_it_was_not_measured_nothing_is_claimed(
    metrics: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    play(2, metrics)
    assert "frames are repeated, expect it to be less sure" in caplog.text


def test_a_source_that_is_fast_enough_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    play(1, {SLOW_SOURCE: MEASURED})
    assert caplog.text == ""
