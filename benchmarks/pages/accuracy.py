"""docs/figures/accuracy.md and its picture: families, encoders and sizes on groups they never saw, float
and stream, beside controls, on several sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments import controls
from benchmarks.experiments.cache import read_published, result_in, write_published
from benchmarks.experiments.crossed import Crossed, measure_crossed
from benchmarks.experiments.entries import (
    ACCURACY_SETS,
    FIGHT_NEXT_GOAL,
    MIDDLE,
    SMALL,
    STREAM_POINTS,
    WINNER,
    AccuracySet,
)
from benchmarks.experiments.evaluation import (
    Fraction,
    Row,
    SetAccuracy,
    float_form,
    measure_sets,
    stream_form,
)
from benchmarks.experiments.folds import CACHE, FoldResult, Say
from benchmarks.measure import provenance
from benchmarks.measure.baseline import RAW_PX
from benchmarks.measure.clips import Figures
from benchmarks.measure.frozen import use_folder_of_weights
from benchmarks.pages.markdown import markdown_table
from benchmarks.pages.marks import CONTROL, FLOAT, STREAM, Mark, Panel
from edge_har.bench import machine
from edge_har.errors import MisuseError

BLANK = "-"
MOST_CONFUSED = 6  # pairs of labels

INTRODUCTION = (
    "Models answer for clips of people, scenes or source videos that they never saw: a fold holds its groups "
    "out, the next fold's groups validate (they choose the epoch of s; the final head of m and l is trained "
    "on them too), the rest train. A clip's prediction is the mean over its windows."
)
NOTES = (
    "*float*: Keras, the share of clips, the mean over seeds; *groups*: its 95 % interval, by "
    "resampling whole groups; *seeds*: lowest and highest of the trainings. *stream*: what devices "
    "run, as `convert` makes it by default (int8; with a pretrained encoder float16), of seed 0; *lost*: "
    "percentage points from float to stream on the same clips, with its interval over groups, below 0 where "
    "the stream was better. *agree*: share of held-out windows, at every "
    "offset, on which the stream gives the float model's label. *windows*: float, over all windows that "
    "`classify` takes. *min*: minutes of one job for one fold. Controls are logistic regressions on all "
    "groups that a fold does not hold out; rows on fewer folds or seeds than others stand beside them "
    "with wider intervals."
)
CONTROL_NOTES = {
    controls.FIRST_FRAME: "what one picture gives away",
    controls.HAND_MADE: "where a person moves, without learning it",
    controls.RANDOM: "mean and deviation over eight frames of MobileNet V1 .25 that has learned nothing",
    controls.FROZEN: "the same with its pretrained weights",
}
GOALS_NOTE = "By float Keras, the mean of seeds; goals are of models that were measured on every fold."
CROSSED_NOTE = (
    "Two sets hold something alike; a model that was trained on one (seed 0, the first fold that the parity "
    "gate let through, as a stream) runs on all clips of the other."
)
REFUSED_NOTE = (
    "The parity gate refused these, as it would refuse to ship them; their stream's figures are the "
    "conversion's own, over windows at every offset, and which of their clips are wrong is not known:"
)


@dataclass(frozen=True)
class Accuracy:
    """Everything that the page says, before it is words. kinds: of `sets`, one each. weights: whether those
    of the controls' encoder were at hand.
    """

    kinds: tuple[AccuracySet, ...]
    sets: tuple[SetAccuracy, ...]
    crossed: tuple[Crossed, ...]
    weights: bool
    quick: bool = False

    @property
    def pairs(self) -> list[tuple[AccuracySet, SetAccuracy]]:
        """Each set's description with what was measured."""
        return list(zip(self.kinds, self.sets, strict=True))


