"""Accuracy against latency as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window, wherever this runs
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.experiments.comparison import CALL, FLOAT, INT8, PREDICT, RESULT, ModelComparison
from train.intervals import wilson_interval

SIZE_IN = (9.0, 6.0)
DPI = 150
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#555555")
MARKERS = {PREDICT: "s", CALL: "D", FLOAT: "o", INT8: "^", RESULT: "*"}
NAMES = {
    PREDICT: "Keras predict",
    CALL: "Keras model(x)",
    FLOAT: "float TFLite, clip",
    INT8: "int8, clip",
    RESULT: "int8, stream",
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
