"""Windows of training and device are the same; the cache is mapped, content-keyed and survives damage."""

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError
from edge_har.model.cadence import TemporalContract, fill_indices
from edge_har.model.preprocess import FrameSpec
from tests.helpers.need import need_module
from tests.helpers.videos import make_dataset, noise, numbered, write_video

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.data import batches
from train.data.augment import Amounts, decide_mirror
from train.data.batches import CachedClip, Sampling, WindowPlan
from train.data.index import load_clips
from train.data.sampling import BACKGROUND
from train.data.videos import decode_ticks

SPEC = FrameSpec((16, 16))
CONTRACT = TemporalContract(5, 80, hop_ticks=1)
LABELS = ("Down", "Right")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_clips(make_dataset(tmp_path_factory.mktemp("clips"), LABELS, groups=3, frames=25))


def made_clips(
    folder: Path, count: int, frames: int = 40, rate_hz: float = 25.0, size: int = 16
) -> list[CachedClip]:
    """Clips put straight into a cache; frame i of each is a flat colour that spells i."""
    folder.mkdir(exist_ok=True)
    clips = [CachedClip(f"clip {i}", i % 2, f"g{i}", folder / f"made_{i}") for i in range(count)]
    for clip in clips:
        batches.store(clip, np.arange(frames) / rate_hz, numbered(frames, (size, size)))
    return clips


def spelled(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0, 0, 0].astype(int) + 256 * pixels[..., 0, 0, 1].astype(int)


def test_decoding_happens_once_for_a_content_and_spec(dataset, tmp_path) -> None:
    calls: list[tuple[int, int]] = []
    cached = batches.cache_clips(dataset.clips, dataset.labels, SPEC, tmp_path, lambda *at: calls.append(at))
    assert calls[-1] == (6, 6)
    assert [clip.label for clip in cached] == [dataset.labels.index(clip.label) for clip in dataset.clips]
    assert isinstance(cached[0].frames(), np.memmap) and cached[0].frames().shape == (25, 16, 16, 3)
    calls.clear()
    batches.cache_clips(dataset.clips, dataset.labels, SPEC, tmp_path, lambda *at: calls.append(at))
    assert not calls
    batches.cache_clips(
        dataset.clips, dataset.labels, FrameSpec((8, 8)), tmp_path, lambda *at: calls.append(at)
    )
    assert calls[-1] == (6, 6)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_a_damaged_cache_file_is_decoded_again(dataset, tmp_path) -> None:
    first = batches.cache_clips(dataset.clips[:1], dataset.labels, SPEC, tmp_path)[0]
    whole = first.frames().copy()
    path = Path(f"{first.stem}.frames.npy")
    path.write_bytes(path.read_bytes()[:200])
    again = batches.cache_clips(dataset.clips[:1], dataset.labels, SPEC, tmp_path)[0]
    np.testing.assert_array_equal(again.frames(), whole)


def test_a_clip_that_changed_or_went_is_named(dataset, tmp_path) -> None:
    changed = write_video(tmp_path / "changed.avi", noise(5))
    clip = replace(dataset.clips[0], path=changed)
    with pytest.raises(DataError, match=r"changed\.avi: changed since it was indexed"):
        batches.cache_clips([clip], dataset.labels, SPEC, tmp_path / "cache")
    with pytest.raises(DataError, match=r"gone\.avi: cannot be decoded"):
        gone = replace(clip, path=tmp_path / "gone.avi")
        batches.cache_clips([gone], dataset.labels, SPEC, tmp_path / "cache")


@pytest.mark.parametrize("hop", [1, 5])
def test_evaluation_windows_are_what_the_device_sees(dataset, tmp_path, hop: int) -> None:
    contract = replace(CONTRACT, hop_ticks=hop)
    cached = batches.cache_clips(dataset.clips, dataset.labels, SPEC, tmp_path)
    pixels, positions = zip(*batches.evaluation_batches(cached, contract), strict=True)
    pixels, positions = np.concatenate(pixels), np.concatenate(positions)
    for position, clip in enumerate(dataset.clips):
        ticks = decode_ticks(clip.path, SPEC, contract.interval_ms)
        starts = list(range(0, len(ticks) - 4, hop))
        if starts[-1] != len(ticks) - 5:
            starts.append(len(ticks) - 5)
        np.testing.assert_array_equal(pixels[positions == position], [ticks[s : s + 5] for s in starts])


def test_a_short_clip_is_filled_forward_and_back(tmp_path) -> None:
    clip = made_clips(tmp_path, 1, frames=6)[0]
    (window,) = batches.clip_windows(clip, TemporalContract(8, 80))
    assert window.tolist() == [[0, 2, 4][i] for i in fill_indices(3, 8)]


