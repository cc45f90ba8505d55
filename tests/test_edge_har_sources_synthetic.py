"""The synthetic person: bones that keep their length, feet that stay on the floor,
actions that can be distinguished.
"""

import subprocess
import sys
from itertools import pairwise
from math import dist, pi
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.sources import synthetic
from edge_har.sources.synthetic import LABELS, Performance, SyntheticSource, contact_sheet, render_clip
from edge_har.sources.synthetic_body import Body, Motion, Point, Pose, Style, joints, stand, style_of_seed
from edge_har.sources.synthetic_scene import Painter
from tests.helpers.frames import frames

TRAVELLERS = ("Walk", "Run", "Jump", "SideStep")
SMALL = (80, 60)
EARTH_MM = 1 / 1720  # one millimetre in body heights

# joint, joint, and the length of the bone between them
BONES = (
    ("hip", "knee", "thigh"),
    ("knee", "ankle", "shin"),
    ("shoulder", "elbow", "upper_arm"),
    ("elbow", "wrist", "forearm"),
    ("wrist", "hand", "hand"),
)
ANGLES = st.floats(-pi, pi)


def motion_of(label: str, seed: int) -> Motion:
    rng = np.random.default_rng(seed)
    return Motion(style_of_seed(label, rng), Body.of_seed(rng))


def moments(motion: Motion, count: int = 60) -> list[dict[str, Point]]:
    """Joints at `count` even steps of one cycle."""
    step_s = motion.style.period_s / count
    return [joints(motion.pose(k * step_s), motion.body) for k in range(count)]


def assert_bones(at: dict[str, Point], body: Body) -> None:
    for side in "lr":
        for first, second, bone in BONES:
            assert dist(at[f"{first}_{side}"], at[f"{second}_{side}"]) == pytest.approx(getattr(body, bone))
        assert dist(at[f"heel_{side}"], at[f"toe_{side}"]) == pytest.approx(body.heel + body.toe)
        assert dist(at[f"shoulder_{side}"], at["neck"]) == pytest.approx(body.half_shoulders)
    assert dist(at["pelvis"], at["waist"]) == pytest.approx(body.loin)
    assert dist(at["waist"], at["neck"]) == pytest.approx(body.chest)
    assert dist(at["neck"], at["chin"]) == pytest.approx(body.neck)
    assert dist(at["chin"], at["head"]) == pytest.approx(body.head)


# The skeleton -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(ANGLES, min_size=len(Pose._fields), max_size=len(Pose._fields)))
def test_bones_keep_their_length_in_any_pose(angles: list[float]) -> None:
    assert_bones(joints(Pose(*angles), Body()), Body())


@pytest.mark.parametrize("label", LABELS)
def test_bones_keep_their_length_and_no_sole_sinks_through_every_action(label: str) -> None:
    for seed in range(4):
        motion = motion_of(label, seed)
        for at in moments(motion):
            assert_bones(at, motion.body)
            lowest = min(at[name][2] for name in ("heel_l", "toe_l", "heel_r", "toe_r"))
            assert lowest > -EARTH_MM


def test_a_standing_person_is_as_tall_as_the_picture_takes_it_for() -> None:
    at = joints(stand(), Body())
    top = at["head"][2] + 0.065  # the radius of the head and its hair
    assert top == pytest.approx(1.0, abs=0.03)
    assert at["hand_l"][2] < at["pelvis"][2] < at["shoulder_l"][2] < at["head"][2]


@pytest.mark.parametrize(
    ("label", "first", "last"), [("Walk", 0.15, 0.59), ("Run", 0.02, 0.36), ("Jump", 0.02, 0.44)]
)
def test_the_carrying_foot_stands_on_the_floor_and_does_not_slide(
    label: str, first: float, last: float
) -> None:
    for seed in range(5):
        motion = motion_of(label, seed)
        speed, period_s = motion.style.speed, motion.style.period_s
        # Jumps begin with the take-off, at the end of the stance.
        start = 0.55 if label == "Jump" else 0.0
        heels, toes = [], []
        for share in np.linspace(first, last, 24):
            seconds = (start + share) * period_s
            at = joints(motion.pose(seconds), motion.body)
            heel, toe = at["heel_l"], at["toe_l"]
            assert min(heel[2], toe[2]) < 2 * EARTH_MM
            heels.append(heel[0] + speed * seconds)
            toes.append(toe[0] + speed * seconds)
        # The toes stay where they are to the end; the heel comes up after the middle of the stance.
        assert np.ptp(toes[6:]) < 0.03
        assert np.ptp(heels[6:10]) < 0.01


