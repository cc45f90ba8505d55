"""Reading ahead: a thread decodes a recording and prepares its frames while those before are recognised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.sources.base import Source

AHEAD = 4  # prepared frames that wait
# The ticks' own frame, and enough before it to know when a part ended and how long its frames lasted.
FRAME_TIMES = 3

Read = tuple[tuple[float, ...], Ticks | None]


def ticks_ahead(source: Source, sampler: Sampler) -> Iterator[tuple[tuple[float, ...], Ticks | None]]:
    """All ticks of `source` to its end, with the times in seconds of the frames since the ticks before,
    theirs the last; of many frames the latest FRAME_TIMES. What comes after the last ticks has None in their
    place.

    Source and sampler belong to the thread until the end, or until the iterator is closed; the source is left
    open. Raises what the source does.
    """
    read: SimpleQueue[Read | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(AHEAD)
    stopped = threading.Event()

    def follow() -> None:
        try:
            for item in _read(source, sampler, stopped):
                read.put(item)
                room.acquire()
            read.put(None)
        except BaseException as error:  # noqa: BLE001  it is raised again by the iterator
            read.put(error)

    thread = threading.Thread(target=follow, daemon=True, name="read-ahead")
    thread.start()
    try:
        while (item := read.get()) is not None:
            room.release()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        room.release()
        thread.join()


def _read(source: Source, sampler: Sampler, stopped: threading.Event) -> Iterator[Read]:
    times_s: tuple[float, ...] = ()
    while not stopped.is_set() and (time_s := source.grab()) is not None:
        times_s = (*times_s[1 - FRAME_TIMES :], time_s)
        ticks = sampler.offer(source, time_s)
        if ticks is not None:
            yield times_s, ticks
            times_s = ()
    if times_s:
        yield times_s, None
