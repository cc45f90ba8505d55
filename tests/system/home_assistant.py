"""Home Assistant itself, of the package `homeassistant`, in a Debian root of its own."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.broker import free_port
from tests.helpers.running import wait_until
from tests.system.roots import AMD64, Kind, Root, fresh

VERSION = "2025.11.3"
INTEGRATIONS = ("mqtt", "mobile_app", "stream", "automation")
# Installed beforehand, with what they depend on, as Home Assistant itself would when it starts.
REQUIREMENTS = f"""
import json, pathlib, homeassistant
folder = pathlib.Path(homeassistant.__path__[0])
names, required = list({json.dumps(INTEGRATIONS)}), dict()
while names:
    name = names.pop()
    if name not in required:
        manifest = json.loads((folder / "components" / name / "manifest.json").read_text())
        required[name] = manifest.get("requirements", [])
        names += manifest.get("dependencies", []) + manifest.get("after_dependencies", [])
print(*sorted(set(sum(required.values(), []))), "-c", folder / "package_constraints.txt")
"""
KIND = Kind(
    "trixie",
    AMD64,
    ("ca-certificates", "g++", "libturbojpeg0", "python3", "python3-dev", "python3-venv"),
    (
        "python3 -m venv /ha",
        # aiodns of this version fails beside pycares 5.
        f"/ha/bin/pip install --quiet homeassistant=={VERSION} 'pycares<5'",
        f"/ha/bin/pip install --quiet $(/ha/bin/python -c '{REQUIREMENTS}')",
    ),
)
USER, PASSWORD = "tester", "secret"
START_S = 120.0
ANSWER_S = 20.0


class HomeAssistant:
    """One that runs at `address`, with its user logged in."""

    def __init__(self, address: str) -> None:
        self.address = address
        client = f"{address}/"
        login = {"client_id": client, "handler": ["homeassistant", None], "redirect_uri": client}
        flow = self.call("/auth/login_flow", login)["flow_id"]
        answer = {"client_id": client, "username": USER, "password": PASSWORD}
        code = self.call(f"/auth/login_flow/{flow}", answer)["result"]
        grant = {"grant_type": "authorization_code", "code": code, "client_id": client}
        self._token = self.call("/auth/token", urllib.parse.urlencode(grant).encode())["access_token"]

    def call(self, path: str, body: object | None = None) -> Any:
        """The JSON that an address answers; with a body, to a POST."""
        return json.loads(self.read(path, body))

    def read(self, path: str, body: object | None = None) -> bytes:
        """The bytes that an address answers."""
        form = isinstance(body, bytes)
        data = body if form else None if body is None else json.dumps(body).encode()
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        headers = {"Content-Type": kind}
        if hasattr(self, "_token"):
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.address + path, data, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
            return bytes(response.read())

    def add_mqtt(self, port: int) -> None:
        """Add the integration, as a person does in its settings."""
        flow = self.call("/api/config/config_entries/flow", {"handler": "mqtt"})["flow_id"]
        answer = {"broker": "127.0.0.1", "port": port}
        made = self.call(f"/api/config/config_entries/flow/{flow}", answer)
        assert made["type"] == "create_entry", made

    def states(self) -> dict[str, dict[str, Any]]:
        """Each entity's state, with `state` and `attributes`."""
        return {state["entity_id"]: state for state in self.call("/api/states")}

    def template(self, text: str) -> str:
        """What a template becomes."""
        return self.read("/api/template", {"template": text}).decode()


@contextmanager
def running(blueprints: list[Path]) -> Iterator[HomeAssistant]:
    """Home Assistant with these blueprints of automations, until the block ends."""
    port = free_port()
    with fresh(KIND) as root:
        config = root.folder / "config"
        (config / "blueprints/automation/edge_har").mkdir(parents=True)
        for path in blueprints:
            (config / "blueprints/automation/edge_har" / path.name).write_text(path.read_text())
        (config / "automations.yaml").write_text("[]\n")
        (config / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\n"
            "api:\nconfig:\nmobile_app:\nautomation: !include automations.yaml\n"
        )
        yield from _logged_in(root, f"http://127.0.0.1:{port}")


def _logged_in(root: Root, address: str) -> Iterator[HomeAssistant]:
    root.run(f"/ha/bin/hass --script auth -c /config add {USER} {PASSWORD}")
    process = root.start("PATH=/ha/bin:$PATH exec hass --skip-pip -c /config")
    try:
        wait_until(lambda: _answers(address), START_S)
        yield HomeAssistant(address)
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
        print(output)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/", timeout=ANSWER_S)
    except urllib.error.HTTPError:
        return True  # it wants a login
    except OSError:
        return False
    return True
