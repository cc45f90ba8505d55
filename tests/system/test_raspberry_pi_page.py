"""docs/raspberry-pi.md, command by command: on a workstation, and on an emulated Pi reached by ssh."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_har.model.bundle import default_bundle_path, open_bundle
from tests.helpers.bundles import variant
from tests.system.raspberry_pi import Workstation, running
from tests.system.results import Noted

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/raspberry-pi.md"
PLACE = re.compile(r"\b(?:on|from) the (workstation|pi)\b", re.IGNORECASE)
START = '"type": "start"'
TIMEOUT_S = 1800.0
# A command that goes on until Ctrl-C gets that after so many seconds.
ENDLESS = {"edge-har run --demo": 120, "journalctl -u edge-har -f": 10}
# No camera is here: what stands in for one, and what is answered without.
INSTEAD = {"--source door=csi:0": "--source door=synthetic:demo"}
WITHOUT_CAMERA = ("edge-har run --source usb:C920", "edge-har run --source csi:0")
# These say by their exit code that something is not as it should be: a Pi has a camera and its own kernel.
MAY_FIND_FAULTS = ("edge-har doctor", "edge-har sources")
LEFT_OUT = {"sudo apt install rpicam-apps": "only the archive of Raspberry Pi OS has this package"}


@dataclass(frozen=True)
class Typed:
    """A line of the page. place: where it is typed, `workstation` or `pi`."""

    line: str
    place: str


def typed_lines(text: str) -> Iterator[Typed]:
    """The commands of the page, in order; without another word, those of a section are typed on the Pi."""
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        parts = re.split(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        place = "pi"
        for prose, block in zip(parts[::2], parts[1::2], strict=False):
            named = PLACE.findall(prose)
            place = named[-1].lower() if named else place
            yield from (
                Typed(line.split("   #")[0].strip(), place) for line in block.splitlines() if line.strip()
            )


def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path, noted: Noted) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{CHECKOUT}", checkout], check=True)
    (checkout / "mine.ehar").write_bytes(variant(open_bundle(default_bundle_path()), name="mine"))
    commands = list(typed_lines(PAGE.read_text()))
    assert {command.place for command in commands} == {"workstation", "pi"} and len(commands) > 25
    with running(tmp_path / "workstation") as here:
        began_s = time.monotonic()
        for command in commands:
            if command.line in LEFT_OUT:
                noted(f"left out: `{command.line}`: {LEFT_OUT[command.line]}")
                continue
            if "edge_har-0.2.0" in command.line:
                _make_the_next_version(here, checkout)
            _check(command, _typed(here, checkout, command))
    noted(f"{len(commands) - len(LEFT_OUT)} commands of the page, {time.monotonic() - began_s:.0f} s")


def _typed(here: Workstation, checkout: Path, command: Typed) -> subprocess.CompletedProcess[str]:
    line = command.line
    for camera, other in INSTEAD.items():
        line = line.replace(camera, other)
    for endless, seconds in ENDLESS.items():
        if line.endswith(endless):
            line = f"timeout --signal=INT {seconds} {line}"
    print(f"{command.place}$ {line}", flush=True)
    if command.place == "pi":
        done = here.on_the_pi(line, timeout_s=TIMEOUT_S)
    else:
        programs = shlex.quote(str(Path(sys.executable).parent))
        done = here.run(f"PATH={programs}:$PATH\n{line}", checkout, timeout_s=TIMEOUT_S)
    print(done.stdout, flush=True)
    return done


def _check(command: Typed, done: subprocess.CompletedProcess[str]) -> None:
    line = command.line
    if line.endswith(WITHOUT_CAMERA):
        assert done.returncode in (1, 2) and "error: " in done.stdout, line
        assert "Traceback" not in done.stdout
    elif line.endswith(MAY_FIND_FAULTS):
        assert done.returncode in (0, 1) and done.stdout and "Traceback" not in done.stdout, line
    elif line.endswith(tuple(ENDLESS)):
        assert START in done.stdout, f"{line}: {done.stdout[-2000:]}"
    else:
        assert done.returncode == 0, f"{line}: {done.stdout[-2000:]}"


def _make_the_next_version(here: Workstation, checkout: Path) -> None:
    """What the page calls 0.2.0: this version under that number, on the Pi."""
    package = checkout / "edge_har/__init__.py"
    package.write_text(package.read_text().replace('"0.1.0"', '"0.2.0"'))
    done = here.run(
        "make package && scp dist/edge_har-0.2.0-py3-none-any.whl pi@camera-1.local:",
        checkout,
        timeout_s=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "## A\nOn the workstation:\n```sh\na  # x\n```\nOn the Pi:\n```sh\nb   # y\n```\n",
            ["workstation", "pi"],
        ),
        (
            "## A\n```sh\na\n```\n## B\nThen from the workstation:\n```sh\nb\nc\n```\n",
            ["pi", *["workstation"] * 2],
        ),
    ],
)
def test_each_command_has_its_place(text: str, expected: list[str]) -> None:
    assert [command.place for command in typed_lines(text)] == expected
