"""Recognise human activity on the edge: camera to events on the device.

`load_bundle` opens a model, `Recognizer` turns frames into predictions, `events` turns a source into events,
`open_source` gives the frames of a camera, stream or file. Errors raised on purpose are `EdgeHarError`; its
children are in `edge_har.errors`. See docs/api.md.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Bundle",
    "EdgeHarError",
    "Event",
    "Frame",
    "Prediction",
    "Recognizer",
    "RunOptions",
    "Source",
    "events",
    "load_bundle",
    "open_source",
]

if TYPE_CHECKING:
    from edge_har.api import Prediction, Recognizer, events, load_bundle
    from edge_har.errors import EdgeHarError
    from edge_har.model.bundle import Bundle
    from edge_har.pipeline.events import Event
    from edge_har.pipeline.options import RunOptions
    from edge_har.sources import open_source
    from edge_har.sources.base import Frame, Source
else:
    # Loaded when first used (PEP 562): the command's help needs no OpenCV. A type checker does not see this
    # function, with which every name would exist.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = "edge_har.errors" if name == "EdgeHarError" else "edge_har.api"
        globals()[name] = found = getattr(import_module(home), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
