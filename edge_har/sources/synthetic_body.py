"""The synthetic person's skeleton: poses for nine actions, and forward kinematics from a pose to joints in
space.

Lengths are in body heights (a person is about 1 tall), angles in radians, phases in cycles (0 to 1, then
again). The body's own axes are: forward (x), to the person's left (y), up (z); the floor is z = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LABELS = (
    "Bend",
    "JumpingJack",
    "Jump",
    "JumpInPlace",
    "Run",
    "SideStep",
    "Walk",
    "WaveOneHand",
    "WaveTwoHands",
)

GRAVITY_HEIGHTS_PER_S2 = 9.81 / 1.72  # for a person 1.72 m tall
CURVE_STEPS = 240  # samples of one cycle in a joint's curve

Point = tuple[float, float, float]


class Pose(NamedTuple):
    """All joint angles, radians; zero everywhere is standing upright with hanging arms.

    Pitches turn forward in the person's sagittal plane, rolls turn outward in the frontal plane. Thigh and
    foot pitches are against the vertical and the floor, arm pitches and rolls against the chest.
    """

    hips: float = 0.0  # forward pitch of the lower back
    chest: float = 0.0  # forward pitch of the upper back, added to `hips`
    nod: float = 0.0  # forward pitch of the head, added to the chest's
    sway: float = 0.0  # roll of the trunk to the person's left
    twist: float = 0.0  # turn of the shoulders, left shoulder backwards
    thigh_l: float = 0.0
    thigh_r: float = 0.0
    knee_l: float = 0.0  # how far the shin turns back from the thigh
    knee_r: float = 0.0
    foot_l: float = 0.0  # pitch of the sole, toes up
    foot_r: float = 0.0
    spread_l: float = 0.0  # roll of the whole leg
    spread_r: float = 0.0
    arm_l: float = 0.0  # pitch of the upper arm
    arm_r: float = 0.0
    lift_l: float = 0.0  # roll of the upper arm: pi / 2 is level, pi is overhead
    lift_r: float = 0.0
    elbow_l: float = 0.0  # how far the forearm turns forward from the upper arm
    elbow_r: float = 0.0
    fold_l: float = 0.0  # how far the forearm rolls on beyond the upper arm
    fold_r: float = 0.0
    air: float = 0.0  # height of the lowest sole above the floor

    def mirrored(self) -> Pose:
        """The same pose with left and right exchanged."""
        sides = {
            f"{name}_{mine}": getattr(self, f"{name}_{other}")
            for name in ("thigh", "knee", "foot", "spread", "arm", "lift", "elbow", "fold")
            for mine, other in ("lr", "rl")
        }
        return self._replace(sway=-self.sway, twist=-self.twist, **sides)


def blend(first: Pose, second: Pose, fraction: float) -> Pose:
    """The pose `fraction` (0 to 1) of the way from `first` to `second`."""
    return Pose(*(a + (b - a) * fraction for a, b in zip(first, second, strict=True)))


@dataclass(frozen=True)
class Body:
    """Lengths of one person's bones and half-breadths, in body heights."""

    thigh: float = 0.245
    shin: float = 0.246
    ankle: float = 0.039  # above the sole
    heel: float = 0.045  # behind the ankle
    toe: float = 0.105  # before the ankle
    loin: float = 0.12  # hip line to waist
    chest: float = 0.17  # waist to shoulder line
    neck: float = 0.055
    head: float = 0.065  # neck's end to the head's middle
    upper_arm: float = 0.175
    forearm: float = 0.15
    hand: float = 0.05  # wrist to the fist's middle
    half_shoulders: float = 0.1
    half_hips: float = 0.058

    @staticmethod
    def of_seed(rng: np.random.Generator) -> Body:
        """A person whose proportions differ a little from the average."""
        base = Body()
        leg, arm, trunk, broad = (float(x) for x in 1.0 + 0.05 * np.clip(rng.standard_normal(4), -1.6, 1.6))
        return Body(
            thigh=base.thigh * leg,
            shin=base.shin * leg,
            loin=base.loin * trunk,
            chest=base.chest * trunk,
            upper_arm=base.upper_arm * arm,
            forearm=base.forearm * arm,
            half_shoulders=base.half_shoulders * broad,
            half_hips=base.half_hips * broad,
        )


