"""`edge-har run --sink` in a process of its own: the same events everywhere,
and an end in time whatever hangs.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.colours import colour_bytes, painted
from tests.helpers.command import edge_har, start_edge_har
from tests.helpers.hooks import HookServer
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.running import write_scene
from tests.helpers.sinks import fill, small_disk, wait_until
from tests.helpers.videos import write_video


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that tells colours, as a file."""
    path = tmp_path_factory.mktemp("bundle") / "colours.ehar"
    path.write_bytes(colour_bytes())
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of edge_har that the test can look into."""
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_sink_gets_the_events_of_standard_output(bundle: Path, tmp_path: Path) -> None:
    scene = [painted(colour, 80, (64, 48)) for colour in ("Red", "Green")]
    video = write_video(tmp_path / "scene.mkv", np.concatenate(scene), 25.0)
    with HookServer() as server:
        done = edge_har(
            "run", "--model", bundle, "--source", video, "-q",
            "--sink", f"jsonl:{tmp_path}/events.jsonl",
            "--sink", server.url,
            "--sink", f"video:{tmp_path}/video?min_free_bytes=0",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines if "update" not in line] == ["start", "end"] * 2
    assert (tmp_path / "events.jsonl").read_text().splitlines() == lines
    assert server.bodies() == lines
    assert len(list((tmp_path / "video").iterdir())) == 1


def test_a_run_ends_although_its_receiver_hangs_and_the_next_one_delivers(bundle: Path, home: Path) -> None:
    picture = jpeg(painted("Red", 1, (64, 48))[0])
    with HookServer() as server, MjpegServer([picture], 25.0, loop=True) as camera:
        server.hang = True
        arguments = ("run", "--model", bundle, "--source", f"door={camera.url}", "--sink", server.url)
        running = start_edge_har(*arguments)
        wait_until(lambda: server.connections, "the first event on its way")
        wait_until(lambda: b"update" in waiting(home), "events on the disk")
        running.send_signal(signal.SIGTERM)
        told, said = running.communicate(timeout=60)
        assert running.returncode == 0, said
        assert "the next run does" in said
        assert server.posts == []
        server.hang = False
        again = start_edge_har(*arguments)
        wait_until(lambda: len(server.posts) >= len(told.splitlines()), "all events of the first run")
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
    assert list(dict.fromkeys(server.bodies()))[: len(told.splitlines())] == told.splitlines()


def waiting(home: Path) -> bytes:
    """What waits on the disk."""
    return b"".join(path.read_bytes() for path in home.glob("spool/webhook/*.events"))


def test_misuse_is_one_line(bundle: Path) -> None:
    for wrong, code in (
        (("--sink", "pigeon:x"), 2),
        (("--sink", "mqtt://me:hunter2@broker"), 2),
        (("--sink", "jsonl:a", "--sink", "jsonl:b"), 2),
        (("--display",), 1),
    ):
        done = edge_har("run", "--model", bundle, "--source", "synthetic:Walk?duration=1", *wrong)
        assert done.returncode == code, wrong
        assert len(done.stderr.splitlines()) == 1 and done.stdout == "", done.stderr
        assert "hunter2" not in done.stderr


def test_a_run_whose_sink_lost_events_has_failed(bundle: Path, tmp_path: Path) -> None:
    video = write_scene(tmp_path / "clip.avi")
    with small_disk(tmp_path / "disk", 16) as disk:
        fill(disk)
        done = edge_har(
            "run", "--model", bundle, "--source", video, "--sink", f"jsonl:{disk / 'events.jsonl'}"
        )
    assert done.returncode == 1 and "could not be delivered and are lost" in done.stderr
    assert len(done.stdout.splitlines()) >= 2  # what worked has it all
