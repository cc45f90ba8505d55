"""`service install` under a real systemd: the service starts, feeds its watchdog, is started again when
frames stop, and runs what is flashed to it over a real sshd.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from edge_har.deploy import send, unit
from edge_har.deploy.replies import Outcome
from edge_har.deploy.send import Ssh
from edge_har.model.bundle import default_bundle_path, open_bundle, read_bundle
from tests.helpers.broker import free_port
from tests.helpers.bundles import failing_golden, release
from tests.helpers.need import need_program
from tests.helpers.running import steady, wait_until
from tests.helpers.systemd import COMMAND, ENVIRONMENT, Systemd

NAME = unit.UNIT.name
SETTINGS, PASSWORD, KEY = str(unit.CONFIG), "/etc/cam-password", "/etc/sender.pub"
WATCHDOG_S = 3
INSTALL_S = 300.0  # golden clips and a first start, on a machine that does much else
PYTHON_PATHS = f"Environment={ENVIRONMENT}\n"
# How long the program may be silent, and a secret of its own.
OVERRIDE = f"""[Service]
{PYTHON_PATHS}WatchdogSec={WATCHDOG_S}
RestartSec=200ms
LoadCredential=cam:{PASSWORD}
"""
OVERRIDE_PATH = f"{unit.UNIT}.d/test.conf"
CAMERA = """
[[source]]
name = "cam"
uri = "{url}"
password_file = "${{CREDENTIALS_DIRECTORY}}/cam"
"""
SSHD = "/etc/ssh/test_sshd_config"


def program() -> list[str]:
    """What runs edge-har in the machine."""
    return ["env", *ENVIRONMENT.split(), *COMMAND.split()]


def install(machine: Systemd, *options: str) -> list[str]:
    """Run `service install` in the machine; what it did, a line each."""
    return machine.run(*program(), "service", "install", *options, timeout_s=INSTALL_S).splitlines()


def fed_s(machine: Systemd) -> float:
    """Seconds from the service's start to when its watchdog was last fed."""
    fed, started = (machine.show(NAME, f"{what}TimestampMonotonic") for what in ("Watchdog", "ActiveEnter"))
    return (int(fed) - int(started)) / 1e6


def test_the_installed_service_under_systemd() -> None:
    with steady(user_password="guard:open-sesame") as camera:
        settings = CAMERA.format(url=camera.url.replace("://", "://guard@"))
        files = {OVERRIDE_PATH: OVERRIDE, SETTINGS: settings, PASSWORD: "open-sesame\n"}
        with Systemd(files) as machine:
            # Type=notify: the start comes back when the service reports that it is ready.
            assert install(machine)[-1].startswith("done; ")
            pid = machine.show(NAME, "MainPID")
            wait_until(lambda: machine.show(NAME, "StatusText").startswith("1 live; "))
            # It lives longer than a watchdog that is not fed would let it.
            wait_until(lambda: fed_s(machine) > 2 * WATCHDOG_S)
            assert machine.show(NAME, "MainPID") == pid and machine.show(NAME, "NRestarts") == "0"
            assert machine.run("stat", "--format=%U", f"/proc/{pid}").strip() == "edge-har"

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


def run_keygen(keygen: str, path: Path) -> None:
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def ssh_config(folder: Path, port: int, key: Path, known_hosts: Path) -> Path:
    """A configuration for ssh in which the user of the service on the machine is `device`."""
    path = folder / "ssh_config"
    path.write_text(
        f"Host device\n HostName 127.0.0.1\n Port {port}\n User {unit.NAME}\n IdentityFile {key}\n"
        " IdentitiesOnly yes\n IdentityAgent none\n"
        f" UserKnownHostsFile {known_hosts}\n GlobalKnownHostsFile /dev/null\n"
    )
    return path