def test_the_landing_foot_of_a_walk_is_on_the_floor_to_an_inch_or_two_while_the_other_still_carries() -> None:
    for seed in range(5):
        motion = motion_of("Walk", seed)
        for share in np.linspace(0, 0.15, 8):
            at = joints(motion.pose(share * motion.style.period_s), motion.body)
            assert min(at["heel_l"][2], at["toe_l"][2]) < 0.03
            assert min(at["heel_r"][2], at["toe_r"][2]) < 0.03


def test_both_feet_leave_the_floor_in_run_and_jumps_and_never_in_walk() -> None:
    for label in LABELS:
        highest = max(motion_of(label, 1).pose(k * 0.02).air for k in range(80))
        assert (highest > 0) == (label in ("Run", "Jump", "JumpInPlace", "JumpingJack", "SideStep")), label


def test_wave_one_hand_moves_one_hand_and_wave_two_hands_both_alike() -> None:
    for seed in range(6):
        travel = {}
        for label in ("WaveOneHand", "WaveTwoHands"):
            motion = motion_of(label, seed)
            heights = np.array([[at["hand_l"][2], at["hand_r"][2]] for at in moments(motion)])
            travel[label] = np.ptp(heights, axis=0)
            waving = 0 if motion.style.lead_left else 1
            if label == "WaveOneHand":
                assert travel[label][waving] > 0.25 and travel[label][1 - waving] < 0.02
                assert heights[:, waving].max() > 1.0  # above the head
        assert travel["WaveTwoHands"].min() > 0.25


def test_bend_brings_the_hands_down_to_the_shins_and_back() -> None:
    for seed in range(6):
        low = [at["hand_l"][2] for at in moments(motion_of("Bend", seed))]
        assert low[0] > 0.35 and low[-1] > 0.35
        assert min(low) < 0.2


def test_a_mirrored_pose_exchanges_the_sides() -> None:
    pose = motion_of("SideStep", 2).pose(0.2)
    at, other = joints(pose, Body()), joints(pose.mirrored(), Body())
    for name in ("hand", "knee", "toe"):
        x, y, z = at[f"{name}_l"]
        assert other[f"{name}_r"] == pytest.approx((x, -y, z))
    assert pose.mirrored().mirrored() == pose


def test_side_steps_lead_with_the_foot_on_the_way() -> None:
    """Facing the camera, who moves to the right of the picture reaches out with the left foot first."""
    for lead_left in (False, True):
        motion = Motion(Style("SideStep", period_s=0.6, speed=1.0, lead_left=lead_left), Body())
        pose = motion.pose(0.6 * 0.3)
        leading, trailing = (pose.spread_l, pose.spread_r) if lead_left else (pose.spread_r, pose.spread_l)
        assert leading > trailing


class Recorder(Painter):
    """Keeps what it was asked to paint."""

    def paint(self, index: int, pose: Pose | None, x: float = 0.0, yaw: float = 0.0) -> Pixels:
        self.asked = (pose, x)
        return super().paint(index, pose, x, yaw)


def test_side_steps_lead_with_the_foot_on_the_way_back_too() -> None:
    for seed in range(4):
        recorder = Recorder(seed, SMALL)
        performance = Performance("SideStep", seed, recorder)
        period_s = performance.style.period_s
        ways = set()
        for cycle in range(16):
            places = []
            for share in (0.3, 0.31):
                performance.act(0, (cycle + share) * period_s)
                pose, x = recorder.asked
                places.append(x)
            assert pose is not None
            rightwards = places[1] > places[0]
            ways.add(rightwards)
            assert (pose.spread_l > pose.spread_r) == rightwards
        assert ways == {True, False}


# The pictures -----------------------------------------------------------------------------------------------


