"""Lines of events -> entries of the page."""

from __future__ import annotations

from pathlib import Path

from edge_har.pipeline.events import Event, Reason, Type
from edge_har.pipeline.status import Clip
from edge_har.web.history import KEPT, KEPT_S, History


def line(
    name: str,
    kind: Type,
    label: str | None = "Walk",
    *,
    score: float | None = 0.8,
    end_s: float | None = None,
    reason: Reason | None = None,
) -> Event:
    return Event(name, kind, "door", label, score, 10.0, end_s, "2026-01-01T00:00:00.000Z", "m@1", reason)


def test_the_lines_of_an_event_are_one_entry() -> None:
    history = History()
    history.record([(100.0, line("e1", "start")), (101.0, line("e1", "update", score=0.9))])
    (entry,) = history.after(0)
    assert entry.to_json(90.0) == {
        "id": "e1",
        "source": "door",
        "label": "Walk",
        "score": 0.9,
        "began_s": 10.0,
        "ended_s": None,
        "lasted_s": None,
        "reason": None,
        "clip": None,
    }
    history.record([(103.5, line("e1", "end", score=0.85, end_s=12.5, reason="left"))])
    told = entry.to_json(90.0)
    assert (told["ended_s"], told["lasted_s"], told["score"], told["reason"]) == (13.5, 2.5, 0.85, "left")


def test_a_line_taken_twice_changes_nothing() -> None:
    history = History()
    lines = [(1.0, line("e1", "start")), (2.0, line("e1", "end", end_s=11.0, reason="left"))]
    history.record(lines)
    before, revision = history.after(0)[0].to_json(0.0), history.revision
    history.record(lines)
    assert history.after(0)[0].to_json(0.0) == before and history.revision == revision
    assert history.started == {("door", "Walk"): 1}


def test_a_lost_source_is_an_entry_without_a_label_and_no_event() -> None:
    reasons = {"door": "no answer"}
    history = History(reasons.get)
    history.record([(5.0, line("o1", "source_lost", None, score=None))])
    (entry,) = history.after(0)
    assert (entry.label, entry.ended_s, entry.reason) == (None, None, "no answer")
    reasons.clear()
    history.record([(9.0, line("o1", "source_back", None, score=None, end_s=14.0))])
    assert (entry.ended_s, entry.lasted_s, entry.reason) == (9.0, 4.0, "no answer")
    assert not history.started


def test_a_clip_is_attached_once_and_tells_so() -> None:
    history = History()
    history.record([(1.0, line("e1", "start")), (2.0, line("e1", "end", end_s=11.0, reason="left"))])
    revision = history.revision
    history.attach({"other": Clip(Path("a.mp4"), ("other",), plays=True)})
    assert history.after(revision) == []
    for _ in range(2):
        history.attach({"e1": Clip(Path("b.mp4"), ("e1",), plays=False)})
    (entry,) = history.after(revision)
    assert history.revision == revision + 1
    assert entry.to_json(0.0)["clip"] == {"path": "clip/e1", "plays": False}


def test_programs_get_the_latest_events_first_with_times_of_day() -> None:
    history = History()
    history.record(
        [
            (1.0, line("e1", "start")),
            (2.0, line("o1", "source_lost", None, score=None)),
            (3.0, line("e1", "end", end_s=12.5, reason="left")),
            (4.0, line("e2", "start", "Run")),
        ]
    )
    latest, first = history.events(None, None, 10)
    assert (latest["label"], latest["ended"], latest["lasted_s"]) == ("Run", None, None)
    assert first == {
        "id": "e1",
        "source": "door",
        "label": "Walk",
        "score": 0.8,
        "began": "2026-01-01T00:00:00.000Z",
        "ended": "2026-01-01T00:00:00.000Z",
        "lasted_s": 2.5,
        "reason": "left",
        "clip": None,
    }
    assert history.events(None, None, 1) == [latest]
    assert history.events("door", "Walk", 10) == [first] and history.events("attic", None, 10) == []


def test_only_what_changed_is_told_again() -> None:
    history = History()
    history.record([(1.0, line("e1", "start")), (2.0, line("e2", "start", "Run"))])
    seen = history.revision
    assert history.after(seen) == []
    history.record([(3.0, line("e1", "update", score=0.5))])
    assert [(e.id, e.score) for e in history.after(seen)] == [("e1", 0.5)]
    assert [e.id for e in history.after(0)] == ["e2", "e1"]


def test_what_is_old_or_too_much_goes_but_not_what_goes_on() -> None:
    history = History()
    history.record([(0.0, line("on", "start"))])
    for number in range(KEPT + 10):
        name, at_s = f"e{number}", 1.0 + number
        history.record([(at_s, line(name, "start")), (at_s, line(name, "end", end_s=11.0, reason="left"))])
    history.forget(KEPT + 20.0)
    kept = [entry.id for entry in history.after(0)]
    assert len(kept) == KEPT and kept[0] == "on" and kept[1] == "e11" and kept[-1] == f"e{KEPT + 9}"
    history.forget(KEPT + 20.0 + KEPT_S)
    assert [entry.id for entry in history.after(0)] == ["on"]
