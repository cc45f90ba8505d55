"""Mirroring follows what labels say; augmented batches are whole numbers, the same for a seed, one change per
clip.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from edge_har.model.preprocess import LETTERBOX_VALUE, FrameSpec, prepare_frame
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.data import sampling
from train.data.augment import NEVER, SHAPES, Amounts, amounts_of, augment, decide_mirror
from train.data.letterbox import content_boxes

UNCHANGED = Amounts().scaled(0)


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        (["Walk", "Run"], (0, 1)),
        (["TurnLeft", "Walk", "TurnRight"], (2, 1, 0)),
        (["swipe_left", "swipe_right"], (1, 0)),
        (["turnleft", "turnright"], (1, 0)),
        (["Rotate Clockwise", "Rotate Counter-Clockwise"], (1, 0)),
        (["anticlockwise", "clockwise"], (1, 0)),
        (["StandUpright", "Brightness", "Cleft"], (0, 1, 2)),
        (["TurnLeft", "Walk"], (NEVER, NEVER)),
        (["SwipeLeft", "ThrowRight"], (NEVER, NEVER)),
        (["LeftArmRightLeg", "RightArmLeftLeg"], (1, 0)),
        (["clockwise", "Walk"], (NEVER, NEVER)),
    ],
)
def test_auto_mirrors_by_what_labels_say(labels: list[str], target: tuple[int, ...]) -> None:
    mirror = decide_mirror("auto", labels)
    assert mirror.target == target
    assert mirror.active == (NEVER not in target)
    assert "\n" not in mirror.note and mirror.note


def test_a_file_or_off_decides_instead(tmp_path) -> None:
    path = tmp_path / "mirror.json"
    path.write_text(json.dumps({"Gauche": "Droite", "Droite": "Gauche", "Lire": None}))
    assert decide_mirror(str(path), ["Droite", "Gauche", "Lire", "Marche"]).target == (1, 0, NEVER, 3)
    assert not decide_mirror("off", ["Walk", "Run"]).active


@pytest.mark.parametrize("content", ["not json", '["Walk"]', '{"Fly": "Walk"}', '{"Walk": "Fly"}'])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, content: str) -> None:
    path = tmp_path / "mirror.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        decide_mirror(str(path), ["Walk", "Run"])
    assert "mirror" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataError, match="auto, off or a JSON file"):
        decide_mirror(str(tmp_path / "absent.json"), ["Walk", "Run"])


def batch(clips: int = 16, frames: int = 3, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (clips, frames, size, size, 3), np.uint8)
    return pixels, np.arange(clips, dtype=np.int32) % 2


def test_without_amounts_only_mirroring_is_left_and_labels_swap_with_it() -> None:
    pixels, labels = batch()
    out, became = augment(pixels, labels, [0, 5], decide_mirror("auto", ["GoLeft", "GoRight"]), UNCHANGED)
    mirrored = became != labels
    assert 0 < mirrored.sum() < len(labels)
    np.testing.assert_array_equal(out[~mirrored], pixels[~mirrored])
    np.testing.assert_array_equal(out[mirrored], pixels[mirrored][:, :, :, ::-1])


def test_windows_in_which_nothing_is_done_keep_their_label() -> None:
    pixels, _ = batch()
    nothing = np.full(len(pixels), sampling.BACKGROUND, np.int32)
    _, became = augment(pixels, nothing, [0, 5], decide_mirror("auto", ["GoLeft", "GoRight"]), Amounts())
    np.testing.assert_array_equal(became, nothing)


def test_off_leaves_pixels_and_labels() -> None:
    pixels, labels = batch()
    out, became = augment(pixels, labels, [0, 5], decide_mirror("off", ["A", "B"]), UNCHANGED)
    np.testing.assert_array_equal(out, pixels)
    np.testing.assert_array_equal(became, labels)


def test_the_same_seed_gives_the_same_pixels_and_another_does_not() -> None:
    pixels, labels = batch()
    mirror = decide_mirror("auto", ["A", "B"])
    first, again, other = (
        augment(pixels, labels, seed, mirror, Amounts())[0] for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert first.min() >= 0 and first.max() <= 255 and (first == np.round(first)).all()


def test_noise_differs_by_frame_and_spares_half_of_the_clips() -> None:
    grey = np.full((64, 4, 16, 16, 3), 128, np.uint8)
    out = augment(
        grey, np.zeros(64, np.int32), [3, 4], decide_mirror("off", ["A", "B"]), replace(UNCHANGED, noise=4.0)
    )
    spread = out[0].std(axis=(2, 3, 4))
    assert 15 < (spread[:, 0] < 0.1).sum() < 49 and 3 < spread.max() < 5
    noisy = out[0][spread[:, 0].argmax()]
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.2


def test_all_frames_of_a_clip_change_alike_and_clips_differ() -> None:
    still = np.repeat(batch(clips=1, frames=1)[0], 6, axis=0).repeat(4, axis=1)
    amounts = replace(Amounts(), noise=0.0)
    out = augment(still, np.zeros(6, np.int32), [3, 4], decide_mirror("auto", ["A", "B"]), amounts)[0]
    for frame in range(1, 4):
        np.testing.assert_array_equal(out[:, frame], out[:, 0])
    assert len({clip.tobytes() for clip in out}) == 6


def test_shift_scale_and_border_are_those_drawn() -> None:
    """A slope stays a slope: its step says the scale, its middle the shift; beyond the picture it is flat."""
    slope = np.zeros((40, 1, 16, 64, 3), np.uint8)
    slope[:] = 4 * np.arange(64)[:, None]
    amounts = replace(UNCHANGED, scale=0.22, shift=0.1)
    out = augment(slope, np.zeros(40, np.int32), [3, 4], decide_mirror("off", ["A", "B"]), amounts)[0]
    lines = out[:, 0, 8, :, 0].astype(float)
    steps = np.diff(lines[:, 24:40], axis=1).mean(axis=1) / 4
    assert np.exp(-0.23) < steps.min() < 0.85 and 1.15 < steps.max() < np.exp(0.23)
    middles = lines[:, 31:33].mean(axis=1) / 4
    assert 25 < middles.min() < 28 and 35 < middles.max() < 38.1
    assert (lines[:, 0] >= 0).all() and (lines[steps > 1.15, 0] == lines[steps > 1.15, 1]).any()


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(MisuseError, match="0 or more"):
        Amounts(shift=-0.1)


def letterboxed(size_wh: tuple[int, int], count: int, side: int = 32) -> np.ndarray:
    """Clips of noise without the letterbox's grey in it: uint8 [count, 3, side, side, 3]."""
    random = np.random.default_rng(0)
    spec = FrameSpec((side, side), "letterbox")
    pixels = random.integers(160, 256, (count, 3, *size_wh[::-1], 3)).astype(np.uint8)
    return np.stack([[prepare_frame(frame, spec) for frame in clip] for clip in pixels])


