"""The README's first commands on a system with nothing but git, make and python3-venv."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.system.results import Noted
from tests.system.roots import AMD64, ARM64, Kind, fresh

README = Path(__file__).parents[2] / "README.md"
FIRST_EVENT_S = 300.0
# Besides what the README asks for: certificates, which a package only recommends, and for arm64 what hides
# this machine's processor.
ALSO = ("ca-certificates", "mount")


def packages() -> tuple[str, ...]:
    """What the README has installed before its first command."""
    found = re.search(r"`sudo apt install ([^`]+)`", README.read_text())
    assert found is not None
    return tuple(found[1].split())


def first_command() -> str:
    """What the README runs first in a checkout."""
    block = README.read_text().split("```sh\n")[1]
    return block.splitlines()[0].split("#")[0].strip()


@pytest.mark.parametrize(("suite", "architecture"), [("bookworm", AMD64), ("trixie", ARM64)])
def test_the_first_event_comes_within_five_minutes(suite: str, architecture: str, noted: Noted) -> None:
    assert first_command() == "make demo"
    kind = Kind(suite, architecture, (*packages(), *ALSO))
    with fresh(kind) as root:
        root.copy_checkout("/edge_har")
        version = root.run("python3 --version").strip().splitlines()[0]
        began_s = time.monotonic()
        process = root.start(f"cd /edge_har && {first_command()}")
        try:
            lines = []
            for line in process.stdout or ():
                lines.append(line)
                if '"type": "start"' in line:
                    break
            took_s = time.monotonic() - began_s
            assert '"type": "start"' in lines[-1], "".join(lines[-20:])
        finally:
            process.terminate()
            process.communicate(timeout=60)
    noted(f"Debian {suite}, {architecture}, {version}: first event {took_s:.0f} s after `make demo`")
    assert took_s <= FIRST_EVENT_S
