"""A short video of each event, with some seconds before and after it. Nothing is recorded unless a user
asks for it.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from edge_har.errors import MisuseError
from edge_har.model.preprocess import Pixels
from edge_har.options.fields import option
from edge_har.options.kinds import BYTES, DURATION, LABELS, NUMBER, PATH, WHOLE, choice
from edge_har.pipeline.events import Event
from edge_har.pipeline.outputs import OpenedSink, Picture
from edge_har.pipeline.status import Clip, SinkState
from edge_har.sinks.base import reason_of
from edge_har.sinks.options import SinkContext, SinkOptions, slug
from edge_har.sinks.pictures import Worker, small_copy
from edge_har.sinks.recorder import CODEC_HELP, ENDINGS, H264, FreeSpace, Recorder, keep_newest, new_path
from edge_har.sinks.video import check_folder
from edge_har.system.files import expand_user

WAITING = 8  # pictures; each up to some MB
LATE_S = 10.0  # an event is emitted at most so long after it began
RING_BYTES = 8_000_000  # of JPEGs of one source
QUALITY = 80

log = logging.getLogger("edge_har")


@dataclass(frozen=True)
class ClipsOptions(SinkOptions):
    """Event clips, in files such as `SOURCE-20261121-154200-LABEL-ID.mp4`, the time in UTC,
    the id the event's.
    """

    kind: ClassVar[str] = "clips"
    address_option: ClassVar[str | None] = "path"
    path: str = option(PATH, "the folder to record to", needed=True)
    # All of it is kept in memory.
    pre_s: float = option(DURATION, "seconds recorded before the event", default=5.0, low=0, high=60)
    post_s: float = option(DURATION, "seconds recorded after the event", default=5.0)
    max_s: float = option(DURATION, "longest clip", default=120.0, low=1)
    labels: tuple[str, ...] = option(LABELS, "labels of the events to record", otherwise="all", default=())
    width: int = option(WHOLE, "largest width of a picture, in px", default=320, low=64)
    rate_hz: float = option(NUMBER, "pictures a second", default=5.0, low=0.5, high=60)
    codec: str = option(choice(*ENDINGS), CODEC_HELP, default=H264)
    keep: int = option(WHOLE, "clips of each source that are kept", default=200, low=1)
    min_free_bytes: int = option(
        BYTES, "bytes of the disk that recording leaves free", default=500_000_000, low=0
    )

    def _check(self) -> None:
        if not self.path:
            raise MisuseError("clips: path is the folder to record to")

    def open(self, context: SinkContext) -> OpenedSink:
        """An event sink and a frame sink in one, that records in a thread of its own; raises MisuseError
        for no folder.
        """
        check_folder(self.kind, self.path)
        for label in self.labels:
            if label not in context.run_status.labels:
                raise MisuseError(
                    f"clips: the model knows no {label!r}, but {', '.join(context.run_status.labels)}"
                )
        state = SinkState(self.called)
        clips = Clips(self, state, waits=context.waits, on_clip=context.run_status.record_clip)
        context.run_status.add_sink(state)
        return OpenedSink(events=clips, frames=clips)


@dataclass
class _Lane:
    """A source: its latest pictures as JPEG, and the clip that is being recorded. until_s: when it ends;
    of an event that goes on: infinite. shown: ids of the events in the clip.
    """

    ring: deque[tuple[float, bytes]] = field(default_factory=deque)
    ring_bytes: int = 0
    recorder: Recorder | None = None
    event: Event | None = None
    until_s: float = math.inf
    shown: list[str] = field(default_factory=list)


class Clips:
    """Records each event of each source. Its counters count clips; `dropped` counts pictures.

    on_clip: called in the sink's thread with each finished clip.
    """

    def __init__(
        self,
        options: ClipsOptions,
        state: SinkState,
        *,
        waits: Callable[[], bool] = lambda: False,
        on_clip: Callable[[Clip], None] = lambda clip: None,
    ) -> None:
        self._on_clip = on_clip
        self.state = state
        self._options = options
        self._folder = expand_user(options.path)
        self._disk = FreeSpace(state.name, self._folder, options.min_free_bytes)
        self._lanes: dict[str, _Lane] = {}
        self._seen_s: dict[str, float] = {}
        self._failing = False
        self._worker = Worker[Picture | Event](
            state, self._handle, self._finish_all, capacity=WAITING, waits=waits
        )

    def wants(self, source: str) -> bool:
        """Every picture, until it is closed."""
        return self._worker.is_open

    def consume(self, picture: Picture) -> None:
        """Keep a small copy now and then."""
        since_s = picture.time_s - self._seen_s.get(picture.source, -math.inf)
        if 0 <= since_s < 0.9 / self._options.rate_hz or not self._worker.has_room():
            return
        self._seen_s[picture.source] = picture.time_s
        self._worker.submit(small_copy(picture, self._options.width))

    def write(self, event: Event) -> None:
        """Begin or end a clip; never waits for the disk."""
        if event.type in ("start", "end", "source_lost"):
            self._worker.submit(event)

    def stop(self) -> None:
        """Begin to close without waiting for it."""
        self._worker.stop()

    def close(self) -> None:
        """Finish the clips."""
        self._worker.close()

    def _handle(self, item: Picture | Event) -> None:
        lane = self._lanes.setdefault(item.source, _Lane())
        if isinstance(item, Picture):
            self._picture(lane, item.in_bgr())
        elif item.type == "start":
            self._start(lane, item)
        elif item.type == "source_lost":
            self._finish(lane)
        elif lane.event is not None and lane.event.id == item.id and item.end_s is not None:
            lane.until_s = item.end_s + self._options.post_s

    def _start(self, lane: _Lane, event: Event) -> None:
        if self._options.labels and event.label not in self._options.labels:
            return
        lane.event, lane.until_s = event, math.inf
        if lane.recorder is not None:
            lane.shown.append(event.id)
            return  # the clip of the event before goes on with this one
        lane.shown[:] = [event.id]
        self._begin(lane)
        for time_s, jpeg in list(lane.ring):
            if time_s >= event.start_s - self._options.pre_s:
                self._add(lane, time_s, _decoded(jpeg))

    def _picture(self, lane: _Lane, picture: Picture) -> None:
        if lane.recorder is not None:
            if picture.time_s > min(lane.until_s, lane.recorder.first_s + self._options.max_s):
                self._finish(lane)
            else:
                self._add(lane, picture.time_s, picture.pixels)
        self._remember(lane, picture)

    def _remember(self, lane: _Lane, picture: Picture) -> None:
        if lane.ring and picture.time_s < lane.ring[-1][0]:
            lane.ring.clear()
            lane.ring_bytes = 0
        done, jpeg = cv2.imencode(".jpg", picture.pixels, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
        if done:
            lane.ring.append((picture.time_s, jpeg.tobytes()))
            lane.ring_bytes += len(lane.ring[-1][1])
        oldest_s = picture.time_s - self._options.pre_s - LATE_S
        while lane.ring and (lane.ring[0][0] < oldest_s or lane.ring_bytes > RING_BYTES):
            lane.ring_bytes -= len(lane.ring.popleft()[1])

    def _begin(self, lane: _Lane) -> None:
        assert lane.event is not None
        if not self._disk.has_room():
            self._finish(lane)
            return
        stem, codec = slug(lane.event.source), self._options.codec
        keep_newest(self._folder, stem, self._options.keep - 1)
        about = f"{slug(lane.event.label or '')}-{slug(lane.event.id)}"
        lane.recorder = Recorder(new_path(self._folder, stem, codec, about), codec, self._options.rate_hz)

    def _add(self, lane: _Lane, time_s: float, pixels: Pixels) -> None:
        if lane.recorder is None:
            return
        try:
            if not lane.recorder.fits(time_s, pixels):
                self._finished(lane, lane.recorder.close())
                self._begin(lane)
            if lane.recorder is not None:
                lane.recorder.add(time_s, pixels)
        except OSError as error:
            self._fails(lane, error)

    def _finish(self, lane: _Lane) -> None:
        recorder, lane.recorder = lane.recorder, None
        lane.event, lane.until_s = None, math.inf
        if recorder is not None:
            try:
                self._finished(lane, recorder.close())
            except OSError as error:
                self._fails(lane, error)
        lane.shown.clear()

    def _finished(self, lane: _Lane, path: Path | None) -> None:
        if path is not None:
            self.state.delivered += 1
            self._failing = False
            self._on_clip(Clip(path, tuple(lane.shown), plays=self._options.codec == H264))

    def _finish_all(self) -> None:
        for lane in self._lanes.values():
            self._finish(lane)

    def _fails(self, lane: _Lane, error: OSError) -> None:
        lane.recorder = None
        self.state.failed += 1
        self.state.last_error = reason_of(error)
        if not self._failing:
            self._failing = True
            log.error("%s: %s", self.state.name, self.state.last_error)


def _decoded(jpeg: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
