"""Several recordings as one source, one after another; each is a part of its own, and no tick spans two."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edge_har.errors import SourceError, printable
from edge_har.model.preprocess import Pixels
from edge_har.sources.base import Source
from edge_har.sources.files import USUAL_RATE_HZ, FileSource
from edge_har.sources.numbered import PicturesSource
from edge_har.sources.recordings import open_recording

log = logging.getLogger("edge_har")


class PlaylistSource(Source):
    """Video files, played in the order given; times run on from one to the next, `part` says which one it is.

    What cannot be read is one warning each, and the rest is played. name: what the whole is called.
    passed_over: lines about what its folder holds besides, which are warnings too.
    Raises SourceError where there are no files, or no frame in any of them.
    """

    live = False
    color = "bgr"

    def __init__(self, paths: Sequence[str], name: str, passed_over: Sequence[str] = ()) -> None:
        self.name = printable(name)
        self.part = -1
        self._paths = list(paths)
        self._unread = 0
        self._frames = False  # whether there were any
        self._file: FileSource | PicturesSource | None = None
        self._starts = False  # a file was opened, and its first frame is to come
        self._shift_s = 0.0
        self._next_s = 0.0  # when the next file begins
        self._time_s = 0.0
        if not self._paths:
            raise SourceError("; ".join([f"{name}: no videos in it", *passed_over]))
        for line in passed_over:
            log.warning("%s", line)
        self._open_next()
        if self._file is None:
            raise self._nothing()

    def grab(self) -> float | None:
        """Time of the next frame in seconds, or None after the last file."""
        while self._file is not None:
            time_s = self._grab_from(self._file)
            if time_s is not None:
                if self._starts:
                    self._starts = False
                    self._shift_s = self._next_s - time_s
                    log.info("%s: %s begins at %.2f s", self.name, self._file.name, self._next_s)
                self._time_s, self._frames = time_s + self._shift_s, True
                return self._time_s
            if not self._starts:
                self._next_s = self._time_s + 1 / (self._file.rate_hz or USUAL_RATE_HZ)
            self._file.close()
            self._open_next()
        if not self._frames and self._unread:
            raise self._nothing()
        if self._unread:
            self.warning = f"{self._unread} of {len(self._paths)} files could not be read wholly"
        return None

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, BGR.

        Raises SourceError when it cannot be converted.
        """
        if self._file is None:
            raise SourceError(f"{self.name}: no frame was grabbed")
        return self._file.retrieve()

    def close(self) -> None:
        """Release the file that plays; there is no next one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _grab_from(self, file: FileSource | PicturesSource) -> float | None:
        """The file's next time; None at its end, however it ends."""
        try:
            time_s = file.grab()
        except SourceError as error:
            self._miss(str(error))
            return None
        if time_s is None and file.warning is not None:
            self._miss(f"{file.name}: {file.warning}")
        return time_s

    def _nothing(self) -> SourceError:
        return SourceError(f"{self.name}: none of its {len(self._paths)} files can be read")

    def _miss(self, reason: str) -> None:
        self._unread += 1
        log.warning("%s", reason)

    def _open_next(self) -> None:
        self._file = None
        while self._file is None and self.part + 1 < len(self._paths):
            self.part += 1
            try:
                self._file = open_recording(self._paths[self.part])
            except SourceError as error:
                self._miss(str(error))
        self._starts = True
