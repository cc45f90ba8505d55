"""What Home Assistant discovers of a source, read as Home Assistant reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_har.sinks.base import line_of
from edge_har.sinks.home_assistant import Device, entities_of
from tests.helpers.need import need_module
from tests.helpers.sinks import LABELS, made_event

STATE, EVENT = "edge-har/pi/door/state", "edge-har/pi/door/event"


def device(**more: Any) -> Device:
    made = {"prefix": "homeassistant", "node_id": "pi", "node_name": "Pi", "source": "door"}
    return Device(**{**made, "base": "edge-har/pi", "status": "edge-har/pi/status/c1", **more})


def message(labels: tuple[str, ...] = LABELS, gone: dict[str, str] | None = None, **more: Any) -> Any:
    return json.loads(device(**more).message("m@1", labels, gone or {}))


def rendered(template: str, payload: str) -> str:
    """What Home Assistant's templates, which are Jinja's, make of a payload."""
    need_module("jinja2", "pip install -e '.[dev]'")
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment()
    environment.filters["to_json"] = json.dumps
    return environment.from_string(template).render(value_json=json.loads(payload), value=payload)


def test_a_device_is_one_message() -> None:
    found = message()
    assert device().topic == "homeassistant/device/edge_har_pi_door/config"
    assert found["dev"]["identifiers"] == ["edge_har_pi_door"] and found["dev"]["model"] == "m@1"
    assert found["o"]["name"] == "edge_har"
    platforms = {key: entity["p"] for key, entity in found["cmps"].items()}
    assert platforms == {
        "activity": "sensor",
        "event": "event",
        "camera": "binary_sensor",
        "label_Run": "binary_sensor",
        "label_Walk": "binary_sensor",
    }
    assert entities_of(json.dumps(found)) == platforms
    assert found["cmps"]["activity"]["options"] == ["Run", "Walk", "none", "unknown"]
    assert found["cmps"]["camera"]["entity_category"] == "diagnostic"


def test_entities_are_there_while_process_and_source_are() -> None:
    found = message()
    assert found["availability_mode"] == "all"
    assert [each["t"] for each in found["availability"]] == [
        "edge-har/pi/status/c1",
        "edge-har/pi/door/availability",
    ]
    # Whether the camera is there has to be seen when it is not.
    assert found["cmps"]["camera"]["availability"] == [{"t": "edge-har/pi/status/c1"}]


def test_the_beginning_of_an_event_is_an_event() -> None:
    event = message()["cmps"]["event"]
    assert event["state_topic"] == EVENT and event["event_types"] == ["Run", "Walk", "unknown"]
    began = made_event(3)
    assert json.loads(rendered(event["value_template"], line_of(began).decode())) == {
        "event_type": "Walk",
        "score": 0.53,
        "id": began.id,
        "time": began.time,
    }
    for kind in ("update", "end"):
        assert rendered(event["value_template"], line_of(made_event(3, kind)).decode()) == ""


@pytest.mark.parametrize("label", ["Walk", 'Say "hi"', "Jump}} {{x", "Übung 😀", "it's"])
def test_a_label_is_on_while_it_goes_on(label: str) -> None:
    (sensor,) = (one for one in message((label,))["cmps"].values() if one["name"] == label)
    assert sensor["state_topic"] == STATE
    assert rendered(sensor["value_template"], json.dumps({"activity": label})) == "ON"
    assert rendered(sensor["value_template"], '{"activity": "none"}') == "OFF"


def test_the_picture_comes_from_the_live_page_and_only_where_it_is_given() -> None:
    assert "image" not in message()["cmps"] and "configuration_url" not in message()["dev"]
    found = message(page="http://127.0.0.1:8080", source="yard/1 {{ x }}")
    image = found["cmps"]["image"]
    assert "image_topic" not in image
    assert rendered(image["url_template"], "{}") == (
        "http://127.0.0.1:8080/still/yard%2F1%20%7B%7B%20x%20%7D%7D.jpg"
    )
    assert found["dev"]["configuration_url"] == "http://127.0.0.1:8080/"


def test_what_a_device_has_no_more_is_removed_once() -> None:
    found = message(gone={"label_Sit": "binary_sensor", "label_Walk": "binary_sensor"})
    assert found["cmps"]["label_Sit"] == {"p": "binary_sensor"}
    assert found["cmps"]["label_Walk"]["name"] == "Walk"
    assert "label_Sit" not in entities_of(json.dumps(found))


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"cmps": 3}', '{"cmps": {"a": {"x": 1, "y": 2}}}'])
def test_what_is_no_message_of_a_device_has_no_entities(text: str) -> None:
    assert entities_of(text) == {}
