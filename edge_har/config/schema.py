"""JSON Schema of the configuration file, for editors: `#:schema edge-har.schema.json` in its first line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_har.config.file import TABLES, all_tables
from edge_har.options.fields import Option
from edge_har.options.secrets import FROM_ENVIRONMENT, FROM_FILE

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of what the file may hold."""
    tables = all_tables()
    top, source, events, labels, web, log = (tables[name] for name in ("", *_in_order()))
    sinks = [
        _table(options, {"kind": {"const": name.removeprefix("sink ")}})
        for name, options in tables.items()
        if name.startswith("sink ")
    ]
    parts = {
        "source": {"type": "array", "items": _table(source)},
        "events": _table(events),
        "labels": {"type": "object", "additionalProperties": _table(labels)},
        "sink": {"type": "array", "items": {"oneOf": sinks}},
        "web": _table(web),
        "log": _table(log),
    }
    assert set(parts) == set(TABLES)
    return {"$schema": DRAFT, "title": "Configuration of edge-har run", **_table(top, parts)}


def _in_order() -> list[str]:
    return [name for name in TABLES if name != "sink"]


def _table(options: Mapping[str, Option], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A table with these options; `more`: other keys of it. A `kind` is required."""
    properties: dict[str, Any] = dict(more or {})
    needed: list[dict[str, Any]] = []
    for name, declared in options.items():
        keys = [name] if not declared.secret or declared.address else []
        if keys:
            properties[name] = declared.json_schema()
        if declared.secret:
            keys += [name + FROM_ENVIRONMENT, name + FROM_FILE]
            about = {FROM_ENVIRONMENT: "a variable of the environment", FROM_FILE: "a private file"}
            for ending, holder in about.items():
                properties[name + ending] = {
                    "type": "string",
                    "minLength": 1,
                    "description": f"{declared.help}: the name of {holder} that holds it",
                }
        if declared.needed:
            needed.append({"anyOf": [{"required": [key]} for key in keys]})
    table: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if "kind" in properties:
        table["required"] = ["kind"]
    return table | ({"allOf": needed} if needed else {})
