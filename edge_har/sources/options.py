"""Options of a source: what its address, or a table of the configuration, requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl

from edge_har.errors import MisuseError
from edge_har.options.fields import check_values, option, options_of
from edge_har.options.kinds import NUMBER, TEXT, TRUTH, WHOLE, Kind, choice

SIDE_LIMITS = (16, 16384)  # px
MAX_RATE_HZ = 1000.0
SHOWN_NAME = re.compile(r"[A-Za-z_-]{1,20}")  # what may be quoted of a text that could hold a password


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


def _list_of_whole_numbers(count: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "minItems": count, "maxItems": count}


WIDTH_HEIGHT = Kind(
    width_height, width_height, "like 640x480", {"anyOf": [{"type": "string"}, _list_of_whole_numbers(2)]}
)
CROP = Kind(
    _crop, _crop, "x,y,width,height in px", {"anyOf": [{"type": "string"}, _list_of_whole_numbers(4)]}
)


@dataclass(frozen=True)
class SourceOptions:
    """How a source is opened, and how its pictures are turned.

    A picture is cut (crop), then rotated, then flipped and mirrored. None, 0 and False: as the source is.

    Raises MisuseError for a value that cannot be.
    """

    size: tuple[int, int] | None = option(
        WIDTH_HEIGHT,
        'width and height in px, `[640, 480]` or `"640x480"`',
        otherwise="as it comes",
        default=None,
    )
    rate: float | None = option(
        NUMBER, "frames a second", otherwise="as it comes", default=None, above=0, high=MAX_RATE_HZ
    )
    format: str | None = option(
        TEXT,
        "how a camera sends pictures, or how raw frames are laid out",
        otherwise="as it comes",
        default=None,
    )
    rotate: int = option(
        choice(0, 90, 180, 270), "turn by so many degrees clockwise: 0, 90, 180, 270", default=0
    )
    flip: bool = option(TRUTH, "turn upside down", default=False)
    mirror: bool = option(TRUTH, "exchange left and right", default=False)
    crop: tuple[int, int, int, int] | None = option(
        CROP, "x, y, width, height in px of the part to keep, before turning", otherwise="all", default=None
    )
    transport: str | None = option(
        choice("tcp", "udp"),
        "transport of RTSP: `tcp` or `udp`",
        otherwise="`tcp` where the camera has it",
        default=None,
    )
    password: str | None = option(
        TEXT, "password of the user that the address names", default=None, secret=True
    )

    def __post_init__(self) -> None:
        low, high = SIDE_LIMITS
        if self.size is not None and not all(low <= side <= high for side in self.size):
            raise MisuseError(
                f"a source's size is {low} to {high} px a side, got {'x'.join(map(str, self.size))}"
            )
        if self.crop is not None and not (min(self.crop[:2]) >= 0 and min(self.crop[2:]) > 0):
            raise MisuseError(
                f"a source's crop is x,y,width,height in px, got {','.join(map(str, self.crop))}"
            )
        check_values(self, "a source's ")

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> SourceOptions:
        """The options of a table with the names above: texts as in an address, or numbers,
        lists and truth values.

        Raises MisuseError naming the option.
        """
        known = options_of(cls)
        for name in table:
            if name not in known:
                raise unknown_option(name, tuple(known))
        values: dict[str, Any] = {}
        for name, value in table.items():
            try:
                values[name] = known[name].read_loosely(value)
            except (TypeError, ValueError):
                shown = "" if known[name].secret else f", got {value!r}"
                raise MisuseError(f"a source's {name} must be {known[name].expected}{shown}") from None
        return cls(**values)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the options that ask for something."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def over(self, other: SourceOptions) -> SourceOptions:
        """These options, and those of `other` that are not named here."""
        return replace(other, **{name: getattr(self, name) for name in self.named})

    def check_known(self, known: tuple[str, ...], source: str) -> None:
        """Raise MisuseError where an option is set that a source of this kind does not have."""
        for name in self.named:
            if name not in known:
                raise MisuseError(
                    f"{source}: {name!r} is no option of such a source; it takes {', '.join(known)}"
                )


@dataclass(frozen=True)
class SyntheticOptions:
    """What the address of the synthetic person may set besides how its pictures are turned."""

    seed: int = option(WHOLE, "selects person, clothes, room, light and way of moving", default=0)
    size: tuple[int, int] = option(WIDTH_HEIGHT, "width and height in px", default=(320, 240))
    rate: float = option(NUMBER, "frames a second", default=25.0)
    duration: float | None = option(NUMBER, "seconds until the end", default=None)
    live: bool = option(TRUTH, "play by the clock, as a camera does", default=False)
    loop: bool = option(TRUTH, "the demo begins again", default=False)


SYNTHETIC_OWN = tuple(options_of(SyntheticOptions))


def unknown_option(name: str, known: tuple[str, ...]) -> MisuseError:
    """The error about an option that there is not."""
    shown = f"{name!r} " if SHOWN_NAME.fullmatch(name) else ""
    return MisuseError(f"no option {shown}of a source; choose from {', '.join(known)}")


def parse_query(query: str) -> dict[str, str]:
    """The options of `name=value&name=value`; a name alone means yes.
    Raises MisuseError for one given twice.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            shown = f" {name!r}" if SHOWN_NAME.fullmatch(name) else ""
            raise MisuseError(f"an option of a source{shown} is given twice")
        options[name] = value
    return options


def looks_like_options(text: str) -> bool:
    """Whether all of `text` can be read as options of a source."""
    pairs, known = parse_qsl(text, keep_blank_values=True), options_of(SourceOptions)
    return bool(pairs) and all(name in known and not known[name].secret for name, _ in pairs)