def test_what_is_flashed_over_ssh_is_what_the_service_runs(tmp_path: Path) -> None:
    sshd, keygen = need_program("sshd", "openssh-server"), need_program("ssh-keygen", "openssh-client")
    port, key = free_port(), tmp_path / "key"
    need_program("ssh", "openssh-client")
    run_keygen(keygen, key)
    with steady() as camera:
        files = {
            OVERRIDE_PATH: f"[Service]\n{PYTHON_PATHS}",
            SETTINGS: f'[[source]]\nname = "cam"\nuri = "{camera.url}"\n',
            KEY: (tmp_path / "key.pub").read_text(),
            SSHD: f"ListenAddress 127.0.0.1:{port}\nHostKey /etc/ssh/test_host_key\nPidFile none\n"
            f"PasswordAuthentication no\nUsePAM no\nSetEnv {ENVIRONMENT}\n",
        }
        with Systemd(files) as machine:
            done = install(machine, "--deploy-key", KEY, "--allow-unsigned")
            assert any(line.startswith("make the user edge-har") for line in done)
            shipped = open_bundle(default_bundle_path()).model_id
            wait_until(lambda: shipped in machine.show(NAME, "StatusText"))

            machine.run("sh", "-c", "id sshd || useradd --system sshd; mkdir -p /run/sshd")
            machine.run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/test_host_key")
            library_path = os.environ.get("LD_LIBRARY_PATH", "")
            machine.run(
                *("systemd-run", "--unit=test-sshd", f"--setenv=LD_LIBRARY_PATH={library_path}"),
                *(sshd, "-D", "-e", "-f", SSHD),
            )
            known = tmp_path / "known_hosts"
            known.write_text(f"[127.0.0.1]:{port} {machine.run('cat', '/etc/ssh/test_host_key.pub')}")
            ssh = Ssh(config=ssh_config(tmp_path, port, key, known))

            def flash(content: bytes) -> send.HostResult:
                (tmp_path / "sent.ehar").write_bytes(content)
                (result,) = send.flash(tmp_path / "sent.ehar", ["device"], ssh)
                return result

            wait_until(lambda: "Server listening" in machine.journal("test-sshd"))
            flashed = flash(release(11))
            assert flashed.outcome is Outcome.OK, (flashed, machine.journal("test-sshd"))
            pid = machine.show(NAME, "MainPID")
            model = read_bundle(release(11)).model_id
            wait_until(lambda: model in machine.show(NAME, "StatusText"))
            assert flash(failing_golden(12)).outcome is Outcome.SELFTEST_FAILED
            (back,) = send.roll_back(["device"], ssh)
            assert back.reply.model == shipped
            wait_until(lambda: shipped in machine.show(NAME, "StatusText"))
            assert flash(release(11)).outcome is Outcome.OK
            assert machine.show(NAME, "MainPID") == pid  # it never let go of its camera

            doctor = machine.run(
                *("sh", "-c", '"$@" || true', "-"), *program(), "doctor", "--json", timeout_s=INSTALL_S
            )
            levels = {found["check"]: found["level"] for found in json.loads(doctor)["findings"]}
            assert [levels[check] for check in ("unit", "store", "config", "network")] == ["ok"] * 4

            # On the device itself: root works on the same store, as the same user; others get a line.
            local = [*program(), "status", "--local", "--json"]
            reply = json.loads(machine.run(*local))
            assert (reply["store"]["home"], reply["model"]) == (str(unit.STATE), model)
            nobody = machine.run("sh", "-c", '"$@" || true', "-", *("setpriv", "--reuid=nobody"), *local)
            assert json.loads(nobody)["outcome"] == "REFUSED" and "edge-har@HOST" in nobody
            owners = machine.run("find", str(unit.STATE), "-printf", "%u\\n").split()
            assert set(owners) == {"edge-har"}
            shell = subprocess.run(
                ["ssh", "-F", ssh.config, "-oBatchMode=yes", "device", "id"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert json.loads(shell.stdout)["outcome"] == "REFUSED"

            # A second time only systemd hears of it, and what was flashed stays.
            again = install(machine, "--deploy-key", KEY, "--allow-unsigned")
            assert [line for line in again if "systemctl" not in line] == []
            wait_until(lambda: model in machine.show(NAME, "StatusText"))
