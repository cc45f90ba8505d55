"""A stream that runs on `current` goes on with the flashed model, and never lets go of its source."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import cv2
import pytest

from edge_har.deploy import send
from edge_har.deploy.replies import Outcome
from edge_har.deploy.send import Ssh
from edge_har.deploy.store import CONFIG, CURRENT
from edge_har.model.bundle import read_bundle
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.bundles import failing_golden, release
from tests.helpers.folders import quick_folder
from tests.helpers.sshd import python_command, running_sshd
from tests.helpers.videos import moving_square

HOST = "device"
RATE_HZ = 15.0
TAKEN_WITHIN_S = 2.0
PATIENCE_S = 20.0


class Camera(ThreadingHTTPServer):
    """Motion JPEG over http without end; counts who came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Stream)
        frames = moving_square(0, 60, rate_hz=RATE_HZ, size_wh=(64, 64))
        self.jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        self.visits = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Stream(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        camera = self.server
        assert isinstance(camera, Camera)
        camera.visits += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        number = 0
        while True:
            jpeg = camera.jpegs[number % len(camera.jpegs)]
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return
            number += 1
            time.sleep(1 / RATE_HZ)

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output stays its own."""


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Lines(threading.Thread):
    """What a process writes, each line with the time at which it came."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.lines: list[tuple[float, str]] = []
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.lines.append((time.monotonic(), line))

    def wait_for(self, text: str, since_s: float = 0.0) -> float:
        """The time of the first line with `text` that came after `since_s`."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            for time_s, line in list(self.lines):
                if time_s >= since_s and text in line:
                    return time_s
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r} in {[line for _, line in self.lines]}")


def test_a_running_stream_takes_the_flashed_model_and_keeps_its_source(
    camera: Camera, tmp_path: Path
) -> None:
    (tmp_path / "sshd").mkdir()
    with quick_folder() as home, running_sshd(tmp_path / "sshd") as sshd:
        (home / CONFIG).write_text("allow_unsigned = true\n")
        sshd.allow(python_command("edge_har") + " receive", {HOME_VARIABLE: str(home)})
        ssh = Ssh(config=sshd.config)

        def flash(content: bytes) -> tuple[Outcome, float]:
            path = tmp_path / "sent.ehar"
            path.write_bytes(content)
            (result,) = send.flash(path, [HOST], ssh)
            return result.outcome, time.monotonic()

        assert flash(release(1))[0] is Outcome.OK
        model_1, model_2 = (read_bundle(release(number)).model_id for number in (1, 2))
        run = [sys.executable, "-m", "edge_har", "run", "-v", "--model", str(home / CURRENT)]
        process = subprocess.Popen(
            [*run, "--source", camera.uri, "--enter", "0", "--leave", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None and process.stderr is not None
        events, log = Lines(process.stdout), Lines(process.stderr)
        try:
            events.wait_for(model_1)
            outcome, flashed_s = flash(release(2))
            assert outcome is Outcome.OK
            assert log.wait_for(f"the model is now {model_2}") - flashed_s < TAKEN_WITHIN_S
            events.wait_for(model_2)
            assert flash(failing_golden(3))[0] is Outcome.SELFTEST_FAILED
            (back,) = send.roll_back([HOST], ssh)
            back_s = time.monotonic()
            assert back.reply.model == model_1
            assert log.wait_for(f"the model is now {model_1}") - back_s < TAKEN_WITHIN_S
            events.wait_for(model_1, since_s=back_s)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=PATIENCE_S)
        log.join(PATIENCE_S)
        events.join(PATIENCE_S)
    assert code == 0, log.lines
    assert camera.visits == 1  # the source was opened once and never again
    assert not any("Traceback" in line for _, line in log.lines)
    models = [json.loads(line)["model"] for _, line in events.lines]
    changes = [model for i, model in enumerate(models) if i == 0 or models[i - 1] != model]
    assert changes == [model_1, model_2, model_1]
    assert json.loads(events.lines[-1][1])["type"] == "end"
