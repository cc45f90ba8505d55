"""What is seen, in a window on this machine's screen; where there is neither, one line reports it."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import cv2

from edge_har.errors import RuntimeMissingError
from edge_har.model.preprocess import Pixels
from edge_har.options.fields import option
from edge_har.options.kinds import WHOLE
from edge_har.pipeline.outputs import OpenedSink, Picture
from edge_har.pipeline.status import SinkState
from edge_har.sinks.options import SinkContext, SinkOptions
from edge_har.sinks.pictures import draw_label, small_copy

REFRESH_S = 0.03
CLOSE_S = 0.7  # a run has two seconds to end
QUIT_KEYS = (ord("q"), ord("Q"), 27)
NO_WINDOWS = re.compile(r"^\s*GUI:\s*NONE\s*$", re.MULTILINE)  # in what OpenCV reports of itself
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class WindowOptions(SinkOptions):
    """A window per source."""

    kind: ClassVar[str] = "window"
    width: int = option(WHOLE, "largest width of the picture, in px", default=960, low=64)

    def open(self, context: SinkContext) -> OpenedSink:
        """A frame sink with a thread of its own. Raises RuntimeMissingError where no window can be."""
        check_windows()
        state = SinkState(self.called)
        context.run_status.add_sink(state)
        return OpenedSink(frames=Window(self, state, Screen, quit=context.quit))


def check_windows() -> None:
    """Raise RuntimeMissingError where OpenCV has no windows or there is no display."""
    if NO_WINDOWS.search(cv2.getBuildInformation()):
        raise RuntimeMissingError(
            "a window needs an OpenCV that has them, this one is headless: "
            "pip uninstall opencv-python-headless; pip install opencv-python"
        )
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in DISPLAYS):
        raise RuntimeMissingError("a window needs a display: neither DISPLAY nor WAYLAND_DISPLAY is set")


class Display(Protocol):
    """A screen; one thread makes it and uses it."""

    def show(self, name: str, pixels: Pixels) -> None:
        """Show a picture (BGR) in the window called so."""

    def goes_on(self) -> bool:
        """Let the windows live for a moment; False once a user has closed one or pressed q."""

    def close(self) -> None:
        """Close all windows."""


class Screen:
    """OpenCV's windows."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def show(self, name: str, pixels: Pixels) -> None:
        """Show a picture (BGR) in the window called so."""
        if name not in self._names:
            cv2.namedWindow(name, cv2.WINDOW_AUTOSIZE)
            self._names.add(name)
        cv2.imshow(name, pixels)

    def goes_on(self) -> bool:
        """Let the windows live for a moment; False once a user has closed one or pressed q."""
        if not self._names:
            return True
        key = cv2.waitKey(1)
        closed = any(cv2.getWindowProperty(name, cv2.WND_PROP_VISIBLE) < 1 for name in self._names)
        return not closed and (key < 0 or key & 0xFF not in QUIT_KEYS)

    def close(self) -> None:
        """Close all windows."""
        cv2.destroyAllWindows()


class Window:
    """Shows the newest picture of each source; older ones that were not shown yet are dropped. Its counters
    count pictures.

    screen: makes the screen, in the thread that uses it. quit: called when a user closes a window or presses
    q.
    """

    def __init__(
        self,
        options: WindowOptions,
        state: SinkState,
        screen: Callable[[], Display],
        *,
        quit: Callable[[], None],
    ) -> None:
        self.state = state
        self._options = options
        self._screen = screen
        self._quit = quit
        self._newest: dict[str, Picture] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="window")
        self._thread.start()

    def wants(self, source: str) -> bool:
        """Every picture, until the last window is closed."""
        return not self._closing.is_set()

    def consume(self, picture: Picture) -> None:
        """Keep a small copy until it is shown."""
        copied = small_copy(picture, self._options.width)
        with self._lock:
            self.state.dropped += picture.source in self._newest
            self._newest[picture.source] = copied

    def stop(self) -> None:
        """Begin to close without waiting for it."""
        self._closing.set()

    def close(self) -> None:
        """Close the windows."""
        self.stop()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            screen = self._screen()
            while not self._closing.wait(REFRESH_S):
                with self._lock:
                    newest, self._newest = self._newest, {}
                for name, kept in newest.items():
                    picture = kept.in_bgr()
                    draw_label(picture.pixels, picture.label, picture.score)
                    screen.show(name, picture.pixels)
                    self.state.delivered += 1
                if not screen.goes_on():
                    self._closing.set()
                    self._quit()
            screen.close()
        except cv2.error as error:
            self.state.failed += 1
            self.state.last_error = f"the window does not work: {error.err}"
            log.error("%s: %s", self.state.name, self.state.last_error)
            self._closing.set()
