"""From a URI to the source that it names."""

from __future__ import annotations

import re
from urllib.parse import unquote

from edge_har.errors import MisuseError
from edge_har.sources.base import Source
from edge_har.sources.uris import mask_uri

CAMERA = re.compile(r"\d+|/dev/video\d+")
SYNTHETIC = "synthetic:"
FILE = "file://"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
GRAMMAR = "a camera (0, /dev/video0), rtsp://, http:// or https:// (motion JPEG), a file, or synthetic:LABEL"


def open_source(uri: str, *, realtime: bool = False) -> Source:
    """Open what `uri` names: a camera, rtsp://, http(s):// motion JPEG, a video file or synthetic:LABEL.

    realtime: play a file or a drawing by the clock; cameras and streams do so anyway. Each kind's own libraries are
    loaded when it is asked for. Raises MisuseError for a URI of no known kind, SourceError when it cannot be opened.
    """
    source = _open(uri)
    if source.ends and (realtime or source.live):
        from edge_har.sources.paced import PacedSource

        return PacedSource(source)
    return source


def _open(uri: str) -> Source:
    scheme = SCHEME.match(uri)
    if CAMERA.fullmatch(uri):
        from edge_har.sources.camera import CameraSource

        return CameraSource(uri)
    if uri.startswith(SYNTHETIC):
        from edge_har.sources.synthetic import SyntheticSource

        return SyntheticSource.from_uri(uri)
    if uri.startswith(FILE) or not scheme:
        from edge_har.sources.files import FileSource

        return FileSource(unquote(uri.removeprefix(FILE)) if uri.startswith(FILE) else uri)
    if scheme[1].lower() in ("rtsp", "rtsps"):
        from edge_har.sources.rtsp import RtspSource

        return RtspSource(uri)
    if scheme[1].lower() in ("http", "https"):
        from edge_har.sources.mjpeg import MjpegSource

        return MjpegSource(uri)
    raise MisuseError(f"no source is called {mask_uri(uri)!r}; expected {GRAMMAR}")
