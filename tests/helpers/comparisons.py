"""Comparisons with known figures, for the tests of figures and of the gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convert.verify.comparison import Comparison

LABELS = ("Jump", "Run", "Sit", "Walk")


CLIPS = 20


WINDOWS = 10  # a clip


def comparison(wrong: int = 0) -> Comparison:
    """Everything right, but the quantised forms off in `wrong` of 200 windows."""
    truth = np.arange(CLIPS) % len(LABELS)
    clip_of_window = np.repeat(np.arange(CLIPS), WINDOWS)
    sure = np.full((len(clip_of_window), len(LABELS)), 0.02, np.float32)
    sure[np.arange(len(clip_of_window)), truth[clip_of_window]] = 0.94
    off = sure.copy()
    off[:wrong] = np.roll(off[:wrong], 1, axis=1)
    by_contract = np.tile(np.arange(WINDOWS) % 5 == 0, CLIPS)
    groups = tuple(f"g{clip % 3}" for clip in range(CLIPS))
    names = tuple(f"clip-{clip:02d}.avi" for clip in range(CLIPS))
    return Comparison(sure, off, off.copy(), clip_of_window, by_contract, truth, groups, names, LABELS)


def everywhere(scores: np.ndarray, base: Comparison) -> Comparison:
    """All ways answer alike."""
    return replace(base, keras=scores, whole=scores, stream=scores)
