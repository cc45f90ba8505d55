"""A real RTSP camera on loopback: GStreamer's server, run by the system's Python."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.need import need_gstreamer

SERVER = Path(__file__).with_name("rtsp_server.py")


@contextmanager
def rtsp_camera(
    pattern: str = "red", rate_hz: int = 20, sizes: str = "320x240", *, interlaced: bool = False
) -> Iterator[str]:
    """Serve a test picture (H.264) while the block runs; gives its URL. Arguments: as `rtsp_process`."""
    with rtsp_process(pattern, rate_hz, sizes, interlaced=interlaced) as (url, _):
        yield url


@contextmanager
def rtsp_process(
    pattern: str = "red", rate_hz: int = 20, sizes: str = "320x240", *, interlaced: bool = False
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """As `rtsp_camera`, with the server's process.

    sizes: several, with commas between, follow each other every second. interlaced: its pictures are of two
    fields each, as those of cameras for television.
    """
    command = [need_gstreamer(), str(SERVER), pattern, str(rate_hz), sizes, *["interlaced"] * interlaced]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()
