"""What every source of frames offers: times first, pixels only on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels, as_rgb, check_pixels

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge_har.sources import Address


class Frame(NamedTuple):
    """One picture and when it was taken.

    time_s: seconds of the source's clock, which never runs backwards. rgb: uint8 [height, width, 3], RGB.
    """

    time_s: float
    rgb: Pixels


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

    def frames(self) -> Iterator[Frame]:
        """Every frame from here to the end, as RGB; damaged ones are left out. The source stays open.

        A frame's pixels are good until the next frame. Raises SourceError where the source fails, or where a
        live one is lost.
        """
        while (time_s := self.grab()) is not None:
            try:
                pixels = self.retrieve()
            except SourceError:
                continue
            yield Frame(time_s, as_rgb(pixels, self.color))
        self.check_ended()

    def check_ended(self) -> None:
        """Raise SourceError where `grab` gave None although the source has no end: then it was lost."""
        if not self.ends:
            raise SourceError(f"{self.name}: the stream ended; open it again to go on")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class GivenFrames(Source):
    """Frames that a program has, instead of opening anything.

    frames: a time in seconds and pixels (uint8 [height, width, 3], in the order `color`) each; the next one
    is taken when it is grabbed.
    """

    def __init__(
        self,
        frames: Iterable[Frame | tuple[float, Pixels]],
        *,
        name: str = "frames",
        color: Literal["rgb", "bgr"] = "rgb",
    ) -> None:
        self.name = name
        self.color = color
        self._frames = iter(frames)
        self._pixels: Pixels | None = None

    def grab(self) -> float | None:
        """Step to the next frame; its time in seconds, or None at the end.

        Raises MisuseError for what is no frame, and what `frames` itself raises.
        """
        try:
            given = next(self._frames)
        except StopIteration:
            return None
        try:
            time_s, pixels = given
            time_s = float(time_s)
        except (TypeError, ValueError):
            raise MisuseError(
                f"a frame is a pair of seconds and pixels (uint8 height x width x 3), got {_shown(given)}"
            ) from None
        check_pixels(pixels, self.color)
        self._pixels = pixels
        return time_s

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3. Raises SourceError where there is none."""
        if self._pixels is None:
            raise SourceError(f"{self.name}: there is no frame; call grab() first")
        return self._pixels

    def close(self) -> None:
        """Forget the frame; what gives them is left as it is."""
        self._pixels = None


def _shown(given: object) -> str:
    if isinstance(given, tuple | list):
        return f"({', '.join(type(part).__name__ for part in given)})"
    return type(given).__name__


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
