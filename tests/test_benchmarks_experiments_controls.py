"""Controls see the clips of a fold through regressions on the other groups, and are measured once."""

from __future__ import annotations

from pathlib import Path

from benchmarks.experiments.controls import FIRST_FRAME, FROZEN, HAND_MADE, measure_controls
from benchmarks.experiments.folds import prepare_folds
from tests.helpers.videos import make_dataset


def test_controls_without_an_encoder_are_measured_once(tmp_path: Path) -> None:
    lines: list[str] = []
    clips = make_dataset(tmp_path / "clips", ("Right", "Down"), groups=4, frames=20)
    folds = prepare_folds(clips, tmp_path, lambda _: None)
    names = (FIRST_FRAME, HAND_MADE, FROZEN)
    made = measure_controls(folds, (0, 2), names=names, size=32, cache=tmp_path, say=lines.append)
    assert list(made) == [FIRST_FRAME, HAND_MADE]  # no weights: no frozen encoder
    assert [len(parts) for parts in made.values()] == [2, 2]
    assert all(part.clips == part.windows == 2 for parts in made.values() for part in parts)
    assert {one["clip"] for part in made[FIRST_FRAME] for one in part.wrong} <= {
        clip.name for clip in (*folds.held_out(0), *folds.held_out(2))
    }
    assert len(lines) == 1
    again = measure_controls(folds, (0, 2), names=names, size=32, cache=tmp_path, say=lines.append)
    assert again == made and len(lines) == 1
