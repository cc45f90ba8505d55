"""What Home Assistant (2024.11 or newer) discovers of each source: one retained message per device.

PREFIX/device/edge_har_NODE_SOURCE/config holds the device and all its entities. Older versions of edge_har
had a message per entity; `old_topics` names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edge_har import __version__
from edge_har.pipeline.rules import UNKNOWN
from edge_har.sinks.options import slug

NO_ACTIVITY = "none"
ONLINE, OFFLINE = "online", "offline"
# Makes Home Assistant let go of an entity without forgetting its settings. It is not to be retained.
MIGRATE = json.dumps({"migrate_discovery": True})
# Only beginnings: an event entity has no duration. `time` shows whether the event waited for the broker.
EVENT_TEMPLATE = (
    "{% if value_json.type == 'start' %}"
    "{{ {'event_type': value_json.label, 'score': value_json.score, 'id': value_json.id, "
    "'time': value_json.time} | to_json }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Device:
    """A source, as Home Assistant shows it.

    prefix: the topic where Home Assistant looks. base: what all topics of this node begin with. status: the
    topic of this process. page: of the live page, None where there is none for Home Assistant.
    """

    prefix: str
    node_id: str
    node_name: str
    source: str
    base: str
    status: str
    page: str | None = None

    @property
    def id(self) -> str:
        """Its name, which stays the same from run to run."""
        return f"edge_har_{self.node_id}_{slug(self.source)}"

    @property
    def topic(self) -> str:
        """Where its message is retained."""
        return f"{self.prefix}/device/{self.id}/config"

    @property
    def old_topics(self) -> tuple[str, str]:
        """Where older versions retained a message per entity."""
        node, name = f"edge_har_{self.node_id}", slug(self.source)
        return (
            f"{self.prefix}/sensor/{node}/{name}_activity/config",
            f"{self.prefix}/binary_sensor/{node}/{name}_camera/config",
        )

    def message(self, model_id: str, labels: Iterable[str], gone: Mapping[str, str]) -> str:
        """The device and its entities. gone: entities that it has no more, to their platform."""
        entities = self._entities(tuple(labels))
        # An entity with nothing but a platform is removed.
        removed = {key: {"p": platform} for key, platform in gone.items() if key not in entities}
        device: dict[str, Any] = {
            "identifiers": [self.id],
            "name": f"{self.source} ({self.node_name})",
            "manufacturer": "edge_har",
            "model": model_id,
            "sw_version": __version__,
        }
        if self.page is not None:
            device["configuration_url"] = f"{self.page}/"
        return json.dumps(
            {
                "dev": device,
                "o": {"name": "edge_har", "sw_version": __version__},
                # t: topic. An entity is there while this process and its source are: the end of another
                # process at the same broker changes neither topic.
                "availability": [{"t": self.status}, {"t": f"{self._at}/availability"}],
                "availability_mode": "all",
                "cmps": entities | removed,
            }
        )

    @property
    def _at(self) -> str:
        return f"{self.base}/{slug(self.source)}"

    def _entities(self, labels: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        state = f"{self._at}/state"
        entities: dict[str, dict[str, Any]] = {
            "activity": {
                "p": "sensor",
                "name": "Activity",
                "icon": "mdi:human-handsup",
                "device_class": "enum",
                "options": list(dict.fromkeys((*labels, NO_ACTIVITY, UNKNOWN))),
                "state_topic": state,
                "value_template": "{{ value_json.activity }}",
                "json_attributes_topic": state,
            },
            "event": {
                "p": "event",
                "name": "Event",
                "icon": "mdi:human-handsup",
                "event_types": list(dict.fromkeys((*labels, UNKNOWN))),
                "state_topic": f"{self._at}/event",
                "value_template": EVENT_TEMPLATE,
            },
            "camera": {
                "p": "binary_sensor",
                "name": "Camera",
                "device_class": "connectivity",
                "entity_category": "diagnostic",
                "state_topic": f"{self._at}/availability",
                "payload_on": ONLINE,
                "payload_off": OFFLINE,
                "availability": [{"t": self.status}],
            },
        }
        for label in labels:
            # JSON's strings are strings in Home Assistant's templates too.
            quoted = json.dumps(label, ensure_ascii=False)
            entities[f"label_{slug(label)}"] = {
                "p": "binary_sensor",
                "name": label,
                "state_topic": state,
                "value_template": f"{{{{ 'ON' if value_json.activity == {quoted} else 'OFF' }}}}",
            }
        if self.page is not None:
            # MQTT's `camera`, and `image` with an image_topic, would need pictures at the broker, where every
            # client may read them. With a url_topic only an address goes there: Home Assistant fetches the
            # still from the live page itself, once after each change of what goes on.
            entities["image"] = {
                "p": "image",
                "name": "Picture",
                "url_topic": state,
                "url_template": f"{self.page}/still/{quote(self.source, safe='')}.jpg",
            }
        for key, entity in entities.items():
            entity["unique_id"] = f"{self.id}_{key}"
        return entities


def entities_of(message: str) -> dict[str, str]:
    """The entities of a device's message, to their platform; without those that it removes. Empty where it is
    none.
    """
    try:
        found: Any = json.loads(message)
        return {key: str(entity["p"]) for key, entity in found["cmps"].items() if len(entity) > 1}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
