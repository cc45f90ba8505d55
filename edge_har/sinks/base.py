"""What every place that events go to offers."""

from __future__ import annotations

from typing import Protocol

from edge_har.events import Event


class Sink(Protocol):
    """Takes events one by one, in order."""

    def write(self, event: Event) -> None:
        """Take one event; it is delivered when this returns."""

    def close(self) -> None:
        """Nothing more comes; may be called twice."""