def measure_accuracy(
    clips: Path,
    *,
    say: Say,
    jobs: int,
    only: Sequence[str] = (),
    quick: bool = False,
    seeds: int | None = None,
    brief: bool = False,
    kinds: Sequence[AccuracySet] = ACCURACY_SETS,
    cache: Path = CACHE,
    results: Path | None = None,
) -> Accuracy:
    """Run what is neither in the cache nor in `results`, a file that is there or not; it gets all results
    that the page is made of, beside those that it has where not everything was measured.

    clips: the folder of the sets. only: names of some of them; none: all. quick: one seed and one fold of
    every row. seeds: at most so many of every row. brief: every row but the winner's has one seed.

    Raises MisuseError for a set that is not known, DataError for unfit clips, EdgeHarError where a fold
    fails.
    """
    unknown = set(only) - {kind.name for kind in kinds}
    if unknown:
        known = ", ".join(kind.name for kind in kinds)
        raise MisuseError(f"the sets of this page are {known}; got {min(unknown)!r}")
    chosen = tuple(kind for kind in kinds if not only or kind.name in only)
    weights = use_folder_of_weights(clips)
    plans = [kind.plan(clips) for kind in chosen]
    if brief:
        plans = [plan.briefly(WINNER) for plan in plans]
    if seeds is not None:
        plans = [plan.with_seeds(seeds) for plan in plans]
    if quick:
        plans = [plan.shortened() for plan in plans]
    published = {} if results is None else read_published(results)
    used: dict[str, dict[str, Any]] = {}
    whole = False

    def note(result: FoldResult) -> None:
        for folder in filter(None, (result.folder, result.conversion)):
            used[folder.name] = result_in(folder) or published[folder.name]

    try:
        sets = measure_sets(
            plans, say=say, jobs=jobs, weights=weights, cache=cache, published=published, on_result=note
        )
        crossed = measure_crossed(
            sets, (SMALL, WINNER), say=say, cache=cache, published=published, on_result=used.__setitem__
        )
        whole = not (only or quick or brief or seeds)
    finally:
        if results is not None and used:  # those of other rows and sets serve a later run
            write_published(results, used if whole else published | used)
    return Accuracy(chosen, tuple(sets), tuple(crossed), weights is not None, quick)


def panels(accuracy: Accuracy) -> list[Panel]:
    """What the picture shows: controls and rows of each set, from above in the order of the tables."""
    made = []
    for kind, one in accuracy.pairs:
        marks = [Mark(name, CONTROL, one.control(name)) for name in one.controls]
        for row in one.rows:
            for form, read in ((FLOAT, float_form), (STREAM, stream_form)):
                results = one.of(row.entry, None if form == FLOAT else 0)
                fraction = one.fraction(results, read)
                if fraction is not None:
                    marks.append(Mark(row.entry.name, form, fraction))
        made.append(Panel(kind.name, kind.goal, 1 / len(one.labels), tuple(marks)))
    return made


def write(out: Path, accuracy: Accuracy, command: list[str]) -> None:
    """Write the page to `out` and the picture beside it, a .png."""
    from benchmarks.pages.plot import draw_accuracy

    picture = out.with_suffix(".png")
    here = machine()
    text = page(accuracy, command, picture.name)  # before a file is written: that would be a change
    draw_accuracy(picture, panels(accuracy), f"commit {provenance.commit()}; {here.cpu}, {here.cores} cores")
    out.write_text(text, encoding="utf-8")


def page(accuracy: Accuracy, command: list[str], picture: str) -> str:
    """The page as Markdown. picture: name of the file beside it."""
    results = [result for one in accuracy.sets for result in one.results]
    made_at = [at for result in results for at in result.made_at]
    machines = [machine for result in results for machine in result.machines]
    hashes = ", ".join(f"{one.folds.name} {one.folds.sha256}" for one in accuracy.sets)
    lines = [
        "# Accuracy on people and scenes never seen",
        "",
        INTRODUCTION,
        "",
        *(["A try: one seed and one fold of each row.", ""] if accuracy.quick else []),
        f"![Share of clips recognised, by set and model]({picture})",
        "",
        "## Goals",
        "",
        *_goals(accuracy),
        "",
        GOALS_NOTE,
        "",
        *(line for kind, one in accuracy.pairs for line in _of_set(kind, one)),
        "## How to read the tables",
        "",
        NOTES,
        "",
        _first_frame(accuracy),
        "",
        *_crossed(accuracy.crossed),
        *_made_of(accuracy),
        *provenance.section(command, hashes, made_at, machines),
    ]
    return "\n".join(lines)


