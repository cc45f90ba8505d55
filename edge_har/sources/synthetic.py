"""The built-in source: `synthetic:LABEL` draws an articulated person doing one of nine actions, the same for
a seed.

`synthetic:demo` plays them all in one stream, with pauses. Options stand after a question mark:
`synthetic:Walk?seed=3&size=320x240&rate=25&duration=20`. `python -m edge_har.sources.synthetic` draws a
contact sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, pi
from pathlib import Path

import click
import cv2
import numpy as np

from edge_har.errors import MisuseError, SourceError
from edge_har.model.preprocess import Pixels
from edge_har.options.fields import options_of
from edge_har.sources.base import Source
from edge_har.sources.options import SyntheticOptions, parse_query, unknown_option
from edge_har.sources.synthetic_body import LABELS, Motion, blend, ease, stand, style_of_seed
from edge_har.sources.synthetic_scene import Painter

SCHEME = "synthetic:"
DEMO = "demo"
# In turns across the picture and in place, and no two alike in a row.
DEMO_ORDER = (
    "Walk",
    "WaveTwoHands",
    "Run",
    "Bend",
    "SideStep",
    "JumpingJack",
    "Jump",
    "WaveOneHand",
    "JumpInPlace",
)

OUT_OF_SIGHT = 0.3  # body heights past the edge at which a crossing person turns round
HEAD_START = 0.42  # body heights from there at which a stream of one action begins: just in sight
ACT_S = 5.0  # an action of the demo lasts at least so long, to the end of its cycle or crossing
PAUSE_S = 2.0  # between two actions of the demo
STANDS_S = 30.0  # a clip of a person who stands still begins within this time
EASE_S = 0.4  # from standing to acting and back, in the demo
SIZE_LIMITS = (16, 4096)  # px
RATE_LIMITS = (0.1, 240.0)  # Hz


def label_named(text: str) -> str:
    """The label that `text` means in any case. Raises MisuseError naming the valid ones."""
    for label in LABELS:
        if label.lower() == text.lower():
            return label
    raise MisuseError(f"no synthetic action {text!r}; choose one of {', '.join(LABELS)}, or {DEMO}")


class Performance:
    """One person doing one action in one room; any moment of it can be drawn, in any order."""

    def __init__(self, label: str, seed: int, painter: Painter) -> None:
        rng = np.random.default_rng([seed, 2, LABELS.index(label)])
        self.painter = painter
        self.style = style_of_seed(label, rng)
        self.path = painter.width_heights + 2 * OUT_OF_SIGHT  # of one crossing, in body heights
        self.start_share = float(rng.random())  # where in the action a clip of this seed begins
        self._motion = Motion(self.style, painter.body)
        self._turn = float(rng.uniform(-0.25, 0.25))  # radians away from straight profile or full front

    def act(self, index: int, seconds: float, way: float = HEAD_START, still: float = 0.0) -> Pixels:
        """Frame `index` of a stream: uint8 [h, w, 3] RGB, the person `seconds` into the action.

        way: body heights of the first crossing that were done before. still: 0 acts, 1 stands, between: part
        of each.
        """
        pose = self._motion.pose(seconds)
        rightwards, x = self.style.lead_left, self.painter.stand_x
        if self.style.travels:
            crossing, along = divmod(way + self.style.speed * seconds, self.path)
            x = along - OUT_OF_SIGHT
            if crossing % 2:  # on the way back
                rightwards = not rightwards
                pose = pose.mirrored() if self.style.frontal else pose
            # Who faces the camera and moves right in the picture goes to their own left.
            x = x if rightwards else self.painter.width_heights - x
        if still > 0:
            pose = blend(pose, stand(seconds), still)
        yaw = 0.0 if rightwards else pi
        return self.painter.paint(index, pose, x, (pi / 2 if self.style.frontal else yaw) + self._turn)


def render_clip(
    label: str,
    seed: int,
    frames: int,
    rate_hz: float = 25.0,
    size_wh: tuple[int, int] = (320, 240),
    *,
    stands: bool = False,
) -> Pixels:
    """One clip for training or checking: uint8 [frames, h, w, 3] RGB, begun at a moment of the action that
    `seed` chooses.

    A person who crosses the picture stays in it as long as the clip is short enough. stands: the person does
    nothing, as between two actions of the demo. Equal arguments give equal bytes (with the same OpenCV).
    Raises MisuseError for an unknown label, one that crosses the picture where it `stands`, or a size, rate,
    seed that cannot be.
    """
    label = label_named(label)
    _check(seed, size_wh, rate_hz)
    if frames < 1:
        raise MisuseError(f"a clip has at least 1 frame, got {frames}")
    painter = Painter(seed, size_wh)
    performance = Performance(label, seed, painter)
    style = performance.style
    choice_s = 4 * style.period_s
    if stands:
        if style.travels:
            raise MisuseError(f"{label} crosses the picture; name an action that stays in place")
        start_s = performance.start_share * STANDS_S
        return np.stack([performance.act(i, start_s + i / rate_hz, still=1.0) for i in range(frames)])
    if style.travels:
        in_sight = performance.path - 2 * HEAD_START
        choice_s = max(in_sight / style.speed - frames / rate_hz, 0.0)
    start_s = performance.start_share * choice_s
    return np.stack([performance.act(i, start_s + i / rate_hz) for i in range(frames)])


def _check(seed: int, size_wh: tuple[int, int], rate_hz: float) -> None:
    low, high = SIZE_LIMITS
    if not all(low <= side <= high for side in size_wh):
        raise MisuseError(f"a synthetic picture is {low} to {high} px a side, got {size_wh[0]}x{size_wh[1]}")
    if not RATE_LIMITS[0] <= rate_hz <= RATE_LIMITS[1]:
        raise MisuseError(
            f"a synthetic rate is {RATE_LIMITS[0]} to {RATE_LIMITS[1]:.0f} frames a second, got {rate_hz}"
        )
    if seed < 0:
        raise MisuseError(f"a synthetic seed is 0 or more, got {seed}")


@dataclass(frozen=True)
class Scene:
    """A stretch of the demo. `stands`: the person stands still; without a performance nobody is there."""

    start_s: float
    end_s: float
    performance: Performance | None
    stands: bool = False


def demo_scenes(seed: int, painter: Painter) -> list[Scene]:
    """All actions of the demo, in order and without a gap, with a pause after each one."""
    scenes: list[Scene] = []

    def add(length_s: float, performance: Performance | None, stands: bool = False) -> None:
        start_s = scenes[-1].end_s if scenes else 0.0
        scenes.append(Scene(start_s, start_s + length_s, performance, stands))

    for label in DEMO_ORDER:
        performance = Performance(label, seed, painter)
        style = performance.style
        lap_s = performance.path / style.speed if style.travels else style.period_s
        if style.travels:
            add(PAUSE_S / 2, None)
        else:
            add(PAUSE_S / 2, performance, stands=True)
        add(lap_s * ceil(0.8 * ACT_S / lap_s) if style.travels else lap_s * ceil(ACT_S / lap_s), performance)
        if style.travels:
            add(PAUSE_S / 2, None)
        else:
            add(PAUSE_S / 2, performance, stands=True)
    return scenes


class SyntheticSource(Source):
    """Drawn frames of one label, without end, or of the demo, which ends after its last action.

    label: one of LABELS or "demo", in any case. seed: 0 or more; it selects the person, the clothes, the
    room, the light and the way of moving. size_wh: px. rate_hz: frame i is at i / rate_hz seconds.
    duration_s: ends the stream earlier. loop: the demo begins again. live: what the source says of itself;
    frames never come by a clock.

    Raises MisuseError for values that cannot be.
    """

    color = "rgb"

    def __init__(
        self,
        label: str,
        seed: int = 0,
        size_wh: tuple[int, int] = (320, 240),
        rate_hz: float = 25.0,
        duration_s: float | None = None,
        live: bool = False,
        loop: bool = False,
    ) -> None:
        self.label = DEMO if label.lower() == DEMO else label_named(label)
        _check(seed, size_wh, rate_hz)
        if duration_s is not None and not duration_s > 0:
            raise MisuseError(f"a synthetic duration is more than 0 seconds, got {duration_s}")
        self.name = SCHEME + self.label
        self.live = live
        self.rate_hz = rate_hz
        self._painter = Painter(seed, size_wh)
        self._index = -1
        self._scenes: list[Scene] = []
        self._performance: Performance | None = None
        self._end_s = duration_s
        if self.label == DEMO:
            self._scenes = demo_scenes(seed, self._painter)
            script_s = self._scenes[-1].end_s
            if not loop:
                self._end_s = min(script_s, duration_s) if duration_s is not None else script_s
        else:
            self._performance = Performance(self.label, seed, self._painter)
        self._closed = False

    @staticmethod
    def from_uri(uri: str) -> SyntheticSource:
        """The source that `synthetic:LABEL?option=value&...` names.

        Raises MisuseError saying what is wrong.
        """
        label, _, query = uri.removeprefix(SCHEME).partition("?")
        known, given = options_of(SyntheticOptions), parse_query(query)
        for name in given:
            if name not in known:
                raise unknown_option(name, tuple(known))
        try:
            options = SyntheticOptions(**{name: known[name].read_text(text) for name, text in given.items()})
        except (TypeError, ValueError) as error:
            raise MisuseError(
                f"cannot read {uri!r}: {error}; "
                "expected like synthetic:Walk?seed=3&size=320x240&rate=25&duration=20"
            ) from None
        return SyntheticSource(
            label,
            seed=options.seed,
            size_wh=options.size,
            rate_hz=options.rate,
            duration_s=options.duration,
            live=options.live,
            loop=options.loop,
        )

    @property
    def script(self) -> list[tuple[str, float, float]]:
        """(label, start_s, end_s) of each action of one round of the demo; none of an endless action."""
        return [
            (scene.performance.style.label, scene.start_s, scene.end_s)
            for scene in self._scenes
            if scene.performance is not None and not scene.stands
        ]

    def grab(self) -> float | None:
        """Step to the next frame; its time in seconds, or None at the end. Draws nothing."""
        time_s = (self._index + 1) / self.rate_hz
        if self._closed or (self._end_s is not None and time_s >= self._end_s):
            return None
        self._index += 1
        return time_s

    def retrieve(self) -> Pixels:
        """The frame just grabbed: uint8, height x width x 3, RGB.

        Raises SourceError before the first grab.
        """
        if self._index < 0:
            raise SourceError(f"{self.name}: no frame was grabbed yet; call grab() first")
        seconds = self._index / self.rate_hz
        if self._performance is not None:
            return self._performance.act(self._index, seconds)
        return self._demo_frame(seconds % self._scenes[-1].end_s)

    def _demo_frame(self, seconds: float) -> Pixels:
        scene = next((s for s in self._scenes if seconds < s.end_s), self._scenes[-1])
        if scene.performance is None:
            return self._painter.paint(self._index, None)
        since_s, left_s = seconds - scene.start_s, scene.end_s - seconds
        if scene.stands:
            return scene.performance.act(self._index, since_s, still=1.0)
        if scene.performance.style.travels:
            return scene.performance.act(self._index, since_s, way=0.0)
        return scene.performance.act(self._index, since_s, still=1.0 - ease(min(since_s, left_s) / EASE_S))

    def close(self) -> None:
        """End the stream."""
        self._closed = True


# A sheet to look at -----------------------------------------------------------------------------------------


def contact_sheet(
    seed: int = 0,
    labels: Sequence[str] = LABELS,
    columns: int = 10,
    step_s: float = 0.16,
    size_wh: tuple[int, int] = (160, 120),
    titles: Sequence[str] | None = None,
) -> Pixels:
    """One row a label, `columns` frames that are `step_s` apart: uint8 RGB. Row r is drawn with seed + r.

    titles: what to write before each row in place of the labels.
    """
    rows = []
    for row, label in enumerate(labels):
        strip = np.hstack(list(render_clip(label, seed + row, columns, 1 / step_s, size_wh)))
        margin = np.full((size_wh[1], 150, 3), 255, np.uint8)
        title = titles[row] if titles is not None else label
        cv2.putText(
            margin, title, (6, size_wh[1] // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA
        )
        rows.append(np.hstack([margin, strip]))
    return np.asarray(np.vstack(rows), np.uint8)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG to write.")
@click.option("--seed", default=0, show_default=True, help="Of the first row; each row takes the next.")
@click.option(
    "--hide-labels", is_flag=True, help="Shuffle the rows, number them, write the labels to OUT.txt."
)
def main(out: Path, seed: int, hide_labels: bool) -> None:
    """Draw a contact sheet of all actions."""
    labels = list(LABELS)
    titles = None
    if hide_labels:
        np.random.default_rng([seed, 3]).shuffle(labels)
        titles = [f"row {row + 1}" for row in range(len(labels))]
        out.with_suffix(".txt").write_text(
            "".join(f"{t}: {x}\n" for t, x in zip(titles, labels, strict=True))
        )
    sheet = contact_sheet(seed, labels, titles=titles)
    if not cv2.imwrite(str(out), sheet[..., ::-1]):
        raise click.ClickException(f"could not write {out}")


if __name__ == "__main__":
    main()
