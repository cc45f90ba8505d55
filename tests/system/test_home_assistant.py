"""Home Assistant, by itself: what our discovery makes there, and the blueprint."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_har.model.bundle import default_bundle_path, open_bundle
from tests.helpers.broker import Broker, free_port
from tests.helpers.running import wait_until
from tests.system.home_assistant import HomeAssistant, running
from tests.system.runs import started

if TYPE_CHECKING:
    from typing_extensions import Self

BLUEPRINT = Path(__file__).parents[2] / "docs/examples/home-assistant-blueprint.yaml"
NODE = "hall"
LABELS = open_bundle(default_bundle_path()).manifest.labels
JPEG = b"\xff\xd8"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for Home Assistant and for us."""
    with Broker(tmp_path_factory.mktemp("broker")) as running_broker:
        yield running_broker


@pytest.fixture(scope="module")
def home(broker: Broker) -> Iterator[HomeAssistant]:
    """Home Assistant, with that broker."""
    with running([BLUEPRINT]) as here:
        here.add_mqtt(broker.port)
        yield here


@pytest.fixture
def source(broker: Broker, home: HomeAssistant, tmp_path: Path) -> Iterator[str]:
    """What Home Assistant calls a synthetic person that a run watches, with its picture."""
    page = free_port()
    sink = f"mqtt://127.0.0.1:{broker.port}?node={NODE}&page_url=http://127.0.0.1:{page}"
    with started("--demo", "--sink", sink, "--web", f"127.0.0.1:{page}", home=tmp_path):
        wait_until(lambda: "sensor.demo_hall_activity" in home.states())
        yield "demo_hall"


def test_a_source_is_a_device_with_an_entity_for_each_label(home: HomeAssistant, source: str) -> None:
    def entity(kind: str, name: str) -> dict[str, Any]:
        return home.states()[f"{kind}.{source}_{name}"]

    assert entity("sensor", "activity")["attributes"]["options"] == [*LABELS, "none", "unknown"]
    assert entity("event", "event")["attributes"]["event_types"] == [*LABELS, "unknown"]
    assert {f"binary_sensor.{source}_{label.lower()}" for label in LABELS} <= home.states().keys()
    device = home.template(f"{{{{ device_attr('sensor.{source}_activity', 'name') }}}}")
    assert device == f"demo ({NODE})"
    wait_until(lambda: entity("binary_sensor", "camera")["state"] == "on")

    seen: list[str] = []

    def has_seen_two() -> bool:
        state = entity("event", "event")["attributes"]
        if state.get("event_type") is not None and state["event_type"] not in seen:
            seen.append(state["event_type"])
            assert 0 < state["score"] <= 1
        return len(seen) >= 2

    wait_until(has_seen_two, 60)
    wait_until(lambda: entity("sensor", "activity")["state"] in LABELS)
    wait_until(lambda: any(entity("binary_sensor", label.lower())["state"] == "on" for label in LABELS))


def test_the_picture_is_the_still_of_the_page(home: HomeAssistant, source: str) -> None:
    entity = f"image.{source}_picture"
    wait_until(lambda: home.states().get(entity, {}).get("state") not in (None, "unknown", "unavailable"))
    assert home.read(f"/api/image_proxy/{entity}").startswith(JPEG)


def test_another_process_that_is_killed_changes_nothing(
    broker: Broker, home: HomeAssistant, source: str, tmp_path: Path
) -> None:
    sink = f"mqtt://127.0.0.1:{broker.port}?node={NODE}"
    other = f"sensor.other_{NODE}_activity"
    with started(
        "--source", "other=synthetic:demo", "--realtime", "--sink", sink, home=tmp_path / "other"
    ) as process:
        wait_until(lambda: home.states().get(other, {}).get("state") not in (None, "unavailable"))
        process.kill()
        wait_until(lambda: home.states()[other]["state"] == "unavailable")
        assert home.states()[f"sensor.{source}_activity"]["state"] != "unavailable"


def test_a_run_that_ends_makes_its_entities_unavailable(
    broker: Broker, home: HomeAssistant, tmp_path: Path
) -> None:
    sink = f"mqtt://127.0.0.1:{broker.port}?node=porch"
    activity = "sensor.demo_porch_activity"
    with started("--demo", "--sink", sink, home=tmp_path):
        wait_until(lambda: home.states().get(activity, {}).get("state") not in (None, "unavailable"))
    wait_until(lambda: home.states()[activity]["state"] == "unavailable")


def test_the_blueprint_notifies_a_telephone(home: HomeAssistant, source: str) -> None:
    with Telephone() as telephone:
        home.call("/api/mobile_app/registrations", telephone.registration)
        device = home.template(f"{{{{ device_id('{telephone.name}') }}}}")
        chosen = {
            "event_entity": f"event.{source}_event",
            "minimum_score": 0.1,
            "notify_device": device,
            "labels": list(LABELS),
        }
        automation = {
            "alias": "edge_har",
            "use_blueprint": {"path": f"edge_har/{BLUEPRINT.name}", "input": chosen},
        }
        home.call("/api/config/automation/config/edge_har", automation)
        wait_until(lambda: home.states().get("automation.edge_har", {}).get("state") == "on")
        wait_until(lambda: telephone.notified, 60)
    assert telephone.notified[0]["title"] in LABELS
    assert telephone.notified[0]["message"].startswith(f"demo ({NODE})")


class Telephone:
    """What the app of a telephone is to Home Assistant: a registration, and an address that
    notifications are sent to.
    """

    name = "Telephone"

    def __init__(self) -> None:
        self.notified: list[dict[str, Any]] = []
        notified = self.notified

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                notified.append(json.loads(body))
                self.send_response(201)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                """Nothing: a test's output is for its failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def registration(self) -> dict[str, object]:
        """What the app sends to Home Assistant."""
        push = {"push_token": "token", "push_url": f"http://127.0.0.1:{self._server.server_port}/push"}
        return {
            "device_id": "telephone-1",
            "app_id": "app",
            "app_name": "App",
            "app_version": "1",
            "device_name": self.name,
            "manufacturer": "maker",
            "model": "model",
            "os_name": "os",
            "os_version": "1",
            "supports_encryption": False,
            "app_data": push,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