def _goals(accuracy: Accuracy) -> list[str]:
    lost_head = ["stream loses, points", f"at most {STREAM_POINTS:g}"]
    table = [["set", "goal", "model", "folds", "float", "reached", *lost_head]]
    for kind, one in accuracy.pairs:
        goals = (kind.goal, FIGHT_NEXT_GOAL) if kind.name == "fight" else (kind.goal,)
        for entry in (SMALL, MIDDLE, WINNER):
            results = one.of(entry)
            fraction = one.fraction(results, float_form)
            if fraction is None:
                continue
            folds = len({result.group for result in results})
            lost = one.lost(results)
            points = (
                [BLANK, BLANK] if lost is None else [f"{lost.points:.1f}", _yes(lost.points <= STREAM_POINTS)]
            )
            wanted = entry in kind.by
            for goal in goals if wanted else (None,):
                table.append(
                    [
                        one.folds.name,
                        BLANK if goal is None else f"{goal:.2f}",
                        entry.name,
                        f"{folds} of {len(one.folds.groups)}",
                        f"{fraction.share:.3f}",
                        BLANK if goal is None else _reached(fraction.share, goal),
                        *points,
                    ]
                )
    return markdown_table(table)


def _reached(share: float, goal: float) -> str:
    return f"{_yes(share >= goal)}, by {100 * abs(share - goal):.1f} points"


def _yes(true: bool) -> str:
    return "yes" if true else "**no**"


def _of_set(kind: AccuracySet, one: SetAccuracy) -> list[str]:
    count = len(one.folds.groups)
    groups = len({clip.group for clip in one.clips})
    how = f"one {kind.unit} held out at a time" if kind.count is None else f"{count} folds by {kind.unit}"
    return [
        f"## {one.folds.name}",
        "",
        f"{len(one.clips)} clips, {len(one.labels)} labels, {groups} groups; {how}. {kind.note}".rstrip(),
        "",
        *markdown_table([_HEAD, *_control_rows(one), *(_row(one, row) for row in one.rows)]),
        "",
        *_by_fold(one),
        *_refused(one),
        *_confused(one),
    ]


_HEAD = ["model", "folds x seeds", "float", "groups", "seeds", "windows", "stream", "lost", "agree", "min"]


def _control_rows(one: SetAccuracy) -> list[list[str]]:
    chance = Counter(clip.label for clip in one.clips).most_common(1)[0][1] / len(one.clips)
    rows = [["*the commonest label*", BLANK, f"{chance:.3f}", *[BLANK] * 7]]
    for name in one.controls:
        fraction = one.control(name)
        shown = [f"{len(one.controls[name])} x 1", f"{fraction.share:.3f}", _interval(fraction)]
        rows.append([f"*{name}*", *shown, *[BLANK] * 6])
    return rows


def _row(one: SetAccuracy, row: Row) -> list[str]:
    results = one.of(row.entry)
    fraction = one.fraction(results, float_form)
    if fraction is None:
        return [row.entry.name, *[BLANK] * (len(_HEAD) - 1)]
    seeds = len(fraction.shares)
    low, high = min(fraction.shares), max(fraction.shares)
    windows = Figures.total(result.float_figures for result in results)
    minutes = sum(result.seconds for result in results) / len(results) / 60
    return [
        row.entry.name,
        f"{len(results) // seeds} x {seeds}",
        f"{fraction.share:.3f}",
        _interval(fraction),
        BLANK if seeds == 1 else f"{low:.3f} to {high:.3f}",
        f"{windows.window_accuracy:.3f}",
        *_stream_cells(one, results),
        f"{minutes:.1f}",
    ]


def _stream_cells(one: SetAccuracy, results: Sequence[FoldResult]) -> list[str]:
    converted = [result for result in results if result.stream is not None]
    fraction, lost = one.fraction(converted, stream_form), one.lost(converted)
    if fraction is None or lost is None:
        return [BLANK] * 3
    low, high = lost.interval
    gates = [result.gate for result in converted if result.gate is not None]
    windows = sum(gate.windows for gate in gates)
    agreement = sum(gate.agreement * gate.windows for gate in gates) / windows if windows else None
    return [
        f"{fraction.share:.3f}",
        f"{lost.points:.1f} ({low:.1f} to {high:.1f})",
        BLANK if agreement is None else f"{agreement:.3f}",
    ]


def _interval(fraction: Fraction) -> str:
    low, high = fraction.by_groups
    return f"{low:.2f} to {high:.2f}"


