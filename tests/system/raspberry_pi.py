"""A system as Raspberry Pi OS (64-bit) is: arm64, systemd, sshd, a user `pi` who may use sudo.

Two programs are another thing than on a Pi: the processor is emulated, and there is no camera.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.broker import free_port
from tests.helpers.need import need_program
from tests.system.roots import ARM64, CPUINFO, Kind, Root, fresh

KIND = Kind(
    "trixie",
    ARM64,
    (
        "ca-certificates",
        "dbus",
        "iproute2",
        "mount",
        "openssh-server",
        "procps",
        "python3",
        "sudo",
        "systemd",
        "systemd-sysv",
    ),
    (
        "useradd --create-home --groups adm --shell /bin/bash pi",
        "echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pi",
        # Of a machine without a kernel of its own.
        "systemctl mask systemd-udevd.service systemd-networkd.service systemd-resolved.service",
    ),
)
CPUINFO_UNIT = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/mount --bind /etc/cpuinfo /proc/cpuinfo
[Install]
WantedBy=sysinit.target
"""
HOST = "camera-1.local"
BOOT_S = 300.0


@dataclass(frozen=True)
class Workstation:
    """Where commands are typed. folder: holds an `ssh` and an `scp` that know the Pi's address and key."""

    folder: Path

    def run(self, script: str, cwd: Path, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """What a script writes that is typed in `cwd`."""
        path = f"PATH={shlex.quote(str(self.folder))}:$PATH"
        return subprocess.run(
            ["/bin/bash", "-c", f"{path}\n{script}"],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def on_the_pi(self, script: str, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """What a script writes that is typed there, by its user."""
        return self.run(f"ssh pi@{HOST} {shlex.quote(script)}", self.folder, timeout_s=timeout_s)


@contextmanager
def running(folder: Path) -> Iterator[Workstation]:
    """A Pi that has booted, until the block ends. folder: an empty one, for the workstation."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "login_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    config = folder / "ssh_config"
    config.write_text(
        f"Host {HOST}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {key}\n IdentityAgent none\n"
        f" UserKnownHostsFile {folder / 'known_hosts'}\n StrictHostKeyChecking accept-new\n LogLevel ERROR\n"
    )
    for name in ("ssh", "scp"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {need_program(name, "openssh-client")} -F {config} "$@"\n')
        program.chmod(0o755)
    with fresh(KIND) as root:
        _settle(root, port, key.with_suffix(".pub").read_text())
        process = root.boot()
        try:
            here = Workstation(folder)
            _wait_for_boot(here, process)
            yield here
        finally:
            process.terminate()
            process.communicate(timeout=120)


def _settle(root: Root, port: int, public_key: str) -> None:
    """Let the login key in, at a port of this machine, and hide this machine's processor."""
    (root.folder / "etc/ssh/sshd_config.d/port.conf").write_text(f"Port {port}\nListenAddress 127.0.0.1\n")
    keys = root.folder / "home/pi/.ssh/authorized_keys"
    keys.parent.mkdir()
    keys.write_text(public_key)
    (root.folder / "etc/cpuinfo").write_text(CPUINFO)
    (root.folder / "etc/systemd/system/cpuinfo.service").write_text(CPUINFO_UNIT)
    root.run("chown -R pi:pi /home/pi/.ssh; systemctl enable ssh.service cpuinfo.service")


def _wait_for_boot(here: Workstation, process: subprocess.Popen[str]) -> None:
    until_s = time.monotonic() + BOOT_S
    while here.on_the_pi("systemctl is-active ssh.service", timeout_s=60).stdout.strip() != "active":
        assert process.poll() is None and time.monotonic() < until_s, "the Pi did not boot"
        time.sleep(1)
