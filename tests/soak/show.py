"""What a camera shows when, by the clock alone, and a journal of what each client was sent. The standard
library only.

Pictures repeat in rounds. Picture n is shown at epoch + n / rate, whoever watches, so that a camera that was
killed goes on where it would be. Times are seconds of CLOCK_MONOTONIC, which all processes of a machine
share.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PICTURES, INDEX = "pictures", "index.json"
LEAD_S, TAIL_S = 1.0, 1.4  # what must be sent before and after a play for it to count as shown


class Show:
    """The pictures of `pack`, from `epoch_s` on. size: which of its sizes is shown. damaged: whether bytes
    are changed.
    """

    def __init__(self, pack: Path, epoch_s: float) -> None:
        index = json.loads((pack / INDEX).read_text())
        self.rate_hz: int = index["rate_hz"]
        self.sizes_wh: list[tuple[int, int]] = [tuple(size) for size in index["sizes_wh"]]
        self.plays: list[tuple[str, int, int]] = [tuple(play) for play in index["plays"]]
        self.size = 0
        self.damaged = False
        self._positions = index["positions"]
        self._pictures = (pack / PICTURES).read_bytes()
        self._epoch_s = epoch_s

    @property
    def round_pictures(self) -> int:
        """How many pictures a round has."""
        return len(self._positions[0])

    def time_s(self, number: float) -> float:
        """When picture `number` is shown."""
        return self._epoch_s + number / self.rate_hz

    def picture(self, number: int, size: int) -> bytes:
        """Picture `number`, as JPEG."""
        at, length = self._positions[size][number % self.round_pictures]
        return self._pictures[at : at + length]

    def next_number(self, after: int) -> int:
        """The picture to show next: that of now where there was no time for those before."""
        now = int((time.monotonic() - self._epoch_s) * self.rate_hz)
        return max(after + 1, now)

    def wait_for(self, number: int) -> None:
        """Wait until picture `number` is due."""
        time.sleep(max(0.0, self.time_s(number) - time.monotonic()))

    def obey(self, lines: object = sys.stdin) -> None:
        """Follow commands in a thread: `size 1`, `damage 0`. When they end, so does the process."""

        def follow() -> None:
            for line in lines:  # type: ignore[attr-defined]
                what, value = line.split()
                if what == "size":
                    self.size = int(value)
                else:
                    self.damaged = bool(int(value))
            os._exit(0)

        threading.Thread(target=follow, daemon=True).start()


class Journal:
    """Writes down each play that a viewer was sent from before its beginning to after its end; one for each
    viewer.
    """

    def __init__(self, show: Show, path: Path) -> None:
        self._show = show
        self._path = path
        self._last = -1  # number of the latest picture
        self._sent_s = 0.0
        self._slot: tuple[int, int] | None = None  # round and play that is followed
        self._gap_s = 0.0

    def sent(self, number: int, sent_s: float) -> None:
        """Picture `number` was sent."""
        slot = self._slot_of(number)
        if slot != self._slot:
            if self._slot is not None:
                self._write(*self._slot)
            began = slot is not None and self._last >= 0 and self._slot_of(self._last) is None
            self._slot, self._gap_s = (slot if began else None), 0.0
        if self._last >= 0:
            self._gap_s = max(self._gap_s, sent_s - self._sent_s)
        self._last, self._sent_s = number, sent_s

    def _slot_of(self, number: int) -> tuple[int, int] | None:
        show = self._show
        round_number, at = divmod(number, show.round_pictures)
        for play, (_, first, last) in enumerate(show.plays):
            if first - LEAD_S * show.rate_hz <= at <= last + TAIL_S * show.rate_hz:
                return round_number, play
        return None

    def _write(self, round_number: int, play: int) -> None:
        line = {"round": round_number, "play": play, "gap_s": round(self._gap_s, 3)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def follow(show: Show, journal: Journal, send: Callable[[int, int], object]) -> None:
    """Give `send` each picture's number and size when it is due, for ever."""
    number = -1
    while True:
        number = show.next_number(number)
        show.wait_for(number)
        send(number, show.size)
        journal.sent(number, time.monotonic())
