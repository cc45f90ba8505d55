"""The latest events as a page shows them: one entry per event, from its first line to its last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_har.pipeline.events import Event
from edge_har.pipeline.status import Clip
from edge_har.web.values import rounded

KEPT = 1000  # entries
KEPT_S = 3600.0  # entries that ended longer ago go
LAST = ("end", "source_back")  # types of lines after which an entry is whole
SCORE_DECIMALS, TIME_DECIMALS = 3, 2


@dataclass
class HistoryEntry:
    """An event or, with label None, a time without its source.

    began_s, ended_s: time.monotonic() when its first and last lines were emitted; ended_s None while it goes
    on. began, ended: the same by the wall clock, RFC 3339, UTC. lasted_s: in the source's time, exact once it
    ended; None before. reason: of an event, why it ended; else why the source was lost. plays: whether
    browsers can play its clip; None while it has none. revision: rises with each change of any entry.
    """

    id: str
    source: str
    label: str | None
    score: float | None
    start_s: float
    began_s: float
    began: str
    ended_s: float | None = None
    ended: str | None = None
    lasted_s: float | None = None
    reason: str | None = None
    plays: bool | None = None
    revision: int = 0

    def to_json(self, zero_s: float) -> dict[str, Any]:
        """As the page gets it, with times counted from `zero_s`."""
        return {
            "id": self.id,
            "source": self.source,
            "label": self.label,
            "score": rounded(self.score, SCORE_DECIMALS),
            "began_s": rounded(self.began_s - zero_s, TIME_DECIMALS),
            "ended_s": None if self.ended_s is None else rounded(self.ended_s - zero_s, TIME_DECIMALS),
            "lasted_s": rounded(self.lasted_s, TIME_DECIMALS),
            "reason": self.reason,
            "clip": self._clip(),
        }

    def to_event(self) -> dict[str, Any]:
        """As programs get it, with times of day; its keys are documented and stay."""
        return {
            "id": self.id,
            "source": self.source,
            "label": self.label,
            "score": rounded(self.score, SCORE_DECIMALS),
            "began": self.began,
            "ended": self.ended,
            "lasted_s": rounded(self.lasted_s, TIME_DECIMALS),
            "reason": self.reason,
            "clip": self._clip(),
        }

    def _clip(self) -> dict[str, Any] | None:
        return None if self.plays is None else {"path": f"clip/{self.id}", "plays": self.plays}


class History:
    """Joins the lines of events to entries. Recording a line twice changes nothing; one thread only.

    lost_reason: why a source was lost, as far as is known. started: how many events began, by source and
    label.
    """

    def __init__(self, lost_reason: Callable[[str], str | None] = lambda source: None) -> None:
        self._lost_reason = lost_reason
        self.revision = 0
        self.started: Counter[tuple[str, str]] = Counter()
        self._entries: dict[str, HistoryEntry] = {}

    def record(self, emitted: Iterable[tuple[float, Event]]) -> None:
        """Add lines with the time.monotonic() at which they were emitted, oldest first."""
        for emitted_s, event in emitted:
            self._record(emitted_s, event)

    def attach(self, clips: Mapping[str, Clip]) -> None:
        """The clips that were recorded so far, by event."""
        for entry in self._entries.values():
            clip = clips.get(entry.id)
            if clip is not None and entry.plays is None:
                entry.plays = clip.plays
                self.revision += 1
                entry.revision = self.revision

    def events(self, source: str | None, label: str | None, limit: int) -> list[dict[str, Any]]:
        """At most `limit` events, the latest first; of one source or label, or of all with None."""
        found = [
            entry.to_event()
            for entry in reversed(self._entries.values())
            if entry.label is not None and source in (None, entry.source) and label in (None, entry.label)
        ]
        return found[:limit]

    def forget(self, now_s: float) -> None:
        """Drop what ended long ago, and the oldest of too many; what goes on stays."""
        excess = len(self._entries) - KEPT
        for name, entry in list(self._entries.items()):
            if entry.ended_s is not None and (excess > 0 or now_s - entry.ended_s > KEPT_S):
                del self._entries[name]
                excess -= 1

    def after(self, revision: int) -> list[HistoryEntry]:
        """What changed since `revision`, in the order of the changes; 0: everything."""
        if revision == self.revision:
            return []
        changed = (entry for entry in self._entries.values() if entry.revision > revision)
        return sorted(changed, key=lambda entry: entry.revision)

    def _record(self, emitted_s: float, event: Event) -> None:
        entry = self._entries.get(event.id)
        if entry is None:
            entry = HistoryEntry(
                event.id, event.source, event.label, event.score, event.start_s, emitted_s, event.time
            )
            self._entries[event.id] = entry
            if event.label is not None:
                self.started[event.source, event.label] += 1
            else:
                entry.reason = self._lost_reason(event.source)
        elif entry.ended_s is not None:
            return
        entry.score = event.score
        if event.type in LAST:
            entry.ended_s, entry.ended = emitted_s, event.time
            entry.reason = event.reason or entry.reason
            entry.lasted_s = None if event.end_s is None else event.end_s - event.start_s
        self.revision += 1
        entry.revision = self.revision
