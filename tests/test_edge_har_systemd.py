"""The unit of the docs under a real systemd: it starts, feeds its watchdog,
and is started again when frames stop.
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers.running import steady, wait_until
from tests.helpers.systemd import COMMAND, ENVIRONMENT, Systemd

UNIT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "edge-har.service"
NAME = UNIT.name
PROGRAM, SETTINGS, PASSWORD = "/opt/edge-har/bin/edge-har", "/etc/edge-har.toml", "/etc/cam-password"
WATCHDOG_S = 3
# Where the program lies, how long it may be silent, and a secret of its own.
OVERRIDE = f"""[Service]
Environment={ENVIRONMENT}
WatchdogSec={WATCHDOG_S}
RestartSec=200ms
LoadCredential=cam:{PASSWORD}
"""
CAMERA = """
[[source]]
name = "cam"
uri = "{url}"
password_file = "${{CREDENTIALS_DIRECTORY}}/cam"
"""


def fed_s(machine: Systemd) -> float:
    """Seconds from the service's start to when its watchdog was last fed."""
    fed, started = (machine.show(NAME, f"{what}TimestampMonotonic") for what in ("Watchdog", "ActiveEnter"))
    return (int(fed) - int(started)) / 1e6


def test_the_unit_of_the_docs_under_systemd() -> None:
    with steady(user_password="guard:open-sesame") as camera:
        settings = CAMERA.format(url=camera.url.replace("://", "://guard@"))
        unit = f"/etc/systemd/system/{NAME}"
        files = {
            unit: UNIT.read_text().replace(PROGRAM, COMMAND),
            f"{unit}.d/test.conf": OVERRIDE,
            SETTINGS: settings,
            PASSWORD: "open-sesame\n",
        }
        with Systemd(files) as machine:
            # Type=notify: `start` comes back when the service says that it is ready.
            machine.run("systemctl", "start", NAME)
            pid = machine.show(NAME, "MainPID")
            wait_until(lambda: machine.show(NAME, "StatusText").startswith("1 live; "))
            # It lives longer than a watchdog that is not fed would let it.
            wait_until(lambda: fed_s(machine) > 2 * WATCHDOG_S)
            assert machine.show(NAME, "MainPID") == pid and machine.show(NAME, "NRestarts") == "0"
            assert machine.run("stat", "--format=%U", f"/proc/{pid}").strip() == "edge-har"  # DynamicUser

            machine.write(SETTINGS, settings + "rotat = 90\n")
            machine.run("systemctl", "reload", NAME)
            wait_until(lambda: "source[1].rotat: no such key" in machine.journal(NAME))
            told = next(line for line in machine.journal(NAME).splitlines() if "rotat" in line)
            assert told.startswith("<3>")
            machine.write(SETTINGS, settings)
            machine.run("systemctl", "reload", NAME)
            wait_until(lambda: "<6>the settings were read again" in machine.journal(NAME))
            assert machine.show(NAME, "MainPID") == pid

            camera.stall()
            wait_until(lambda: int(machine.show(NAME, "NRestarts")) >= 1)
            wait_until(lambda: "Watchdog timeout" in machine.journal(NAME))

            camera.stop()
            camera.start()
            wait_until(lambda: machine.show(NAME, "StatusText").startswith("1 live; "))
            assert machine.show(NAME, "MainPID") != pid

            machine.run("systemctl", "stop", NAME)
            assert machine.show(NAME, "Result") == "success"
            assert "Traceback" not in machine.journal(NAME) and "open-sesame" not in machine.journal(NAME)
