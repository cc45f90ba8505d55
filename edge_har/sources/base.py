"""What every source of frames offers: times first, pixels only on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from edge_har.model.preprocess import Pixels

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge_har.sources import Address


class Source(ABC):
    """A camera, stream, file or drawing. Use as a context manager: it is released at the end of the block.

    name: what events call it; never shows a password. live: frames come at their own pace and are lost where
    nothing grabs them. ends: no more frames is the expected end; else the source was lost and may be opened
    again. part: which of several recordings the frame just grabbed is of; recognition starts over with each.
    color: the order of the pixels that `retrieve` gives. warning: what could not be read, once it has ended.
    address: where it was opened by one.
    """

    name: str = ""
    live: bool = False
    ends: bool = True
    part: int = 0
    warning: str | None = None
    address: Address | None = None
    wanted_interval_s: float | None = None
    color: Literal["rgb", "bgr"] = "bgr"

    @abstractmethod
    def grab(self) -> float | None:
        """Step to the next frame; its time in seconds, or None at the end. Converts no pixels.

        Raises SourceError where the source fails.
        """

    @abstractmethod
    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, in the order `color`.

        Raises SourceError where this one frame is damaged; the next may be whole.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what the source holds; may be called twice."""

    def want_every(self, interval_s: float) -> None:
        """Take note that a frame is wanted every `interval_s` seconds.

        Sources that fetch each frame go by it; the others give theirs as they come.
        """
        self.wanted_interval_s = interval_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Wrapper(Source):
    """A source round another one, of which it takes what it does not change itself."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.live = source.live
        self.color = source.color
        self._follow()

    def grab(self) -> float | None:
        """Time of the next frame in seconds, or None at the end."""
        time_s = self.source.grab()
        self._follow()
        return time_s

    def retrieve(self) -> Pixels:
        """The frame just grabbed."""
        return self.source.retrieve()

    def want_every(self, interval_s: float) -> None:
        """Take note that a frame is wanted every `interval_s` seconds."""
        self.source.want_every(interval_s)

    def close(self) -> None:
        """Release the source."""
        self.source.close()

    def _follow(self) -> None:
        self.ends, self.part, self.warning = self.source.ends, self.source.part, self.source.warning