def _by_fold(one: SetAccuracy) -> list[str]:
    """Clips of each fold, for the rows that have them all: a mean hides a person that no model recognises."""
    folds = list(one.held_out)
    table = [["clips right, seed 0", "form", *folds]]
    for row in one.rows:
        results = one.of(row.entry, 0)
        if [result.group for result in results] != folds or row.folds is not None:
            continue
        for form, read in ((FLOAT, float_form), (STREAM, stream_form)):
            parts = [read(result) for result in results]
            if all(part is not None for part in parts):
                cells = [f"{part.right}/{part.clips}" for part in parts if part is not None]
                table.append([row.entry.name if form == FLOAT else "", form, *cells])
    return [*markdown_table(table), ""] if len(table) > 1 else []


def _refused(one: SetAccuracy) -> list[str]:
    """Which folds the parity gate refused, each in its own words."""
    refused = [
        f"- {result.entry.name} without {result.group}: {result.gate.failed}"
        for result in one.results
        if result.gate is not None and result.gate.failed
    ]
    return [REFUSED_NOTE, "", *refused, ""] if refused else []


def _confused(one: SetAccuracy) -> list[str]:
    """The commonest mistakes of s and l, over all seeds."""
    lines = []
    for entry in (SMALL, WINNER):
        results = one.of(entry)
        wrong = Counter(
            (mistake["label"], mistake["answer"])
            for result in results
            for mistake in result.float_figures.wrong
        )
        if wrong:
            listed = ", ".join(
                f"{label} as {answer} ({count})"
                for (label, answer), count in wrong.most_common(MOST_CONFUSED)
            )
            total = sum(wrong.values())
            of = sum(result.float_figures.clips for result in results)
            lines += [
                f"What {entry.name} confuses, {total} of {of} predictions of float Keras: {listed}.",
                "",
            ]
    return lines


def _first_frame(accuracy: Accuracy) -> str:
    seen = (
        "as the features of MobileNet V1 .25 with its pretrained weights"
        if accuracy.weights
        else f"as {RAW_PX}x{RAW_PX} grey pixels, because no weights of an encoder were at hand"
    )
    shown = dict.fromkeys(name for one in accuracy.sets for name in one.controls)
    listed = "; ".join(f"*{name}*: {CONTROL_NOTES[name]}" for name in shown if name in CONTROL_NOTES)
    return f"{listed}. The first frame is seen {seen}."


def _crossed(crossed: Sequence[Crossed]) -> list[str]:
    if not crossed:
        return []
    head = [
        "trained on",
        "model",
        "clips of",
        "label",
        "clips",
        "predicted",
        "share",
        "mean score",
        "commonest",
    ]
    table = [head]
    for one in crossed:
        crossing = one.crossing
        start = [crossing.trained_on, one.model, crossing.run_on, one.label]
        if not one.predicted:
            table.append([*start, BLANK, "the gate refused every fold", *[BLANK] * 3])
            continue
        commonest = Counter(one.predicted).most_common(1)[0]
        share = [f"`{crossing.label}`", f"{one.share:.2f}", f"{one.score:.2f}"]
        table.append([*start, str(one.clips), *share, f"{commonest[0]} ({commonest[1]})"])
    return ["## A label that two sets share", "", CROSSED_NOTE, "", *markdown_table(table), ""]


def _made_of(accuracy: Accuracy) -> list[str]:
    """Options of each training, and what all of it cost."""
    table = [["set", "model", "options of `edge-har train`", "folds", "seeds"]]
    for one in accuracy.sets:
        for row in one.rows:
            results = one.of(row.entry)
            seeds = sorted({result.entry.seed for result in results})
            options = " ".join(("--model", row.entry.model, *row.entry.options))
            folds = len({result.group for result in results})
            shown = [f"`{options}`", f"{folds} of {len(one.folds.groups)}", ", ".join(map(str, seeds))]
            table.append([one.folds.name, row.entry.name, *shown])
    hours = sum(result.seconds for one in accuracy.sets for result in one.results) / 3600
    runs = sum(len(one.results) for one in accuracy.sets)
    cost = f"{runs} trainings with their conversions took {hours:.1f} hours of one job; several run at once."
    return ["## What was run", "", *markdown_table(table), "", cost, ""]
