"""Settings as TOML text, for people; what is not set stands in a comment, as TOML has no word for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edge_har.options.reading import BARE_KEY


def to_toml(settings: Mapping[str, Any]) -> str:
    """A mapping of values, tables and lists of tables as TOML; it ends with a line's end."""
    return "".join(f"{line}\n" for line in _lines(settings, ""))


def value_text(value: Any) -> str:
    """A text, a number, a truth value or a list of them as TOML."""
    # JSON leaves DEL as it is, which TOML forbids.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(table: Mapping[str, Any], at: str) -> Iterator[str]:
    tables: list[tuple[str, Any]] = []
    for key, value in table.items():
        name = key if BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
        if isinstance(value, Mapping) or (
            value and isinstance(value, list) and isinstance(value[0], Mapping)
        ):
            tables.append((f"{at}{name}", value))
        elif value is None:
            yield f"# {name}: not set"
        else:
            yield f"{name} = {value_text(value)}"
    for name, value in tables:
        for one in value if isinstance(value, list) else [value]:
            yield ""
            yield f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            yield from _lines(one, f"{name}.")