def middles(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Column of the middle of what moves between frames, as a share of the width."""
    grey = cv2.GaussianBlur(clip.mean(-1).transpose(1, 2, 0), (5, 5), 0).transpose(2, 0, 1)
    moved = np.maximum(np.abs(np.diff(grey, axis=0)) - 12, 0).sum(1)
    columns = np.arange(clip.shape[2])
    return np.asarray([(row * columns).sum() / row.sum() for row in moved if row.sum() > 0]) / clip.shape[2]


@pytest.mark.parametrize("label", LABELS)
def test_only_walk_run_jump_and_side_step_cross_the_picture(label: str) -> None:
    for seed in range(3):
        at = middles(render_clip(label, seed, 30, 20.0, (160, 120)))
        drift = abs(float(np.mean(at[-6:]) - np.mean(at[:6])))
        assert (drift > 0.15) == (label in TRAVELLERS), (seed, drift)


@pytest.mark.parametrize("label", LABELS)
def test_a_seed_always_draws_the_same_and_another_seed_something_else(label: str) -> None:
    first = render_clip(label, 3, 4, 25.0, SMALL)
    assert first.shape == (4, 60, 80, 3) and first.dtype == np.uint8
    assert first.tobytes() == render_clip(label, 3, 4, 25.0, SMALL).tobytes()
    assert np.abs(first.astype(int) - render_clip(label, 4, 4, 25.0, SMALL)).mean() > 5


def test_all_labels_of_a_seed_share_the_room() -> None:
    """Else a model could tell the label from the background."""
    places = [np.median(render_clip(label, 11, 6, 5.0, SMALL), axis=0)[:8] for label in LABELS]
    assert max(np.abs(place - places[0]).mean() for place in places) < 3


def test_a_frame_does_not_depend_on_the_frames_asked_for_before() -> None:
    whole, late = SyntheticSource("Run", seed=5, size_wh=SMALL), SyntheticSource("Run", seed=5, size_wh=SMALL)
    for _ in range(7):
        whole.grab()
        late.grab()
        last = whole.retrieve()
    assert np.array_equal(last, late.retrieve())


def test_a_crossing_person_comes_back_the_other_way() -> None:
    source = SyntheticSource("Run", seed=1, size_wh=(160, 120), rate_hz=10)
    at = middles(np.stack([frame.rgb for frame, _ in zip(frames(source), range(80), strict=False)]))
    steps = np.diff(at)
    assert (steps > 0.01).sum() > 8 and (steps < -0.01).sum() > 8


def test_the_person_is_seen_in_the_first_frame() -> None:
    for label in LABELS:
        source = SyntheticSource(label, seed=2, size_wh=SMALL)
        source.grab()
        empty = Painter(2, SMALL).paint(0, None)
        assert (np.abs(source.retrieve().astype(int) - empty).max(-1) > 30).sum() > 40, label


# The source -------------------------------------------------------------------------------------------------


def test_a_bounded_source_ends_and_its_times_are_exact() -> None:
    with SyntheticSource("Walk", size_wh=SMALL, rate_hz=29.97, duration_s=1.0) as source:
        times = []
        while (time_s := source.grab()) is not None:
            times.append(time_s)
        assert times == [k / 29.97 for k in range(30)]
        assert source.grab() is None
    assert source.color == "rgb" and source.name == "synthetic:Walk" and not source.live


def test_a_closed_source_gives_no_more_and_none_before_the_first_grab() -> None:
    source = SyntheticSource("Bend", size_wh=SMALL)
    with pytest.raises(SourceError, match="grab"):
        source.retrieve()
    source.grab()
    source.close()
    source.close()
    assert source.grab() is None


def test_the_demo_shows_every_label_with_pauses_and_ends() -> None:
    source = SyntheticSource("demo", seed=4, size_wh=SMALL, rate_hz=5)
    script = source.script
    assert {label for label, _, _ in script} == set(LABELS)
    assert all(4 <= end - start <= 9 for _, start, end in script)
    pauses = [late[1] - early[2] for early, late in pairwise(script)]
    assert pauses == pytest.approx([synthetic.PAUSE_S] * len(pauses))
    drawn = list(frames(source))
    assert len(drawn) / 5 == pytest.approx(script[-1][2] + 1, abs=0.3)

    def stillness(start_s: float, end_s: float) -> float:
        part = [f.rgb.astype(int) for f in drawn if start_s <= f.time_s < end_s]
        return max(int((np.abs(a - b).max(-1) > 40).sum()) for a, b in pairwise(part))

    for label, start, end in script:
        assert stillness(start, end) > 6, label
        assert stillness(end + 0.1, end + 0.9) < 3, label


def test_a_looped_demo_goes_on_and_a_duration_cuts_it() -> None:
    assert len(list(frames(SyntheticSource("demo", size_wh=SMALL, rate_hz=1, duration_s=7)))) == 7
    source = SyntheticSource("demo", size_wh=SMALL, rate_hz=0.5, loop=True)
    for _ in range(60):
        assert source.grab() is not None
        source.retrieve()


def test_options_come_from_the_uri() -> None:
    source = SyntheticSource.from_uri(
        "synthetic:jumpinplace?seed=3&size=64x48&rate=12.5&duration=0.4&live=yes"
    )
    drawn = list(frames(source))
    assert source.name == "synthetic:JumpInPlace" and source.live
    assert [f.time_s for f in drawn] == [k / 12.5 for k in range(5)]
    assert drawn[0].rgb.shape == (48, 64, 3)
    same = SyntheticSource("JumpInPlace", seed=3, size_wh=(64, 48), rate_hz=12.5)
    same.grab()
    assert np.array_equal(same.retrieve(), drawn[0].rgb)
    assert SyntheticSource.from_uri("synthetic:DEMO").name == "synthetic:demo"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synthetic:Fly", "Bend, JumpingJack, Jump.*demo"),
        ("synthetic:", "choose one of"),
        ("synthetic:Walk?speed=3", "'speed'.*seed, size"),
        ("synthetic:Walk?seed=abc", "expected like synthetic:Walk"),
        ("synthetic:Walk?seed=-1", "0 or more"),
        ("synthetic:Walk?size=big", "WIDTHxHEIGHT"),
        ("synthetic:Walk?size=2x2", "16 to 4096"),
        ("synthetic:Walk?rate=0", "rate"),
        ("synthetic:Walk?rate=nan", "rate"),
        ("synthetic:Walk?duration=0", "more than 0"),
        ("synthetic:Walk?duration=nan", "not finite"),
        ("synthetic:demo?loop=maybe", "yes nor no"),
    ],
)
def test_what_cannot_be_is_one_clear_line(uri: str, says: str) -> None:
    with pytest.raises(MisuseError, match=says) as caught:
        SyntheticSource.from_uri(uri)
    assert "\n" not in str(caught.value)


def test_who_stands_stays_in_place_and_hardly_moves() -> None:
    standing, acting = (
        render_clip("JumpingJack", 3, 10, stands=stands).astype(int) for stands in (True, False)
    )
    changed = [(np.abs(clip[-1] - clip[0]) > 40).sum() for clip in (standing, acting)]  # more than noise
    assert changed[0] < changed[1] / 4
    with pytest.raises(MisuseError, match="Walk crosses the picture"):
        render_clip("Walk", 3, 10, stands=True)


def test_a_clip_needs_a_frame() -> None:
    with pytest.raises(MisuseError, match="at least 1"):
        render_clip("Walk", 0, 0)


@pytest.mark.parametrize("size_wh", [(320, 240), (17, 16), (63, 241)])
def test_any_size_is_drawn(size_wh: tuple[int, int]) -> None:
    assert render_clip("WaveOneHand", 0, 1, 25.0, size_wh).shape == (1, size_wh[1], size_wh[0], 3)


def test_the_sheet_has_a_row_a_label() -> None:
    sheet = contact_sheet(1, ("Walk", "Bend"), columns=3, size_wh=(40, 30))
    assert sheet.shape == (60, 150 + 3 * 40, 3)


def test_the_sheet_with_hidden_labels_keeps_the_answers_apart(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error::RuntimeWarning",
            "-m",
            "edge_har.sources.synthetic",
            "--out",
            str(out),
            "--hide-labels",
        ],
        check=True,
    )
    answers = [line.split(": ")[1] for line in out.with_suffix(".txt").read_text().splitlines()]
    assert sorted(answers) == sorted(LABELS) and answers != list(LABELS)
    assert cv2.imread(str(out)) is not None
