"""Standard error that never blocks: a reader who stops, or a full disk, must not stop a run."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

LINES = 2000  # that wait; some 200 kB
RETRY_S = 1.0
LOOK_S = 0.1  # how soon who waits for room notices that it should no more
CLOSE_S = 0.3  # a run has two seconds to end
STANDARD_ERROR = 2


class NonBlockingStderr(io.TextIOBase):
    """Text that a thread of its own brings to `descriptor`; writing never waits, unless `waits` and the text
    is read.

    Where more than LINES wait the newest are dropped, and how many is reported when there is room again.
    BrokenPipeError passes through once the reader has gone.
    """

    def __init__(self, descriptor: int, waits: Callable[[], bool]) -> None:
        self._descriptor = descriptor
        self._waits = waits
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._lost = 0
        self._broken = self._failing = self._closing = False
        self._thread = threading.Thread(target=self._bring, daemon=True, name="stderr")
        self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """UTF-8; what is no text is shown as escapes."""
        return "utf-8"

    def write(self, text: str) -> int:
        """Queue some text."""
        # click finds out so whether a stream is one of bytes.
        if not isinstance(text, str):
            raise TypeError(f"text is a str, got {type(text).__name__}")
        with self._changed:
            while len(self._waiting) >= LINES and self._worth_waiting and not (self._broken or self._closing):
                self._changed.wait(LOOK_S)
            if self._broken:
                raise BrokenPipeError("whoever read the messages has gone")
            if len(self._waiting) >= LINES:
                self._lost += 1
            elif not self._closing:
                self._waiting.append(text)
                self._changed.notify_all()
        return len(text)

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """What it writes to."""
        return self._descriptor

    @property
    def _worth_waiting(self) -> bool:
        return self._waits() and not self._failing

    def finish(self) -> None:
        """Bring what waits, as far as CLOSE_S allows, or all of it where the stream `waits`."""
        until_s = time.monotonic() + CLOSE_S
        with self._changed:
            while self._waiting and not self._broken and (self._worth_waiting or time.monotonic() < until_s):
                self._changed.wait(CLOSE_S / 10)
            self._closing = True
            self._changed.notify_all()

    def _bring(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                text = self._waiting[0]
                lost = self._lost if len(self._waiting) == 1 else 0
            try:
                _write_all(self._descriptor, text)
                if lost:
                    _write_all(self._descriptor, f"warning: {lost} lines could not be written here\n")
            except BrokenPipeError:
                self._broken = True
            except OSError:
                # A full disk: nothing can be reported.
                with self._changed:
                    self._failing = True
                    self._changed.wait_for(lambda: self._closing, RETRY_S)
                continue
            with self._changed:
                self._waiting.popleft()
                self._lost -= lost
                self._failing = False
                if self._broken:
                    self._waiting.clear()
                    self._closing = True
                self._changed.notify_all()


def _write_all(descriptor: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def non_blocking_stderr(waits: Callable[[], bool], *, libraries: bool) -> Iterator[TextIO]:
    """In the block, standard error is a NonBlockingStderr, the log's too.

    libraries: whether what C libraries say is shown; libjpeg has a line for each damaged picture, and would
    wait for whoever reads it.

    A stream that is not the process's own, as in a test, is left as it is.
    """
    plain = sys.stderr
    try:
        is_own = plain.fileno() == STANDARD_ERROR
    except (OSError, ValueError):
        is_own = False
    if not is_own:
        yield plain
        return
    descriptor = os.dup(STANDARD_ERROR)
    stream = NonBlockingStderr(descriptor, waits)
    handlers = [h for h in logging.getLogger("edge_har").handlers if isinstance(h, logging.StreamHandler)]
    with suppress(OSError, ValueError):
        plain.flush()
    if not libraries:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STANDARD_ERROR)
        os.close(nowhere)
        faulthandler.enable(descriptor)  # a library that crashes has its last word here
    sys.stderr = stream
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield stream  # type: ignore[misc]
    finally:
        stream.finish()
        if not libraries:
            faulthandler.disable()
        os.dup2(descriptor, STANDARD_ERROR)  # the copy stays open: the thread may be writing to it
        sys.stderr = plain
        for handler in handlers:
            handler.setStream(plain)
