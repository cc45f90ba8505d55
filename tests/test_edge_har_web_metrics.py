"""What Prometheus reads, parsed by its own parser."""

from __future__ import annotations

import time

import pytest

from edge_har.pipeline.status import Counts, RunStatus, SinkState
from edge_har.web.machine import Readings
from tests.helpers.need import need_module

need_module("prometheus_client", "pip install -e '.[test]'")

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from edge_har.web.metrics import Exposition, StatusCollector

READINGS = Readings({"cpu-thermal": 61.5}, ("under-voltage",), ("under-voltage", "throttled"), 1)
ODD = 'rtsp://me:***@x/"quoted"\\back\nline'
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def run_status() -> RunStatus:
    made = RunStatus("m@1", ("Walk",), ["door", ODD])
    door = made.source("door")
    door.turn("live")
    now_s = time.monotonic()
    door.count(Counts(100, 40, 60, 3, 2, 1, 5, 4), now_s)
    for cost_ms, ticks in ((0.2, 10), (0.7, 5), (3000.0, 1)):
        door.ticked(
            grabbed_s=now_s - 0.04, now_s=now_s, cost_ms=cost_ms, ticks=ticks, label="Walk", score=0.9
        )
    made.add_sink(SinkState("mqtt", queued=7, dropped=2, delivered=30, failed=4, last_error="s3cret"))
    made.add_sink(SinkState("mqtt", queued=1))
    return made


def exposition(run_status: RunStatus, readings: Readings = READINGS) -> Exposition:
    return Exposition(StatusCollector(run_status, lambda: readings, {("door", "Walk"): 6}, lambda: 2))


def samples(run_status: RunStatus, readings: Readings = READINGS) -> Samples:
    text, content_type = exposition(run_status, readings).text("text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found[f"edge_har_{name}", frozenset(labels.items())]


def test_sources_are_counted_by_name(run_status: RunStatus) -> None:
    found = samples(run_status)
    expected = {
        "frames": 100,
        "ticks": 40,
        "unused": 60,
        "skipped": 3,
        "repeated": 2,
        "damaged": 1,
        "reconnects": 5,
        "abandoned": 4,
    }
    assert {name: at(found, f"source_{name}_total", source="door") for name in expected} == expected
    assert at(found, "source_frames_total", source=ODD) == 0
    assert at(found, "source_age_seconds", source="door") == pytest.approx(0.04)
    assert ("edge_har_source_age_seconds", frozenset({("source", ODD)})) not in found
    assert at(found, "source_silent_seconds", source="door") >= 0.04
    states = {
        state: at(found, "source_state", source="door", edge_har_source_state=state)
        for state in ("opening", "live", "lost", "ended", "failed")
    }
    assert states == {"opening": 0, "live": 1, "lost": 0, "ended": 0, "failed": 0}


def test_latency_is_a_histogram_in_seconds(run_status: RunStatus) -> None:
    found = samples(run_status)
    buckets = {
        bound: at(found, "tick_seconds_bucket", source="door", le=bound)
        for bound in ("0.00025", "0.0005", "0.001", "1.0", "+Inf")
    }
    assert list(buckets.values()) == [10, 10, 15, 15, 16]
    assert at(found, "tick_seconds_count", source="door") == 16
    assert at(found, "tick_seconds_sum", source="door") == pytest.approx(3.0055)


def test_two_sinks_of_one_name_are_two_series(run_status: RunStatus) -> None:
    found = samples(run_status)
    assert at(found, "sink_queued", sink="mqtt") == 7 and at(found, "sink_queued", sink="mqtt#2") == 1
    assert at(found, "sink_dropped_total", sink="mqtt") == 2
    assert at(found, "sink_delivered_total", sink="mqtt") == 30
    assert at(found, "sink_failed_total", sink="mqtt") == 4


def test_events_viewers_model_and_the_machine(run_status: RunStatus) -> None:
    found = samples(run_status)
    assert at(found, "events_total", source="door", label="Walk") == 6
    assert at(found, "viewers") == 2 and at(found, "loop_age_seconds") >= 0
    assert at(found, "temperature_celsius", sensor="cpu-thermal") == 61.5
    now = [at(found, "throttled", reason=r) for r in ("under-voltage", "throttled", "frequency-capped")]
    ever = [at(found, "throttled_since_boot", reason=r) for r in ("under-voltage", "throttled")]
    assert now == [1, 0, 0] and ever == [1, 1]
    assert any(name == "edge_har_info" and ("model", "m@1") in labels for name, labels in found)
    assert found["process_resident_memory_bytes", frozenset()] > 5e6


def test_where_it_is_no_raspberry_pi_nothing_is_said_of_throttling(run_status: RunStatus) -> None:
    found = samples(run_status, Readings({}, None, None, None))
    assert not [name for name, _ in found if "throttled" in name or "celsius" in name]


def test_errors_of_sinks_are_not_shown(run_status: RunStatus) -> None:
    assert b"s3cret" not in exposition(run_status).text("")[0]


def test_openmetrics_is_spoken_too(run_status: RunStatus) -> None:
    text, content_type = exposition(run_status).text(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in openmetrics.text_string_to_metric_families(text.decode())}
    assert {"edge_har_source_frames", "edge_har_tick_seconds", "edge_har_source_state"} <= families
