"""The synthetic picture: a room that is painted once, and a person painted over it for every frame.

Everything is RGB uint8. Small pictures are drawn larger and averaged down, as a camera's lens and sensor do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any, Protocol

import cv2
import numpy as np

from edge_har.model.preprocess import Pixels
from edge_har.sources.synthetic_body import Body, Point, Pose, joints

DRAWN_HEIGHT = 240  # pictures lower than this are drawn at a whole multiple of their size
SUB_PIXEL_BITS = 4
CORNERS = 12  # of the polygon drawn for a circle
NOISE_MARGIN = 48  # px by which the stored sensor noise is larger than the picture, to slide over it

Color = tuple[int, int, int]
Circle = tuple[float, float, float]  # x, y, radius in px


class Spot(Protocol):
    """A joint as a circle in the picture: its name, a radius and a shift in body heights."""

    def __call__(self, name: str, radius: float, shift: Point = ...) -> Circle: ...


SKINS: tuple[Color, ...] = (
    (240, 205, 180),
    (224, 180, 150),
    (198, 150, 115),
    (150, 105, 75),
    (105, 70, 52),
    (80, 54, 42),
)
HAIRS: tuple[Color, ...] = (
    (30, 24, 22),
    (52, 36, 28),
    (92, 62, 40),
    (150, 112, 66),
    (120, 118, 116),
    (196, 168, 116),
)
TOPS: tuple[Color, ...] = (
    (30, 30, 36), (58, 62, 70), (44, 62, 128), (150, 42, 44), (60, 110, 66), (212, 208, 198),
    (120, 86, 140), (196, 150, 60), (40, 120, 140), (90, 80, 60), (226, 120, 90), (80, 130, 190),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = (
    (24, 24, 28),
    (44, 48, 60),
    (50, 70, 116),
    (92, 104, 128),
    (110, 98, 80),
    (70, 60, 52),
    (176, 164, 140),
)
SHOES: tuple[Color, ...] = ((20, 18, 18), (60, 44, 34), (190, 188, 184), (90, 92, 98))

_UNIT = np.array([(cos(2 * pi * k / CORNERS), sin(2 * pi * k / CORNERS)) for k in range(CORNERS)])


@dataclass(frozen=True)
class Look:
    """Clothes, skin and build of one person. Girths are factors on the average radius of limbs and trunk."""

    skin: Color
    hair: Color
    top: Color
    trousers: Color
    shoes: Color
    bare_arms: bool
    shorts: bool
    long_hair: bool
    limbs: float
    trunk: float

    @staticmethod
    def of_seed(rng: np.random.Generator, wall: Color) -> Look:
        """A person whose clothes stand out from `wall`, as far as eight tries find such."""

        def pick(table: Sequence[Color], apart: float) -> Color:
            choice = table[0]
            for _ in range(8):
                choice = _tint(table[int(rng.integers(len(table)))], rng, 10)
                if abs(_luma(choice) - _luma(wall)) >= apart:
                    break
            return choice

        return Look(
            skin=_tint(SKINS[int(rng.integers(len(SKINS)))], rng, 8),
            hair=_tint(HAIRS[int(rng.integers(len(HAIRS)))], rng, 8),
            top=pick(TOPS, 38),
            trousers=pick(TROUSERS, 38),
            shoes=pick(SHOES, 20),
            bare_arms=bool(rng.random() < 0.4),
            shorts=bool(rng.random() < 0.12),
            long_hair=bool(rng.random() < 0.35),
            limbs=float(rng.uniform(0.88, 1.15)),
            trunk=float(rng.uniform(0.88, 1.15)),
        )


@dataclass(frozen=True)
class Light:
    """How a room is lit.

    `side` is where the light comes from: -1 left, 1 right; `shade` how strongly it models.
    """

    side: float
    shade: float
    shadow: float  # 0 to 1, darkness of the shadow on the floor
    tint: tuple[float, float, float]
    drift: float  # fraction by which the brightness wanders
    noise: float  # standard deviation of the sensor's noise, in grey levels of a 64 px high picture


@dataclass(frozen=True)
class View:
    """Where a person of height 1 stands in the drawn picture.

    height_px: of the person. floor_px: row of the feet. tilt: rows (in body heights) per body height of
    depth.
    """

    height_px: float
    floor_px: float
    tilt: float


def _luma(color: Color) -> float:
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def _clip(value: float) -> int:
    return int(min(max(round(value), 0), 255))


def _tint(color: Color, rng: np.random.Generator, spread: float) -> Color:
    shift = rng.normal(0, spread, 3) * 0.5 + rng.normal(0, spread)
    return (_clip(color[0] + shift[0]), _clip(color[1] + shift[1]), _clip(color[2] + shift[2]))


# The room ---------------------------------------------------------------------------------------------------


def _texture(
    rng: np.random.Generator, size_wh: tuple[int, int], cells_wh: tuple[int, int], strength: float
) -> Any:
    """Smooth random grey, float32 [h, w, 1], about `cells_wh` patches, standard deviation `strength`."""
    cells = rng.standard_normal((max(cells_wh[1], 2), max(cells_wh[0], 2))).astype(np.float32)
    return cv2.resize(cells, size_wh, interpolation=cv2.INTER_CUBIC)[..., None] * strength


def _stone_wall(rng: np.random.Generator, picture: Any, floor: int) -> None:
    """Blocks of stone of different heights and shades."""
    height, width = picture.shape[:2]
    row_px = max(height // int(rng.integers(10, 22)), 4)
    strength = float(rng.uniform(3, 9))
    for top in range(0, floor, row_px):
        left = -int(rng.integers(0, row_px * 2))
        while left < width:
            block = int(row_px * rng.uniform(0.8, 3.2))
            picture[top : min(top + row_px, floor), max(left, 0) : max(left + block, 0)] += float(
                rng.normal(0, strength)
            )
            left += block


def _panels(rng: np.random.Generator, picture: Any, floor: int) -> None:
    """Upright boards or wall panels, a skirting board, perhaps a window and a door."""
    width = picture.shape[1]
    for left in range(int(rng.integers(0, 30)), width, max(width // int(rng.integers(4, 14)), 8)):
        picture[:floor, left : left + 2] -= float(rng.uniform(6, 18))
    skirting = max(floor // 28, 2)
    picture[floor - skirting : floor] += float(rng.choice([-28, 26]))


def _openings(rng: np.random.Generator, picture: Any, floor: int) -> None:
    """Windows, doors and posts, away from the middle of the picture."""
    width = picture.shape[1]
    for _ in range(int(rng.integers(0, 3))):
        wide = int(width * rng.uniform(0.06, 0.16))
        left = int(rng.choice([rng.uniform(-0.04, 0.18), rng.uniform(0.74, 0.96)]) * width)
        top = int(floor * rng.uniform(-0.1, 0.4))
        bottom = floor if rng.random() < 0.6 else int(floor * rng.uniform(0.45, 0.7))
        color = tuple(rng.uniform(20, 215) + rng.normal(0, 14, 3))
        cv2.rectangle(picture, (left - 3, max(top, 0) - 3), (left + wide + 3, bottom), (70.0, 66.0, 60.0), -1)
        cv2.rectangle(picture, (left, max(top, 0)), (left + wide, bottom - 3), color, -1)


def _park(rng: np.random.Generator, picture: Any, floor: int) -> None:
    """Sky over a line of trees or hills."""
    width = picture.shape[1]
    horizon = int(floor * rng.uniform(0.55, 0.9))
    sky = np.array(rng.uniform((120, 150, 175), (200, 215, 240)), np.float32)
    picture[:horizon] = sky + np.linspace(-14, 18, horizon, dtype=np.float32)[:, None, None]
    green = np.array(rng.uniform((50, 74, 40), (120, 140, 96)), np.float32)
    picture[horizon:floor] = green
    ridge = (
        horizon
        - np.abs(
            cv2.resize(
                rng.standard_normal((1, int(rng.integers(5, 14)))).astype(np.float32),
                (width, 1),
                interpolation=cv2.INTER_CUBIC,
            )[0]
        )
        * floor
        * 0.14
    )
    rows = np.arange(picture.shape[0])[:, None]
    trees = (rows >= ridge[None]) & (rows < horizon)
    picture[trees] = green * float(rng.uniform(0.65, 0.95))


def paint_room(rng: np.random.Generator, size_wh: tuple[int, int], floor_px: float) -> tuple[Pixels, Color]:
    """An empty room, uint8 [h, w, 3], and the colour behind the person.

    `floor_px` is the row of the person's feet.
    """
    width, height = size_wh
    kind = rng.choice(["stone", "room", "park"], p=[0.5, 0.3, 0.2])
    floor = int(floor_px - height * rng.uniform(0.0, 0.035))  # where the wall meets the floor
    base = rng.uniform(88, 196)
    wall = base + rng.normal(0, 9, 3)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = wall
    ground = rng.uniform(60, 150) + rng.normal(0, 10, 3)
    if kind == "stone":
        _stone_wall(rng, picture, floor)
    elif kind == "room":
        _panels(rng, picture, floor)
    else:
        _park(rng, picture, floor)
        ground = rng.uniform((70, 96, 52), (130, 150, 96))
    if kind != "park":
        _openings(rng, picture, floor)
    picture[floor:] = ground
    picture[floor:] += np.linspace(-8, 10, height - floor, dtype=np.float32)[:, None, None]
    if kind == "stone":  # a kerb and the road before it
        kerb = min(floor + int((height - floor) * rng.uniform(0.3, 0.6)), height - 4)
        picture[kerb : kerb + max(height // 70, 2)] += 60
        picture[kerb + max(height // 70, 2) :] -= 22
    picture += _texture(rng, size_wh, (width // 40, height // 40), float(rng.uniform(2, 6)))
    picture += _texture(rng, size_wh, (width // 5, height // 5), float(rng.uniform(1, 4)))
    left, right = rng.uniform(-14, 14, 2).tolist()
    picture += np.linspace(left, right, width, dtype=np.float32)[None, :, None]
    behind = picture[int(floor_px - 0.4 * height) : floor, width // 5 : -width // 5].mean((0, 1))
    return np.clip(picture, 4, 250).astype(np.uint8), (_clip(behind[0]), _clip(behind[1]), _clip(behind[2]))


def light_of_seed(rng: np.random.Generator) -> Light:
    """Daylight or lamps, from any side, and the noise of a good or a poor camera."""
    warm = float(rng.normal(0, 0.05))
    level = float(rng.uniform(0.82, 1.12))
    return Light(
        side=float(rng.choice([-1, 1]) * rng.uniform(0.3, 1)),
        shade=float(rng.uniform(0.06, 0.28)),
        shadow=float(rng.uniform(0.0, 0.4)),
        tint=(level * (1 + warm), level * (1 + float(rng.normal(0, 0.015))), level * (1 - warm)),
        drift=float(rng.uniform(0.0005, 0.008)),
        noise=float(rng.choice([rng.uniform(0.5, 2.2), rng.uniform(2.2, 4.5)], p=[0.75, 0.25])),
    )


# The painter ------------------------------------------------------------------------------------------------


class Painter:
    """Paints one person in one room, lit one way. Deterministic: `paint` depends on its arguments alone."""

    def __init__(self, seed: int, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh
        self.zoom = max(1, -(-DRAWN_HEIGHT // size_wh[1]))
        width, height = size_wh[0] * self.zoom, size_wh[1] * self.zoom
        rng = np.random.default_rng([seed, 1])
        self.view = View(
            height_px=height * float(rng.uniform(0.4, 0.55)),
            floor_px=height * float(rng.uniform(0.76, 0.84)),
            tilt=float(rng.uniform(0.02, 0.12)),
        )
        self.light = light_of_seed(rng)
        room, wall = paint_room(rng, (width, height), self.view.floor_px)
        self.body = Body.of_seed(rng)
        self.look = Look.of_seed(rng, wall)
        self._room = room
        for row in self._room:
            row[:] = np.clip(row * np.array(self.light.tint, np.float32), 0, 255)
        self._brighter, self._darker = self._sensor_noise(rng, (width, height))
        self._slides = rng.integers(0, NOISE_MARGIN, (257, 2))
        self.stand_x = self.width_heights * float(rng.uniform(0.32, 0.68))  # where who stays in place stands
        self._drift_phase = float(rng.uniform(0, 2 * pi))
        self._shadow = self._shadow_patch()

    @property
    def width_heights(self) -> float:
        """Width of the picture in body heights."""
        return float(self._room.shape[1] / self.view.height_px)

    def _sensor_noise(self, rng: np.random.Generator, size_wh: tuple[int, int]) -> tuple[Pixels, Pixels]:
        """Noise, its positive and negative part; partly coarse, as after a camera's compression."""
        width, height = size_wh[0] + NOISE_MARGIN, size_wh[1] + NOISE_MARGIN
        grain = max(height // 64, 1)
        grains = rng.standard_normal((height // grain + 1, width // grain + 1)).astype(np.float32)
        coarse = cv2.resize(grains, (width, height), interpolation=cv2.INTER_LINEAR)
        brighter, darker = (np.empty((height, width, 3), np.uint8) for _ in range(2))
        for row in range(height):  # one at a time: the floats of a whole picture are many times its bytes
            fine = rng.standard_normal((width, 3)).astype(np.float32)
            noise = self.light.noise * (1.5 * coarse[row, :, None] + 0.9 * fine)
            brighter[row], darker[row] = np.clip(noise, 0, 60), np.clip(-noise, 0, 60)
        return brighter, darker

    def _shadow_patch(self) -> Pixels:
        """Brightness factors (255 is none) of the soft shadow under the feet."""
        half_w, half_h = int(0.3 * self.view.height_px), max(int(0.05 * self.view.height_px), 2)
        y, x = np.mgrid[-half_h : half_h + 1, -half_w : half_w + 1].astype(np.float32)
        distance = np.sqrt((x / half_w) ** 2 + (y / half_h) ** 2)
        dark = np.clip(1.2 - 1.2 * distance, 0, 1) * self.light.shadow
        return np.repeat((255 * (1 - dark)).astype(np.uint8)[..., None], 3, 2)

    def paint(self, index: int, pose: Pose | None, x: float = 0.0, yaw: float = 0.0) -> Pixels:
        """Frame `index`: uint8 [h, w, 3] RGB with the person at `x` body heights from the left edge, or
        nobody.

        yaw: 0 faces right, pi / 2 the camera, pi left.
        """
        picture = self._room.copy()
        if pose is not None:
            self._person(picture, pose, x, yaw)
        gain = 1 + self.light.drift * (sin(index * 0.11 + self._drift_phase) + 0.5 * sin(index * 1.7))
        picture = cv2.convertScaleAbs(picture, alpha=gain)
        height, width = picture.shape[:2]
        top, left = self._slides[index % len(self._slides)]
        cv2.add(picture, self._brighter[top : top + height, left : left + width], picture)
        top, left = self._slides[(index * 7 + 3) % len(self._slides)]
        cv2.subtract(picture, self._darker[top : top + height, left : left + width], picture)
        if self.zoom > 1:
            picture = cv2.resize(picture, self.size_wh, interpolation=cv2.INTER_AREA)
        return np.asarray(picture, np.uint8)

    # One person ---------------------------------------------------------------------------------------------

    def _person(self, picture: Pixels, pose: Pose, x: float, yaw: float) -> None:
        at = joints(pose, self.body)
        scale, view = self.view.height_px, self.view
        turn, side = cos(yaw), sin(yaw)

        def spot(name: str, radius: float, shift: Point = (0.0, 0.0, 0.0)) -> Circle:
            a, b, c = at[name]
            forward, left, up = a + shift[0], b + shift[1], c + shift[2]
            depth = left * turn - forward * side  # away from the camera
            return (
                scale * (x + forward * turn + left * side),
                view.floor_px - scale * (up + view.tilt * depth),
                scale * radius,
            )

        look = self.look
        limb, trunk = look.limbs, look.trunk
        lay_shadow(picture, self._shadow, scale * x, view.floor_px)
        near, far = ("r", "l") if turn >= 0 else ("l", "r")  # of a person in profile
        profile = abs(turn) > 0.5
        far_light = 0.86 if profile else 1.0
        for leg, brightness in ((far, far_light), (near, 1.0)):
            shin = look.skin if look.shorts else look.trousers
            toe, heel = spot(f"toe_{leg}", 0.018, (0, 0, 0.016)), spot(f"heel_{leg}", 0.022, (0.015, 0, 0.02))
            knee = spot(f"knee_{leg}", 0.042 * limb)
            self._limb(
                picture,
                brightness,
                ((spot(f"ankle_{leg}", 0.026 * limb), heel, toe), look.shoes),
                ((knee, spot(f"ankle_{leg}", 0.029 * limb)), shin),
                ((spot(f"hip_{leg}", 0.062 * limb), knee), look.trousers),
            )
        if profile:
            self._arm(picture, spot, far, far_light)
        hips = [spot(f"hip_{s}", 0.062 * trunk, (0, 0, 0.02)) for s in "lr"]
        waist = [spot("waist", 0.064 * trunk, (0.004, y, -0.03)) for y in (-0.035 * trunk, 0.035 * trunk)]
        ribs = [spot("shoulder_" + s, 0.036 * trunk, (0, 0, -0.02)) for s in "lr"]
        back = [*waist, spot("neck", 0.066 * trunk, (0.008, 0, -0.06)), *ribs]
        self._limb(picture, 1.0, ([*hips, spot("waist", 0.062 * trunk)], look.trousers), (back, look.top))
        self._head(picture, spot)
        if not profile:
            self._arm(picture, spot, far, 1.0)
        self._arm(picture, spot, near, 1.0)

    def _arm(self, picture: Pixels, spot: Spot, side: str, brightness: float) -> None:
        look, limb = self.look, self.look.limbs
        wrist, elbow = spot(f"wrist_{side}", 0.021 * limb), spot(f"elbow_{side}", 0.03 * limb)
        self._limb(
            picture,
            brightness,
            ((spot(f"hand_{side}", 0.024 * limb), wrist), look.skin),
            ((elbow, wrist), look.skin if look.bare_arms else look.top),
            ((spot(f"shoulder_{side}", 0.036 * limb, (0, 0, -0.014)), elbow), look.top),
        )

    def _head(self, picture: Pixels, spot: Spot) -> None:
        look = self.look
        self._limb(picture, 0.86, ((spot("neck", 0.034, (0, 0, 0.01)), spot("chin", 0.03)), look.skin))
        if look.long_hair:
            tail = (spot("head", 0.056, (-0.02, 0, 0)), spot("neck", 0.04, (-0.03, 0, 0.01)))
            self._limb(picture, 0.95, (tail, look.hair))
        hair = (spot("head", 0.06, (-0.008, 0, 0.008)), spot("head", 0.05, (0, 0, -0.02)))
        self._limb(picture, 1.0, (hair, look.hair))
        face = (spot("head", 0.047, (0.016, 0, -0.004)), spot("chin", 0.034, (0.018, 0, 0.012)))
        self._limb(picture, 1.0, (face, look.skin))

    def _limb(self, picture: Pixels, brightness: float, *parts: tuple[Sequence[Circle], Color]) -> None:
        """Convex shapes around circles, the next over the one before, then the light on all of them."""
        light = self.light
        for lit in (False, True):
            gain = brightness * (1 + 0.35 * light.shade if lit else 1 - light.shade)
            for circles, color in parts:
                if lit:
                    circles = [(x + 0.32 * r * light.side, y - 0.22 * r, 0.66 * r) for x, y, r in circles]
                fill_hull(picture, circles, [c * t * gain for c, t in zip(color, light.tint, strict=True)])


def fill_hull(picture: Pixels, circles: Sequence[Circle], color: Sequence[float]) -> None:
    """Fill the convex hull of `circles` in place, with smooth edges at sub-pixel positions."""
    # The smoothed edge itself adds about half a pixel around the shape.
    points = np.concatenate([_UNIT * max(r - 0.4, 0.3) + (x, y) for x, y, r in circles])
    fixed = np.round(points * (1 << SUB_PIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(picture, cv2.convexHull(fixed), tuple(color), cv2.LINE_AA, SUB_PIXEL_BITS)


def lay_shadow(picture: Pixels, patch: Pixels, x: float, y: float) -> None:
    """Darken `picture` in place by `patch` (255 leaves a pixel as it is), centred at (x, y), cut at the
    edges.
    """
    half_h, half_w = patch.shape[0] // 2, patch.shape[1] // 2
    left, top = round(x) - half_w, round(y) - half_h
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + patch.shape[1], picture.shape[1]), min(top + patch.shape[0], picture.shape[0])
    if x0 < x1 and y0 < y1:
        under = picture[y0:y1, x0:x1]
        cv2.multiply(under, patch[y0 - top : y1 - top, x0 - left : x1 - left], under, 1 / 255)
