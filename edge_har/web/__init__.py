"""The live page: pictures, events and health of a run in a browser, over HTTP. Needs the extra `web`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from edge_har.errors import RuntimeMissingError
from edge_har.web.options import TOKEN_VARIABLE, WebOptions

if TYPE_CHECKING:
    from edge_har.pipeline.outputs import FrameSinks
    from edge_har.pipeline.status import RunStatus
    from edge_har.web.server import WebServer

__all__ = ["TOKEN_VARIABLE", "WebOptions", "check_installed", "start_web"]


def check_installed() -> None:
    """Raise RuntimeMissingError without tornado."""
    if importlib.util.find_spec("tornado") is None:
        raise RuntimeMissingError("the live page needs tornado: pip install 'edge-har[web]'")


def start_web(options: WebOptions, run_status: RunStatus, frame_sinks: FrameSinks) -> WebServer:
    """Serve the page of a run from a thread of its own until `close()`; its pictures come through
    `frame_sinks`.

    Raises RuntimeMissingError without tornado, EdgeHarError where it cannot listen (the port is taken).
    """
    check_installed()
    from edge_har.web.server import WebServer

    server = WebServer(options, run_status)
    frame_sinks.add(server.broadcaster)
    server.start()
    return server
