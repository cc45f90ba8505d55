"""What gets the events of a soak, each in a process of its own that writes down what came before it
acknowledges it.

`python -m tests.soak.receivers mqtt PORT FOLDER`, `python -m tests.soak.receivers hook PORT FILE SECRET_FILE`
"""

from __future__ import annotations

import hashlib
import hmac
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOPIC = "soak"


def heard_of(device: str, folder: Path) -> Path:
    """The file with what a device published."""
    return folder / f"mqtt-{device}.jsonl"


def listen(port: int, folder: Path) -> None:
    """Hear all events that are published, into a file for each device (`heard_of`); the broker keeps what
    comes while we, or it, are away.
    """
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion

    def hear(client: Client, data: object, message: MQTTMessage) -> None:
        with open(heard_of(message.topic.split("/")[1], folder), "ab") as file:
            file.write(message.payload + b"\n")

    def subscribed(*_: object) -> None:
        print("ready", flush=True)

    client = Client(CallbackAPIVersion.VERSION2, client_id="soak-listener", clean_session=False)
    client.on_connect = lambda *_: client.subscribe(f"{TOPIC}/+/+/event", qos=1)
    client.on_subscribe = subscribed
    client.on_message = hear
    client.reconnect_delay_set(1, 2)
    client.connect("127.0.0.1", port, keepalive=10)
    client.loop_forever()


class Hook(BaseHTTPRequestHandler):
    """Takes an event, and refuses one whose signature is wrong."""

    protocol_version = "HTTP/1.1"
    path_of_file: Path
    secret: bytes
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = self.headers.get("X-Edge-Har-Timestamp", "").encode() + b"." + body
        expected = "sha256=" + hmac.new(self.secret, signed, hashlib.sha256).hexdigest()
        known = hmac.compare_digest(expected, self.headers.get("X-Edge-Har-Signature", ""))
        if known:
            with self.lock, open(self.path_of_file, "ab") as file:
                file.write(body + b"\n")
        self.send_response(204 if known else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def take(port: int, path: Path, secret: Path) -> None:
    """Take POSTs until killed."""
    Hook.path_of_file, Hook.secret = path, secret.read_bytes().strip()
    server = ThreadingHTTPServer(("127.0.0.1", port), Hook)
    server.daemon_threads = True
    print("ready", flush=True)
    server.serve_forever()


def main() -> None:
    """Run one of them."""
    kind, port, *paths = sys.argv[1:]
    (listen if kind == "mqtt" else take)(int(port), *map(Path, paths))


if __name__ == "__main__":
    main()
