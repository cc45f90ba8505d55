"""The report of a conversion: NAME.report.json for programs, NAME.report.html for people; also of one that
was refused.

The page is one file: no script, no font, no picture from elsewhere. It is built as a tree of elements and
written out by the standard library, so that no name or label can be taken for HTML.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from convert.verify.comparison import FLOAT_TFLITE, KERAS, STREAM, WAYS, WHOLE_CLIP
from edge_har.model.bundle import GATE
from train.data.files import write_text
from train.runs import write_json

JSON_SUFFIX, HTML_SUFFIX = ".report.json", ".report.html"
FLOAT_MARK = " (float)"  # how convert.tflite.flatbuffer names an operator that computes in float
ERRORS = {
    STREAM: "probability_error",
    WHOLE_CLIP: "probability_error_whole_clip",
    FLOAT_TFLITE: "probability_error_float_tflite",
}
AGREEMENTS = {
    STREAM: "agreement",
    WHOLE_CLIP: "agreement_whole_clip",
    FLOAT_TFLITE: "agreement_float_tflite",
}
PARTS = {
    "test": "Held-out test clips",
    "validation": "Validation clips",
    "outputs_only": "All clips (each was trained on: outputs alone are compared)",
}
EXTRAS = {  # sections that a conversion may have: key -> title, what it shows
    "trials": (
        "Precisions tried",
        "Each was judged on validation clips, then on the gate's; the fastest that passed both is used.",
    ),
    "rejection": (
        "What is not known",
        "Fitted on clips held out: how sure the device is, and when that is too little to name a label.",
    ),
    "compactness": (
        "Pruning and shrinking",
        "Beside a dense control, fine-tuned just as long: the gain of fine-tuning is not counted twice.",
    ),
    "qat": ("Quantisation-aware training", "Fine-tuned with the rounding of int8 in the loop."),
    "structure": ("Structure of the files", "What was checked on the made TFLite files."),
    "calibration": ("Calibration", "Real clips of the training groups that set the ranges of integers."),
    "runtimes": ("Runtimes", "These compute the golden clips as they should."),
    "golden": ("Golden clips", "A device must compute these before it takes the bundle."),
    "provenance": ("Where it comes from", "What made this model, to make it again."),
}
SHOWN_ELSEWHERE = {GATE, "parity", "details", "bytes", "zipped_bytes", "operators", "zero_share", *EXTRAS}
MOST_COLUMNS = 12
PLOT_SIDE = 320  # units of the scatter's own coordinates
PLOT_MARGIN = 36
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f9; --ink: #1b1f24; --soft: #5b6570;
  --line: #d9dee4;
  --good: #17713c; --good-ground: #e5f5eb; --bad: #b3261e; --bad-ground: #fdeceb; --warn: #8a5a00;
  --warn-ground: #fff4dc; --mark: 37, 99, 200; --bar: #2563c8; --bar-soft: #9db8e0; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1d2127; --ink: #e8ebef;
  --soft: #9aa5b1;
  --line: #343b44; --good: #6fd694; --good-ground: #12301d; --bad: #ff9d96; --bad-ground: #3d1815;
  --warn: #f3c969;
  --warn-ground: #382b0d; --mark: 37, 99, 200; --bar: #6fa1f5; --bar-soft: #3c5480; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--ground);
  color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.soft { color: var(--soft); font-size: .9rem; }
.verdict { margin: 1.25rem 0; padding: .9rem 1.1rem; border-radius: .6rem; border-left: .35rem solid; }
.verdict p { margin: 0; font-size: 1.1rem; font-weight: 600; }
.verdict li { margin-top: .4rem; }
.passed { background: var(--good-ground); border-color: var(--good); }
.passed p { color: var(--good); }
.refused { background: var(--bad-ground); border-color: var(--bad); }
.refused p { color: var(--bad); }
.allowed { background: var(--warn-ground); border-color: var(--warn); }
.allowed p { color: var(--warn); }
.wide { --cover: var(--ground) 40%, transparent; --shade: var(--line), transparent;
  overflow-x: auto; margin: .5rem 0 1rem;
  background: linear-gradient(to right, var(--cover)) 0 0 / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--cover)) 100% 0 / 2.5rem 100% no-repeat local,
    linear-gradient(to right, var(--shade)) 0 0 / .8rem 100% no-repeat scroll,
    linear-gradient(to left, var(--shade)) 100% 0 / .8rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); }
td:first-child, th:first-child { text-align: left; padding-left: 0; }
tr.main td { font-weight: 600; }
td.text, th.text { text-align: left; }
td.text { overflow-wrap: anywhere; min-width: 6rem; }
td small { color: var(--soft); white-space: nowrap; display: block; font-weight: 400; }
.yes { color: var(--good); }
.no { color: var(--bad); font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
.pair > div { min-width: 0; max-width: 100%; }
.confusion td, .confusion th { padding: .25rem .45rem; border: 0; text-align: center; font-size: .8rem; }
.confusion thead th { vertical-align: bottom; }
.confusion thead span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; }
.confusion th:first-child { text-align: right; white-space: nowrap; }
.bar { display: inline-block; width: 7rem; height: .55rem; border-radius: .3rem; background: var(--card); }
.bar i { display: block; height: 100%; border-radius: .3rem; background: var(--bar); }
.bar.float i { background: var(--bar-soft); }
svg { display: block; width: 100%; max-width: 26rem; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
svg .axis { stroke: var(--line); fill: none; }
svg .dots { stroke: var(--bar); stroke-width: 3.2; stroke-linecap: round; stroke-opacity: .55; fill: none; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1.2rem;
  font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media (max-width: 40rem) { body { padding-top: 1rem; } table { font-size: .8rem; }
  th, td { padding: .3rem .45rem; } td.text { min-width: 4.5rem; } td .bar { width: 4rem; }
  .verdict { padding: .7rem .9rem; } .verdict p { font-size: 1rem; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } }
"""

