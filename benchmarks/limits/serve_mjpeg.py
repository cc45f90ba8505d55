"""Cameras on loopback in a process of their own: motion JPEG over HTTP of a synthetic person, by the clock.

`python -m benchmarks.limits.serve_mjpeg RATE_HZ` prints its port and serves any path until it is ended.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2

MODULE = "benchmarks.limits.serve_mjpeg"
SIZE_WH = (640, 480)
PICTURES_S = 4.0  # of the drawing, again and again
QUALITY = 90
LABEL, SEED = "Walk", 3
NICE = -5  # where this process may: a camera does not wait for who reads it
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """A running process of cameras."""

    port: int
    pid: int

    def url(self, camera: int) -> str:
        """The address of one of its cameras."""
        return f"http://127.0.0.1:{self.port}/{camera}"

    @property
    def cpu_s(self) -> float:
        """Processor time that it took so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@contextmanager
def serving(rate_hz: float) -> Iterator[Server]:
    """Cameras that give `rate_hz` pictures a second, until the end of the block."""
    from benchmarks.measure.commands import ROOT

    command = [sys.executable, "-m", MODULE, f"{rate_hz:g}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        try:
            yield Server(int(child.stdout.readline()), child.pid)
        finally:
            child.terminate()


def main() -> None:
    """The process itself."""
    from edge_har.sources.synthetic import render_clip

    rate_hz = float(sys.argv[1])
    with suppress(OSError):
        os.nice(NICE)
    drawn = render_clip(LABEL, SEED, round(PICTURES_S * rate_hz), rate_hz, SIZE_WH)
    parts = [_part(picture) for picture in drawn]
    cameras = itertools.count()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            began_s = time.monotonic() + 0.618 * next(cameras) % 1 / rate_hz  # cameras do not tick together
            for number in itertools.count():
                time.sleep(max(0.0, began_s + number / rate_hz - time.monotonic()))
                try:
                    self.wfile.write(parts[number % len(parts)])
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def _part(picture_rgb: Any) -> bytes:
    bgr = cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
        len(content),
        content,
    )


if __name__ == "__main__":
    main()