def test_training_windows_keep_the_cadence_within_the_jitter(tmp_path) -> None:
    plan = WindowPlan(made_clips(tmp_path, 3, 100), Sampling(CONTRACT, 16, jitter=0.2, short_share=0))
    taken = np.concatenate([spelled(plan.batch(step)[0]) for step in range(10)])
    span_ticks = (taken[:, -1] - taken[:, 0]) / 2  # at 25 Hz a tick of 80 ms is two frames
    assert (np.diff(taken) > 0).all()
    assert (
        span_ticks.min() >= 4 * 0.8 - 0.5 and span_ticks.max() <= 4 * 1.2 + 0.5 and np.ptp(span_ticks) > 0.5
    )
    assert taken[:, 0].min() < 5 and taken[:, -1].max() > 94


def test_spread_frames_are_the_notebooks_over_the_whole_clip(tmp_path) -> None:
    assert batches.spread_indices(47, 5).tolist() == [0, 9, 18, 27, 36]
    assert batches.spread_indices(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert batches.spread_indices(3, 5).tolist() == list(fill_indices(3, 5))
    clips = made_clips(tmp_path, 1, frames=47)
    spread = TemporalContract(5, 80.0, sampling="spread")
    (window,) = batches.clip_windows(clips[0], spread)
    assert window.tolist() == [0, 9, 18, 27, 36]
    pixels, _ = WindowPlan(clips, Sampling(spread, batch=2)).batch(3)
    np.testing.assert_array_equal(pixels, np.stack([clips[0].frames()[window]] * 2))


def test_no_window_spans_a_gap(tmp_path) -> None:
    clip = CachedClip("gap", 0, "g", tmp_path / "gap")
    times_s = np.concatenate([np.arange(15), 100 + np.arange(40)]) / 25
    times_s[15:] += 10
    batches.store(clip, times_s, numbered(55, (16, 16)))
    plan = WindowPlan([clip], Sampling(CONTRACT, 8))
    assert min(spelled(plan.batch(step)[0]).min() for step in range(10)) >= 15


def test_short_windows_are_filled_and_every_clip_comes_equally_often(tmp_path) -> None:
    clips = made_clips(tmp_path, 7)
    plan = WindowPlan(clips, Sampling(TemporalContract(10, 80), 7, short_share=1.0))
    windows, labels = zip(*(plan.batch(step) for step in range(20)), strict=True)
    assert any((np.diff(spelled(window)) < 0).any() for window in windows)
    for some in labels:
        assert np.bincount(some).tolist() == [4, 3]


def test_a_batch_depends_on_seed_and_step_alone(tmp_path) -> None:
    clips = made_clips(tmp_path, 5)
    mirror = decide_mirror("auto", LABELS)

    def made(seed: int, first: int, last: int) -> list[np.ndarray]:
        plan = WindowPlan(clips, Sampling(CONTRACT, 4, seed))
        return [
            pixels.numpy() for pixels, _ in batches.training_batches(plan, first, last, mirror, Amounts())
        ]

    whole, rest, other = made(0, 0, 4), made(0, 2, 4), made(1, 2, 4)
    np.testing.assert_array_equal(whole[2:], rest)
    assert not np.array_equal(rest, other)
    assert whole[0].shape == (4, 5, 16, 16, 3) and whole[0].dtype == np.float32


def test_synthetic_windows_are_the_share_that_was_asked(tmp_path) -> None:
    real, drawn = made_clips(tmp_path / "a", 3), made_clips(tmp_path / "b", 3)
    drawn = [replace(clip, label=9) for clip in drawn]
    plan = WindowPlan(real, Sampling(CONTRACT, 10, synthetic_share=0.4), drawn)
    assert [(plan.batch(step)[1] == 9).sum() for step in range(3)] == [4, 4, 4]
    with pytest.raises(MisuseError, match="under half"):
        Sampling(CONTRACT, synthetic_share=0.5)
    with pytest.raises(MisuseError, match="no clips"):
        WindowPlan(real, Sampling(CONTRACT, 10, synthetic_share=0.4))


def test_other_clips_and_turned_windows_are_of_no_label(tmp_path) -> None:
    real, other = made_clips(tmp_path / "a", 3), made_clips(tmp_path / "b", 2)
    for clip in other:
        batches.store(clip, clip.times_s(), np.full_like(clip.frames(), 7))
    other = [replace(clip, label=BACKGROUND) for clip in other]
    sampling = Sampling(CONTRACT, 10, outlier_share=0.2, other_share=0.3)
    pixels, labels = WindowPlan(real, sampling, other=other).batch(0)
    grey = (pixels == 7).all(axis=(1, 2, 3, 4))
    assert grey.sum() == 3 and (labels[grey] == BACKGROUND).all()
    assert (labels == BACKGROUND).sum() == 5 and len(labels) == 10
    assert (WindowPlan(real, sampling).batch(0)[1] == BACKGROUND).sum() == 2, "there are no other clips"
    with pytest.raises(MisuseError, match="under half"):
        Sampling(CONTRACT, other_share=0.5)


def still_windows(tmp_path: Path, count: int = 40) -> list[np.ndarray]:
    clips = made_clips(tmp_path / "clips", 2, 100)
    rows = np.random.default_rng(1).integers(0, 256, (16, 1, 3), np.uint8)  # a shake up and down shows
    for clip in clips:
        batches.store(clip, clip.times_s(), np.clip(clip.frames() // 4 + rows, 0, 255).astype(np.uint8))
    plan = WindowPlan(clips, Sampling(CONTRACT, 10, still_share=0.4))
    made = [plan.batch(step) for step in range(count // 4)]
    assert all((labels == BACKGROUND).sum() == 4 and labels[-1] == BACKGROUND for _, labels in made)
    return [window for pixels, labels in made for window in pixels[labels == BACKGROUND]]


def test_still_windows_stand_or_creep_and_some_are_shaken_or_relit(tmp_path) -> None:
    windows = still_windows(tmp_path)
    whole = [np.abs(window.astype(int) - window[0]).mean() for window in windows]
    assert min(whole) == 0 and max(whole) > 10  # grey levels
    assert 5 < sum(change < 2 for change in whole) < 35


def test_a_shaken_window_shows_the_same_scene_moved_and_begins_and_ends_calm() -> None:
    random = np.random.default_rng(3)
    frame = random.integers(0, 256, (40, 40, 3), np.uint8)
    for _ in range(20):
        shaken = batches._shaken(np.stack([frame] * 9), random)
        for moved in shaken:
            inside = moved[4:-4, 4:-4]
            offsets = [
                (y, x)
                for y in range(-2, 3)
                for x in range(-2, 3)
                if np.array_equal(inside, frame[4 + y : 36 + y, 4 + x : 36 + x])
            ]
            assert len(offsets) == 1


def test_light_changes_alike_everywhere_and_within_its_bounds() -> None:
    random = np.random.default_rng(4)
    window = np.full((9, 4, 4, 3), 100, np.uint8)
    lit = np.stack([batches._relit(window, random) for _ in range(50)])
    assert (lit == lit[:, :, :1, :1, :1]).all()
    low, high = 100 * np.exp(-batches.LIGHT_LOG), 100 * np.exp(batches.LIGHT_LOG)
    assert low - 1 <= lit.min() < 75 and 130 < lit.max() <= high + 1


def test_nothing_asks_for_every_label_alike() -> None:
    expected = batches.targets(np.int32([1, BACKGROUND]), 4).numpy()
    np.testing.assert_array_equal(expected, [[0, 1, 0, 0], [0.25] * 4])
    with pytest.raises(MisuseError, match="under half"):
        Sampling(CONTRACT, synthetic_share=0.3, still_share=0.2)
    with pytest.raises(MisuseError, match="under half"):
        Sampling(CONTRACT, still_share=-0.1)


def test_memory_and_open_files_do_not_grow_with_the_number_of_clips(tmp_path) -> None:
    def peak_bytes(count: int) -> int:
        plan = WindowPlan(made_clips(tmp_path / str(count), count, 200, size=32), Sampling(CONTRACT, 4))
        plan.batch(0)
        tracemalloc.start()
        for step in range(max(1, count // 4)):
            plan.batch(step)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few, many = peak_bytes(4), peak_bytes(120)
    assert many < few + 100_000, f"{few} bytes with 4 clips, {many} with 120 clips of 614,400 bytes each"
    assert len(os.listdir("/proc/self/fd")) < 100


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path) -> None:
    clip = CachedClip("x", 0, "g", tmp_path / "no such folder" / "x")
    with pytest.raises(DataError, match="the clip cache cannot be written"):
        batches.store(clip, np.arange(3.0), numbered(3, (16, 16)))


def test_mapping_runs_no_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11's parser fails at random in two threads at once, and TensorFlow parses while it traces."""
    clip = CachedClip("x", 0, "g", tmp_path / "x")
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    batches.store(clip, np.array([0.0, 0.04]), frames)

    def parse(*given: object, **named: object) -> None:
        raise AssertionError("the parser ran")

    monkeypatch.setattr("ast.parse", parse)
    assert np.array_equal(clip.frames(), frames) and clip.times_s().tolist() == [0.0, 0.04]
