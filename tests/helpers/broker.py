"""A real MQTT broker on loopback that can be stopped, frozen and brought back,
and a client that hears all of it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.helpers.need import need_program

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 30.0
USER, PASSWORD = "camera", "hunter2-öß"


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """Mosquitto with its data in `folder`; a context manager.
    What a client that is known is owed outlasts a stop.

    password: ask for USER and PASSWORD. certificate, key: talk TLS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: bool = False,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.program = need_program("mosquitto")
        self.port = free_port()
        self.tls = certificate
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if password else 'true'}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            f"user {'root' if os.geteuid() == 0 else ''}".strip(),
        ]
        if password:
            users = folder / "users"
            users.touch(mode=0o600)
            command = [need_program("mosquitto_passwd", "mosquitto"), "-b", str(users), USER, PASSWORD]
            subprocess.run(command, check=True, capture_output=True)
            lines.append(f"password_file {users}")
        if certificate is not None:
            lines += [f"certfile {certificate}", f"keyfile {key}"]
        (folder / "mosquitto.conf").write_text("\n".join(line for line in lines if line != "user") + "\n")

    def start(self) -> None:
        """Listen, on the same port as before, with what was kept."""
        with open(self.folder / "log", "ab") as log:
            command = [self.program, "-c", str(self.folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until_s = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until_s, "mosquitto does not start"
                time.sleep(0.02)

    def stop(self) -> None:
        """End it; it keeps what it owes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(WAIT_S)
            self._process = None

    def freeze(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Listener:
    """A client that receives all that is published, also what was while the broker or the listener was
    away.
    """

    def __init__(self, broker: Broker, name: str = "listener") -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self.client.username_pw_set(USER, PASSWORD)
        if broker.tls is not None:
            self.client.tls_set(str(broker.tls))
        self.client.on_connect = lambda *_: self.client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = self._hear
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self.ready.wait(WAIT_S)

    def _hear(self, client: Client, data: object, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload, message.retain))

    def at(self, topic: str) -> list[str]:
        """All that was heard at a topic, in order."""
        return [payload.decode() for at, payload, _ in list(self.heard) if at == topic]

    def latest(self) -> dict[str, str]:
        """What was last heard at each topic."""
        return {topic: payload.decode() for topic, payload, _ in list(self.heard)}

    def retained(self) -> dict[str, str]:
        """What stood at retained topics when the listener came."""
        return {topic: payload.decode() for topic, payload, retain in list(self.heard) if retain}

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
