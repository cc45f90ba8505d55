"""The unit of the docs under a real systemd: it starts, feeds its watchdog, and is started again when frames stop."""

from __future__ import annotations

import time
from pathlib import Path

from tests.helpers.running import steady, wait_until
from tests.helpers.systemd import COMMAND, ENVIRONMENT, Systemd

UNIT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "edge-har.service"
NAME = UNIT.name
WATCHDOG_S = 3
# All of the unit but the camera, where the program lies, and how long it may be silent.
OVERRIDE = """[Service]
ExecStart=
ExecStart={command} run --source cam={url} --wait-for-source --quiet
Environment={environment}
WatchdogSec={watchdog_s}
RestartSec=200ms
"""


def test_the_unit_of_the_docs_under_systemd() -> None:
    with steady() as camera:
        override = OVERRIDE.format(
            command=COMMAND, environment=ENVIRONMENT, url=camera.url, watchdog_s=WATCHDOG_S
        )
        folder = f"/etc/systemd/system/{NAME}"
        with Systemd({folder: UNIT.read_text(), f"{folder}.d/test.conf": override}) as machine:
            # Type=notify: `start` comes back when the service says that it is ready.
            machine.run("systemctl", "start", NAME)
            pid = machine.show(NAME, "MainPID")
            wait_until(lambda: machine.show(NAME, "StatusText").startswith("1 live; "))
            time.sleep(2 * WATCHDOG_S)  # lives longer than an unfed watchdog would let it
            assert machine.show(NAME, "MainPID") == pid and machine.show(NAME, "NRestarts") == "0"
            assert machine.show(NAME, "UID") != "0"  # DynamicUser

            machine.run("systemctl", "reload", NAME)
            camera.stall()
            wait_until(lambda: int(machine.show(NAME, "NRestarts")) >= 1)
            assert "watchdog" in machine.journal(NAME).lower()

            camera.stop()
            camera.start()
            wait_until(lambda: machine.show(NAME, "StatusText").startswith("1 live; "))
            assert machine.show(NAME, "MainPID") != pid

            machine.run("systemctl", "stop", NAME)
            assert machine.show(NAME, "Result") == "success"
            assert "Traceback" not in machine.journal(NAME)
