"""One source's way from ticks to events: its recognizer, its smoothing, its counters."""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial

from edge_har.model.bundle import Bundle
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import TickRecognizer
from edge_har.pipeline.events import Event, EventMachine
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, Ticks

COSTS_KEPT = 4096  # ticks of which the cost is remembered, for the median
SLOW_FRACTION = 0.1  # of ticks that repeat a frame: above, the source is slower than the model
SLOW_TICKS = 25  # before that is judged
STATE_S = 1.0  # how often the state is logged

log = logging.getLogger("edge_har")


class Stream:
    """One source's way from ticks to events: its recognizer, its smoothing, its counters.

    What comes of a call waits until `take_events`. `close` may be called while another thread is in
    `recognise`: what that still finds is dropped. recognizer: for this stream alone; None: one is made.
    """

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        options: RunOptions,
        ids: Iterator[str],
        *,
        recognizer: TickRecognizer | None = None,
    ) -> None:
        self.name = name
        self.bundle = bundle
        self.ticks = 0
        self.repeated = 0
        self.predicted = False  # whether a whole window was seen yet
        self.last_cost_ms = 0.0  # of the latest tick
        self.events: Counter[str] = Counter()
        self._options = options
        self.recognizer = recognizer or TickRecognizer(bundle, threads=options.threads)
        manifest = bundle.manifest
        self._machine = EventMachine(
            manifest.labels,
            options.smoothing(manifest.smoothing),
            options.tuning(manifest, options.rules.gate(name)),
            source=name,
            model=bundle.model_id,
            ids=ids,
        )
        self._costs_ms: deque[float] = deque(maxlen=COSTS_KEPT)
        self._lock = threading.Lock()  # never held while a graph runs
        self._found: deque[Event] = deque()
        self._closed = False
        self._since_reset = 0
        self.last_s: float | None = None
        self._warned_slow = False
        self._warned_squeezed = False
        self._logged_s = float("-inf")
        self._history = self._new_history()

    def _new_history(self) -> deque[tuple[int, Pixels]]:
        # Enough frames for another model to pick up the stream where this one is.
        temporal = self.bundle.manifest.temporal
        return deque(maxlen=temporal.frames - 1 + temporal.hop_ticks)

    def take_events(self) -> list[Event]:
        """What was found since the last call, in order."""
        with self._lock:
            found = list(self._found)
            self._found.clear()
        return found

    def recognise(self, ticks: Ticks) -> None:
        """Recognise one frame at each of its ticks."""
        began = time.perf_counter()
        self._find(lambda: self._machine.back(ticks.times_s[0]))
        gap_s = self.bundle.manifest.temporal.gap_ms / 1000
        if ticks.reset or (self.last_s is not None and ticks.times_s[0] - self.last_s > gap_s):
            self._find(lambda: self._machine.close("gap"))
            self.recognizer.reset()
            self._history.clear()
            self._since_reset = 0
        for time_s in ticks.times_s:
            if self._closed:
                return
            self._history.append((self._since_reset, ticks.frame))
            self._since_reset += 1
            scores = self.recognizer.tick(ticks.frame)
            if scores is not None:
                self.predicted = True
                self._find(partial(self._machine.predict, time_s, scores))
        self.last_s = ticks.times_s[-1]
        self.ticks += len(ticks.times_s)
        self.repeated += len(ticks.times_s) - 1
        cost_s = time.perf_counter() - began + ticks.cost_s
        self.last_cost_ms = 1000 * cost_s / len(ticks.times_s)
        self._costs_ms.append(self.last_cost_ms)
        self._warn_if_slow()
        self._warn_if_squeezed(ticks.made_by)
        self._log_state()

    def lost(self, time_s: float) -> None:
        """The source went away."""
        self.recognizer.reset()
        self._find(lambda: self._machine.lost(time_s))

    def ended(self, warning: str | None) -> None:
        """The source is at its end: warn of what could not be used of it."""
        if warning is not None:
            log.warning("%s: %s", self.name, warning)
        if not self.predicted:
            log.warning(
                "%s is shorter than the model's window of %.2f s: no event; "
                "edge-har classify fills short clips",
                self.name,
                self.bundle.manifest.temporal.window_s,
            )

    def close(self) -> None:
        """The end of the source, or of the run: nothing more is found."""
        self._find(lambda: self._machine.close("stop"))
        self._closed = True

    def swap(self, bundle: Bundle, recognizer: TickRecognizer) -> bool:
        """Go on with another model; whether the tick clock stays.

        Where frames, time and labels are the same nothing is lost: the new model is given the frames of the
        running window, and what is open stays open.
        """
        old, new = self.bundle.manifest, bundle.manifest
        self.bundle, self.recognizer = bundle, recognizer
        same_ticks = (old.frame, old.temporal) == (new.frame, new.temporal)
        self._retune(reset=not same_ticks)
        if same_ticks:
            first = next((i for i, _ in self._history if i % new.temporal.hop_ticks == 0), None)
            for index, frame in self._history:
                if first is not None and index >= first:
                    recognizer.tick(frame)
        else:
            self._history = self._new_history()
            self._since_reset = 0
        return same_ticks

    def tune(self, options: RunOptions) -> None:
        """Go on with other thresholds and rules. What is open stays open."""
        self._options = options
        self._retune(reset=False)

    def _retune(self, *, reset: bool) -> None:
        manifest, options = self.bundle.manifest, self._options
        self._find(
            lambda: self._machine.swap(
                manifest.labels,
                options.smoothing(manifest.smoothing),
                options.tuning(manifest, options.rules.gate(self.name)),
                model=self.bundle.model_id,
                reset=reset,
            )
        )

    @property
    def ongoing(self) -> tuple[str | None, float | None]:
        """The label of what goes on and its smoothed probability; None twice while nothing does."""
        return self._machine.ongoing

    @property
    def tick_ms(self) -> float | None:
        """Median cost of the latest ticks, in milliseconds."""
        return statistics.median(self._costs_ms) if self._costs_ms else None

    def _find(self, make: Callable[[], list[Event]]) -> None:
        """Keep the events that `make` gives, unless the stream was closed."""
        with self._lock:
            if not self._closed:
                found = make()
                self._found += found
                self.events.update(e.label for e in found if e.type == "start" and e.label is not None)

    def _warn_if_slow(self) -> None:
        if self._warned_slow or self.ticks < SLOW_TICKS or self.repeated <= SLOW_FRACTION * self.ticks:
            return
        self._warned_slow = True
        manifest = self.bundle.manifest
        model_hz, repeats = 1000 / manifest.temporal.interval_ms, self.ticks / (self.ticks - self.repeated)
        log.warning(
            "%s gives about %.1f frames a second, the model was made for %.1f: frames are repeated, %s",
            self.name,
            model_hz / repeats,
            model_hz,
            _cost_of_repeats(manifest.slow_source, repeats),
        )

    def _warn_if_squeezed(self, sampler: Sampler) -> None:
        if sampler.squeezed is not None and not self._warned_squeezed:
            self._warned_squeezed = True
            log.warning("%s: its picture of %s", self.name, sampler.squeezed)

    def _log_state(self) -> None:
        assert self.last_s is not None
        if (
            self.last_s - self._logged_s < STATE_S
            or not log.isEnabledFor(logging.DEBUG)
            or not self.predicted
        ):
            return
        self._logged_s = self.last_s
        average = self._machine.average
        top = int(average.argmax())
        log.debug(
            "%s %.2f s: %s %.2f", self.name, self.last_s, self.bundle.manifest.labels[top], average[top]
        )


def _cost_of_repeats(measured: dict[int, float], repeats: float) -> str:
    """What is known of the accuracy where each frame serves `repeats` ticks on average."""
    usual = measured.get(1)
    slower = [ticks for ticks in measured if ticks > 1]
    if usual is None or not slower:
        return "expect it to be less sure"
    nearest = min(slower, key=lambda ticks: abs(ticks - repeats))
    return (
        f"which costs accuracy: on held-out clips the window accuracy is {measured[nearest]:.0%} "
        f"where each frame served {nearest} ticks, {usual:.0%} where it served one"
    )
