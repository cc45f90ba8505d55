"""Where the picture lies in letterboxed frames: the grey bars around it are no part of the scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_har.model.preprocess import LETTERBOX_VALUE, Pixels

SAMPLED_FRAMES = 3  # of a clip: bars are the same in all its frames


def content_boxes(clips: Pixels) -> NDArray[np.int32]:
    """The smallest box of each clip outside of which all is the letterbox's grey: int32 [batch, 4] of first
    row, row after the last, first column, column after the last, in px.

    clips: uint8 [batch, frames, height, width, 3]. A clip that is grey all over is all picture.
    """
    sampled = np.linspace(0, clips.shape[1] - 1, min(SAMPLED_FRAMES, clips.shape[1])).astype(int)
    shown = (clips[:, sampled] != LETTERBOX_VALUE).any(axis=(1, 4))
    sides = [_extent(shown.any(axis=2)), _extent(shown.any(axis=1))]
    return np.concatenate(sides, axis=1).astype(np.int32)


def _extent(shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First and after last True of each row of [batch, side]; the whole side where there is none."""
    side = shown.shape[1]
    first, end = shown.argmax(axis=1), side - shown[:, ::-1].argmax(axis=1)
    some = shown.any(axis=1)
    return np.stack([np.where(some, first, 0), np.where(some, end, side)], axis=1)
