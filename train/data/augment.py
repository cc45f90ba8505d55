"""Random changes to training clips, a whole batch at a time in TensorFlow: mirror, shift, scale, light and
the shape of the picture.

Every clip changes as a whole: all its frames share one of each. The same seed gives the same pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from edge_har.errors import DataError, MisuseError
from edge_har.model.preprocess import LETTERBOX_VALUE, FrameSpec
from train.data.letterbox import content_boxes
from train.data.mirror import AUTO, OFF, read_mirror_file
from train.data.sampling import BACKGROUND
from train.tf import tf

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


def augment(clips: Any, labels: Any, seed: Any, mirror: Mirror, amounts: Amounts) -> tuple[Any, Any]:
    """Change a batch. clips: uint8 [batch, frames, height, width, 3]; labels: int32 [batch], or BACKGROUND;
    seed: int [2].

    Returns float32 clips, whole numbers of 0..255, of the same shape, and the labels after mirroring.
    """
    batch = tf.shape(clips)[0]
    draw = _Draw(seed, batch)
    target = tf.gather(tf.constant(mirror.target, tf.int32), tf.maximum(labels, 0))
    target = tf.where(labels == BACKGROUND, NEVER, target)
    mirrored = (draw.between(0.0, 1.0) < 0.5) & (target != NEVER)
    labels = tf.where(mirrored, target, labels)
    scale, aspect = draw.between_logs(amounts.scale), draw.between_logs(amounts.aspect)
    shift_y, shift_x = (draw.between(-amounts.shift, amounts.shift) for _ in range(2))
    height, width = clips.shape[2], clips.shape[3]
    picture = _whole(batch, height, width)
    if amounts.shapes:
        boxes = tf.numpy_function(content_boxes, [clips], tf.int32, stateful=False)
        picture = _Box(*tf.unstack(tf.cast(tf.ensure_shape(boxes, (clips.shape[0], 4)), tf.float32), axis=1))
    shown = _reshaped(picture, draw, amounts.shapes, height, width) if amounts.shapes else picture
    scale *= (shown.bottom - shown.top) / (picture.bottom - picture.top)
    rows = resampling(height, scale / aspect, shift_y, tf.zeros_like(mirrored), picture.rows)
    columns = resampling(width, scale * aspect, shift_x, mirrored, picture.columns)
    moved = _resample(tf.cast(clips, tf.float32), rows, columns)
    gain = draw.between_logs(amounts.contrast, [1]) * draw.between_logs(amounts.colour, [3])
    grey = 127.5
    offset = grey + draw.between(-amounts.brightness, amounts.brightness)[:, None] - grey * gain
    lit = moved * gain[:, None, None, None] + offset[:, None, None, None]
    noisy = lit + draw.noise(clips.shape[1:], amounts.noise)
    done = tf.round(tf.clip_by_value(noisy, 0.0, 255.0))
    if amounts.shapes:
        done = tf.where(shown.inside(height, width), done, float(LETTERBOX_VALUE))
    return done, labels


@dataclass(frozen=True)
class _Box:
    """Where the pictures of a batch lie in their frames: float32 [batch] each, whole px, ends excluded."""

    top: Any
    bottom: Any
    left: Any
    right: Any

    @property
    def rows(self) -> tuple[Any, Any]:
        """First and last row."""
        return self.top, self.bottom - 1

    @property
    def columns(self) -> tuple[Any, Any]:
        """First and last column."""
        return self.left, self.right - 1

    def inside(self, height: int, width: int) -> Any:
        """Which pixels of frames of this size lie in the pictures: bool [batch, 1, height, width, 1]."""
        y, x = tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32)
        rows = (y >= self.top[:, None]) & (y < self.bottom[:, None])
        columns = (x >= self.left[:, None]) & (x < self.right[:, None])
        return (rows[:, :, None] & columns[:, None, :])[:, None, :, :, None]


def _whole(batch: Any, height: int, width: int) -> _Box:
    nothing = tf.zeros([batch])
    return _Box(nothing, nothing + float(height), nothing, nothing + float(width))


def _reshaped(picture: _Box, draw: _Draw, fraction: float, height: int, width: int) -> _Box:
    """Where the pictures of some clips would lie had a camera of another shape filmed them."""
    own_h, own_w = picture.bottom - picture.top, picture.right - picture.left
    narrowest, widest = SHAPES
    drawn = tf.exp(draw.between(math.log(narrowest), math.log(widest)))
    shape = tf.where(draw.between(0.0, 1.0) < fraction, drawn, own_w / own_h)
    to_w, to_h = (
        tf.maximum(1.0, tf.round(side))
        for side in (tf.minimum(float(width), height * shape), tf.minimum(float(height), width / shape))
    )
    top, left = tf.floor((height - to_h) / 2), tf.floor((width - to_w) / 2)
    return _Box(top, top + to_h, left, left + to_w)


def resampling(
    side: int, scale: Any, shift: Any, mirrored: Any, picture: tuple[Any, Any] | None = None
) -> Any:
    """Linear interpolation along one side as matrices, float32 [batch, side, side]: output = matrix @ input.

    scale, shift (fraction of the side), mirrored: [batch]. picture: the first and last position that hold
    the picture, float32 [batch] each; default the whole side. What lies outside repeats its border.
    """
    first, last = (0.0, side - 1.0) if picture is None else (bound[:, None] for bound in picture)
    centre = (side - 1) / 2
    sign = tf.where(mirrored, -1.0, 1.0)[:, None]
    position = (tf.range(side, dtype=tf.float32) - centre)[None] * sign / scale[:, None]
    position = tf.clip_by_value(position + centre + shift[:, None] * side, first, last)
    distance = tf.abs(position[:, :, None] - tf.range(side, dtype=tf.float32))
    return tf.maximum(0.0, 1.0 - distance)


def _resample(clips: Any, rows: Any, columns: Any) -> Any:
    """Rows then columns as batched products: several times faster here than a warp of every frame."""
    frames, height, width, colours = clips.shape[1:]
    flat = tf.reshape(clips, (-1, frames, height, width * colours))
    upright = tf.reshape(tf.matmul(rows[:, None], flat), (-1, frames, height, width, colours))
    turned = tf.reshape(tf.transpose(upright, (0, 1, 3, 2, 4)), (-1, frames, width, height * colours))
    done = tf.reshape(tf.matmul(columns[:, None], turned), (-1, frames, width, height, colours))
    return tf.transpose(done, (0, 1, 3, 2, 4))


class _Draw:
    """Random numbers per clip that depend on the seed and the order of drawing alone."""

    def __init__(self, seed: Any, batch: Any) -> None:
        self._seed = tf.cast(seed, tf.int64)
        self._batch = batch
        self._drawn = 0

    def between(self, low: float, high: float, more: Sequence[int] = ()) -> Any:
        """Uniform, float32 [batch, *more]."""
        shape = tf.concat([[self._batch], tf.constant(list(more), tf.int32)], 0)
        return tf.random.stateless_uniform(shape, self._next_seed(), low, high)

    def between_logs(self, half_range: float, more: Sequence[int] = ()) -> Any:
        """A factor whose logarithm is uniform in +-half_range, float32 [batch, *more]."""
        return tf.exp(self.between(-half_range, half_range, more))

    def noise(self, shape: Sequence[int], largest: float) -> Any:
        """Normal noise of another strength for each clip, float32 [batch, *shape];
        shape: frames, height, ...
        """
        strength = tf.maximum(0.0, self.between(-largest, largest, [1] * len(shape)))
        table = tf.random.stateless_normal([NOISE_FRAMES, *shape[1:]], self._next_seed())
        which = tf.cast(self.between(0.0, NOISE_FRAMES, shape[:1]), tf.int32)
        return strength * tf.gather(table, tf.minimum(which, NOISE_FRAMES - 1))

    def _next_seed(self) -> Any:
        self._drawn += 1
        return self._seed + tf.constant([0, self._drawn << 32], tf.int64)