@pytest.mark.parametrize("size_wh", [(320, 240), (320, 180), (180, 320), (100, 100)])
def test_some_letterboxed_clips_become_pictures_of_another_shape(size_wh: tuple[int, int]) -> None:
    clips, labels = letterboxed(size_wh, 200), np.zeros(200, np.int32)
    off, amounts = decide_mirror("off", ["A", "B"]), replace(UNCHANGED, shapes=0.5)
    out = augment(clips, labels, [1, 2], off, amounts)[0]
    boxes = content_boxes(out.astype(np.uint8))
    own = content_boxes(clips[:1])[0]
    kept = (boxes == own).all(axis=1)
    assert 70 <= kept.sum() <= 130
    np.testing.assert_array_equal(out[kept], clips[kept])
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    assert 32 in set(heights) and 32 in set(widths), "an upright telephone and a wide camera"
    ratios = widths / heights
    assert ratios.min() >= SHAPES[0] - 0.03 and ratios.max() <= SHAPES[1] + 0.1
    for clip, (top, bottom, left, right) in zip(out, boxes, strict=True):
        assert abs(top - (32 - bottom)) <= 1 and abs(left - (32 - right)) <= 1, "in the middle"
        bars = np.ones((32, 32), bool)
        bars[top:bottom, left:right] = False
        assert (clip[:, bars] == LETTERBOX_VALUE).all()


def test_a_picture_of_another_shape_shows_the_scene_at_its_own_height() -> None:
    """A bright row in the middle third of a 4:3 picture stays in the middle third of a wide one."""
    scene = np.zeros((240, 320, 3), np.uint8)
    scene[80:160] = 255
    frame = prepare_frame(scene, FrameSpec((64, 64), "letterbox"))
    clips = np.tile(frame, (40, 2, 1, 1, 1))
    off, amounts = decide_mirror("off", ["A", "B"]), replace(UNCHANGED, shapes=1.0)
    out = augment(clips, np.zeros(40, np.int32), [1, 2], off, amounts)[0]
    for clip, (top, bottom, left, right) in zip(out, content_boxes(out.astype(np.uint8)), strict=True):
        bright = clip[0, top:bottom, (left + right) // 2, 0] > 127
        assert bright.mean() == pytest.approx(1 / 3, abs=0.06)


def test_bars_stay_grey_under_all_changes_and_frames_that_are_not_letterboxed_have_none() -> None:
    clips, off = letterboxed((320, 180), 8), decide_mirror("off", ["A", "B"])
    labels = np.zeros(8, np.int32)
    out = augment(clips, labels, [1, 2], off, replace(Amounts(), shapes=1e-9))[0]
    top, bottom = content_boxes(clips[:1])[0, :2]
    assert (out[:, :, :top] == LETTERBOX_VALUE).all() and (out[:, :, bottom:] == LETTERBOX_VALUE).all()
    assert (out[:, :, top] != LETTERBOX_VALUE).any()
    assert amounts_of(1.0, FrameSpec(fit="letterbox")).shapes == 0.5
    assert (
        amounts_of(1.0, FrameSpec(fit="stretch")).shapes == amounts_of(1.0, FrameSpec(fit="crop")).shapes == 0
    )
