"""What measurements see of a run, without reaching into it."""

from __future__ import annotations

from edge_har.pipeline.events import Event
from edge_har.pipeline.sampler import Ticks
from edge_har.pipeline.status import RunStatus


class PipelineObserver:
    """Is called by the thread that recognises, and so adds its own time to each tick. A subclass overrides
    what it needs; a run without an observer spends nothing on it. What a method raises ends the run.
    """

    def on_frame(self, source: str, ticks: Ticks) -> None:
        """A frame of the source is about to be recognised, once for each of `ticks`."""

    def on_event(self, event: Event) -> None:
        """An event is emitted."""

    def on_tick(self, source: str, ticks: Ticks, recognised_s: float) -> None:
        """The frame was recognised at `recognised_s` of time.monotonic(), and its events and picture are
        passed on.
        """

    def on_end(self, run_status: RunStatus) -> None:
        """The run is over, however it ended."""
