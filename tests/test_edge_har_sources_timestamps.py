"""Times of recordings whose time stamps are wrong, out of order or count from elsewhere."""

from __future__ import annotations

import math
import random
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_har.sources.files import FileSource
from edge_har.sources.timestamps import LOOK_AHEAD, TimestampRepair
from tests.helpers import fuzz_recording
from tests.helpers.fuzzing import run_cases
from tests.helpers.need import need_program
from tests.helpers.videos import numbered, write_video
from train.data.videos import measure_clip

STEP_S = 0.04
HOUR_S = 3600.0


def repaired(stamps_s: list[float], step_s: float = STEP_S) -> list[float]:
    """All times of a list of stamps, as a file's frames come."""
    repair, times_s = TimestampRepair(step_s), []
    for place, stamp_s in enumerate(stamps_s, start=1):
        following = stamps_s[place : place + LOOK_AHEAD] if repair.needs_following(stamp_s) else []
        times_s.append(repair.at(stamp_s, following))
    return times_s


STEADY = [STEP_S * n for n in range(40)]


@pytest.mark.parametrize("away_s", [HOUR_S, -HOUR_S, 90.0, 90_000.0])
@pytest.mark.parametrize("wrong", [[0], [1], [20], [39], [38, 39], [0, 1], [20, 21, 22, 23], [5, 20, 30]])
def test_wrong_stamps_move_no_later_time(away_s: float, wrong: list[int]) -> None:
    stamps_s = [time_s + away_s * (n in wrong) for n, time_s in enumerate(STEADY)]
    np.testing.assert_allclose(repaired(stamps_s), STEADY, atol=1e-6)


@pytest.mark.parametrize(
    "order", [[1, 0], [3, 0, 1, 2], [3, 1, 0, 2], [8, 4, 2, 1, 3, 6, 5, 7], [*range(16)]]
)
def test_stamps_out_of_order_stay_within_their_span(order: list[int]) -> None:
    group = len(order) + 1
    stamps_s = [STEP_S * (group * block + place) for block in range(20) for place in (0, *_one_based(order))]
    times_s = repaired(stamps_s)
    true_s = STEP_S * np.arange(len(stamps_s))
    assert np.abs(np.array(times_s) - true_s).max() <= STEP_S * group
    assert times_s[-1] <= true_s[-1] + 2 * STEP_S * group


@pytest.mark.parametrize("within_s", [0.2, 1.0, 4.0, 12.0])
def test_stamps_in_no_order_at_all_take_about_as_long_as_their_span(within_s: float) -> None:
    for seed in range(20):
        rng = random.Random(seed)
        stamps_s = [STEP_S * n + rng.uniform(0, within_s) for n in range(325)]
        assert STEP_S * 324 <= repaired(stamps_s)[-1] <= max(stamps_s) + max(1.0, within_s), seed


def _one_based(order: list[int]) -> list[int]:
    ranks = {value: rank for rank, value in enumerate(sorted(order), start=1)}
    return [ranks[value] for value in order]


@pytest.mark.parametrize(("first", "second"), [(250, 250), (20, 100), (250, 10), (20, 20), (100, 10)])
def test_a_recording_that_starts_over_runs_on(first: int, second: int) -> None:
    stamps_s = [STEP_S * n for n in (*range(first), *range(second))]
    np.testing.assert_allclose(repaired(stamps_s), STEP_S * np.arange(first + second), atol=1e-6)


@pytest.mark.parametrize("silence_s", [0.3, 1.7, HOUR_S])
def test_a_silence_that_holds_is_a_silence(silence_s: float) -> None:
    stamps_s = [time_s + silence_s * (n >= 20) for n, time_s in enumerate(STEADY)]
    assert repaired(stamps_s) == stamps_s


@pytest.mark.parametrize("stamp_s", [0.0, math.nan, math.inf, 5.0])
def test_frames_without_a_stamp_of_their_own_are_a_step_apart(stamp_s: float) -> None:
    first_s = stamp_s if math.isfinite(stamp_s) else 0.0
    np.testing.assert_allclose(repaired([stamp_s] * 10), first_s + STEP_S * np.arange(10))


def made_list(rng: random.Random) -> tuple[list[float], list[float]]:
    """Times of a camera whose rate is uneven, with a silence; and its stamps, of which some are wrong."""
    times_s = [rng.choice((0.0, 7.0))]
    for _ in range(rng.randrange(30, 150)):
        times_s.append(times_s[-1] + rng.uniform(STEP_S, 1.5 * STEP_S))
    silence = rng.randrange(10, 20)
    silence_s = rng.choice((0.0, 2.0, HOUR_S))
    times_s[silence:] = [time_s + silence_s for time_s in times_s[silence:]]
    stamps_s = list(times_s)
    quiet = silence + LOOK_AHEAD + 1
    while (quiet := quiet + rng.randrange(1, 20)) < len(stamps_s) - LOOK_AHEAD - 2:
        away_s = rng.choice((-1, 1)) * rng.uniform(20, 90_000)
        for place in range(quiet, quiet + rng.randrange(1, LOOK_AHEAD + 1)):
            stamps_s[place] += away_s + rng.choice((0.0, rng.uniform(0, 5)))
        quiet += 2 * LOOK_AHEAD
        if quiet < len(stamps_s):
            stamps_s[quiet] = rng.choice((0.0, math.nan))
        quiet += 1
    return times_s, stamps_s


