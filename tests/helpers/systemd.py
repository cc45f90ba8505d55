"""A real systemd, booted over this machine's own root folder:
what it writes goes to memory, its network is ours.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

from tests.helpers.need import need_program

if TYPE_CHECKING:
    from typing_extensions import Self

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON, PACKAGES, SOURCE = "/opt/edge-har-python", "/opt/edge-har-packages", "/opt/edge-har-source"
# What a unit needs to run this checkout as any user: its home folder may be closed to others.
COMMAND = f"{PYTHON}/bin/python3 -m edge_har"
ENVIRONMENT = f"PYTHONPATH={SOURCE}:{PACKAGES} LD_LIBRARY_PATH={PYTHON}/lib"
TARGET = """[Unit]
Requires=basic.target systemd-journald.service
After=basic.target
AllowIsolate=yes
"""
BOOT_S = 60.0
POWER_OFF = signal.SIGRTMIN + 4


class Systemd:
    """A machine of its own while the block runs, with `files` (path there: content) in it."""

    def __init__(self, files: dict[str, str]) -> None:
        if os.geteuid() != 0:
            pytest.skip("systemd in a container needs root")
        self._nspawn = need_program("systemd-nspawn", "systemd-container")
        need_program("systemctl", "systemd")
        self._files = {"/etc/systemd/system/test.target": TARGET, **files}
        self._folder = tempfile.TemporaryDirectory(prefix="edge-har-systemd-")
        self._leader = 0

    def __enter__(self) -> Self:
        here = Path(self._folder.name)
        self._root = here / "root"
        self._root.mkdir()
        subprocess.run(["mount", "--bind", "/", self._root], check=True)
        binds = [
            f"{sys.base_prefix}:{PYTHON}",
            f"{site.getsitepackages()[0]}:{PACKAGES}",
            f"{CHECKOUT}:{SOURCE}",
        ]
        for number, (path, text) in enumerate(self._files.items()):
            (here / f"{number}").write_text(text)
            binds.append(f"{here / str(number)}:{path}")
        # fmt: off
        self._process = subprocess.Popen(
            [
                self._nspawn, f"--directory={self._root}", "--volatile=overlay", "--register=no",
                "--keep-unit", "--boot", "--console=pipe", "--link-journal=no",
                f"--machine=edge-har-{secrets.token_hex(4)}",
                *(f"--bind-ro={bind}" for bind in binds),
                "systemd.unit=test.target",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        # fmt: on
        try:
            self._wait_for_boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leader:
            os.kill(self._leader, POWER_OFF)
        try:
            self._process.communicate(timeout=BOOT_S if self._leader else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        subprocess.run(["umount", "--lazy", self._root], check=False)
        self._folder.cleanup()

    def write(self, path: str, text: str) -> None:
        """Change one of the files."""
        here = Path(self._folder.name)
        (here / str(list(self._files).index(path))).write_text(text)

    def run(self, *command: str, timeout_s: float = BOOT_S) -> str:
        """What a command says in there, which must succeed."""
        inside = ["nsenter", f"--target={self._leader}", "--mount", "--pid", "--ipc", "--uts", "--", *command]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=timeout_s)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """What systemd logged of a unit, and what the unit wrote, a line each: `<priority>text`."""
        output = self.run("journalctl", f"--unit={unit}", "--output=json", "--no-pager")
        lines = map(json.loads, output.splitlines())
        return "\n".join(f"<{line['PRIORITY']}>{line['MESSAGE']}" for line in lines)

    def _wait_for_boot(self) -> None:
        until_s = time.monotonic() + BOOT_S
        while time.monotonic() < until_s and self._process.poll() is None:
            children = (
                Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            )
            self._leader = int(children[0]) if children else 0
            if self._leader:
                command = [
                    "nsenter",
                    f"--target={self._leader}",
                    "--mount",
                    "--pid",
                    "systemctl",
                    "is-active",
                    "test.target",
                ]
                output = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
                if output == "active":
                    return
            time.sleep(0.05)
        self._process.kill()
        pytest.fail(f"systemd did not boot: {self._process.communicate()[0]}")
