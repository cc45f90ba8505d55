"""The pictures of a RUN: its curves, and a confusion matrix with counts and fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_har.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
TRAINING, VALIDATION, MARK = "tab:blue", "tab:orange", "0.4"
CURVES = (("loss", "loss", "validation_loss"), ("accuracy", "accuracy", "validation_window_accuracy"))


def draw_curves(path: Path, history: Sequence[Mapping[str, float]], best_epoch: int, classes: int) -> None:
    """Draw loss and window accuracy of training and, where it was measured, validation over the epochs as
    PNG; the best epoch (counted from 1) and chance are marked. Raises DataError when it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 4), layout="constrained")
    chance = {"loss": math.log(classes), "accuracy": 1 / classes}
    for axes, (title, training, validation) in zip(figure.subplots(1, 2), CURVES, strict=True):
        axes.plot(epochs, [row[training] for row in history], color=TRAINING, marker=".", label="training")
        if validation in history[0]:
            values = [row[validation] for row in history]
            axes.plot(epochs, values, color=VALIDATION, marker=".", label="validation")
        axes.axvline(best_epoch, color=MARK, linestyle="--", label=f"weights kept: epoch {best_epoch}")
        axes.axhline(chance[title], color=MARK, linestyle=":", label="chance")
        axes.set_title(f"{title} of windows")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if title == "accuracy":
            axes.set_ylim(0, 1.02)
        else:
            axes.set_ylim(bottom=0)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    _save(figure, path)


def draw_confusion(path: Path, confusion: Sequence[Sequence[int]], labels: Sequence[str], part: str) -> None:
    """Draw a confusion matrix over clips as PNG: counts, and below each its fraction of the row, which is the
    colour too. part: which clips these are, for the title. Raises DataError when it cannot be written.
    """
    from matplotlib.figure import Figure

    matrix = np.asarray(confusion)
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 3.0 + 0.6 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"{part}: {np.trace(matrix)} of {matrix.sum()} clips right")
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour: dict[str, Any] = {"color": "white" if fractions[row, column] > 0.5 else "black"}
            text = f"{count}\n{fractions[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", fontsize="small", **colour)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=DPI)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
