"""Every frame of a source, for tests that look at pixels."""

from __future__ import annotations

from collections.abc import Iterator

from edge_har.model.preprocess import as_rgb
from edge_har.sources.base import Frame, Source


def frames(source: Source) -> Iterator[Frame]:
    """Every frame of `source`, in RGB, until its end or loss; the source is closed then, or when the caller
    stops early. A damaged frame raises, other than with `Source.frames`.
    """
    with source:
        while (time_s := source.grab()) is not None:
            yield Frame(time_s, as_rgb(source.retrieve(), source.color))
