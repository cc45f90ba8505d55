"""What a manifest's JSON may be, and how its values are read: strictly, so that two readers agree on it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from edge_har.errors import EdgeHarError

# The manifests we write have 6 levels. Whoever walks one calls itself once a level.
MAX_DEPTH = 32


def read_json(content: bytes) -> Any:
    """The value of UTF-8 JSON without what readers disagree on: numbers that are not finite, a key twice in
    one object, halves of surrogate pairs, more than MAX_DEPTH levels. Raises ValueError.
    """
    try:
        value = json.loads(
            content.decode(),
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise ValueError(_too_deep()) from error
    _check_tree(value)
    return value


def whole(value: object) -> int:
    """A whole number as it stands in JSON; raises TypeError for anything else, true and false too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise TypeError(f"expected a whole number, got {value!r}")
    return int(value)


def real(value: object) -> float:
    """A number as it stands in JSON; raises TypeError for anything else, true and false too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def check_range(name: str, value: float, low: float, high: float, error: type[EdgeHarError]) -> None:
    """Raise `error` unless `value` is `low` to `high`, both included; NaN is not."""
    if not low <= value <= high:
        raise error(f"{name} must be {low:,} to {high:,}, got {value}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return read


def _check_tree(value: Any) -> None:
    level: list[Any] = [value]
    depth = 0
    while level:
        below: list[Any] = []
        for item in level:
            _check_text(item)
            if isinstance(item, (dict, list)) and depth == MAX_DEPTH:
                raise ValueError(_too_deep())
            if isinstance(item, dict):
                _check_texts(item)
                below += item.values()
            elif isinstance(item, list):
                below += item
        level, depth = below, depth + 1


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        _check_text(text)


def _check_text(value: object) -> None:
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"the text {value[:40]!r} holds half of a surrogate pair")


def _too_deep() -> str:
    return f"its values are nested more than {MAX_DEPTH} levels deep"
