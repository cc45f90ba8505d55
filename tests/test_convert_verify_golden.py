"""Golden clips: drawn by reserved seeds, or the user's own;
always far from a tie, always what the runtime computes.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import ConversionError, DataError
from edge_har.model.bundle import MODEL_CARD, Bundle, pack_bundle, read_bundle
from edge_har.model.recognizer import TickRecognizer, check_golden
from edge_har.sources import synthetic
from tests.helpers.bundles import tiny_bundle
from tests.helpers.need import need_module
from tests.helpers.videos import noise, write_video

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.verify import golden
from convert.verify.golden import MARGIN, OWN, SHAPES, SYNTHETIC, choose_golden
from train.fitting.synthetic_clips import FIRST_SEED


def renamed(labels: tuple[str, ...]) -> Bundle:
    bundle = tiny_bundle()
    files = {name: content for name, content in bundle.contents.items() if name != "labels.txt"}
    return read_bundle(pack_bundle(replace(bundle.manifest, labels=labels, golden=()), files)[0])


def with_golden(bundle: Bundle, folder: Path | None = None) -> tuple[Bundle, str]:
    clips, strips, shows = choose_golden(bundle, folder)
    files = {**{name: bundle.contents[name] for name in (*bundle.manifest.tensors, MODEL_CARD)}, **strips}
    return read_bundle(pack_bundle(replace(bundle.manifest, golden=tuple(clips)), files)[0]), shows


def check(bundle: Bundle) -> None:
    assert check_golden(bundle) < 1e-5
    for clip, frames in bundle.golden_clips():
        best = sorted(clip.scores)
        assert best[-1] - best[-2] >= MARGIN
        np.testing.assert_allclose(TickRecognizer(bundle).clip(frames), clip.scores, atol=1e-5)


def test_labels_of_the_drawn_person_are_drawn() -> None:
    bundle, shows = with_golden(renamed(synthetic.LABELS[:3]))
    assert shows == SYNTHETIC
    assert len({clip.label for clip in bundle.manifest.golden}) == len(bundle.manifest.golden) >= 1
    check(bundle)
    assert max(golden.SEEDS) < FIRST_SEED


def test_other_labels_get_shapes() -> None:
    bundle, shows = with_golden(renamed(("Left", "Middle", "Right")))
    assert shows == SHAPES
    check(bundle)
    again, _ = with_golden(renamed(("Left", "Middle", "Right")))
    assert again.digest == bundle.digest


def test_the_users_own(tmp_path: Path) -> None:
    bundle = renamed(("Left", "Middle", "Right"))
    wanted = []
    for seed in range(60):
        path = write_video(tmp_path / "try" / f"{seed}.avi", noise(20, (8, 8), seed))
        try:
            choose_golden(bundle, path.parent)
        except ConversionError as error:
            assert f"golden clip {seed}.avi: its two best labels are 0." in str(error)
            path.unlink()
            continue
        wanted.append(path)
        (tmp_path / "own" / "Middle").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "own" / "Middle" / path.name)
        if len(wanted) == 2:
            break
    packed, shows = with_golden(bundle, tmp_path / "own")
    assert shows == OWN and [clip.label for clip in packed.manifest.golden] == ["Middle", "Middle"]
    check(packed)


def test_folders_without_clips(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="golden clips"):
            choose_golden(tiny_bundle(), folder)
    (tmp_path / "text.avi").write_text("not a video")
    with pytest.raises(DataError, match=r"text\.avi"):
        choose_golden(tiny_bundle(), tmp_path)
