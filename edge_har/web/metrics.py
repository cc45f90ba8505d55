"""The run's status in Prometheus' format: read at each request, so nothing is counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from edge_har import __version__
from edge_har.pipeline.status import LATENCY_BUCKETS_MS, Latency, RunStatus, SinkState, SourceState
from edge_har.web.machine import FLAGS, PROC, Readings

PREFIX = "edge_har"
STATES = ("opening", "live", "lost", "ended", "failed")
OF_SOURCES = {  # attribute of Counts: what it counts
    "frames": "Frames that the source gave.",
    "ticks": "Ticks that were recognised.",
    "unused": "Frames that no tick needed.",
    "skipped": "Ticks that came too fast to be recognised.",
    "repeated": "Ticks that shared a frame, because the source is slower than the model.",
    "damaged": "Frames that could not be decoded.",
    "reconnects": "How often the source was reconnected.",
    "abandoned": "How often the source's thread hung and was left behind.",
}
OF_SINKS = {  # attribute of SinkState: what it counts
    "dropped": "Events that were dropped because too many waited.",
    "delivered": "Events that arrived.",
    "failed": "Attempts to deliver that failed.",
}


class StatusCollector(Collector):
    """Metrics of a run. started: events that began, by source and label. viewers: how many look at the
    page.
    """

    def __init__(
        self,
        run_status: RunStatus,
        read: Callable[[], Readings],
        started: Mapping[tuple[str, str], int],
        viewers: Callable[[], int],
    ) -> None:
        self._run_status = run_status
        self._read = read
        self._started = started
        self._viewers = viewers

    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        run_status = self._run_status
        now_s = time.monotonic()
        yield InfoMetricFamily(
            PREFIX, "What runs.", value={"version": __version__, "model": run_status.model_id}
        )
        yield _gauge(
            "loop_age_seconds", "Time since the recognizer loop last turned.", now_s - run_status.turned_s
        )
        yield _gauge("viewers", "Pages and streams that are open.", self._viewers())
        yield from _of_sources(run_status.sources, now_s)
        events = CounterMetricFamily(f"{PREFIX}_events", "Events that began.", labels=("source", "label"))
        for names, count in sorted(self._started.items()):
            events.add_metric(names, count)
        yield events
        yield from _of_sinks(run_status.sinks)
        yield from _of_machine(self._read())


class Exposition:
    """A run's metrics, and this process's own, as text."""

    def __init__(self, collector: StatusCollector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(proc=str(PROC), registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that the Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _of_sources(sources: Iterable[SourceState], now_s: float) -> Iterator[Metric]:
    sources = tuple(sources)
    for name, meaning in OF_SOURCES.items():
        counter = CounterMetricFamily(f"{PREFIX}_source_{name}", meaning, labels=("source",))
        for source in sources:
            counter.add_metric((source.name,), getattr(source.counts, name))
        yield counter
    states = StateSetMetricFamily(f"{PREFIX}_source_state", "The source's state.", labels=("source",))
    rate = _gauge("source_rate_hertz", "Frames a second of the latest seconds.", labels=("source",))
    age = _gauge(
        "source_age_seconds", "How old the newest frame was when it was recognised.", labels=("source",)
    )
    silent = _gauge("source_silent_seconds", "Time since the newest frame.", labels=("source",))
    latency = HistogramMetricFamily(
        f"{PREFIX}_tick_seconds", "Time from converting a tick's frame to its events.", labels=("source",)
    )
    for source in sources:
        states.add_metric((source.name,), {state: source.state == state for state in STATES})
        rate.add_metric((source.name,), source.rate_hz)
        if source.age_s is not None:
            age.add_metric((source.name,), source.age_s)
        if source.last_frame_s is not None:
            silent.add_metric((source.name,), now_s - source.last_frame_s)
        latency_now = source.latency
        latency.add_metric((source.name,), _cumulated(latency_now), latency_now.sum_ms / 1000)
    yield from (states, rate, age, silent, latency)


def _cumulated(latency: Latency) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: up to each bound in seconds, how many ticks in all."""
    bounds = [*(str(bound_ms / 1000) for bound_ms in LATENCY_BUCKETS_MS), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, latency.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _of_sinks(sinks: Iterable[SinkState]) -> Iterator[Metric]:
    named = tuple(_named(sinks))
    queued = _gauge("sink_queued", "Events that wait.", labels=("sink",))
    for name, sink in named:
        queued.add_metric((name,), sink.queued)
    yield queued
    for attribute, meaning in OF_SINKS.items():
        counter = CounterMetricFamily(f"{PREFIX}_sink_{attribute}", meaning, labels=("sink",))
        for name, sink in named:
            counter.add_metric((name,), getattr(sink, attribute))
        yield counter


def _named(sinks: Iterable[SinkState]) -> Iterator[tuple[str, SinkState]]:
    """Sinks with a name that no other has: two series of the same name would be refused."""
    seen: dict[str, int] = {}
    for sink in sinks:
        seen[sink.name] = seen.get(sink.name, 0) + 1
        yield (sink.name if seen[sink.name] == 1 else f"{sink.name}#{seen[sink.name]}"), sink


def _of_machine(readings: Readings) -> Iterator[Metric]:
    heat = _gauge("temperature_celsius", "What the machine's sensors show.", labels=("sensor",))
    for sensor, celsius in readings.temperatures_c.items():
        heat.add_metric((sensor,), celsius)
    yield heat
    if readings.throttled is None or readings.was_throttled is None:
        return
    now = _gauge("throttled", "What slows the Raspberry Pi down now.", labels=("reason",))
    ever = _gauge("throttled_since_boot", "What slowed it down since it started.", labels=("reason",))
    for reason in FLAGS.values():
        now.add_metric((reason,), reason in readings.throttled)
        ever.add_metric((reason,), reason in readings.was_throttled)
    yield from (now, ever)


def _gauge(
    name: str, meaning: str, value: float | None = None, labels: tuple[str, ...] | None = None
) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, value=value, labels=labels)