def test_made_lists_get_the_times_that_they_were_made_from() -> None:
    for seed in range(1000):
        times_s, stamps_s = made_list(random.Random(seed))
        got_s = repaired(stamps_s)
        assert all(a <= b for a, b in pairwise(got_s)), seed
        for true_s, stamp_s, time_s in zip(times_s, stamps_s, got_s, strict=True):
            assert abs(time_s - true_s) <= (1e-6 if stamp_s == true_s else 2 * LOOK_AHEAD * STEP_S), seed


def test_any_stamps_give_times_that_run_forward() -> None:
    odd = (0.0, -1.0, 0.04, 1e12, -1e12, math.nan, math.inf, -math.inf, 5.0, 0.5)
    for seed in range(1000):
        rng = random.Random(seed)
        stamps_s = [
            rng.choice(odd) if rng.random() < 0.5 else rng.uniform(0, 20) for _ in range(rng.randrange(1, 60))
        ]
        times_s = repaired(stamps_s)
        assert all(map(math.isfinite, times_s)) and all(a <= b for a, b in pairwise(times_s)), seed


# Real recordings --------------------------------------------------------------------------------------------


def recording(path: Path, *arguments: str) -> Path:
    """Six seconds at 25 frames a second, made by ffmpeg with `arguments` before the name of the file."""
    made = ["-f", "lavfi", "-i", "testsrc=rate=25:size=64x48:duration=6", "-bf", "0", "-g", "25"]
    subprocess.run([need_program("ffmpeg"), "-v", "quiet", *made, *arguments, str(path)], check=True)
    return path


def read(path: Path) -> tuple[list[float], str | None]:
    """Times, and the warning."""
    with FileSource(path) as source:
        times_s = []
        while (time_s := source.grab()) is not None:
            times_s.append(time_s)
        return times_s, source.warning


TICKS_HZ = {"mkv": 1000, "mp4": 12_800, "ts": 90_000}


@pytest.mark.parametrize("suffix", TICKS_HZ)
@pytest.mark.parametrize("away_s", [3600, -3600])
def test_one_frame_stamped_an_hour_away_moves_nothing(tmp_path: Path, suffix: str, away_s: int) -> None:
    stamp = f"setts=pts='if(eq(N,50),PTS+{away_s * TICKS_HZ[suffix]},PTS)':dts=DTS"
    path = recording(tmp_path / f"hour.{suffix}", "-c:v", "libx264", "-bsf:v", stamp)
    times_s, warning = read(path)
    off_s = np.abs(np.array(times_s) - STEP_S * np.arange(150))
    assert off_s[50] <= STEP_S and np.delete(off_s, 50).max() < 2e-3
    assert warning is None and measure_clip(path).duration_s == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("order", ["2-2*mod(N,3)", "if(mod(N,2),-1,1)", "8*random(1)"])
def test_frames_out_of_order_take_as_long_as_they_did(tmp_path: Path, order: str) -> None:
    stamp = f"setts=pts='40*(N+{order})':dts=40*N"
    path = recording(tmp_path / "order.mkv", "-c:v", "mjpeg", "-bsf:v", stamp)
    assert measure_clip(path).duration_s == pytest.approx(6, abs=0.4)


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4", "mov", "ts", "flv", "avi", "wmv", "mpg"])
def test_a_segment_of_a_longer_recording_is_whole(tmp_path: Path, suffix: str) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4", "wmv": "wmv2", "mpg": "mpeg2video"}.get(suffix, "libx264")
    recording(tmp_path / f"%d.{suffix}", "-c:v", codec, *["-f", "segment", "-segment_time", "2"])
    for number in range(3):
        times_s, warning = read(tmp_path / f"{number}.{suffix}")
        assert len(times_s) == 50 and warning is None


def test_a_segment_that_is_cut_says_so(tmp_path: Path) -> None:
    recording(tmp_path / "%d.mkv", "-c:v", "mjpeg", *["-f", "segment", "-segment_time", "2"])
    content = (tmp_path / "2.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    _, warning = read(tmp_path / "cut.mkv")
    assert warning is not None and "ends after 1.0 s; the file states 2.0 s" in warning


def test_an_avi_with_repeated_frames_is_whole(tmp_path: Path) -> None:
    select = r"select=not(between(n\,50\,60))"
    path = recording(tmp_path / "a.avi", "-vf", select, "-fps_mode", "vfr", "-c:v", "mpeg4")
    times_s, warning = read(path)
    assert len(times_s) == 139 and warning is None


def test_pixels_are_those_of_the_frame_that_was_grabbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where frames were decoded ahead to see what a stamp is worth."""
    path = write_video(tmp_path / "a.avi", numbered(40))
    monkeypatch.setattr(TimestampRepair, "needs_following", lambda *_: random.random() < 0.3)
    random.seed(1)
    with FileSource(path) as source:
        seen = []
        while source.grab() is not None:
            seen.append(int(source.retrieve()[0, 0, 2]))
    assert seen == list(range(40))


def test_recordings_with_broken_stamps_are_read() -> None:
    """`make fuzz` has more of them."""
    taken, refused = run_cases("recording", fuzz_recording.case, 150, seed=100)
    assert taken > 100 and taken + refused == 150
