"""The part of JSON Schema, draft 2020-12, that our schema uses; a keyword beyond it is an error."""

from __future__ import annotations

import re
from typing import Any

NOTES = {"$schema", "title", "description", "default"}
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)
}  # fmt: skip


def problems_of(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """What `schema` refuses in `value`, a line each."""
    found: list[str] = []
    for keyword, rule in schema.items():
        if keyword in NOTES:
            continue
        match keyword:
            case "type":
                fits = isinstance(value, TYPES[rule]) and (rule == "boolean" or not isinstance(value, bool))
                found += [] if fits else [f"{at} is no {rule}"]
            case "const" | "enum":
                found += [] if value in (rule if keyword == "enum" else [rule]) else [f"{at} is not {rule}"]
            case "anyOf" | "oneOf":
                fitting = sum(not problems_of(value, one, at) for one in rule)
                found += [] if fitting == 1 or (fitting and keyword == "anyOf") else [f"{at}: {fitting} fit"]
            case "allOf":
                found += [line for one in rule for line in problems_of(value, one, at)]
            case "minimum" | "maximum" | "exclusiveMinimum":
                if isinstance(value, (int, float)):
                    low, high = (value, rule) if keyword == "maximum" else (rule, value)
                    fits = low < high if keyword == "exclusiveMinimum" else low <= high
                    found += [] if fits else [f"{at} is out of range"]
            case "pattern":
                found += [f"{at}: {rule}"] if isinstance(value, str) and not re.search(rule, value) else []
            case "minLength" | "minItems":
                short = isinstance(value, str if keyword == "minLength" else list) and len(value) < rule
                found += [f"{at} is too short"] if short else []
            case "maxItems":
                found += [f"{at} is too long"] if isinstance(value, list) and len(value) > rule else []
            case "items":
                found += (
                    [line for one in value for line in problems_of(one, rule, f"{at}[]")]
                    if isinstance(value, list)
                    else []
                )
            case "required":
                found += [
                    f"{at} has no {key}" for key in rule if isinstance(value, dict) and key not in value
                ]
            case "properties":
                for key in rule.keys() & value.keys() if isinstance(value, dict) else ():
                    found += problems_of(value[key], rule[key], f"{at}.{key}")
            case "additionalProperties":
                others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
                for key in others:
                    found += (
                        ["unknown " + key] if rule is False else problems_of(value[key], rule, f"{at}.{key}")
                    )
            case _:
                raise AssertionError(f"a keyword that is not known here: {keyword}")
    return found
