"""Random changes to training clips, in OpenCV: mirror, shift, scale, light, noise and the shape of the
picture.

Every clip changes as a whole: all its frames share one of each. The same seed gives the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, MisuseError
from edge_har.model.preprocess import LETTERBOX_VALUE, FrameSpec, Pixels
from train.data.letterbox import content_boxes
from train.data.mirror import AUTO, OFF, read_mirror_file
from train.data.sampling import BACKGROUND

SWAPPED = {
    "left": "right",
    "right": "left",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
}
OPPOSITE_OF_CLOCKWISE = re.compile(r"(counter|anti|contra)[ -]?clockwise")
# "upright" and "bright" are no directions.
DIRECTION = re.compile(r"counterclockwise|clockwise|(?<!c)left|(?<!up)(?<!b)(?<!f)(?<!w)right")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
# Frames of noise drawn for a batch; each frame of it takes one, as drawing all is much slower.
NOISE_FRAMES = 64
MID_GREY = 127.5  # contrast is changed around it
STREAM = 5  # of random numbers, apart from those that draw windows with the same seed and step
# Width by height of the pictures that a clip is shown in: a telephone upright to a wide camera.
SHAPES = (9 / 16, 16 / 9)
NEVER = -1  # in Mirror.target: clips of this label stay as they are


@dataclass(frozen=True)
class Mirror:
    """What mirroring does to labels: `target[i]` is the label index a mirrored clip of label i has, NEVER
    when clips of label i must not be mirrored. `note` is one line for people: what was decided and why.
    """

    target: tuple[int, ...]
    note: str

    @property
    def active(self) -> bool:
        """Whether any label is mirrored."""
        return any(t != NEVER for t in self.target)


@dataclass(frozen=True)
class Amounts:
    """How far clips are changed. Shift as a fraction of the frame's side, scale and light as natural-log half
    ranges. shapes: for letterboxed clips; 0 for others.
    """

    shift: float = 0.1
    scale: float = 0.22
    aspect: float = 0.08
    contrast: float = 0.4
    colour: float = 0.1
    brightness: float = 30.0  # grey levels of 0..255
    noise: float = 4.0  # grey levels: the largest standard deviation; half of the clips have none
    shapes: float = 0.5  # fraction of clips that are shown as a camera of another shape would show them

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0:
            raise MisuseError(f"augmentation amounts must be 0 or more, got {self}")

    def scaled(self, strength: float) -> Amounts:
        """All amounts times `strength`; raises MisuseError when it is negative."""
        return Amounts(*(amount * strength for amount in astuple(self)))


def amounts_of(strength: float, spec: FrameSpec) -> Amounts:
    """How far the clips of a training are changed: the usual amounts times `strength`; shapes are changed
    only where frames are letterboxed. Raises MisuseError when `strength` is negative."""
    usual = Amounts() if spec.fit == "letterbox" else replace(Amounts(), shapes=0.0)
    return usual.scaled(strength)


def decide_mirror(option: str, labels: Sequence[str]) -> Mirror:
    """Which labels may be mirrored: `auto`, `off`, or a JSON file {label: label it becomes, or null for
    never}.

    Auto mirrors unless a label names left, right or clockwise; where every such label has the partner that
    differs only by these, mirrored clips take the partner's label. Labels a file does not name stay
    themselves. Raises DataError for a file that cannot be used.
    """
    if option == OFF:
        return Mirror((NEVER,) * len(labels), "mirroring is off")
    if option != AUTO:
        return _mirror_from_file(Path(option), labels)
    words = [_words(label) for label in labels]
    index = {text: i for i, text in enumerate(words)}
    partners = [index.get(DIRECTION.sub(lambda m: SWAPPED[m.group()], text), NEVER) for text in words]
    alone = [label for label, partner in zip(labels, partners, strict=True) if partner == NEVER]
    if alone:
        return Mirror((NEVER,) * len(labels), f"mirroring is off: label {alone[0]!r} says a direction")
    swaps = [f"{labels[i]} <-> {labels[p]}" for i, p in enumerate(partners) if i < p]
    note = "mirroring is on" + (f", swapping {', '.join(swaps)}" if swaps else ": no label says a direction")
    return Mirror(tuple(partners), note)


def _words(label: str) -> str:
    """The label as lower-case words, with one spelling for the other way round."""
    words = " ".join(WORD.findall(label)).lower()
    return OPPOSITE_OF_CLOCKWISE.sub("counterclockwise", words)


def _mirror_from_file(path: Path, labels: Sequence[str]) -> Mirror:
    targets = read_mirror_file(path)
    unknown = [name for name in (*targets, *targets.values()) if name is not None and name not in labels]
    if unknown:
        raise DataError(f"mirror file {path} names {unknown[0]!r}; the labels are {', '.join(labels)}")
    became = [targets.get(label, label) for label in labels]
    target = tuple(NEVER if name is None else list(labels).index(name) for name in became)
    return Mirror(target, f"mirroring as {path.name} says")


def augment(
    clips: Pixels, labels: NDArray[np.int32], seed: Sequence[int], mirror: Mirror, amounts: Amounts
) -> tuple[Pixels, NDArray[np.int32]]:
    """Change a batch. clips: uint8 [batch, frames, height, width, 3]; labels: int32 [batch], or BACKGROUND;
    seed: whole numbers, 0 or more.

    Returns new clips of the same shape and dtype, and the labels after mirroring.
    """
    random = np.random.default_rng([STREAM, *seed])
    batch, _, height, width, _ = clips.shape
    target = np.where(labels == BACKGROUND, NEVER, np.array(mirror.target, np.int32)[np.maximum(labels, 0)])
    mirrored = (random.random(batch) < 0.5) & (target != NEVER)
    noise = random.standard_normal((NOISE_FRAMES, height, width, 3), np.float32) if amounts.noise else None
    made = [changed(clip, flip, random, amounts, noise) for clip, flip in zip(clips, mirrored, strict=True)]
    return np.stack(made), np.where(mirrored, target, labels).astype(np.int32)


def changed(
    clip: Pixels,
    mirrored: bool,
    random: np.random.Generator,
    amounts: Amounts,
    noise: NDArray[np.float32] | None = None,
) -> Pixels:
    """One clip changed as a whole, drawn from `random`: uint8 [frames, height, width, 3], as `clip`.

    noise: float32 [n, height, width, 3] of standard deviation 1, of which each frame takes one; None: none.
    """
    height, width = clip.shape[1:3]
    whole = np.array([0, height, 0, width], np.int32)
    box = content_boxes(clip[None])[0] if amounts.shapes else whole
    shown = _reshaped(box, random, amounts.shapes, height, width)
    made = _moved(clip, box, shown, _placement(box, shown, mirrored, random, amounts, height, width))
    table = _light(random, amounts)
    if (table != _AS_IT_IS).any():
        rows = made.reshape(-1, width, 3)
        cv2.LUT(rows, table, dst=rows)
    strength = max(0.0, random.uniform(-amounts.noise, amounts.noise))
    if noise is not None and strength:
        made = _noisy(made, strength * noise[random.integers(0, len(noise), len(made))])
    if amounts.shapes:
        _paint_bars(made, shown)
    return made


def _reshaped(
    box: NDArray[np.int32], random: np.random.Generator, fraction: float, height: int, width: int
) -> NDArray[np.int32]:
    """Where a picture would lie in its frame had a camera of another shape filmed it, for a fraction of the
    clips: int32 [4] as `content_boxes` gives them.
    """
    narrowest, widest = SHAPES
    shape = np.exp(random.uniform(np.log(narrowest), np.log(widest)))
    if random.random() >= fraction:
        return box
    to_w = max(1, round(min(width, height * shape)))
    to_h = max(1, round(min(height, width / shape)))
    top, left = (height - to_h) // 2, (width - to_w) // 2
    return np.array([top, top + to_h, left, left + to_w], np.int32)


def _placement(
    box: NDArray[np.int32],
    shown: NDArray[np.int32],
    flip: bool,
    random: np.random.Generator,
    amounts: Amounts,
    height: int,
    width: int,
) -> NDArray[np.float64]:
    """From a pixel of the new frame to its place in the old one: float64 [2, 3], (x, y, 1) to (x, y).

    The scene keeps its height in the picture, whatever the picture's shape.
    """
    scale = _factor(random, amounts.scale) * (shown[1] - shown[0]) / (box[1] - box[0])
    aspect = _factor(random, amounts.aspect)
    shift_x, shift_y = random.uniform(-amounts.shift, amounts.shift, 2)
    step_x, step_y = (-1 if flip else 1) / (scale * aspect), aspect / scale
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    return np.array(
        [
            [step_x, 0.0, centre_x * (1 - step_x) + shift_x * width],
            [0.0, step_y, centre_y * (1 - step_y) + shift_y * height],
        ]
    )


def _moved(
    clip: Pixels, box: NDArray[np.int32], shown: NDArray[np.int32], placement: NDArray[np.float64]
) -> Pixels:
    """A clip resampled; what lies outside its picture repeats the picture's border."""
    made = np.array(clip)
    if (box == shown).all() and (placement == np.eye(2, 3)).all():
        return made
    top, bottom, left, right = box
    within = placement - [[0, 0, left], [0, 0, top]]
    size_wh = (clip.shape[2], clip.shape[1])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for frame, to in zip(clip, made, strict=True):
        picture = frame[top:bottom, left:right]
        cv2.warpAffine(picture, within, size_wh, dst=to, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return made


_AS_IT_IS = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)


def _light(random: np.random.Generator, amounts: Amounts) -> Pixels:
    """What each level of each colour becomes: uint8 [1, 256, 3]."""
    gain = _factor(random, amounts.contrast) * np.exp(random.uniform(-amounts.colour, amounts.colour, 3))
    offset = MID_GREY + random.uniform(-amounts.brightness, amounts.brightness) - MID_GREY * gain
    return np.clip(np.rint(_AS_IT_IS * gain + offset), 0, 255).astype(np.uint8)


def _noisy(clip: Pixels, noise: NDArray[np.float32]) -> Pixels:
    return np.asarray(np.clip(np.rint(clip + noise), 0, 255), np.uint8)


def _paint_bars(clip: Pixels, box: NDArray[np.int32]) -> None:
    """Make all outside of a picture the grey of a letterbox."""
    top, bottom, left, right = box
    for outside in (clip[:, :top], clip[:, bottom:], clip[:, :, :left], clip[:, :, right:]):
        outside[:] = LETTERBOX_VALUE


def _factor(random: np.random.Generator, half_range: float) -> float:
    """A factor whose natural logarithm is uniform in +-half_range."""
    return cast(float, np.exp(random.uniform(-half_range, half_range)))