Element = ElementTree.Element
Child = Element | str


def write_report(stem: Path, record: Mapping[str, Any]) -> None:
    """Write `stem`.report.json and `stem`.report.html, each whole or not at all.

    record: what the conversion measured; any section may be absent. Raises DataError when a file cannot be
    written.
    """
    write_json(stem.parent / (stem.name + JSON_SUFFIX), record)
    write_text(stem.parent / (stem.name + HTML_SUFFIX), html(record))


def html(record: Mapping[str, Any]) -> str:
    """The page, the verdict first."""
    title = f"{record.get('name', 'model')}, release {record.get('release', '?')}"
    head = _make(
        "head",
        _make("meta", charset="utf-8"),
        _make("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _make("title", f"Conversion of {title}"),
        _make("style", STYLE),
    )
    kind = " ".join(str(record[key]) for key in ("kind", "precision") if key in record)
    main = _make("main", _make("h1", title), _make("p", kind, class_="soft"), _verdict(record))
    for section in (_gate, _recall, _confusions, _worst_clips, _scatter, _sizes, _operators, _extras, _rest):
        main.extend(section(record))
    beside = _make("p", f"The same figures for programs: *{JSON_SUFFIX} beside this file.", class_="soft")
    body = _make("body", main, _make("footer", beside))
    page = ElementTree.tostring(_make("html", head, body, lang="en"), encoding="unicode", method="html")
    return "<!DOCTYPE html>\n" + page + "\n"


def _make(tag: str, *children: Child | None, **attributes: str) -> Element:
    """An element; `class_` is the attribute class, other underscores are hyphens."""
    element = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child is not None:
            _add_text(element, _printable(child))
    return element


def _add_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def _printable(text: str) -> str:
    """Control characters and halves of a pair, which no page may hold, shown as a sign."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def _section(title: str, sentence: str, *content: Element) -> list[Element]:
    return [_make("h2", title), _make("p", sentence, class_="soft"), *content]


def _table(
    head: Sequence[str],
    rows: Sequence[Element],
    *,
    text: Sequence[str] = (),
    name: str = "",
    **attributes: str,
) -> Element:
    """In a frame of its own (`_wide`).

    text: columns that hold words, not numbers. name: of the table; empty: its columns.
    """
    columns = (
        _make("th", column, scope="col", **({"class_": "text"} if column in text else {}))
        if column
        else _make("td", "")  # a heading without words is none
        for column in head
    )
    top = _make("thead", _make("tr", *columns))
    table = _make("table", top, _make("tbody", *rows), **attributes)
    return _wide(table, name or ", ".join(filter(None, head)))


def _wide(table: Element, name: str) -> Element:
    """A frame that scrolls where the screen is narrow, by the keyboard too; name: for screen readers."""
    return _make("div", table, class_="wide", role="region", aria_label=f"Table: {name}", tabindex="0")


def _row(*cells: Child, **attributes: str) -> Element:
    made = [cell if isinstance(cell, Element) and cell.tag == "td" else _make("td", cell) for cell in cells]
    return _make("tr", *made, **attributes)


def _fraction_cell(fraction: Mapping[str, Any] | None) -> Element:
    """A fraction in per cent, its 95 % interval below."""
    if fraction is None:
        return _make("td", "–")
    low, high = fraction["interval"]
    return _make("td", f"{fraction['share']:.1%}", _make("small", f"{100 * low:.1f} to {100 * high:.1f}"))


def _judged(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The part that the gate judged, by name; the last, as the conversion lists them."""
    parts = record.get("parity") or {}
    return list(parts.items())[-1] if parts else ("", {})


def _verdict(record: Mapping[str, Any]) -> Element:
    verdict = record.get(GATE, {})
    breaches, allowed = verdict.get("breaches", []), verdict.get("allowed_by_user", [])
    if breaches or record.get("failed"):
        remedies = verdict.get("remedies", [])
        reasons = [*breaches, *([f"What helps: {', '.join(remedies)}"] if remedies else [])]
        reasons = reasons or [str(record["failed"])]
        return _box("refused", "Refused: no bundle was written.", reasons)
    if allowed:
        return _box("allowed", "Past its limits, and written because --allow-drop was given.", allowed)
    return _box("passed", _passed(_judged(record)[1]), [])


def _box(kind: str, sentence: str, reasons: Sequence[str]) -> Element:
    listed = _make("ul", *(_make("li", reason) for reason in reasons)) if reasons else None
    return _make("div", _make("p", sentence), listed, class_=f"verdict {kind}")


def _passed(figures: Mapping[str, Any]) -> str:
    if not figures:
        return "Passed."
    sentence = (
        "Passed: the quantised stream gives the float model's prediction on "
        f"{figures['agreement']['share']:.1%} of "
        f"{figures['windows']} windows"
    )
    if "drop" not in figures:
        return f"{sentence}. Accuracy was not measured on them."
    points, accuracy = figures["drop"]["points"], figures["accuracy"][STREAM]["windows"]["share"]
    if abs(points) < 0.05:
        change = "as many as the float model"
    else:
        change = f"{abs(points):.1f} points {'fewer' if points > 0 else 'more'} than the float model"
    return f"{sentence}, and is correct on {accuracy:.1%}, {change}."


def _gate(record: Mapping[str, Any]) -> Iterator[Element]:
    judged, figures = _judged(record)
    if not figures:
        return
    yield from _section(
        "The parity gate",
        "The same windows, computed in four ways. Agreement: how often the top label is that of float Keras. "
        "Below each "
        "fraction its 95 % interval.",
    )
    if GATE in record:
        yield _limits(record[GATE], figures)
    parts = record["parity"]
    # What was judged comes first.
    for name in sorted(parts, key=lambda part: part != judged):
        yield from _part(name, parts[name], judged)


def _limits(verdict: Mapping[str, Any], figures: Mapping[str, Any]) -> Element:
    def row(what: str, measured: str, limit: str, kept: bool) -> Element:
        mark = _make("td", _make("span", "kept" if kept else "broken", class_="yes" if kept else "no"))
        return _row(what, measured, limit, mark)

    least, most = verdict["min_agreement"], verdict["max_drop_points"]
    rows = []
    for way in (STREAM, WHOLE_CLIP):
        agreement = figures[AGREEMENTS[way]]["share"]
        rows.append(
            row(f"Agreement, {WAYS[way]}", f"{agreement:.2%}", f"{least:.1%} or more", agreement >= least)
        )
    if "drop" in figures:
        points = figures["drop"]["points"]
        rows.append(row("Accuracy lost", f"{points:.2f} points", f"{most:g} points or less", points <= most))
    apart = figures["stream_against_whole_clip"]["max_error"]
    tolerance = verdict["stream_tolerance"]
    rows.append(
        row("Stream against whole clip", f"{apart:.4f}", f"{tolerance:g} or less", apart <= tolerance)
    )
    return _table(("Limit", "Measured", "Allowed", ""), rows)


def _part(name: str, figures: Mapping[str, Any], judged: str) -> Iterator[Element]:
    title = PARTS.get(name, name) + (", which the gate judges" if name == judged else "")
    groups = figures["groups"] if isinstance(figures["groups"], str) else ", ".join(figures["groups"])
    yield _make("h3", title)
    yield _make(
        "p", f"{figures['clips']} clips, {figures['windows']} windows. Groups: {groups}.", class_="soft"
    )
    ways = [way for way in WAYS if way == KERAS or AGREEMENTS[way] in figures]
    rows = [_way_row(way, figures) for way in ways]
    columns = ("", "Agreement", "Window accuracy", "Clip accuracy", "Mean error", "Largest error")
    yield _table(columns, rows, name=title)
    if "drop" in figures:
        drop = figures["drop"]
        low, high = drop["interval"]
        yield _make(
            "p",
            f"Window accuracy lost from float Keras to the stream: {drop['points']:.2f} points "
            f"(95 % {low:.2f} to {high:.2f}, {drop['interval_by']} resampled in pairs).",
        )


def _way_row(way: str, figures: Mapping[str, Any]) -> Element:
    accuracy = figures.get("accuracy", {}).get(way, {})
    accuracies = (_fraction_cell(accuracy.get("windows")), _fraction_cell(accuracy.get("clips")))
    name = WAYS[way][0].upper() + WAYS[way][1:]
    if way == KERAS:
        return _row(name, "reference", *accuracies, "–", "–")
    error = figures[ERRORS[way]]
    return _row(
        name,
        _fraction_cell(figures[AGREEMENTS[way]]),
        *accuracies,
        f"{error['mean_error']:.4f}",
        f"{error['max_error']:.4f}",
        class_="main" if way == STREAM else "",
    )


def _recall(record: Mapping[str, Any]) -> Iterator[Element]:
    recall = record.get("details", {}).get("recall")
    if not recall:
        return
    rows = []
    for label, before in recall[KERAS].items():
        after = recall[STREAM][label]
        change = 100 * (after["share"] - before["share"])
        rows.append(
            _row(
                _make("td", label, class_="text"),
                str(before["windows"]),
                _bar(before["share"], "float"),
                _bar(after["share"], "stream"),
                f"{change:+.1f}" if abs(change) >= 0.05 else "0",
            )
        )
    yield from _section("By label", "Fraction of each label's windows that are predicted correctly.")
    yield _table(("Label", "Windows", "Float", "Stream", "Points"), rows)


def _bar(accuracy: float, kind: str) -> Element:
    inner = _make("i", style=f"width:{100 * accuracy:.1f}%")
    return _make("td", f"{accuracy:.1%} ", _make("span", inner, class_=f"bar {kind}"))


def _confusions(record: Mapping[str, Any]) -> Iterator[Element]:
    details = record.get("details", {})
    if "confusion" not in details:
        return
    yield from _section(
        "Confusion", "Rows: what a window shows. Columns: what was predicted. Counts of windows."
    )
    yield _make(
        "div",
        *(
            _make("div", _make("h3", title), _confusion(title, details["confusion"][way], details["labels"]))
            for way, title in ((KERAS, "Float"), (STREAM, "Stream"))
        ),
        class_="pair",
    )


def _confusion(title: str, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Element:
    columns = [_make("th", _make("span", label), scope="col") for label in labels]
    head = _make("thead", _make("tr", _make("td", ""), *columns))
    rows = []
    for label, counts in zip(labels, matrix, strict=True):
        total = max(sum(counts), 1)
        cells = [
            _make(
                "td",
                str(count) if count else "·",
                style=f"background:rgba(var(--mark),{0.75 * count / total:.2f})",
            )
            for count in counts
        ]
        rows.append(_make("tr", _make("th", label, scope="row"), *cells))
    return _wide(_make("table", head, _make("tbody", *rows), class_="confusion"), f"confusion, {title}")


def _worst_clips(record: Mapping[str, Any]) -> Iterator[Element]:
    clips = record.get("details", {}).get("worst_clips")
    if not clips:
        return
    yield from _section(
        "Worst clips", "First those whose prediction changed, then those whose probabilities moved furthest."
    )
    rows = []
    for clip in clips:
        changed = clip["float_answer"] != clip["stream_answer"]
        rows.append(
            _row(
                _make("td", clip["clip"], class_="text"),
                clip["label"] or "not known",
                clip["float_answer"],
                _make("td", _make("span", clip["stream_answer"], class_="no" if changed else "")),
                f"{clip['windows_changed']} of {clip['windows']}",
                f"{clip['max_error']:.3f}",
            )
        )
    yield _table(("Clip", "Shows", "Float", "Stream", "Windows changed", "Largest error"), rows)


def _scatter(record: Mapping[str, Any]) -> Iterator[Element]:
    sample = record.get("details", {}).get("scatter")
    if not sample:
        return
    yield from _section(
        "Probabilities",
        f"Each dot is one label's probability in one window: {len(sample[KERAS])} of {sample['of']}. On the "
        "diagonal, "
        "quantising changed nothing.",
    )
    yield _plot(sample[KERAS], sample[STREAM])


def _plot(across: Sequence[float], up: Sequence[float]) -> Element:
    """An SVG of the unit square; all dots are one path of strokes without length."""
    full = PLOT_SIDE + PLOT_MARGIN

    def point(x: float, y: float) -> str:
        return f"{PLOT_MARGIN + x * PLOT_SIDE:.1f} {(1 - y) * PLOT_SIDE:.1f}"

    dots = "".join(f"M{point(x, y)}h0" for x, y in zip(across, up, strict=True))
    marks = []
    for at in TICKS:
        column, row = point(at, 0).split()[0], point(0, at).split()[1]
        marks += [
            _make("path", d=f"M{point(at, 0)}L{point(at, 1)}M{point(0, at)}L{point(1, at)}", class_="axis"),
            _make("text", f"{at:g}", x=column, y=str(PLOT_SIDE + 14), text_anchor="middle"),
            _make("text", f"{at:g}", x=str(PLOT_MARGIN - 5), y=str(float(row) + 4), text_anchor="end"),
        ]
    middle = PLOT_MARGIN + PLOT_SIDE / 2
    return _make(
        "svg",
        *marks,
        _make("path", d=f"M{point(0, 0)}L{point(1, 1)}", class_="axis"),
        _make("path", d=dots, class_="dots"),
        _make("text", "float Keras", x=f"{middle:g}", y=f"{PLOT_SIDE + 30}", text_anchor="middle"),
        _make(
            "text",
            "quantised stream",
            transform=f"translate(8 {PLOT_SIDE / 2:g}) rotate(-90)",
            text_anchor="middle",
        ),
        viewBox=f"-4 -8 {full + 12} {full + 8}",
        role="img",
        aria_label="Probabilities of the quantised stream against those of float Keras",
    )


def _sizes(record: Mapping[str, Any]) -> Iterator[Element]:
    sizes = {name: size for name, size in record.get("bytes", {}).items() if name.endswith(".tflite")}
    if not sizes:
        return
    zipped, zeros = record.get("zipped_bytes", {}), record.get("zero_share", {})
    yield from _section(
        "Sizes", "Zipped: what deflate leaves, which is where zero weights show. They make nothing faster."
    )
    rows = []
    for name, size in sizes.items():
        accuracies = list(zeros.get(name, {}).values())
        rows.append(
            _row(
                _make("td", name, class_="text"),
                f"{size:,}",
                f"{zipped[name]:,}" if name in zipped else "–",
                f"{min(accuracies):.0%} to {max(accuracies):.0%}" if accuracies else "–",
            )
        )
    yield _table(("File", "Bytes", "Zipped", "Zero weights, by kernel"), rows)


def _operators(record: Mapping[str, Any]) -> Iterator[Element]:
    files = record.get("operators")
    if not files:
        return
    yield from _section("Operators", "What the files compute with; those in float need a float unit.")
    rows = []
    for name, counts in files.items():
        floats = sum(count for operator, count in counts.items() if operator.endswith(FLOAT_MARK))
        listed = ", ".join(
            f"{operator} x{count}" if count > 1 else operator for operator, count in counts.items()
        )
        rows.append(
            _row(
                _make("td", name, class_="text"),
                str(sum(counts.values())),
                str(floats),
                _make("td", listed, class_="text"),
            )
        )
    yield _table(("File", "Operators", "Float", "Which"), rows, text=("Which",))


def _extras(record: Mapping[str, Any]) -> Iterator[Element]:
    for key, (title, words) in EXTRAS.items():
        if record.get(key):
            yield from _section(title, words, _any(record[key]))


def _rest(record: Mapping[str, Any]) -> Iterator[Element]:
    """Whatever else the record holds, plainly: a figure that has no section of its own is still shown."""
    known = {"name", "release", "kind", "precision", "failed"}
    rest = {key: value for key, value in record.items() if key not in SHOWN_ELSEWHERE | known}
    if rest:
        yield from _section("Also measured", "", _any(rest))


def _any(value: Any) -> Element:
    """Rows as a table, a mapping as terms, a list as items, anything else as text."""
    if isinstance(value, Mapping):
        pairs = ((_make("dt", _words(key)), _make("dd", _any(held))) for key, held in value.items())
        return _make("dl", *(part for pair in pairs for part in pair))
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(row, Mapping) for row in value):
            return _rows(value)
        return _make("span", ", ".join(_text(item) for item in value) or "none")
    return _make("span", _text(value))


def _rows(rows: Sequence[Mapping[str, Any]]) -> Element:
    columns = list(dict.fromkeys(key for row in rows for key in row))[:MOST_COLUMNS]
    head = [_words(column) for column in columns]
    cells = [[_make("td", _text(row.get(column)), class_="text") for column in columns] for row in rows]
    return _table(head, [_row(*row) for row in cells], text=head)


def _words(key: Any) -> str:
    return str(key).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        if {"share", "interval"} <= value.keys():
            low, high = value["interval"]
            return f"{value['share']:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        return ", ".join(f"{_words(key)} {_text(held)}" for key, held in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return str(value)
