"""A real RTSP camera on loopback: GStreamer's server, run by the system's Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.need import need_gstreamer

SERVER = Path(__file__).with_name("rtsp_server.py")


@contextmanager
def rtsp_server(pattern: str = "red", rate_hz: int = 20) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a test picture (H.264, 320x240) while the block runs; gives its URL and the process, to be stopped at will."""
    command = [need_gstreamer(), str(SERVER), pattern, str(rate_hz)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()


@contextmanager
def rtsp_camera(pattern: str = "red", rate_hz: int = 20) -> Iterator[str]:
    """As `rtsp_server`; gives the URL alone."""
    with rtsp_server(pattern, rate_hz) as (url, _):
        yield url
