"""Debian systems, each a folder that systemd-nspawn runs: of another release or processor, with little
installed.

A root is made once, by mmdebstrap, and kept in .cache/roots; what a test does in it is gone with the test.
Packages come from where this machine's apt and pip find theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers.need import need_program

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "roots"
DEBIAN = "http://deb.debian.org/debian"
ARM64, AMD64 = "arm64", "amd64"
INTERPRETER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
# On the processor that qemu takes by default an int8 result was off by .05.
RASPBERRY_PI_4 = "cortex-a72"
# LiteRT reads it, and fails where it finds this machine's own processor on another architecture.
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3
"""
SETUP_S = 1800.0


@dataclass(frozen=True)
class Kind:
    """What a root is made of. setup: shell commands that are run in it once, with the network."""

    suite: str
    architecture: str
    packages: tuple[str, ...]
    setup: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its folder's name, another one for other content."""
        content = json.dumps([self.packages, self.setup]).encode()
        return f"{self.suite}-{self.architecture}-{hashlib.sha256(content).hexdigest()[:8]}"


@dataclass(frozen=True)
class Root:
    """A system to run commands in, as its root user. variables: of the environment of each command."""

    folder: Path
    architecture: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, script: str) -> list[str]:
        """What runs a shell script in there. It shares this machine's network and ends with its parent."""
        if self.architecture == ARM64:
            (self.folder / "etc/cpuinfo").write_text(CPUINFO)
            script = f"mount --bind /etc/cpuinfo /proc/cpuinfo\n{script}"
        return self._nspawn("--as-pid2", "/bin/bash", "-e", "-c", script)

    def _nspawn(self, *more: str) -> list[str]:
        given = _pip_variables() | dict(self.variables)
        if self.architecture == ARM64:
            given["QEMU_CPU"] = RASPBERRY_PI_4
        # fmt: off
        return [
            need_program("systemd-nspawn", "systemd-container"), "--quiet", "--register=no", "--keep-unit",
            "--resolv-conf=replace-host", f"--directory={self.folder}",
            f"--machine={self.folder.parent.name}",
            *(f"--bind-ro={path}" for path in _pip_paths()),
            *(f"--setenv={name}={value}" for name, value in given.items()),
            "--pipe", *more,
        ]
        # fmt: on

    def run(self, script: str, *, timeout_s: float = SETUP_S) -> str:
        """What a script that must succeed writes, both streams."""
        done = subprocess.run(
            self.command(script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{script}: {done.stdout[-4000:]}"
        return done.stdout

    def start(self, script: str) -> subprocess.Popen[str]:
        """A script that goes on; both streams come line by line from its `stdout`."""
        return subprocess.Popen(
            self.command(script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def boot(self) -> subprocess.Popen[str]:
        """Its systemd, which ends with the process."""
        return subprocess.Popen(
            self._nspawn("--boot", "--link-journal=no"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def copy_checkout(self, to: str) -> None:
        """The commit of this checkout as a checkout in the root, without its history."""
        target = self.folder / to.lstrip("/")
        subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{CHECKOUT}", target], check=True)


@contextmanager
def fresh(kind: Kind) -> Iterator[Root]:
    """A root as it was made; what the block changes in it is thrown away. Skips by name what is absent."""
    base = _made(kind)
    with tempfile.TemporaryDirectory(prefix="edge-har-root-", dir=CACHE) as name:
        here = Path(name)
        for part in ("upper", "work", "root"):
            (here / part).mkdir()
        layers = f"lowerdir={base},upperdir={here / 'upper'},workdir={here / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, here / "root"], check=True)
        try:
            yield Root(here / "root", kind.architecture)
        finally:
            subprocess.run(["umount", "--lazy", here / "root"], check=True)


def _made(kind: Kind) -> Path:
    """The folder of a kind, made first where it is not there yet."""
    if os.geteuid() != 0:
        pytest.skip("a system in a folder needs root")
    mmdebstrap = need_program("mmdebstrap")
    if kind.architecture == ARM64 and platform.machine() != "aarch64":
        _need_interpreter()
    folder = CACHE / kind.name
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    making = CACHE / f"{kind.name}.making"
    shutil.rmtree(making, ignore_errors=True)
    # fmt: off
    subprocess.run(
        [
            mmdebstrap, f"--architectures={kind.architecture}", "--variant=minbase", "--quiet",
            "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/man/*",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={','.join(kind.packages)}",
            kind.suite, making, _mirror(),
        ],
        check=True,
    )
    # fmt: on
    for path in _pip_paths():
        if not path.is_dir():
            inside = making / path.relative_to("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.touch()
    root = Root(making, kind.architecture)
    for script in kind.setup:
        root.run(script)
    making.rename(folder)
    return folder


def _need_interpreter() -> None:
    if not INTERPRETER.exists():
        mounted = Path("/proc/sys/fs/binfmt_misc/register").exists()
        if not mounted:
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", INTERPRETER.parent], check=False)
        need_program("qemu-aarch64-static", "qemu-user-static")
        subprocess.run([need_program("update-binfmts", "binfmt-support"), "--enable"], check=False)
    if not INTERPRETER.exists():
        pytest.skip("this kernel runs no programs of other processors: binfmt_misc is not there")


def _mirror() -> str:
    """Where this machine's apt finds Debian."""
    for path in sorted(Path("/etc/apt").rglob("*")):
        if path.suffix in (".sources", ".list"):
            found = re.findall(
                r"^(?:URIs:|deb(?:\s+\[.*\])?)\s+(\S+/debian/?)(?:\s|$)", path.read_text(), re.MULTILINE
            )
            if found:
                return str(found[0])
    return DEBIAN


def _pip_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _pip_paths() -> Sequence[Path]:
    """The files and folders that pip's settings here name, and those settings: a root sees them too."""
    ask = [sys.executable, "-m", "pip", "config", "debug"]
    listed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    named = {Path(path) for path in re.findall(r"(?<![\w.])/[^\s,:'\"]+", listed)}
    # The pages of an index lead to files beside its folder.
    named = {path.parent if path.name == "simple" else path for path in named}
    return sorted(path for path in named if path.exists())
