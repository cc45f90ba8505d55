"""A running model's path, looked at each second: another bundle is made ready beside the one that runs."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import numpy as np

from edge_har.errors import EdgeHarError
from edge_har.model.bundle import Bundle, open_bundle
from edge_har.model.recognizer import TickRecognizer
from edge_har.model.trial import ensure_tried

WATCH_S = 1.0

log = logging.getLogger("edge_har")


class ModelWatch(threading.Thread):
    """Looks each second whether a bundle's path leads elsewhere, and makes the new model ready beside the old
    one. `look` makes it look at once, and at the content too.

    `fresh` then gives it once; `ready` is notified. A bundle that cannot be used is logged in one line and
    the old one goes on. running: the bundle that runs now.
    """

    def __init__(
        self, path: Path, running: Bundle, ready: threading.Condition, *, streams: int, threads: int
    ) -> None:
        super().__init__(daemon=True, name="model-watch")
        self._path = path
        self._ready = ready
        self._digest = running.digest
        self._streams = streams
        self._threads = threads
        self._stopped = threading.Event()
        self._look_now = threading.Event()
        self._fresh: tuple[Bundle, list[TickRecognizer]] | None = None
        self._seen: tuple[str, int, int, int] | None = None

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()
        self._look_now.set()

    def look(self, path: Path | None = None) -> None:
        """Look at once, and from now on at `path` where one is given."""
        self._path = path or self._path
        self._seen = None
        self._look_now.set()

    def fresh(self) -> tuple[Bundle, list[TickRecognizer]] | None:
        """The new model with a warm recognizer for each stream, once; None while there is none."""
        with self._ready:
            made, self._fresh = self._fresh, None
        return made

    def run(self) -> None:
        """The thread: look, load, warm."""
        while True:
            self._look_now.wait(WATCH_S)
            self._look_now.clear()
            if self._stopped.is_set():
                return
            found = _identity(self._path)
            if found is None or found == self._seen:
                continue
            self._seen = found
            try:
                bundle = open_bundle(self._path)
                if bundle.digest == self._digest:
                    continue
                ensure_tried(bundle, self._path)
                recognizers = [warm_recognizer(bundle, self._threads)]
                while len(recognizers) < self._streams:
                    recognizers.append(warm_recognizer(bundle, self._threads, recognizers[0]))
            except EdgeHarError as error:
                log.error("the new model cannot be used, the old one goes on: %s", error)
                continue
            self._digest = bundle.digest
            with self._ready:
                self._fresh = (bundle, recognizers)
                self._ready.notify_all()


def _identity(path: Path) -> tuple[str, int, int, int] | None:
    """What a path leads to at the moment: another value means another bundle; None while there is nothing."""
    try:
        target = os.path.realpath(path, strict=True)
        facts = os.stat(target)
    except OSError:
        return None
    return target, facts.st_ino, facts.st_mtime_ns, facts.st_size


def warm_recognizer(bundle: Bundle, threads: int, beside: TickRecognizer | None = None) -> TickRecognizer:
    """A recognizer that has run once, so that its first tick in earnest is not slow."""
    recognizer = TickRecognizer(bundle, threads=threads, beside=beside)
    width, height = bundle.manifest.frame.size_wh
    recognizer.clip(np.zeros((bundle.manifest.temporal.frames, height, width, 3), np.uint8))
    return recognizer
