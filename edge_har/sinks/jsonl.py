"""Events as JSON lines, each flushed, for programs that read along."""

from __future__ import annotations

import json
from typing import TextIO

from edge_har.errors import EdgeHarError
from edge_har.events import Event


class JsonLinesSink:
    """Writes one JSON object a line to `stream`. BrokenPipeError passes through when the reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, event: Event) -> None:
        """Write and flush one line; raises EdgeHarError when it cannot be written (a full disk)."""
        try:
            self._stream.write(json.dumps(event.to_json()) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise EdgeHarError(f"events cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """The stream is the caller's: nothing to do."""
