"""What is seen, as video files: the pictures of a source with the label and how sure it is, a new file now
and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from edge_har.errors import MisuseError
from edge_har.options.fields import option
from edge_har.options.kinds import BYTES, DURATION, NUMBER, PATH, WHOLE, choice
from edge_har.pipeline.outputs import OpenedSink, Picture
from edge_har.pipeline.status import SinkState
from edge_har.sinks.base import reason_of
from edge_har.sinks.options import SinkContext, SinkOptions, slug
from edge_har.sinks.pictures import Worker, draw_label, small_copy
from edge_har.sinks.recorder import CODEC_HELP, ENDINGS, FreeSpace, Recorder, keep_newest, new_path
from edge_har.system.files import PathKind, expand_user, path_kind

WAITING = 8  # pictures; each up to some MB
SILENT_S = 10.0  # after that long without a picture a file is finished

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class VideoOptions(SinkOptions):
    """Annotated video, in files such as `SOURCE-20261121-154200.mp4`, the time in UTC."""

    kind: ClassVar[str] = "video"
    address_option: ClassVar[str | None] = "path"
    path: str = option(PATH, "the folder to record to", needed=True)
    width: int = option(WHOLE, "largest width of a picture, in px", default=640, low=64)
    rate_hz: float = option(NUMBER, "frames a second in the file", default=10.0, low=0.5, high=60)
    codec: str = option(choice(*ENDINGS), CODEC_HELP, default="mp4v")
    rotate_s: float = option(DURATION, "longest file", default=600.0, low=1)
    keep: int = option(WHOLE, "files of each source that are kept", default=144, low=1)
    min_free_bytes: int = option(
        BYTES, "bytes of the disk that recording leaves free", default=500_000_000, low=0
    )

    def _check(self) -> None:
        if not self.path:
            raise MisuseError("video: path is the folder to record to")

    def open(self, context: SinkContext) -> OpenedSink:
        """A frame sink that records in a thread of its own; raises MisuseError where `path` is no folder."""
        check_folder(self.kind, self.path)
        state = SinkState(self.called)
        video = Video(self, state, waits=context.waits)
        context.run_status.add_sink(state)
        return OpenedSink(frames=video)


def check_folder(kind: str, path: str) -> None:
    """Raise MisuseError for what is there and is no folder, and for a path that cannot be used; a folder that
    is not there yet will be made.
    """
    folder = expand_user(path)
    if path_kind(folder, MisuseError, f"{kind}: {folder}") not in (PathKind.ABSENT, PathKind.FOLDER):
        raise MisuseError(f"{kind}: {folder} is no folder to record to")


class Video:
    """Records the pictures of each source to files of its own, with the label on them. Its counters count
    pictures.
    """

    def __init__(
        self, options: VideoOptions, state: SinkState, *, waits: Callable[[], bool] = lambda: False
    ) -> None:
        self.state = state
        self._options = options
        self._folder = expand_user(options.path)
        self._disk = FreeSpace(state.name, self._folder, options.min_free_bytes)
        self._recorders: dict[str, Recorder] = {}
        self._failing = False
        self._waits = waits
        self._worker = Worker[Picture](
            state, self._record, self._finish_all, capacity=WAITING, waits=waits, idle=self._finish_silent
        )

    def wants(self, source: str) -> bool:
        """Every picture, until it is closed."""
        return self._worker.is_open

    def consume(self, picture: Picture) -> None:
        """Keep a small copy; where the encoder is too slow the picture is dropped."""
        if self._worker.has_room():
            self._worker.submit(small_copy(picture, self._options.width))

    def stop(self) -> None:
        """Begin to close without waiting for it."""
        self._worker.stop()

    def close(self) -> None:
        """Finish the files."""
        self._worker.close()

    def _record(self, picture: Picture) -> None:
        self._finish_silent()
        picture = picture.in_bgr()
        if not self._disk.has_room():
            self._finish_all()
            self.state.dropped += 1
            return
        recorder = self._recorders.get(picture.source)
        if recorder is not None and not (
            recorder.fits(picture.time_s, picture.pixels)
            and picture.time_s - recorder.first_s < self._options.rotate_s
        ):
            self._finish(picture.source)
            recorder = None
        draw_label(picture.pixels, picture.label, picture.score)
        try:
            if recorder is None:
                recorder = self._begin(picture.source)
            recorder.add(picture.time_s, picture.pixels)
        except OSError as error:
            self._recorders.pop(picture.source, None)
            self._fails(error)
        else:
            self.state.delivered += 1
            self._failing = False

    def _begin(self, source: str) -> Recorder:
        stem, codec = slug(source), self._options.codec
        keep_newest(self._folder, stem, self._options.keep - 1)
        self._recorders[source] = Recorder(new_path(self._folder, stem, codec), codec, self._options.rate_hz)
        return self._recorders[source]

    def _finish(self, source: str) -> None:
        try:
            path = self._recorders.pop(source).close()
            log.debug("%s: %s is finished", self.state.name, path)
        except OSError as error:
            self._fails(error)

    def _finish_silent(self) -> None:
        """Finish the files of sources that are lost or at their end, which nothing else would until the
        run ends.
        """
        if self._waits():
            return  # a file that is read slowly is not silent
        now_s = time.monotonic()
        for source, recorder in list(self._recorders.items()):
            if now_s - recorder.added_s > SILENT_S:
                self._finish(source)

    def _finish_all(self) -> None:
        for source in list(self._recorders):
            self._finish(source)

    def _fails(self, error: OSError) -> None:
        self.state.failed += 1
        self.state.last_error = reason_of(error)
        if not self._failing:
            self._failing = True
            log.error("%s: %s", self.state.name, self.state.last_error)
