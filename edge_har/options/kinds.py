"""Kinds of option values: how each is read from a file or from a text, what is expected, its JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_har.options import durations

YES, NO = ("1", "yes", "true", "on", ""), ("0", "no", "false", "off")
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    read: a value of a TOML table. read_text: the same from a text, as in `option=value` or on the command
    line. Both raise TypeError, ValueError or MisuseError. expected: what messages say. expected_value: what
    they say of a value in Python, where that differs. schema: JSON Schema of a TOML value.
    low, high: the range that all values of the kind keep; above: values must be greater than this. choices:
    all values that there are; empty: any. metavar: what the help of a command calls a value. is_path: a
    relative path begins in the folder of the configuration file.
    is_labels: texts that are labels of the model.
    """

    read: Callable[[object], Any]
    read_text: Callable[[str], Any]
    expected: str
    schema: Mapping[str, Any]
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] = field(default=())
    metavar: str | None = None
    expected_value: str | None = None
    is_path: bool = False
    is_labels: bool = False


def yes_or_no(value: object) -> bool:
    """A truth value, or a word or number for one. Raises ValueError for anything else."""
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in (*YES, *NO):
        raise ValueError(f"{value!r} is neither yes nor no")
    return text in YES


def whole_number(value: object) -> int:
    """An int that is not a bool; raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def whole_number_of_text(text: str) -> int:
    """A whole number, perhaps with k, M or G behind it: thousands, millions, billions. Raises ValueError."""
    unit = text[-1:].lower() if text[-1:].lower() in UNITS else ""
    return int(text[:-1] if unit else text) * UNITS[unit]


def _whole_or_units(value: object) -> int:
    return whole_number_of_text(value) if isinstance(value, str) else whole_number(value)


def number(value: object) -> float:
    """A finite float; raises TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite")
    return float(value)


def text_of(value: object) -> str:
    """A text that is not empty and has no NUL; raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    if not value or "\0" in value:
        raise ValueError("empty, or with a NUL")
    return value


def texts_of(value: object) -> tuple[str, ...]:
    """A list of texts; raises TypeError or ValueError."""
    if not isinstance(value, (list, tuple)):
        raise TypeError("not a list")
    return tuple(map(text_of, value))


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _limit(value: object) -> float | None:
    return durations.parse_duration(value) or None


def choice(*values: str | int) -> Kind:
    """One of some texts, or one of some whole numbers."""
    names = [f'"{v}"' if isinstance(v, str) else str(v) for v in values]

    def read(value: object) -> Any:
        if isinstance(value, bool) or value not in values:
            raise ValueError(f"{value!r} is none of them")
        return values[values.index(value)]

    def read_text(text: str) -> Any:
        return read(text if isinstance(values[0], str) else int(text))

    expected = f"{', '.join(names[:-1])} or {names[-1]}"
    return Kind(read, read_text, expected, {"enum": list(values)}, choices=values)


_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*\d{1,9}(\.\d{1,9})?\s?[smhSMH]?\s*$"},
    ]
}
TEXT = Kind(text_of, text_of, "a text", {"type": "string", "minLength": 1})
PATH = Kind(text_of, text_of, "a text", {"type": "string", "minLength": 1}, is_path=True)
TRUTH = Kind(_truth, yes_or_no, "true or false", {"type": "boolean"})
WHOLE = Kind(whole_number, whole_number_of_text, "a whole number", {"type": "integer"})
BYTES = Kind(
    _whole_or_units,
    whole_number_of_text,
    "a whole number of bytes, such as 500000 or 10M",
    {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^\s*\d+[kKmMgG]?\s*$"}]},
)
NUMBER = Kind(number, lambda text: number(float(text)), "a number", {"type": "number"})
PROBABILITY = Kind(
    number, lambda text: number(float(text)), "a probability", {"type": "number"}, low=0, high=1
)
DURATION = Kind(
    durations.parse_duration,
    durations.parse_duration,
    durations.EXPECTED,
    _DURATION_SCHEMA,
    low=0,
    metavar="TIME",
)
# 0 is read as None: no limit.
LIMIT = Kind(
    _limit,
    _limit,
    f"{durations.EXPECTED}; 0: no limit",
    _DURATION_SCHEMA,
    above=0,
    metavar="TIME",
    expected_value="more than 0 seconds, or None for no limit",
)
TEXTS = Kind(
    texts_of,
    lambda text: texts_of(text.split(",")),
    "a list of texts",
    {"type": "array", "items": {"type": "string", "minLength": 1}},
)
LABELS = Kind(TEXTS.read, TEXTS.read_text, TEXTS.expected, TEXTS.schema, is_labels=True)
