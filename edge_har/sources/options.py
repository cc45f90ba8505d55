"""Options of a source: what its address, or a table of the configuration, asks of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl

from edge_har.errors import MisuseError
from edge_har.options.secrets import secret_field

ROTATIONS = (0, 90, 180, 270)
TRANSPORTS = ("tcp", "udp")
SIDE_LIMITS = (16, 16384)  # px
MAX_RATE_HZ = 1000.0
SHOWN_NAME = re.compile(r"[A-Za-z_-]{1,20}")  # what may be said again of a text that could hold a password
YES, NO = ("1", "yes", "true", "on", ""), ("0", "no", "false", "off")


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened, and how its pictures are turned.

    size: width and height in px that a camera is asked for, or that raw frames have. rate: frames a second, likewise.
    format: how a camera sends pictures, or how raw frames are laid out. crop: x, y, width, height in px of the picture
    as it comes; then rotate: degrees clockwise; then flip: upside down; mirror: left for right. transport: of RTSP.
    password: of the user that a URL names; never shown. None, 0 and False: as the source is.

    Raises MisuseError for a value that cannot be.
    """

    size: tuple[int, int] | None = None
    rate: float | None = None
    format: str | None = None
    rotate: int = 0
    flip: bool = False
    mirror: bool = False
    crop: tuple[int, int, int, int] | None = None
    transport: str | None = None
    password: str | None = secret_field(default=None)

    def __post_init__(self) -> None:
        low, high = SIDE_LIMITS
        if self.size is not None and not all(low <= side <= high for side in self.size):
            raise MisuseError(
                f"a source's size is {low} to {high} px a side, got {'x'.join(map(str, self.size))}"
            )
        if self.rate is not None and not (math.isfinite(self.rate) and 0 < self.rate <= MAX_RATE_HZ):
            raise MisuseError(
                f"a source's rate is above 0 and at most {MAX_RATE_HZ:g} a second, got {self.rate:g}"
            )
        if self.rotate not in ROTATIONS:
            raise MisuseError(
                f"a source's rotate is one of {', '.join(map(str, ROTATIONS))}, got {self.rotate}"
            )
        if self.crop is not None and not (min(self.crop[:2]) >= 0 and min(self.crop[2:]) > 0):
            raise MisuseError(
                f"a source's crop is x,y,width,height in px, got {','.join(map(str, self.crop))}"
            )
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise MisuseError(f"a source's transport is tcp or udp, got {self.transport!r}")

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> SourceOptions:
        """The options of a table with the names above: texts as in an address, or numbers, lists and truth values.

        Raises MisuseError naming the option.
        """
        read: dict[str, Any] = {}
        for name, value in table.items():
            if name not in READERS:
                raise unknown_option(name, tuple(READERS))
            try:
                read[name] = READERS[name](value)
            except (TypeError, ValueError):
                shown = "" if name == "password" else f", got {value!r}"
                raise MisuseError(f"a source's {name} is {EXPECTED[name]}{shown}") from None
        return cls(**read)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the options that ask for something."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def over(self, other: SourceOptions) -> SourceOptions:
        """These options, and those of `other` that are not named here."""
        return replace(other, **{name: getattr(self, name) for name in self.named})

    def check_known(self, known: tuple[str, ...], source: str) -> None:
        """Raise MisuseError where something is asked that a source of this kind cannot do."""
        for name in self.named:
            if name not in known:
                raise MisuseError(
                    f"{source}: {name!r} is no option of such a source; it takes {', '.join(known)}"
                )


def unknown_option(name: str, known: tuple[str, ...]) -> MisuseError:
    """The error about an option that there is not."""
    shown = f"{name!r} " if SHOWN_NAME.fullmatch(name) else ""
    return MisuseError(f"no option {shown}of a source; choose from {', '.join(known)}")


def parse_query(query: str) -> dict[str, str]:
    """The options of `name=value&name=value`; a name alone means yes. Raises MisuseError for one given twice."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            shown = f" {name!r}" if SHOWN_NAME.fullmatch(name) else ""
            raise MisuseError(f"an option of a source{shown} is given twice")
        options[name] = value
    return options


def looks_like_options(text: str) -> bool:
    """Whether all of `text` can be read as options of a source."""
    pairs = parse_qsl(text, keep_blank_values=True)
    return bool(pairs) and all(name in READERS and name != "password" for name, _ in pairs)


def yes_or_no(value: object) -> bool:
    """A truth value, or a word for one. Raises ValueError for anything else."""
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in (*YES, *NO):
        raise ValueError(f"{value!r} is neither yes nor no")
    return text in YES


def width_height(value: object) -> tuple[int, int]:
    """Two whole numbers, from `640x480` or a list. Raises ValueError or TypeError for anything else."""
    try:
        width, height = _whole_numbers(value, "x", 2)
    except ValueError:
        raise ValueError(f"size {value!r} is not WIDTHxHEIGHT") from None
    return width, height


def _crop(value: object) -> tuple[int, int, int, int]:
    x, y, width, height = _whole_numbers(value, ",", 4)
    return x, y, width, height


def _whole_numbers(value: object, mark: str, count: int) -> list[int]:
    parts = value.lower().split(mark) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or len(parts) != count:
        raise ValueError(f"{value!r} is not {count} numbers")
    return [_whole_number(part) for part in parts]


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{value!r} is not a whole number")
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value


READERS: dict[str, Callable[[object], Any]] = {
    "size": width_height,
    "rate": _number,
    "format": _text,
    "rotate": _whole_number,
    "flip": yes_or_no,
    "mirror": yes_or_no,
    "crop": _crop,
    "transport": _text,
    "password": _text,
}
EXPECTED = {
    "size": "like 640x480",
    "rate": "a number of frames a second",
    "format": "a name",
    "rotate": "0, 90, 180 or 270",
    "flip": "yes or no",
    "mirror": "yes or no",
    "crop": "x,y,width,height in px",
    "transport": "tcp or udp",
    "password": "a text",
}
