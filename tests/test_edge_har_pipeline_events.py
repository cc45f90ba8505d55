"""Scripted predictions become events whose times are exact; flapping, changes, gaps and outages."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_har.errors import MisuseError
from edge_har.model.manifest import Smoothing
from edge_har.pipeline.events import Event, EventMachine, Tuning, event_ids, surest, utc_now
from edge_har.pipeline.rules import Hours, LabelRule, Rules
from tests.helpers.reference_events import TIME, ReferenceMachine

LABELS = ("A", "B", "C")
INTERVAL_S = 0.1
PLAIN = Smoothing(smooth_s=0.0, enter=0.6, leave=0.4)
SMOOTH = Smoothing(smooth_s=0.5, enter=0.6, leave=0.4)


def machine(smoothing: Smoothing = PLAIN, tuning: Tuning | None = None) -> EventMachine:
    return EventMachine(
        LABELS,
        smoothing,
        tuning,
        source="cam",
        model="m@1",
        ids=(f"e{n}" for n in count(1)),
        now=lambda: "2026-01-01T00:00:00.000Z",
    )


def scores(label: str | None, probability: float = 0.9) -> np.ndarray:
    """`label` at `probability`, the others share the rest; None: all are equal."""
    if label is None:
        return np.full(len(LABELS), 1 / len(LABELS), np.float32)
    made = np.full(len(LABELS), (1 - probability) / (len(LABELS) - 1), np.float32)
    made[LABELS.index(label)] = probability
    return made


def played(
    script: str, smoothing: Smoothing = PLAIN, tuning: Tuning | None = None, *, close: bool = True
) -> list[Event]:
    """A tick per letter: A and B are sure, a and b are between leave and enter, a dot is nobody."""
    events, made = [], machine(smoothing, tuning)
    for tick, letter in enumerate(script):
        label = None if letter == "." else letter.upper()
        events += made.predict(tick * INTERVAL_S, scores(label, 0.9 if letter.isupper() else 0.5))
    return events + (made.close("stop") if close else [])


def ended(events: list[Event]) -> list[tuple[object, ...]]:
    """Label, first and last tick, and reason of every event that ended."""
    return [
        (e.label, round(e.start_s / INTERVAL_S), round(e.end_s / INTERVAL_S), e.reason)
        for e in events
        if e.type == "end" and e.end_s is not None
    ]


SCRIPTS = {
    "one activity": ("..AAAA..", PLAIN, [("A", 2, 5, "left")]),
    "nothing": ("........", PLAIN, []),
    "to the end": ("..AAAA", PLAIN, [("A", 2, 5, "stop")]),
    "from the start": ("AAA.", PLAIN, [("A", 0, 2, "left")]),
    "between the thresholds it goes on": ("..AAaaA.", PLAIN, [("A", 2, 6, "left")]),
    "between the thresholds it does not begin": ("..aaaa..", PLAIN, []),
    "it fades": ("..AAaa..", PLAIN, [("A", 2, 5, "left")]),
    "one after the other": (".AAABBB.", PLAIN, [("A", 1, 3, "left"), ("B", 4, 6, "left")]),
    "twice the same": (".AA..AA.", PLAIN, [("A", 1, 2, "left"), ("A", 5, 6, "left")]),
    # smoothed: dated back to the first tick of the run, and to the last tick above leave
    "smooth, one activity": ("." * 10 + "A" * 10 + "." * 10, SMOOTH, [("A", 10, 19, "left")]),
    "smooth, a change": (
        "." * 5 + "A" * 10 + "B" * 10 + "." * 9,
        SMOOTH,
        [("A", 5, 14, "left"), ("B", 15, 24, "left")],
    ),
    "smooth, a flicker within": ("." * 5 + "AAAAA.AAAAA" + "." * 9, SMOOTH, [("A", 5, 15, "left")]),
    "smooth, a flicker of another": ("." * 5 + "AAAAABAAAAA" + "." * 9, SMOOTH, [("A", 5, 15, "left")]),
    "smooth, a single tick is nothing": ("." * 8 + "A" + "." * 8, SMOOTH, []),
    "smooth, flapping is nothing": ("." * 8 + ".A.B" * 6 + "." * 8, SMOOTH, []),
    "smooth, a false start before the run": (
        "." * 5 + "A..." + "A" * 9 + "." * 9,
        SMOOTH,
        [("A", 9, 17, "left")],
    ),
    "smooth, it is over before the average says so": (
        "." * 8 + "AAA....",
        Smoothing(0.3, 0.55, 0.4),
        [("A", 8, 10, "left")],
    ),
    "smooth, an average that lags begins nothing": (
        "ABaa....",
        Smoothing(0.3, 0.45, 0.4),
        [("A", 0, 3, "left")],
    ),
    "smooth, it fades": ("." * 5 + "A" * 8 + "aa" + "." * 9, SMOOTH, [("A", 5, 14, "left")]),
    "smooth, until the stream stops": ("." * 5 + "A" * 8, SMOOTH, [("A", 5, 12, "stop")]),
    # both labels are above `leave` while the average changes over
    "smooth, the next begins where the one before it ended": (
        "aaabbb",
        Smoothing(0.3, 0.45, 0.2),
        [("A", 0, 5, "left"), ("B", 5, 5, "stop")],
    ),
    # the prediction that ends it is above `enter` again, but too late for the average
    "smooth, a run that goes on after an end is another event": (
        "AAAbbaaaa",
        Smoothing(0.3, 0.45, 0.4),
        [("A", 0, 5, "left"), ("A", 6, 8, "stop")],
    ),
    "long enough with the prediction that ends it": (
        "aab",
        Smoothing(0.0, 0.45, 0.2, min_s=0.15),
        [("A", 0, 2, "left")],
    ),
    "too short to report": (".AA.AAAA.", Smoothing(0.0, 0.6, 0.4, min_s=0.25), [("A", 4, 7, "left")]),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripted_predictions(name: str) -> None:
    script, smoothing, expected = SCRIPTS[name]
    assert ended(played(script, smoothing)) == expected


def test_lines_of_an_event_share_an_id_and_come_in_order() -> None:
    events = played("." + "A" * 25 + ".")
    assert [e.type for e in events] == ["start", "update", "update", "end"]
    assert {e.id for e in events} == {"e1"}
    assert [e.start_s for e in events] == [pytest.approx(0.1)] * 4
    assert [e.end_s for e in events][:3] == [None] * 3


def test_an_update_comes_at_most_each_second() -> None:
    made = machine()
    at_s = [
        tick / 50 for tick in range(500) for e in made.predict(tick / 50, scores("A")) if e.type == "update"
    ]
    assert at_s == [pytest.approx(s) for s in range(1, 10)]


def test_the_score_is_the_mean_since_the_start() -> None:
    made = machine()
    start, *_ = made.predict(0.0, scores("A", 0.8))
    made.predict(0.1, scores("A", 0.6))
    (end,) = made.predict(0.2, scores("A", 0.1))
    assert start.score == pytest.approx(0.8)
    assert end.score == pytest.approx(0.7)  # the tick that ended it is not part of it


def test_the_score_counts_from_the_backdated_start() -> None:
    events = played("." * 10 + "A" * 10 + "." * 10, SMOOTH)
    start, end = events[0], events[-1]
    assert start.type == "start" and start.score == pytest.approx(0.9)
    assert end.score == pytest.approx(0.9)


def test_the_score_does_not_count_what_another_event_had() -> None:
    made = machine(Smoothing(0.3, 0.45, 0.2))
    for tick, probability in enumerate((0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75)):
        row = np.array([1 - probability, probability, 0.0], np.float32)
        events = made.predict(tick * INTERVAL_S, row)
        if tick == 5:
            end, start = events
    assert (end.label, end.end_s, start.label, start.start_s) == ("A", 0.5, "B", 0.5)
    assert start.score == 0.75  # B was above `enter` from 0.3 on, while A was open


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(6, 30),
    length=st.integers(8, 60),
    interval_s=st.floats(0.02, 0.2),
    smooth_s=st.floats(0.0, 0.6),
    start_s=st.floats(0, 1e5),
)
def test_times_are_exact_at_any_rate_and_smoothing(
    before: int, length: int, interval_s: float, smooth_s: float, start_s: float
) -> None:
    length = max(length, int(smooth_s / interval_s) + 2)
    made = machine(Smoothing(smooth_s, 0.6, 0.4))
    labels = [None] * before + ["A"] * length + [None] * (int(smooth_s / interval_s) + 3)
    events = [
        event
        for tick, label in enumerate(labels)
        for event in made.predict(start_s + tick * interval_s, scores(label, 0.95))
    ]
    end = events[-1]
    assert (end.type, end.reason) == ("end", "left")
    assert end.start_s == pytest.approx(start_s + before * interval_s)
    assert end.end_s == pytest.approx(start_s + (before + length - 1) * interval_s)


@settings(max_examples=100, deadline=None)
@given(
    script=st.text("ABCabc.", max_size=60),
    smooth_s=st.sampled_from([0.0, 0.3, 0.5]),
    min_s=st.sampled_from([0.0, 0.4]),
    enter=st.sampled_from([0.45, 0.6, 0.8]),
    leave=st.sampled_from([0.2, 0.4]),
)
@example(script="aaabbb", smooth_s=0.3, min_s=0.0, enter=0.45, leave=0.2)
def test_whatever_comes_events_are_whole_and_never_two_at_once(
    script: str, smooth_s: float, min_s: float, enter: float, leave: float
) -> None:
    events = played(script, Smoothing(smooth_s, enter, leave, min_s))
    open_id, last_end_s = None, -1.0
    for event in events:
        assert event.label in LABELS and 0 <= event.score <= 1
        if event.type == "start":
            assert open_id is None and event.start_s >= last_end_s
            open_id, start_s = event.id, event.start_s
        assert event.id == open_id and event.start_s == start_s
        if event.type == "end":
            open_id = None
            assert event.end_s >= event.start_s + min_s - 1e-6
            assert event.reason in ("left", "stop")
            last_end_s = event.end_s
    assert open_id is None


@pytest.mark.parametrize("reason", ["gap", "stop", "swap"])
def test_closing_ends_what_is_open_and_forgets(reason: str) -> None:
    made = machine(SMOOTH)
    for tick in range(10):
        made.predict(tick * INTERVAL_S, scores("A"))
    (end,) = made.close(reason)
    assert (end.type, end.reason, end.end_s) == ("end", reason, pytest.approx(0.9))
    assert made.close(reason) == []
    assert made.average.tolist() == [0, 0, 0]
    assert made.predict(9.0, scores("B"))[0].start_s == 9.0


def test_an_outage_ends_what_is_open_and_is_reported_once() -> None:
    made = machine()
    made.predict(1.0, scores("A"))
    end, lost = made.lost(1.5)
    assert (end.type, end.reason, end.end_s) == ("end", "lost", 1.0)
    assert (lost.type, lost.label, lost.score, lost.start_s, lost.end_s) == (
        "source_lost",
        None,
        None,
        1.5,
        None,
    )
    assert made.lost(1.6) == []
    (back,) = made.back(7.0)
    assert (back.type, back.id, back.start_s, back.end_s) == ("source_back", lost.id, 1.5, 7.0)
    assert made.back(7.1) == []


def test_below_the_reject_threshold_nothing_begins() -> None:
    assert ended(played(".AAAA.", tuning=Tuning(0.95))) == []
    assert ended(played(".AAAA.", tuning=Tuning(0.85))) == [("A", 1, 4, "left")]


# Rules ------------------------------------------------------------------------------------------------------

COOL = Tuning(cooldown_s=0.5)
BARS_A = Rules({"A": LabelRule(enabled=False)})


@pytest.mark.parametrize(
    ("script", "tuning", "expected"),
    [
        # 5 ticks after its end A starts again; B need not wait, nor does A wait for B's
        ("A.A....A.", COOL, [("A", 0, 0, "left"), ("A", 7, 7, "left")]),
        ("A....A.", COOL, [("A", 0, 0, "left"), ("A", 5, 5, "left")]),
        ("A.BA...A.", COOL, [("A", 0, 0, "left"), ("B", 2, 2, "left"), ("A", 7, 7, "left")]),
        (
            "A.AAAAAAA.",
            COOL,
            [("A", 0, 0, "left"), ("A", 5, 8, "left")],
        ),  # what goes on is dated to when it may
        ("AAB.B...B", COOL, [("A", 0, 1, "left"), ("B", 2, 2, "left"), ("B", 8, 8, "stop")]),
        (
            "A.A.A",
            Tuning(cooldown_s=9.0, rules={"A": LabelRule(cooldown_s=0.0)}),
            [("A", t, t, r) for t, r in ((0, "left"), (2, "left"), (4, "stop"))],
        ),
        (".AAA.BBB", Tuning(gate=BARS_A.gate("cam")), [("B", 5, 7, "stop")]),
        (".BBBAAA.", Tuning(gate=BARS_A.gate("cam")), [("B", 1, 3, "left")]),
        (".aaa.AA.", Tuning(rules={"A": LabelRule(enter=0.45)}), [("A", 1, 3, "left"), ("A", 5, 6, "left")]),
        (".aaa.BB.", Tuning(rules={"B": LabelRule(enter=0.95)}), []),
        # A rule may enter below the `leave` of all labels, and leaves there as well.
        ("..A...", Tuning(rules={"A": LabelRule(enter=0.3)}), [("A", 0, 5, "stop")]),
    ],
)
def test_rules_in_scripts(script: str, tuning: Tuning, expected: list[tuple[object, ...]]) -> None:
    assert ended(played(script, tuning=tuning)) == expected


def test_a_cool_down_outlasts_a_gap_and_a_lost_source() -> None:
    made = machine(tuning=Tuning(cooldown_s=10.0))
    made.predict(0.0, scores("A"))
    made.lost(1.0)
    made.back(2.0)
    assert made.predict(9.9, scores("A")) == []
    (start,) = made.predict(10.0, scores("A"))
    assert (start.type, start.start_s) == ("start", 10.0)
    made.close("gap")
    (start,) = made.predict(3.0, scores("A"))  # another clock: a file begins again
    assert start.start_s == 3.0


def test_a_cool_down_set_while_running_counts_from_ends_before_it() -> None:
    made = machine()
    made.predict(0.0, scores("A"))
    made.predict(0.1, scores(None))
    made.swap(LABELS, PLAIN, COOL, model="m@1", reset=False)
    assert made.predict(0.4, scores("A")) == []
    (start,) = made.predict(0.5, scores("A"))
    assert start.start_s == 0.5


def test_hours_bar_what_begins_and_not_what_has_begun() -> None:
    now = [0.0]  # midnight UTC
    rules = Rules({"A": LabelRule(hours=(Hours.parse("00:00-01:00"),))}, "UTC")
    made = machine(tuning=Tuning(gate=rules.gate("cam", clock=lambda: now[0])))
    (start,) = made.predict(0.0, scores("A"))
    now[0] = 3600.0
    assert made.predict(0.1, scores("A")) == []  # it goes on
    (end,) = made.predict(0.2, scores(None))
    assert (end.id, end.end_s, end.reason) == (start.id, 0.1, "left")
    assert made.predict(0.3, scores("A")) == []
    now[0] = 24 * 3600.0
    (start,) = made.predict(0.4, scores("A"))
    assert start.start_s == 0.4  # not the run that began while it was barred


@settings(max_examples=60, deadline=None)
@given(
    script=st.text("ABab.", max_size=80), smooth_s=st.sampled_from([0.0, 0.3]), cooldown=st.integers(1, 12)
)
def test_whatever_comes_events_of_a_label_keep_their_distance(
    script: str, smooth_s: float, cooldown: int
) -> None:
    events = played(script, Smoothing(smooth_s, 0.6, 0.4), Tuning(cooldown_s=cooldown * INTERVAL_S))
    ends: dict[str, int] = {}
    for label, first, last, _ in ended(events):
        assert label not in ends or first - ends[label] >= cooldown
        ends[label] = last


def unknown(reject: float = 0.55, **more: object) -> Tuning:
    return Tuning(reject, unknown=True, **more)


@pytest.mark.parametrize(
    ("script", "tuning", "expected"),
    [
        ("...AAA..", unknown(), [("unknown", 0, 2, "left"), ("A", 3, 5, "left"), ("unknown", 6, 7, "stop")]),
        ("AAA", unknown(), [("A", 0, 2, "stop")]),
        ("...", Tuning(0.55), []),  # not requested
        ("...", Tuning(None, unknown=True), []),  # no threshold below which anything is unknown
        ("AaaA..", unknown(), [("A", 0, 3, "left"), ("unknown", 4, 5, "stop")]),  # what fades has not left
        (
            "....",
            unknown(
                rules={"unknown": LabelRule(enabled=False)},
                gate=Rules({"unknown": LabelRule(enabled=False)}).gate("cam"),
            ),
            [],
        ),
        ("..A..", unknown(cooldown_s=0.5), [("unknown", 0, 1, "left"), ("A", 2, 2, "left")]),
        ("AAAA", unknown(gate=BARS_A.gate("cam")), []),  # it is known, though not reported
        ("..AA", unknown(gate=BARS_A.gate("cam")), [("unknown", 0, 1, "left")]),
    ],
)
def test_unknown_in_scripts(script: str, tuning: Tuning, expected: list[tuple[object, ...]]) -> None:
    assert ended(played(script, tuning=tuning)) == expected


def test_unknown_scores_what_the_labels_leave() -> None:
    made = machine(SMOOTH, unknown())
    events = [e for tick in range(8) for e in made.predict(tick * INTERVAL_S, scores(None))]
    assert [(e.type, e.label) for e in events] == [("start", "unknown")]
    assert events[0].score == pytest.approx(2 / 3)


def test_what_goes_on_is_known_only_while_an_event_is_open() -> None:
    made = machine(replace(PLAIN, min_s=0.3))
    assert made.ongoing == (None, None)
    made.predict(0.0, scores("A", 0.5))  # the highest of all, and below its threshold
    assert made.ongoing == (None, None)
    assert made.predict(0.1, scores("A", 0.9)) == []  # too short to be reported
    assert made.ongoing == ("A", pytest.approx(0.9))
    made.predict(0.2, scores("B", 0.55))  # it ends A, and is too weak for B
    assert made.ongoing == (None, None)
    made.predict(0.3, scores("A", 0.7))
    made.predict(0.4, scores("A", 0.45))
    assert made.ongoing == ("A", pytest.approx(0.45))
    made.close("gap")
    assert made.ongoing == (None, None)


def test_unknown_goes_on_with_what_the_labels_leave() -> None:
    made = machine(tuning=Tuning(reject_threshold=0.6, unknown=True))
    made.predict(0.0, scores("A", 0.4))
    assert made.ongoing == ("unknown", pytest.approx(0.6))


def test_a_barred_label_never_goes_on() -> None:
    made = machine(tuning=Tuning(cooldown_s=5.0))
    for tick, probability in enumerate((0.9, 0.1, 0.9, 0.9)):
        made.predict(tick * INTERVAL_S, scores("A", probability))
    assert made.ongoing == (None, None)


def test_a_label_of_the_same_name_is_refused() -> None:
    with pytest.raises(MisuseError, match="'unknown'"):
        EventMachine(("A", "unknown"), PLAIN, unknown(), source="cam", model="m@1")


def test_other_thresholds_take_over_what_is_open() -> None:
    made = machine()
    (start,) = made.predict(0.0, scores("A"))
    assert made.swap(LABELS, Smoothing(0.0, 0.99, 0.95), COOL, model="m@1", reset=False) == []
    (end,) = made.predict(0.1, scores("A"))
    assert (end.id, end.reason) == (start.id, "left")
    assert made.swap(LABELS, PLAIN, unknown(), model="m@1", reset=False) == []


def test_jumps_of_the_wall_clock_move_no_event() -> None:
    days = iter(["2026-01-01", "2027-06-01", "1970-01-01", "2026-01-02"] * 20)
    steady, jumping = machine(SMOOTH), machine(SMOOTH)
    jumping._now = lambda: f"{next(days)}T00:00:00.000Z"
    for tick, letter in enumerate("." * 5 + "A" * 25 + "." * 8 + "B" * 9 + "." * 8):
        made = scores(None if letter == "." else letter)
        expected, got = (m.predict(tick * INTERVAL_S, made) for m in (steady, jumping))
        assert [replace(e, time="") for e in got] == [replace(e, time="") for e in expected]


def test_a_model_with_the_same_labels_takes_over_what_is_open() -> None:
    made = machine()
    made.predict(0.0, scores("A"))
    swapped = made.swap(LABELS, SMOOTH, model="m@2", reset=False)
    assert swapped == []
    (end,) = made.close("stop")
    assert (end.id, end.model, end.reason) == ("e1", "m@2", "stop")


def test_a_model_with_other_labels_ends_what_is_open() -> None:
    made = machine()
    made.predict(0.0, scores("A"))
    (end,) = made.swap(("X", "Y"), PLAIN, model="m@2", reset=False)
    assert (end.label, end.model, end.reason) == ("A", "m@1", "swap")
    (start,) = made.predict(1.0, np.array([0.1, 0.9], np.float32))
    assert (start.label, start.model, start.id) == ("Y", "m@2", "e2")


def test_a_model_with_its_own_label_unknown_takes_over_from_one_without() -> None:
    made = machine(SMOOTH, unknown())
    made.predict(0.0, scores(None))
    (end,) = made.swap((*LABELS, "unknown"), SMOOTH, model="m@2", reset=False)
    assert (end.label, end.reason) == ("unknown", "swap")
    (start,) = made.predict(0.1, np.array([0.1, 0.1, 0.1, 0.7], np.float32))
    assert (start.label, start.model) == ("unknown", "m@2")


def test_a_line_has_the_keys_that_readers_expect() -> None:
    start, end = played("A.")
    assert json.loads(json.dumps(start.to_json())) == {
        "v": 1,
        "id": "e1",
        "type": "start",
        "source": "cam",
        "label": "A",
        "score": 0.9,
        "start_s": 0.0,
        "end_s": None,
        "time": "2026-01-01T00:00:00.000Z",
        "model": "m@1",
    }
    assert end.to_json()["reason"] == "left" and end.to_json()["end_s"] == 0.0


def test_ids_count_without_gaps_and_differ_between_processes() -> None:
    ids, others = event_ids(), event_ids()
    first = [next(ids) for _ in range(3)]
    assert [name.partition("-")[2] for name in first] == ["1", "2", "3"]
    assert first[0].partition("-")[0] != next(others).partition("-")[0]


def test_times_of_day_are_rfc_3339() -> None:
    from datetime import datetime

    assert datetime.fromisoformat(utc_now().replace("Z", "+00:00")).utcoffset().total_seconds() == 0


# Against the reference --------------------------------------------------------------------------------------

STEP_S = 0.125  # all times and probabilities are exact in binary, so both machines compute the same numbers
SIXTEENTHS = [n / 16 for n in range(17)]
# An hour and more apart, so that each has its own minute of the day and its own second.
HOURS = (0, 90, 700)
LABEL_SETS = (LABELS, ("A", "B"), ("B", "A", "C"), ("A", "B", "unknown"))

smoothings = st.builds(
    lambda smooth_s, enter, leave, min_s: Smoothing(smooth_s, enter, min(enter, leave), min_s),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.sampled_from([0.25, 0.375, 0.5, 0.625]),
    st.sampled_from([0.125, 0.25, 0.375, 0.5]),
    st.sampled_from([0.0, 0.0, 0.25, 0.75]),
)
label_rules = st.builds(
    LabelRule,
    enabled=st.sampled_from([True, True, True, True, False]),
    enter=st.sampled_from([None, 0.125, 0.25, 0.375, 0.75]),
    cooldown_s=st.sampled_from([None, 0.0, 0.5, 2.0]),
    hours=st.sampled_from([(), (), (), (Hours(60, 600),), (Hours(600, 30), Hours(80, 100))]),
    sources=st.sampled_from([(), (), (), ("cam",), ("attic",)]),
)


@st.composite
def models(draw: st.DrawFn) -> tuple[tuple[str, ...], Smoothing, Tuning, Rules]:
    """Labels, smoothing, tuning and the rules in it."""
    labels = draw(st.sampled_from(LABEL_SETS))
    rules = draw(st.dictionaries(st.sampled_from(["A", "B", "unknown"]), label_rules, max_size=2))
    tuning = Tuning(
        reject_threshold=draw(st.sampled_from([None, None, 0.375, 0.5625])),
        unknown=draw(st.booleans()) and "unknown" not in labels,
        cooldown_s=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        rules=rules,
    )
    return labels, draw(smoothings), tuning, Rules(rules, "UTC")


predictions = st.tuples(
    st.just("predict"),
    # Mostly close calls: about a third for each label.
    st.lists(st.sampled_from([*SIXTEENTHS, *SIXTEENTHS[4:13] * 2]), min_size=2, max_size=2),
    st.integers(1, 4),  # how often in a row
    st.sampled_from([1, 1, 1, 2]),  # how many steps apart
)
happenings = st.one_of(
    st.tuples(st.sampled_from(["gap", "stop", "lost", "back", "rewind"])),
    st.tuples(st.just("hour"), st.sampled_from(HOURS)),
    st.tuples(st.just("swap"), models(), st.booleans()),
    # The same labels with another tuning: what is open goes on.
    st.tuples(st.just("tune"), smoothings, st.sampled_from([0.0, 1.0])),
)
plays = st.lists(st.one_of(*[predictions] * 8, happenings), min_size=10, max_size=40)


def probabilities(cuts: list[float], labels: int) -> list[float]:
    """Probabilities that sum to 1, from where the way from 0 to 1 is cut."""
    low, high = sorted(cuts)
    return [low, high - low, 1 - high] if labels == 3 else [low, 1 - low]


class Both:
    """The machine and its reference, to which the same happens; all events are compared."""

    def __init__(self, model: tuple[tuple[str, ...], Smoothing, Tuning, Rules]) -> None:
        self.time_s, self.minute, self.swaps = 0.0, 0, 0
        self.labels, self.smoothing, self.tuning, self.rules = model
        self.machine = EventMachine(
            self.labels,
            self.smoothing,
            self.gated(),
            source="cam",
            model="m@0",
            ids=(f"e{n}" for n in count(1)),
            now=lambda: TIME,
        )
        self.reference = ReferenceMachine(
            self.labels, self.smoothing, self.tuning, "cam", "m@0", self.is_barred
        )

    def gated(self) -> Tuning:
        return replace(self.tuning, gate=self.rules.gate("cam", clock=lambda: self.minute * 60.0))

    def is_barred(self, name: str) -> bool:
        rule = self.rules.labels.get(name)
        if rule is None:
            return False
        spans = [(hours.since, hours.until) for hours in rule.hours]
        inside = [a <= self.minute < b if a < b else not b <= self.minute < a for a, b in spans]
        elsewhere = bool(rule.sources) and "cam" not in rule.sources
        return not rule.enabled or elsewhere or (bool(spans) and not any(inside))

    def predict(self, cuts: list[float], apart: int) -> None:
        self.time_s += apart * STEP_S
        row = probabilities(cuts, len(self.labels))
        got = self.machine.predict(self.time_s, np.array(row, np.float32))
        assert got == self.reference.predict(self.time_s, row)

    def swap(self, model: tuple[tuple[str, ...], Smoothing, Tuning, Rules], reset: bool) -> None:
        self.labels, self.smoothing, self.tuning, self.rules = model
        self.swaps += 1
        name = f"m@{self.swaps}"
        got = self.machine.swap(self.labels, self.smoothing, self.gated(), model=name, reset=reset)
        assert got == self.reference.swap(
            self.labels, self.smoothing, self.tuning, self.is_barred, model=name, reset=reset
        )

    def happen(self, kind: str, *more: Any) -> None:
        if kind == "predict":
            cuts, times, apart = more
            for _ in range(times):
                self.predict(cuts, apart)
        elif kind == "hour":
            self.minute = more[0]
        elif kind == "swap":
            self.swap(*more)
        elif kind == "tune":
            smoothing, cooldown_s = more
            self.swap(
                (self.labels, smoothing, replace(self.tuning, cooldown_s=cooldown_s), self.rules), False
            )
        elif kind in ("lost", "back"):
            got = getattr(self.machine, kind)(self.time_s)
            assert got == getattr(self.reference, kind)(self.time_s)
        else:
            reason = "gap" if kind == "rewind" else kind
            assert self.machine.close(reason) == self.reference.close(reason)
            self.time_s = 0.0 if kind == "rewind" else self.time_s


@settings(max_examples=150, deadline=None)
@given(model=models(), play=plays)
@example(  # a rule enters below the `leave` of all labels
    model=(LABELS, Smoothing(0.0, 0.5, 0.5), Tuning(rules={"A": LabelRule(enter=0.25)}), Rules()),
    play=[("predict", [0.375, 0.6875], 2, 1)],
)
@example(  # a run goes on after the end of its event
    model=(LABELS, Smoothing(0.375, 0.4375, 0.375), Tuning(), Rules()),
    play=[
        ("predict", [0.875, 0.9375], 3, 1),
        ("predict", [0.25, 0.75], 2, 1),
        ("predict", [0.5, 0.75], 4, 1),
    ],
)
def test_whatever_happens_the_events_are_those_of_the_reference(
    model: tuple[tuple[str, ...], Smoothing, Tuning, Rules], play: list[tuple[Any, ...]]
) -> None:
    both = Both(model)
    for kind, *more in [*play, ("stop",)]:
        both.happen(kind, *more)


@pytest.mark.parametrize(
    ("interval_s", "smooth_s"), [(0.08, 0.5), (0.1, 0.5), (0.25, 0.5), (1.0, 0.5), (0.1, 0.0)]
)
def test_the_surest_moment_is_the_highest_average_of_a_machine(interval_s: float, smooth_s: float) -> None:
    scores = np.random.default_rng(0).dirichlet([0.3] * 3, 40).astype(np.float32)
    made = EventMachine(("A", "B", "C"), Smoothing(smooth_s=smooth_s), source="s", model="m@1")
    highest = 0.0
    for number, seen in enumerate(scores):
        made.predict(number * interval_s, seen)
        highest = max(highest, float(made.average.max()))
    assert surest(scores, interval_s, smooth_s) == pytest.approx(highest)
