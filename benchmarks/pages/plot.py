"""Accuracy against latency, and accuracy by set, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window, wherever this runs
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from benchmarks.experiments.comparison import CALL, FLOAT, PREDICT, RESULT, SHIPPED, ModelComparison
from benchmarks.pages import marks
from benchmarks.pages.marks import Panel
from train.intervals import wilson_interval

SIZE_IN = (9.0, 6.0)
DPI = 150
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#555555")
MARKERS = {PREDICT: "s", CALL: "D", FLOAT: "o", SHIPPED: "^", RESULT: "*"}
FORM_STYLES: dict[str, dict[str, Any]] = {
    marks.CONTROL: {"marker": "o", "color": "#888888", "markerfacecolor": "white"},
    marks.FLOAT: {"marker": "o", "color": COLOURS[0]},
    marks.STREAM: {"marker": "D", "color": COLOURS[1]},
}
FORM_SHIFT = 0.16  # rows: float above its stream
PANEL_COLUMNS = 2
PANEL_WIDTH_IN, ROW_IN, PANEL_EXTRA_IN = 5.6, 0.24, 0.9
NAMES = {
    PREDICT: "Keras predict",
    CALL: "Keras model(x)",
    FLOAT: "float TFLite, clip",
    SHIPPED: "shipped, clip",
    RESULT: "shipped, stream",
}


def draw(path: Path, compared: Sequence[ModelComparison], note: str) -> None:
    """Write the picture as PNG. note: one small line below, such as machine and commit."""
    figure, axes = plt.subplots(figsize=SIZE_IN)
    for model, colour in zip(compared, COLOURS, strict=False):
        _draw_model(axes, model, colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("milliseconds for one result, median (logarithmic)")
    axes.set_ylabel("share of held-out clips recognised, 95 % interval")
    axes.set_ylim(0, 1.05)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    models = [
        axes.plot([], [], color=colour, linewidth=3, label=model.name)[0]
        for model, colour in zip(compared, COLOURS, strict=False)
    ]
    forms = [
        axes.plot([], [], MARKERS[form], color="#444444", label=NAMES[form], markersize=8)[0]
        for form in MARKERS
    ]
    below: dict[str, Any] = {"loc": "upper center", "fontsize": 9, "frameon": False}
    axes.add_artist(axes.legend(handles=models, bbox_to_anchor=(0.5, -0.13), ncols=len(models), **below))
    axes.legend(handles=forms, bbox_to_anchor=(0.5, -0.2), ncols=len(forms), **below)
    figure.text(0.01, 0.01, note, fontsize=7, color="#666666")
    figure.subplots_adjust(left=0.08, right=0.98, top=0.97, bottom=0.25)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def _draw_model(axes: Axes, model: ModelComparison, colour: str) -> None:
    points = []
    keras = next((form.figures for form in model.forms if form.form == PREDICT), None)
    for form in model.forms:
        figures = keras if form.form == CALL else form.figures
        if form.form not in MARKERS or form.timing is None or figures is None:
            continue
        low, high = wilson_interval(figures.right, figures.clips)
        at, share = form.timing.p50_ms, figures.accuracy
        points.append((at, share))
        axes.errorbar(at, share, [[share - low], [high - share]], color=colour, alpha=0.35, capsize=3)
        size = 15 if form.form == RESULT else 9
        axes.plot(at, share, MARKERS[form.form], color=colour, markersize=size, markeredgecolor="white")
    points.sort()
    axes.plot(*zip(*points, strict=True), color=colour, alpha=0.5, linewidth=1)


def draw_accuracy(path: Path, panels: Sequence[Panel], note: str) -> None:
    """Write a picture of accuracies with their intervals over groups as PNG, a panel for each set. note:
    one small line below.
    """
    columns = min(PANEL_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    most = max(len(dict.fromkeys(mark.row for mark in panel.marks)) for panel in panels)
    height = lines * (most * ROW_IN + PANEL_EXTRA_IN) + 0.5
    figure, grid = plt.subplots(
        lines, columns, figsize=(PANEL_WIDTH_IN * columns, height), squeeze=False, layout="constrained"
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], linestyle="", label=form, markersize=6, **style) for form, style in FORM_STYLES.items()
    ]
    handles.append(Line2D([], [], color=COLOURS[2], linestyle="--", label="goal"))
    handles.append(Line2D([], [], color="#aaaaaa", linestyle=":", label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    figure.suptitle("share of held-out clips recognised, 95 % interval over groups", fontsize=10)
    figure.text(0.005, 0.003, note, fontsize=6, color="#666666")
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    rows = list(dict.fromkeys(mark.row for mark in panel.marks))
    shifts = {marks.CONTROL: 0.0, marks.FLOAT: -FORM_SHIFT, marks.STREAM: FORM_SHIFT}
    for mark in panel.marks:
        low, high = mark.fraction.by_groups
        share, at = mark.fraction.share, rows.index(mark.row) + shifts[mark.form]
        style = FORM_STYLES[mark.form]
        # A bootstrap's percentiles may miss a mean at its edge.
        spread = [[max(0.0, share - low)], [max(0.0, high - share)]]
        axes.errorbar(share, at, xerr=spread, color=style["color"], alpha=0.5, capsize=2)
        axes.plot(share, at, linestyle="", markersize=5, **style)
    axes.axvline(panel.goal, color=COLOURS[2], linestyle="--", linewidth=1)
    axes.axvline(panel.chance, color="#aaaaaa", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.02)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.grid(True, axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
