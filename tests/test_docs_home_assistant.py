"""The blueprint of docs/examples: whole, and its conditions hold for the events that they should."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_har.sinks.home_assistant import Device
from tests.helpers.need import need_module

need_module("yaml", "pip install -e '.[dev]'")
need_module("jinja2", "pip install -e '.[dev]'")

import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

BLUEPRINT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "home-assistant-blueprint.yaml"
NOW_S = 1_000_000.0


class Input(str):
    """The name behind `!input`."""


class Loader(yaml.SafeLoader):
    """YAML as Home Assistant reads blueprints."""


Loader.add_constructor("!input", lambda loader, node: Input(loader.construct_scalar(node)))


def read() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(BLUEPRINT.read_text(encoding="utf-8"), Loader)
    return found


def inputs_of(part: object) -> set[str]:
    """The inputs that a part of the blueprint uses."""
    if isinstance(part, Input):
        return {str(part)}
    below = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return set().union(*(inputs_of(one) for one in below))


def state(text: str, **attributes: object) -> SimpleNamespace:
    return SimpleNamespace(state=text, attributes=attributes)


def is_notified(before: str | None, after: str, *, labels: list[str], score: float, age_s: float) -> bool:
    """Whether all conditions hold for an event that Walk begins."""
    environment = ImmutableSandboxedEnvironment()
    environment.globals |= {
        "now": lambda: datetime.fromtimestamp(NOW_S, timezone.utc),
        "as_timestamp": lambda at, otherwise=None: at.timestamp() if isinstance(at, datetime) else at,
    }
    came = state(after, event_type="Walk", score=score, time=NOW_S - age_s)
    variables = {
        "trigger": SimpleNamespace(from_state=None if before is None else state(before), to_state=came),
        "labels": labels,
        "minimum_score": 0.7,
        "maximum_age": 120,
    }
    return all(
        environment.from_string(condition["value_template"]).render(variables) == "True"
        for condition in read()["conditions"]
    )


def test_every_input_is_declared_and_used() -> None:
    blueprint = read()
    declared = blueprint.pop("blueprint")
    assert declared["domain"] == "automation" and declared["name"]
    assert inputs_of(blueprint) == set(declared["input"])
    assert {"triggers", "conditions", "actions"} <= blueprint.keys()


def test_it_reads_attributes_that_the_event_entity_has() -> None:
    device = Device("homeassistant", "pi", "Pi", "door", "edge-har/pi", "edge-har/pi/status/c")
    template = json.loads(device.message("m@1", ("Walk",), {}))["cmps"]["event"]["value_template"]
    text = BLUEPRINT.read_text(encoding="utf-8")
    for attribute in ("event_type", "score", "time"):
        assert f"to_state.attributes.{attribute}" in text and f"'{attribute}'" in template


@pytest.mark.parametrize(
    ("notified", "event"),
    [
        (True, {"before": "2026-11-21", "after": "2026-11-22"}),
        (True, {"before": "unknown", "after": "2026-11-22", "labels": ["Walk"]}),
        (False, {"before": "2026-11-21", "after": "2026-11-22", "labels": ["Run"]}),
        (False, {"before": "2026-11-21", "after": "2026-11-22", "score": 0.69}),
        (False, {"before": "2026-11-21", "after": "2026-11-22", "age_s": 121.0}),
        (False, {"before": "unavailable", "after": "2026-11-22"}),
        (False, {"before": None, "after": "2026-11-22"}),
        (False, {"before": "2026-11-21", "after": "unavailable"}),
    ],
)
def test_it_notifies_of_the_events_that_were_chosen(notified: bool, event: dict[str, Any]) -> None:
    assert is_notified(**{"labels": [], "score": 0.7, "age_s": 2.0, **event}) is notified
