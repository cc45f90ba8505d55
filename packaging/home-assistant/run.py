"""Start of the add-on: its options as a configuration of `edge-har run`, which then takes this process over.

Secrets reach it in environment variables alone; the written file names them.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("EDGE_HAR_ADDON_DATA", "/data"))
FILES = Path(os.environ.get("EDGE_HAR_ADDON_CONFIG", "/config"))
SUPERVISOR = os.environ.get("EDGE_HAR_SUPERVISOR", "http://supervisor")
PAGE_PORT = 8080  # of `ports` in config.yaml
TIMEOUT_S = 10


class OptionsError(Exception):
    """Options of the add-on that cannot be used; the message is one line."""


def main() -> None:
    """Write the configuration and become `edge-har run`; exit 2 where the options cannot be used."""
    try:
        options = json.loads((DATA / "options.json").read_text(encoding="utf-8"))
        path, secrets = configuration(options)
    except (OSError, ValueError, OptionsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    command = [sys.executable, "-m", "edge_har", "run", "--config", str(path), "--wait-for-source"]
    os.execve(sys.executable, command, {**os.environ, **secrets})


def configuration(options: dict[str, Any]) -> tuple[Path, dict[str, str]]:
    """The file to run with, and the variables that hold its secrets; raises OptionsError, OSError."""
    if name := options.get("config_file"):
        path = FILES / name
        if not path.resolve().is_relative_to(FILES.resolve()) or not path.is_file():
            raise OptionsError(f"config_file: there is no {name!r} in the add-on's configuration folder")
        return path, {}
    if not options.get("sources"):
        raise OptionsError("sources: there is none; add one with a name and an address")
    lines: list[str] = []
    secrets: dict[str, str] = {}
    for number, source in enumerate(options["sources"], 1):
        variable = f"EDGE_HAR_SOURCE_{number}"
        secrets[variable] = source["uri"]
        lines += ["[[source]]", f"name = {json.dumps(source['name'])}", f'uri_env = "{variable}"']
    if options.get("mqtt"):
        lines += mqtt_lines(secrets)
    token = options.get("page_token")
    lines += ["[web]", f'listen = "{"0.0.0.0" if token else "127.0.0.1"}:{PAGE_PORT}"']
    if token:
        secrets["EDGE_HAR_WEB_TOKEN"] = token
    path = DATA / "edge-har.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path, secrets


def mqtt_lines(secrets: dict[str, str]) -> list[str]:
    """The sink for the broker that Home Assistant names; none, and a line about it, where it names none."""
    request = urllib.request.Request(f"{SUPERVISOR}/services/mqtt")
    request.add_header("Authorization", f"Bearer {os.environ.get('SUPERVISOR_TOKEN', '')}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            broker = json.load(answer)["data"]
        lines = ["[[sink]]", 'kind = "mqtt"', f"host = {json.dumps(broker['host'])}"]
        lines += [f"port = {int(broker['port'])}", f"tls = {json.dumps(bool(broker.get('ssl')))}"]
    except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
        print(
            f"warning: Home Assistant names no broker ({error}); events go to this log alone", file=sys.stderr
        )
        return []
    if broker.get("username"):
        secrets["EDGE_HAR_MQTT_PASSWORD"] = broker.get("password") or ""
        lines += [f"user = {json.dumps(broker['username'])}", 'password_env = "EDGE_HAR_MQTT_PASSWORD"']
    return lines


if __name__ == "__main__":
    main()
