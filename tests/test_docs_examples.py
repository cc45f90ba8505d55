"""The Python examples of docs/examples, run as the page docs/api.md shows them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from edge_har.sources.synthetic import render_clip
from tests.helpers.command import environment
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.videos import write_video

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLES = DOCS / "examples"
ON_THE_PAGE = ("frames_from_numpy", "camera", "asyncio_events", "many_files")
LONG_S = 120.0
DEMO_SCRIPT = "synthetic:demo?duration=12"


def command(example: str, *arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / f"{example}.py"), *map(str, arguments)]


def run(example: str, *arguments: object, cwd: Path) -> list[str]:
    """What an example prints, which must end well and complain of nothing."""
    done = subprocess.run(
        command(example, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG_S,
        cwd=cwd,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in ON_THE_PAGE:
        content = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert f"```python\n{content}```" in page, name
        assert f"](examples/{name}.py)" in page, name


def test_frames_from_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", render_clip("JumpingJack", 5, 75))
    lines = run("frames_from_numpy", "clip.npy", cwd=tmp_path)
    assert len(lines) > 5 and all(": JumpingJack, " in line for line in lines[-5:])


def test_a_camera_until_ctrl_c(tmp_path: Path) -> None:
    """A camera in the network takes the place of one at the machine: both are live and have no end."""
    pictures = [jpeg(frame) for frame in render_clip("JumpingJack", 5, 100)]
    with MjpegServer(pictures, 25.0, loop=True) as server:
        running = subprocess.Popen(
            command("camera", server.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(),
        )
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=LONG_S)
    assert first.endswith(" start JumpingJack\n"), errors
    assert rest.endswith(" end JumpingJack\n") and (running.returncode, errors) == (0, "")


def test_events_in_asyncio(tmp_path: Path) -> None:
    lines = run("asyncio_events", DEMO_SCRIPT, cwd=tmp_path)
    begun = [line.removeprefix("start ") for line in lines if line.startswith("start ")]
    ended = [line.removeprefix("end ") for line in lines if line.startswith("end ")]
    assert begun == ended != []


def test_many_files_in_processes(tmp_path: Path) -> None:
    for label in ("JumpingJack", "Bend"):
        write_video(tmp_path / f"{label}.avi", render_clip(label, 5, 100), 25.0)
    lines = run("many_files", "JumpingJack.avi", "none.avi", "Bend.avi", cwd=tmp_path)
    assert [line.partition(": ")[0] for line in lines] == ["JumpingJack.avi", "none.avi", "Bend.avi"]
    assert "JumpingJack at " in lines[0] and "none.avi" in lines[1].partition(": ")[2]
    assert "Bend at " in lines[2]
