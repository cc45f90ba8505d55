"""A real sshd on loopback as an ordinary process, with a host key,
a login key and a configuration of its own.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.need import need_program

ROOT = Path(__file__).resolve().parents[2]
START_S = 10.0
PRIVILEGE_SEPARATION = Path("/run/sshd")  # sshd wants it where it runs as root; its service makes it at boot


@dataclass(frozen=True)
class Sshd:
    """A running sshd. config: for ssh, knows the host as `device`; folder: its files, to make variants of."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        """Configuration file for ssh."""
        return self.folder / "ssh_config"

    def write_client(self, name: str = "ssh_config", *, known: bool = True, port: int | None = None) -> Path:
        """A configuration for ssh; known: whether the host key in it is this sshd's."""
        key = (self.folder / ("host_key.pub" if known else "other_key.pub")).read_text()
        known_hosts = self.folder / f"{name}.known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port or self.port} {key}")
        path = self.folder / name
        path.write_text(
            "Host *\n"
            f" HostName 127.0.0.1\n Port {port or self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {self.folder / 'login_key'}\n IdentitiesOnly yes\n IdentityAgent none\n"
            f" UserKnownHostsFile {known_hosts}\n GlobalKnownHostsFile /dev/null\n"
        )
        return path

    def allow(self, command: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Let the login key in: with a shell, or with `command` as its forced command."""
        words = ["env", *(f"{name}={value}" for name, value in (environment or {}).items())]
        key = (self.folder / "login_key.pub").read_text()
        if command is not None:
            quoted = f"{shlex.join(words)} {command}".replace('"', '\\"')
            key = f'restrict,command="{quoted}" {key}'
        (self.folder / "authorized_keys").write_text(key)


@contextmanager
def running_sshd(folder: Path) -> Iterator[Sshd]:
    """Start sshd on a free port of 127.0.0.1; skips where it is not installed."""
    program = need_program("sshd", "openssh-server")
    need_program("ssh", "openssh-client")
    keygen = need_program("ssh-keygen", "openssh-client")
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "other_key", "login_key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host_key'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        "SetEnv SHLVL=2\n"  # so that bash does not read the .bashrc of whoever runs the tests
    )
    sshd = Sshd(folder, port)
    sshd.allow()
    sshd.write_client()
    with open(folder / "sshd.log", "wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=log)
        try:
            _wait_until_open(port, process, folder / "sshd.log")
            yield sshd
        finally:
            process.terminate()
            process.wait()


def python_command(module: str) -> str:
    """A shell command that runs a module of this checkout with this interpreter."""
    return shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", module])


def _wait_until_open(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"sshd does not listen: {log.read_text()}")
