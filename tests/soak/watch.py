"""What the runtime needs, from /proc, and what it reports of itself over HTTP, once a second."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

EVERY_S = 1.0
ANSWER_S = 10.0
MB = 1_000_000
METRIC = re.compile(
    r'edge_har_(source_ticks_total|sink_queued|sink_dropped_total|source_reconnects_total)\{\w+="(\w+)"\} '
    r"(\S+)"
)

_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Sample:
    """At `at_s` (CLOCK_MONOTONIC): resident memory in MB, open files, threads, seconds of CPU so far."""

    at_s: float
    rss_mb: float
    files: int
    threads: int
    cpu_s: float


@dataclass(frozen=True)
class Reading:
    """Metrics at `at_s`, by name and source or sink; health: the status that /healthz gave, after `health_s`
    seconds.
    """

    at_s: float
    health: int
    values: dict[tuple[str, str], float]
    health_s: float = 0.0


@dataclass
class Watch:
    """Looks at process `pid`, and at its page on `port`, in a thread until `stop`. unanswered: requests
    without an answer.
    """

    pid: int
    port: int
    samples: list[Sample] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._sample, self._ask)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_S)

    def _sample(self) -> None:
        while not self._over.wait(EVERY_S):
            with suppress(OSError):
                self.samples.append(sample(self.pid))

    def _ask(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                request_s = time.monotonic()
                health, _ = self._get("/healthz")
                health_s = time.monotonic() - request_s
                _, text = self._get("/metrics")
            except OSError:
                self.unanswered += bool(self.readings)  # at first it is not there yet
                continue
            values = {(name, of): float(value) for name, of, value in METRIC.findall(text)}
            self.readings.append(Reading(time.monotonic(), health, values, health_s))

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with _opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=ANSWER_S) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


def sample(pid: int) -> Sample:
    """What a process needs now; raises OSError where it is gone."""
    proc = Path("/proc") / str(pid)
    at_s = time.monotonic()
    resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    after_name = (proc / "stat").read_text().rpartition(")")[2].split()
    ticks, threads = int(after_name[11]) + int(after_name[12]), int(after_name[17])
    return Sample(
        at_s, resident / MB, len(os.listdir(proc / "fd")), threads, ticks / os.sysconf("SC_CLK_TCK")
    )


@dataclass(frozen=True)
class Growth:
    """Medians of a measure early and late in a run, and how far it may have grown."""

    early: float
    late: float
    limit: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown beyond the limit."""
        return self.late <= self.limit


def growth(
    samples: Sequence[Sample], measure: str, early_s: tuple[float, float], *, fraction: float, more: float
) -> Growth:
    """Compare the median of the last fifth of `samples` with that between two times after the first one."""
    first_s, last_s = samples[0].at_s, samples[-1].at_s
    early = [s for s in samples if early_s[0] <= s.at_s - first_s < early_s[1]]
    late = [s for s in samples if s.at_s >= last_s - (last_s - first_s) / 5]
    was = float(statistics.median(getattr(s, measure) for s in early))
    now = float(statistics.median(getattr(s, measure) for s in late))
    return Growth(was, now, was * (1 + fraction) + more)


def recovered_s(readings: Sequence[Reading], source: str, ended_s: float) -> float | None:
    """How long after `ended_s` a source was seen to give ticks again; None: not."""
    before: float | None = None
    for reading in readings:
        ticks = reading.values.get(("source_ticks_total", source), 0.0)
        if reading.at_s >= ended_s and before is not None and ticks > before:
            return reading.at_s - ended_s
        before = ticks
    return None


def emptied_s(readings: Sequence[Reading], sinks: Sequence[str], ended_s: float) -> float | None:
    """How long after `ended_s` nothing waited any more for any of the sinks; None: not seen."""
    for reading in readings:
        if reading.at_s >= ended_s and not any(reading.values.get(("sink_queued", s), 0) for s in sinks):
            return reading.at_s - ended_s
    return None