def _along(start: Point, length: float, pitch: float, roll: float) -> Point:
    """The end of a bone that hangs down at pitch and roll 0; `roll` is towards the person's left."""
    return (
        start[0] + length * sin(pitch) * cos(roll),
        start[1] + length * sin(roll),
        start[2] - length * cos(pitch) * cos(roll),
    )


def joints(pose: Pose, body: Body) -> dict[str, Point]:
    """Where every joint is, in body heights, standing on (or `pose.air` above) the floor, the hips over x = y
    = 0.

    Names: pelvis, waist, neck, chin, head, and with _l and _r: hip, knee, ankle, heel, toe, shoulder, elbow,
    wrist, hand.
    """
    out: dict[str, Point] = {"pelvis": (0.0, 0.0, 0.0)}
    for side, sign in (("l", 1.0), ("r", -1.0)):
        left = side == "l"
        thigh, knee, foot, spread = (
            (pose.thigh_l, pose.knee_l, pose.foot_l, pose.spread_l)
            if left
            else (pose.thigh_r, pose.knee_r, pose.foot_r, pose.spread_r)
        )
        hip = (0.0, sign * body.half_hips, 0.0)
        roll = sign * spread
        knee_at = _along(hip, body.thigh, thigh, roll)
        ankle_at = _along(knee_at, body.shin, thigh - knee, roll)
        out[f"hip_{side}"], out[f"knee_{side}"], out[f"ankle_{side}"] = hip, knee_at, ankle_at
        sole = _along(ankle_at, body.ankle, foot, 0.0)
        out[f"heel_{side}"] = _along(sole, body.heel, foot - pi / 2, 0.0)
        out[f"toe_{side}"] = _along(sole, body.toe, foot + pi / 2, 0.0)
    rise = pose.air - min(out[name][2] for name in ("heel_l", "toe_l", "heel_r", "toe_r"))
    out = {name: (x, y, z + rise) for name, (x, y, z) in out.items()}

    # The spine grows upward: a bone that "hangs" at half a turn, pitched forward by the bend.
    waist = _along(out["pelvis"], -body.loin, -pose.hips, -pose.sway)
    back = pose.hips + pose.chest
    neck = _along(waist, -body.chest, -back, -pose.sway)
    face = back + pose.nod
    chin = _along(neck, -body.neck, -face, -pose.sway)
    out["waist"], out["neck"], out["chin"] = waist, neck, chin
    out["head"] = _along(chin, -body.head, -face, -pose.sway)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        left = side == "l"
        arm, lift, elbow, fold = (
            (pose.arm_l, pose.lift_l, pose.elbow_l, pose.fold_l)
            if left
            else (pose.arm_r, pose.lift_r, pose.elbow_r, pose.fold_r)
        )
        reach = sign * body.half_shoulders
        shoulder = (neck[0] - reach * sin(pose.twist), neck[1] + reach * cos(pose.twist), neck[2])
        pitch = arm - back
        elbow_at = _along(shoulder, body.upper_arm, pitch, sign * lift)
        wrist = _along(elbow_at, body.forearm, pitch + elbow, sign * (lift + fold))
        out[f"shoulder_{side}"], out[f"elbow_{side}"], out[f"wrist_{side}"] = shoulder, elbow_at, wrist
        out[f"hand_{side}"] = _along(wrist, body.hand, pitch + elbow, sign * (lift + fold))
    return out


# Shapes over one cycle --------------------------------------------------------------------------------------


Curve = Callable[[float], float]


