"""Pictures of another shape than the model learned from: one warning, with the crop that mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.pipeline.events import event_ids
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler, ticks_of
from edge_har.pipeline.squeezed import squeezed
from edge_har.pipeline.stream import Stream
from edge_har.sources import open_source, parse_address
from edge_har.sources.base import Source
from edge_har.sources.options import SourceOptions
from tests.helpers.colours import INTERVAL_MS, colour_bundle, colour_bytes, painted
from tests.helpers.command import edge_har
from tests.helpers.videos import write_video

Size = tuple[int, int]
STRETCHED = FrameSpec((64, 64))
WHY = "is squeezed: the model learned from pictures of 4:3, and recognises less in others"


class Sized(Source):
    """Pictures of the sizes given, one a tick."""

    color = "rgb"

    def __init__(self, *sizes_wh: Size) -> None:
        self.sizes_wh, self.at = sizes_wh, -1

    def grab(self) -> float | None:
        self.at += 1
        return self.at * INTERVAL_MS / 1000 if self.at < len(self.sizes_wh) else None

    def retrieve(self) -> Pixels:
        return painted("Red", 1, self.sizes_wh[self.at])[0]

    def close(self) -> None:
        """Nothing to do."""


def advice(address: str, size_wh: Size, options: SourceOptions | None = None) -> str:
    """What is to be done about pictures of a source as it gives them."""
    found = squeezed(size_wh, STRETCHED, parse_address(address, options))
    assert found is not None
    return str(found).partition("; ")[2]


@pytest.mark.parametrize(
    ("size_wh", "part"),
    [
        ((1280, 720), (160, 0, 960, 720)),
        ((1920, 1080), (240, 0, 1440, 1080)),
        ((1366, 768), (171, 0, 1024, 768)),
        ((720, 1280), (0, 370, 720, 540)),
        ((1080, 1920), (0, 555, 1080, 810)),
        ((480, 480), (0, 60, 480, 360)),
        ((5, 2000), (0, 998, 5, 4)),
    ],
)
def test_the_middle_of_the_right_shape_is_named(size_wh: Size, part: tuple[int, ...]) -> None:
    found = squeezed(size_wh, STRETCHED, None)
    assert found is not None and found.part == part
    assert str(found) == (
        f"{size_wh[0]}x{size_wh[1]} {WHY}; cut it to {','.join(map(str, part))} (x, y, width, height)"
    )
    assert squeezed(part[2:], STRETCHED, None) is None


@pytest.mark.parametrize(
    "size_wh", [(320, 240), (180, 144), (352, 288), (720, 576), (720, 480), (1280, 960), (1280, 800)]
)
def test_about_the_right_shape_is_right(size_wh: Size) -> None:
    assert squeezed(size_wh, STRETCHED, None) is None


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
def test_a_model_that_does_not_stretch_squeezes_nothing(fit: str) -> None:
    assert squeezed((1920, 1080), FrameSpec((64, 64), fit), None) is None  # type: ignore[arg-type]


def test_a_frame_that_is_not_square_has_the_shape_of_what_was_learned() -> None:
    wide = FrameSpec((128, 72))
    assert squeezed((1280, 720), wide, None) is None
    found = squeezed((640, 480), wide, None)
    assert found is not None and found.part == (0, 60, 640, 360) and "of 16:9," in str(found)


@pytest.mark.parametrize(
    ("address", "size_wh", "says"),
    [
        ("0", (1280, 720), 'append "?crop=160,0,960,720" to its address'),
        ("/dev/video0?rate=30", (1280, 720), 'append "&crop=160,0,960,720" to its address'),
        ("csi:0", (1920, 1080), 'append "?crop=240,0,1440,1080" to its address'),
        ("rtsp://cam/x?y=z", (1280, 720), 'append "#crop=160,0,960,720" to its address'),
        ("rtsp://cam/x#transport=udp", (1280, 720), 'append "&crop=160,0,960,720" to its address'),
        ("gst:a ! b", (1280, 720), 'append "#crop=160,0,960,720" to its address'),
        ("file:///a.mp4", (1280, 720), 'append "#crop=160,0,960,720" to its address'),
        ("-", (1280, 720), 'append "?crop=160,0,960,720" to its address'),
        ("a.mp4", (720, 1280), 'append "?crop=0,370,720,540" to its address'),
        # A camera that hangs sideways: the crop is before the turn.
        ("0?rotate=90", (720, 1280), 'append "&crop=370,0,540,720" to its address'),
        ("0?rotate=180", (1280, 720), 'append "&crop=160,0,960,720" to its address'),
        (
            "0?crop=100,20,1280,720&mirror",
            (1280, 720),
            'write "crop=260,20,960,720" in its address instead of "crop=100,20,1280,720"',
        ),
        (
            "0?crop=100,20,720,1280&rotate=270",
            (1280, 720),
            'write "crop=100,180,720,960" in its address instead of "crop=100,20,720,1280"',
        ),
    ],
)
def test_the_advice_is_what_the_address_takes(address: str, size_wh: Size, says: str) -> None:
    assert advice(address, size_wh) == says


def test_a_crop_of_a_configuration_is_replaced_by_one_in_the_address() -> None:
    options = SourceOptions(crop=(100, 20, 1280, 720))
    assert advice("rtsp://cam/x", (1280, 720), options) == 'append "#crop=260,20,960,720" to its address'
    fixed = parse_address("rtsp://cam/x#crop=260,20,960,720", options)
    assert fixed.options.crop == (260, 20, 960, 720)


@pytest.mark.parametrize("turn", ["", "&rotate=90", "&rotate=270&mirror"])
def test_who_follows_the_advice_is_warned_no_more(turn: str) -> None:
    address = f"synthetic:Walk?size=160x90&duration=0.5{turn}"
    with open_source(address) as source:
        before = Sampler(STRETCHED, colour_bundle().manifest.temporal)
        list(ticks_of(source, before))
    assert before.squeezed is not None
    joint = str(before.squeezed).partition('append "')[2].partition('"')[0]
    with open_source(address + joint, realtime=True) as source:
        after = Sampler(STRETCHED, colour_bundle().manifest.temporal)
        shapes = {tick.frame.shape for tick in ticks_of(source, after)}
    assert shapes == {(64, 64, 3)} and after.squeezed is None


def test_a_stream_warns_once_whatever_its_pictures_do(caplog: pytest.LogCaptureFixture) -> None:
    bundle = colour_bundle()
    stream = Stream("cam", bundle, RunOptions(), event_ids())
    # A sampler each, as after a reconnection of a camera that hung.
    for sizes in ([(64, 48)] * 3 + [(128, 72)] * 3 + [(72, 128)] * 3, [(72, 128)] * 3):
        sampler = Sampler(bundle.manifest.frame, bundle.manifest.temporal)
        for ticks in ticks_of(Sized(*sizes), sampler):
            stream.recognise(ticks)
    (line,) = (record.getMessage() for record in caplog.records if "squeezed" in record.getMessage())
    assert line == f"cam: its picture of 128x72 {WHY}; cut it to 16,0,96,72 (x, y, width, height)"


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
def test_a_stream_of_a_model_that_fits_says_nothing(fit: str, caplog: pytest.LogCaptureFixture) -> None:
    bundle = colour_bundle()
    frame = replace(bundle.manifest.frame, fit=fit)
    bundle = replace(bundle, manifest=replace(bundle.manifest, frame=frame))
    stream = Stream("cam", bundle, RunOptions(), event_ids())
    for ticks in ticks_of(Sized(*[(128, 72)] * 6), Sampler(frame, bundle.manifest.temporal)):
        stream.recognise(ticks)
    assert caplog.text == ""


# The commands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "colours.ehar"
    path.write_bytes(colour_bytes())
    return path


def clip(path: Path, size_wh: Size) -> Path:
    return write_video(path, np.concatenate([painted("Red", 20, size_wh)]))


def test_run_names_the_crop_and_is_quiet_with_it_and_with_q(bundle: Path, tmp_path: Path) -> None:
    wide = clip(tmp_path / "wide.avi", (128, 72))
    run = ["run", "--model", bundle, "--source"]
    warned = edge_har(*run, wide)
    (line,) = (line for line in warned.stderr.splitlines() if "squeezed" in line)
    assert line.startswith(f"warning: {wide}: its picture of 128x72 is squeezed")
    assert line.endswith('; append "?crop=16,0,96,72" to its address')
    assert "squeezed" not in edge_har(*run, f"{wide}?crop=16,0,96,72").stderr
    assert edge_har(*run, wide, "-q").stderr == ""


def test_classify_says_it_once_a_size(bundle: Path, tmp_path: Path) -> None:
    for name, size_wh in (("a", (128, 72)), ("b", (128, 72)), ("c", (72, 128)), ("d", (64, 48))):
        clip(tmp_path / f"{name}.avi", size_wh)
    classify = ["classify", "--model", bundle, "--json", tmp_path]
    done = edge_har(*classify)
    first, second = done.stderr.splitlines()
    assert first == (
        f"warning: {tmp_path}/a.avi: its picture of 128x72 {WHY}; "
        f"edge-har run --source '{tmp_path}/a.avi?crop=16,0,96,72' takes its middle"
    )
    assert second.startswith(f"warning: {tmp_path}/c.avi: its picture of 72x128")
    assert "squeezed" not in done.stdout and done.stdout.count("\n") == 4
    assert edge_har(*classify, "-q").stderr == ""


def test_a_source_knows_its_address_however_it_is_wrapped() -> None:
    for address in ("synthetic:Walk", "synthetic:Walk?live", "synthetic:Walk?mirror&live"):
        with open_source(address) as source:
            assert source.address is not None and source.address.name == address