def _curve(percent: Sequence[float], degrees: Sequence[float]) -> Curve:
    """A smooth periodic curve past `degrees` at `percent` of the cycle; returns radians."""
    at = np.array(percent) / 100
    grid = np.arange(CURVE_STEPS) / CURVE_STEPS
    raw = np.interp(grid, np.concatenate([at - 1, at, at + 1]), np.tile(np.array(degrees, np.float64), 3))
    kernel = np.hanning(CURVE_STEPS // 12)
    around = np.concatenate([raw[-len(kernel) :], raw, raw[: len(kernel)]])
    smooth = np.convolve(around, kernel / kernel.sum(), "same")[len(kernel) : -len(kernel)]
    return _table(np.radians(smooth))


def _table(values: npt.NDArray[np.float64]) -> Curve:
    """Linear look-up in samples of one cycle."""
    table = values.tolist()
    steps = len(table)

    def look_up(phase: float) -> float:
        position = (phase % 1.0) * steps
        low = int(position)
        fraction = position - low
        first: float = table[low % steps]
        second: float = table[(low + 1) % steps]
        return first + (second - first) * fraction

    return look_up


def _lock_to_floor(thigh: Curve, knee: Curve, foot: Curve, stance: float, travel: float, body: Body) -> Curve:
    """`thigh`, changed so that the carrying foot stays where it is while the hips move on evenly.

    The foot carries from phase 0 to `stance`, on its heel and then on its toes; `travel` is what the hips
    move in a whole cycle, in body heights. In the swing the change fades from its last value to its first.
    """
    grid = np.arange(CURVE_STEPS) / CURVE_STEPS
    plan = np.array([thigh(p) for p in grid])
    bend = np.array([knee(p) for p in grid])
    sole = np.array([foot(p) for p in grid])
    reach = np.sqrt(body.thigh**2 + body.shin**2 + 2 * body.thigh * body.shin * np.cos(bend))
    behind = np.arctan2(body.shin * np.sin(bend), body.thigh + body.shin * np.cos(bend))
    ankle = reach * np.sin(plan - behind)  # forward of the hip
    # Where the heel would stand, seen from the hip: turned about the heel at first, about the toes later.
    length = body.heel + body.toe
    on_heel = body.ankle * np.sin(sole) - body.heel * np.cos(sole)
    on_toe = body.ankle * np.sin(sole) + body.toe * np.cos(sole) - length
    from_ankle = np.where(sole >= 0, on_heel, on_toe)
    carrying = grid < stance
    start = float(np.mean((ankle + from_ankle + travel * grid)[carrying]))
    target = start - travel * grid - from_ankle
    locked = behind + np.arcsin(np.clip(target / reach, -0.95, 0.95))
    last = int(np.flatnonzero(carrying)[-1])
    fade = (grid - grid[last]) / (1 - grid[last])
    fade = fade * fade * (3 - 2 * fade)
    change = locked - plan
    swing = change[last] + (change[0] - change[last]) * fade
    return _table(plan + np.where(carrying, change, swing))


def _wave(phase: float) -> float:
    """0 at phase 0, 1 at phase .5, 0 again at 1, by a cosine."""
    return 0.5 - 0.5 * cos(2 * pi * phase)


def ease(fraction: float) -> float:
    """0 to 1 with no speed at either end."""
    fraction = min(max(fraction, 0.0), 1.0)
    return fraction * fraction * (3 - 2 * fraction)


def _hop(phase: float, start: float, end: float, period_s: float) -> float:
    """Height of a ballistic flight that lasts from phase `start` to `end`."""
    fraction = ((phase - start) % 1.0) / (end - start)
    if fraction >= 1.0:
        return 0.0
    flight_s = (end - start) * period_s
    return GRAVITY_HEIGHTS_PER_S2 / 2 * flight_s**2 * fraction * (1 - fraction)


# The gait cycle of one leg, which strikes the floor at phase 0 (after the tables of Winter's normal gait).
WALK_STANCE = 0.6  # fraction of the cycle in which the foot carries
WALK_THIGH = _curve(
    (0, 10, 20, 30, 40, 50, 57, 66, 76, 86, 94),
    (25, 19, 10, 0, -9, -16, -15, 2, 19, 27, 26),
)
WALK_KNEE = _curve(
    (0, 8, 15, 28, 40, 50, 60, 70, 76, 86, 95),
    (4, 13, 18, 11, 5, 12, 40, 63, 60, 28, 3),
)
WALK_FOOT = _curve(
    (0, 5, 9, 38, 46, 54, 61, 67, 78, 88, 95),
    (18, 4, 0, 0, -14, -34, -60, -52, -8, 10, 20),
)
RUN_STANCE = 0.37
RUN_THIGH = _curve(
    (0, 10, 20, 30, 38, 46, 58, 70, 80, 90),
    (24, 16, 2, -12, -21, -21, 2, 25, 36, 34),
)
RUN_KNEE = _curve(
    (0, 8, 16, 28, 37, 46, 57, 66, 76, 87, 95),
    (14, 27, 34, 24, 16, 45, 88, 98, 82, 42, 16),
)
RUN_FOOT = _curve(
    (0, 6, 20, 29, 38, 47, 58, 70, 82, 92),
    (6, 0, 0, -22, -54, -84, -92, -62, -24, 4),
)
# Jumps: both feet land at phase 0 and leave the floor at the end of the stance.
JUMP_STANCE = 0.45
JUMP_THIGH = _curve(
    (0, 8, 15, 22, 30, 38, 45, 55, 70, 85, 94),
    (25, 31, 31, 26, 15, -3, -14, -8, 10, 22, 26),
)
JUMP_KNEE = _curve(
    (0, 12, 22, 34, 45, 58, 72, 88),
    (24, 48, 56, 36, 10, 30, 44, 30),
)
JUMP_FOOT = _curve(
    (0, 6, 26, 36, 46, 60, 78, 92),
    (3, 0, 0, -22, -56, -48, -22, 2),
)
HOP_KNEE = _curve(
    (0, 12, 23, 33, 44, 55, 80, 93),
    (22, 56, 72, 52, 10, 3, 5, 14),
)
HOP_FOOT = _curve(
    (0, 6, 28, 37, 46, 60, 80, 95),
    (-10, 0, 0, -20, -50, -52, -42, -20),
)

_GAITS: dict[str, tuple[Curve, Curve, Curve, float]] = {
    "Walk": (WALK_THIGH, WALK_KNEE, WALK_FOOT, WALK_STANCE),
    "Run": (RUN_THIGH, RUN_KNEE, RUN_FOOT, RUN_STANCE),
    "Jump": (JUMP_THIGH, JUMP_KNEE, JUMP_FOOT, JUMP_STANCE),
}


@dataclass(frozen=True)
class Style:
    """How one person does one action; drawn by seed.

    period_s: one cycle. speed: across the picture, body heights per second (0: stays). amplitude: about 1.
    second: 0 to 1, a free trait of the action (bent elbows, arms used). lean: about -1.5 to 1.5, of trunk or
    arm. lead_left: the left side waves or leads; who crosses the picture begins rightwards.
    """

    label: str
    period_s: float
    speed: float = 0.0
    amplitude: float = 1.0
    second: float = 0.5
    lean: float = 0.0
    lead_left: bool = False

    @property
    def travels(self) -> bool:
        """Does the person cross the picture?"""
        return self.speed > 0

    @property
    def frontal(self) -> bool:
        """Does the person face the camera?"""
        return self.label in ("JumpingJack", "JumpInPlace", "SideStep", "WaveOneHand", "WaveTwoHands")


# label: seconds a cycle, body heights a second; as measured on the Weizmann clips, a little wider.
TEMPO = {
    "Bend": ((2.2, 3.0), (0.0, 0.0)),
    "JumpingJack": ((1.0, 1.25), (0.0, 0.0)),
    "Jump": ((0.44, 0.66), (0.8, 1.0)),
    "JumpInPlace": ((0.54, 0.76), (0.0, 0.0)),
    "Run": ((0.7, 0.92), (1.1, 1.65)),
    "SideStep": ((0.54, 0.72), (0.85, 1.15)),
    "Walk": ((1.0, 1.2), (0.67, 0.87)),
    "WaveOneHand": ((1.05, 1.6), (0.0, 0.0)),
    "WaveTwoHands": ((1.0, 1.35), (0.0, 0.0)),
}


def style_of_seed(label: str, rng: np.random.Generator) -> Style:
    """One person's way of doing `label`; a quick tempo goes with a high speed."""
    (quick, slow), (low, high) = TEMPO[label]
    pace = float(rng.random())
    return Style(
        label,
        period_s=slow + (quick - slow) * pace,
        speed=low + (high - low) * float(np.clip(pace + 0.25 * rng.standard_normal(), 0, 1)),
        amplitude=float(rng.uniform(0.88, 1.12)),
        second=float(rng.random()),
        lean=float(np.clip(rng.standard_normal(), -1.5, 1.5)),
        lead_left=bool(rng.random() < 0.5),
    )


def stand(seconds: float = 0.0) -> Pose:
    """Standing at rest, breathing and swaying a little."""
    slow = sin(2 * pi * seconds / 3.7)
    return Pose(
        sway=radians(0.8) * slow,
        chest=radians(2) + radians(0.6) * sin(2 * pi * seconds / 2.9),
        arm_l=radians(3),
        arm_r=radians(3 + slow),
        lift_l=radians(7),
        lift_r=radians(7),
        elbow_l=radians(9),
        elbow_r=radians(10),
        spread_l=radians(2),
        spread_r=radians(2),
    )


class Motion:
    """One body doing one action in one style: a pose for any moment."""

    def __init__(self, style: Style, body: Body) -> None:
        self.style = style
        self.body = body
        self.thigh: Curve = _still
        if style.label in _GAITS:
            thigh, knee, foot, stance = _GAITS[style.label]
            self.thigh = _lock_to_floor(thigh, knee, foot, stance, style.speed * style.period_s, body)

    def pose(self, seconds: float) -> Pose:
        """The pose `seconds` into the action, which begins at the start of a cycle."""
        return _ACTIONS[self.style.label](self, seconds / self.style.period_s, seconds)


def _still(phase: float) -> float:
    return 0.0


def _walk(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    other = phase + 0.5
    size = style.amplitude
    swing = radians(22) * size * cos(2 * pi * phase)  # the arm goes against the leg of its side
    bend = radians(14 + 26 * style.second)
    more = radians(12) * size
    return Pose(
        hips=radians(2 + 1.5 * style.lean),
        chest=radians(3),
        nod=radians(-3),
        sway=radians(1.5) * sin(2 * pi * phase),
        twist=radians(7) * cos(2 * pi * phase),
        thigh_l=motion.thigh(phase),
        thigh_r=motion.thigh(other),
        knee_l=WALK_KNEE(phase),
        knee_r=WALK_KNEE(other),
        foot_l=WALK_FOOT(phase),
        foot_r=WALK_FOOT(other),
        spread_l=radians(1),
        spread_r=radians(1),
        arm_l=radians(2) - swing,
        arm_r=radians(2) + swing,
        lift_l=radians(5),
        lift_r=radians(5),
        elbow_l=bend + more * max(-cos(2 * pi * phase), 0.0),
        elbow_r=bend + more * max(cos(2 * pi * phase), 0.0),
    )


def _run(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    other = phase + 0.5
    size = style.amplitude
    swing = radians(34) * size * cos(2 * pi * phase)
    bend = radians(66 + 28 * style.second)
    flight = max(
        _hop(phase, start, start + 0.5 - RUN_STANCE, style.period_s * 1.5)
        for start in (RUN_STANCE, RUN_STANCE + 0.5)
    )
    return Pose(
        hips=radians(6 + 2 * style.lean),
        chest=radians(5),
        nod=radians(-8),
        twist=radians(10) * cos(2 * pi * phase),
        thigh_l=motion.thigh(phase),
        thigh_r=motion.thigh(other),
        knee_l=RUN_KNEE(phase),
        knee_r=RUN_KNEE(other),
        foot_l=RUN_FOOT(phase),
        foot_r=RUN_FOOT(other),
        arm_l=radians(-4) - swing,
        arm_r=radians(-4) + swing,
        lift_l=radians(9),
        lift_r=radians(9),
        elbow_l=bend,
        elbow_r=bend,
        fold_l=radians(-14),
        fold_r=radians(-14),
        air=flight,
    )


def _both_legs(thigh: float, knee: float, foot: float, **rest: float) -> Pose:
    """A pose with both legs alike."""
    return Pose(thigh_l=thigh, thigh_r=thigh, knee_l=knee, knee_r=knee, foot_l=foot, foot_r=foot, **rest)


def _jump(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    phase += JUMP_STANCE  # a clip begins with a take-off
    push = _wave(phase - 0.05)
    return _both_legs(
        motion.thigh(phase),
        JUMP_KNEE(phase),
        JUMP_FOOT(phase),
        hips=radians(8 + 4 * style.lean + 8 * _wave(phase + 0.28)),
        chest=radians(6),
        nod=radians(-8),
        arm_l=radians(4 + 40 * style.second * (push - 0.5)),
        arm_r=radians(2 + 40 * style.second * (push - 0.5)),
        lift_l=radians(7),
        lift_r=radians(7),
        elbow_l=radians(14 + 30 * style.second),
        elbow_r=radians(16 + 30 * style.second),
        air=_hop(phase, JUMP_STANCE, 1.0, style.period_s),
    )


def _jump_in_place(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    arms = _wave(phase + 0.3) * style.second
    crouch = HOP_KNEE(phase) * style.amplitude
    return _both_legs(
        crouch / 2,
        crouch,
        HOP_FOOT(phase),
        hips=0.22 * crouch,
        chest=radians(3),
        nod=radians(-2),
        spread_l=radians(1.5),
        spread_r=radians(1.5),
        arm_l=radians(4 + 16 * arms),
        arm_r=radians(4 + 16 * arms),
        lift_l=radians(7 + 20 * arms),
        lift_r=radians(7 + 20 * arms),
        elbow_l=radians(14 + 20 * arms),
        elbow_r=radians(14 + 20 * arms),
        air=_hop(phase, JUMP_STANCE, 1.0, style.period_s),
    )


def _jumping_jack(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    open_arms = _wave(phase)
    open_legs = ease(1.5 * open_arms - 0.25)
    crouch = radians(10 + 22 * (abs(cos(2 * pi * phase)) ** 3))
    air = max(_hop(phase, start, start + 0.24, style.period_s * 1.1) for start in (0.13, 0.63))
    spread = radians(3 + 17 * style.amplitude * open_legs)
    lift = radians(9 + (148 + 18 * style.second) * open_arms)
    fold = radians((4 + 16 * (1 - style.second)) * open_arms)
    sole = radians(-40) * min(air / 0.03, 1.0)
    return _both_legs(
        crouch / 2,
        crouch,
        sole,
        chest=radians(2),
        spread_l=spread,
        spread_r=spread,
        lift_l=lift,
        lift_r=lift,
        elbow_l=radians(10),
        elbow_r=radians(10),
        fold_l=fold,
        fold_r=fold,
        air=air,
    )


def _side_step(motion: Motion, phase: float, seconds: float) -> Pose:
    """Gallop sideways: the leading leg reaches out first, the trailing leg closes with a hop."""
    style = motion.style
    size = radians(27) * style.amplitude * (0.75 + 0.25 * style.speed)
    lead = size * _wave(_skew(phase, 0.42)) + radians(1)
    trail = size * _wave(_skew(phase, 0.62)) + radians(1)
    crouch = radians(10 + 20 * _wave(phase))
    closed = _hop(phase, 0.82, 1.18, style.period_s)
    left, right = (lead, trail) if style.lead_left else (trail, lead)
    lean = radians(1.5 * style.lean) + radians(3) * sin(2 * pi * phase)
    return _both_legs(
        crouch / 2,
        crouch,
        radians(-26) * min(closed / 0.03, 1.0),
        chest=radians(4),
        sway=lean if style.lead_left else -lean,
        spread_l=left,
        spread_r=right,
        arm_l=radians(5),
        arm_r=radians(4),
        lift_l=radians(10 + 12 * style.second * _wave(phase + 0.5)),
        lift_r=radians(10 + 12 * style.second * _wave(phase + 0.5)),
        elbow_l=radians(12 + 30 * style.second),
        elbow_r=radians(12 + 30 * style.second),
        air=closed,
    )


def _skew(phase: float, peak: float) -> float:
    """The phase of a wave whose crest comes at `peak` in place of .5."""
    phase %= 1.0
    return 0.5 * phase / peak if phase < peak else 0.5 + 0.5 * (phase - peak) / (1 - peak)


def _arm_up(style: Style, phase: float) -> tuple[float, float]:
    """Roll of a waving arm and of its forearm beyond it: from about level to overhead and back."""
    up = _wave(phase)
    lift = radians(86 + 8 * style.lean + 64 * style.amplitude * up)
    fold = radians(4 + (10 + 46 * style.second) * up)
    return lift, fold


def _wave_one_hand(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    rest = stand(seconds)
    lift, fold = _arm_up(style, phase)
    if style.lead_left:
        return rest._replace(arm_l=0.0, elbow_l=radians(6), lift_l=lift, fold_l=fold)
    return rest._replace(arm_r=0.0, elbow_r=radians(6), lift_r=lift, fold_r=fold)


def _wave_two_hands(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    lift, fold = _arm_up(style, phase)
    both = {
        f"{name}_{side}": value
        for side in "lr"
        for name, value in (("lift", lift), ("fold", fold), ("arm", 0.0), ("elbow", radians(6)))
    }
    return stand(seconds)._replace(**both)


# Share of a bend's cycle: standing, going down, touching the floor, coming up; the rest is standing again.
BEND_TIMES = (0.05, 0.40, 0.53, 0.92)


def _bend(motion: Motion, phase: float, seconds: float) -> Pose:
    style = motion.style
    phase %= 1.0
    start, down, up, end = BEND_TIMES
    low = ease((phase - start) / (down - start)) if phase < up else 1 - ease((phase - up) / (end - up))
    knee = radians(4 + 18 * style.second) * low
    early = min(1.35 * low, 1.0)  # the arms reach forward before the back is all down
    trunk = radians(4) + radians(80 * style.amplitude) * low
    round_back = radians(4) + radians(28 + 14 * style.second) * low
    hang = (trunk + round_back) * (1.0 if low > 0 else 0.0)
    return _both_legs(
        radians(-9) * low + knee / 2,
        knee,
        0.0,
        hips=trunk,
        chest=round_back,
        nod=radians(8) * low,
        arm_l=hang + radians(5 + 14 * early * (1 - low)),
        arm_r=hang + radians(3 + 18 * early * (1 - low)),
        lift_l=radians(6),
        lift_r=radians(6),
        elbow_l=radians(8),
        elbow_r=radians(10),
    )


_ACTIONS: dict[str, Callable[[Motion, float, float], Pose]] = {
    "Bend": _bend,
    "JumpingJack": _jumping_jack,
    "Jump": _jump,
    "JumpInPlace": _jump_in_place,
    "Run": _run,
    "SideStep": _side_step,
    "Walk": _walk,
    "WaveOneHand": _wave_one_hand,
    "WaveTwoHands": _wave_two_hands,
}
