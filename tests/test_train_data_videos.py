"""Clips are found as their folders or csv say, and decode to the frames that the device's tick clock
takes.
"""

from __future__ import annotations

import errno
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import DataError, MisuseError, SourceError
from edge_har.model.preprocess import FrameSpec, Pixels, prepare_frame
from edge_har.sources import recordings
from tests.helpers.need import need_clips, need_program
from tests.helpers.videos import (
    make_dataset,
    noise,
    numbered,
    write_pictures,
    write_text_as_video,
    write_video,
)
from train.data.index import load_clips
from train.data.videos import (
    LabelError,
    decode_prepared,
    decode_ticks,
    find_clips,
    measure_clip,
    tick_indices,
)
from train.runs import load_run, start_run

SPEC = FrameSpec(size_wh=(16, 16))
RATES_HZ = {10.0: Fraction(10), 25.0: Fraction(25), 29.97: Fraction(2997, 100), 30.0: Fraction(30)}


def first_at_or_after(rate: Fraction, frames: int, interval_ms: int) -> list[int]:
    """Exact arithmetic: the frame of every tick of a clip at a constant rate."""
    ticks = range(int((frames - 1) / rate * 1000 / interval_ms) + 1)
    return [-(-tick * interval_ms * rate.numerator // (1000 * rate.denominator)) for tick in ticks]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("interval_ms", [80, 100, 40, 33])
def test_every_tick_takes_the_first_frame_at_or_after_its_time(
    tmp_path: Path, rate_hz: float, interval_ms: int
) -> None:
    video = write_video(tmp_path / "a.avi", numbered(70), rate_hz)
    taken = decode_ticks(video, FrameSpec(size_wh=(32, 24)), interval_ms)
    assert taken[:, 0, 0, 0].tolist() == first_at_or_after(RATES_HZ[rate_hz], 70, interval_ms)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_ticks_are_the_prepared_frames_byte_for_byte(tmp_path: Path, rate_hz: float) -> None:
    pixels = noise(40)
    video = write_video(tmp_path / "a.avi", pixels, rate_hz)
    times_s, prepared = decode_prepared(video, SPEC)
    assert prepared.shape == (40, 16, 16, 3) and prepared.dtype == np.uint8 and times_s.dtype == np.float64
    for made, decoded in zip(pixels, prepared, strict=True):
        assert np.array_equal(prepare_frame(made, SPEC), decoded)
    np.testing.assert_allclose(times_s, np.arange(40) / rate_hz, atol=1e-6)
    assert np.array_equal(decode_ticks(video, SPEC, 80), prepared[tick_indices(times_s, 80)])


def variable_rate(video: Path, seconds: int, dropped: str) -> None:
    """Make a Matroska file with B-frames from a 30 fps picture, without the frames `dropped` says,
    by ffmpeg.
    """
    made = f"-f lavfi -i testsrc=rate=30:size=64x48:duration={seconds} -vf select=not({dropped})"
    coded = "-fps_mode vfr -c:v libx264 -bf 2 -g 15"
    ffmpeg = need_program("ffmpeg")
    subprocess.run([ffmpeg, "-v", "error", *made.split(), *coded.split(), str(video)], check=True)


def test_variable_rate_with_b_frames_goes_by_the_containers_times(tmp_path: Path) -> None:
    video = tmp_path / "variable.mkv"
    variable_rate(video, 3, r"between(mod(n\,30)\,5\,14)")
    times_s, prepared = decode_prepared(video, SPEC)
    kept = [n for n in range(90) if not 5 <= n % 30 <= 14]
    np.testing.assert_allclose(times_s, np.array(kept) / 30, atol=1e-3)  # Matroska keeps milliseconds
    indices = tick_indices(times_s, 80)
    expected = np.searchsorted(times_s, np.arange(len(indices)) * 0.08 - 1e-6)
    assert indices.tolist() == expected.tolist()
    assert np.array_equal(decode_ticks(video, SPEC, 80), prepared[indices])


def test_a_clip_with_a_silence_in_it_gives_its_longest_piece(tmp_path: Path) -> None:
    video = tmp_path / "silence.mkv"
    variable_rate(video, 4, r"between(n\,30\,80)")
    times_s, prepared = decode_prepared(video, SPEC)
    indices = tick_indices(times_s, 100)
    assert times_s[indices[0]] > 2.6  # 1.3 s after the silence, 1 s before it
    assert np.array_equal(decode_ticks(video, SPEC, 100), prepared[indices])


def test_frames_that_no_tick_needs_are_never_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []

    class Counting(recordings.FileSource):
        def retrieve(self) -> Pixels:
            converted.append(1)
            return super().retrieve()

    monkeypatch.setattr(recordings, "FileSource", Counting)
    ticks = decode_ticks(write_video(tmp_path / "a.avi", noise(30), 30.0), SPEC, 100)
    assert len(converted) == len(ticks) == 10


def test_a_tick_whose_frame_is_damaged_takes_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaged(recordings.FileSource):
        def retrieve(self) -> Pixels:
            pixels = super().retrieve()
            if pixels[0, 0, 2] == 6:  # the red of frame 6 in `numbered`
                raise SourceError("damaged")
            return pixels

    video = write_video(tmp_path / "a.avi", numbered(12), 25.0)
    monkeypatch.setattr(recordings, "FileSource", Damaged)
    size = FrameSpec(size_wh=(32, 24))
    assert decode_ticks(video, size, 120)[:, 0, 0, 0].tolist() == [0, 3, 7, 9]
    times_s, prepared = decode_prepared(video, size)
    assert prepared[tick_indices(times_s, 120), 0, 0, 0].tolist() == [0, 3, 7, 9]


def test_a_slow_clip_lends_one_frame_to_several_ticks() -> None:
    assert tick_indices(np.array([0.0, 0.25, 0.5]), 100).tolist() == [0, 1, 1, 2, 2, 2]


def test_a_later_start_begins_the_clock_at_the_first_frame_from_there() -> None:
    times_s = np.arange(10) / 10
    assert tick_indices(times_s, 200, start_s=0.25).tolist() == [3, 5, 7, 9]
    assert tick_indices(times_s, 200, start_s=0.3).tolist() == [3, 5, 7, 9]
    assert tick_indices(times_s, 200, start_s=2.0).tolist() == []


def test_no_run_of_ticks_spans_a_gap() -> None:
    times_s = np.array([0.0, 0.1, 5.0, 5.1, 5.2, 9.0])
    assert tick_indices(times_s, 100).tolist() == [2, 3, 4]
    assert tick_indices(times_s, 100, max_gap_ms=10_000).tolist()[-1] == 5


def test_real_clips_decode_to_the_same_ticks_both_ways() -> None:
    for name in ("weizmann", "fight"):
        clip = find_clips(need_clips(name))[0]
        times_s, prepared = decode_prepared(clip.path, SPEC)
        assert np.array_equal(decode_ticks(clip.path, SPEC, 80), prepared[tick_indices(times_s, 80)])


def test_measure_counts_the_frames_that_decode(tmp_path: Path) -> None:
    facts = measure_clip(write_video(tmp_path / "a.avi", noise(12), 29.97))
    assert (facts.frames, facts.width, facts.height) == (12, 32, 24)
    assert facts.rate_hz == pytest.approx(29.97) and facts.duration_s == pytest.approx(12 / 29.97, abs=1e-6)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    assert 0 < measure_clip(tmp_path / "half.avi").frames < 12


@pytest.mark.parametrize("decode", [measure_clip, lambda path: decode_ticks(path, SPEC, 80)])
def test_a_text_file_is_no_video(tmp_path: Path, decode) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SourceError, match=r"notes\.avi"):
        decode(write_text_as_video(tmp_path / "notes.avi"))


def test_a_folder_per_label_in_ucf50s_layout_gives_groups(tmp_path: Path) -> None:
    found = find_clips(make_dataset(tmp_path, ("Walk", "Run"), groups=2, clips_per_group=2, frames=2))
    assert {(clip.label, clip.group) for clip in found} == {
        (a, b) for a in ("Walk", "Run") for b in ("g01", "g02")
    }
    assert len(found) == 8 and all(clip.path.is_file() for clip in found)


def test_plain_names_have_no_group_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("walk/my clip.avi", "läuft/ein.MP4", "läuft/notes.txt", ".cache/x/a.avi"):
        write_text_as_video(tmp_path / name)
    found = find_clips(tmp_path)
    assert sorted((clip.label, clip.group) for clip in found) == [("läuft", None), ("walk", None)]


def test_a_folder_of_numbered_pictures_in_a_labels_folder_is_a_clip(tmp_path: Path) -> None:
    pixels = noise(12)
    folder = write_pictures(tmp_path / "data" / "Run" / "v_Run_g02_c01", pixels, first=7, suffix=".PNG")
    write_pictures(tmp_path / "data" / "Loose", pixels)
    video = write_video(tmp_path / "data" / "Walk" / "a.avi", pixels)
    lines: list[str] = []
    found = find_clips(tmp_path / "data", lines.append)
    assert [(clip.path, clip.label, clip.group) for clip in found] == [
        (folder, "Run", "g02"),
        (video, "Walk", None),
    ]
    assert len(lines) == 1 and "no clip in Loose: pictures one level too high" in lines[0]
    assert measure_clip(folder) == measure_clip(video)
    times_s, prepared = decode_prepared(folder, SPEC)
    assert times_s.tolist() == [i / 25 for i in range(12)]
    assert np.array_equal(prepared, decode_prepared(video, SPEC)[1])
    (tmp_path / "clips.csv").write_text("path,label\ndata/Run/v_Run_g02_c01,Run\ndata/Walk/a.avi,Walk\n")
    assert [clip.path for clip in find_clips(tmp_path / "clips.csv")] == [folder, video]


def test_each_label_without_a_clip_and_whatever_else_is_passed_over_is_reported(tmp_path: Path) -> None:
    for name in (
        "Walk/a.avi",
        "Walk/notes.txt",
        "Walk/bare",
        "Run/b.hevc",
        "Cat/cat.jpg",
        "Cat/dog.jpg",
    ):
        write_text_as_video(tmp_path / name)
    (tmp_path / "Empty").mkdir()
    (tmp_path / "Jog").symlink_to("Run")
    (tmp_path / "Run" / "lost.avi").symlink_to("nowhere")
    os.mkfifo(tmp_path / "Run" / "pipe.avi")
    lines: list[str] = []
    assert [clip.path.name for clip in find_clips(tmp_path, lines.append)] == ["b.hevc", "a.avi"]
    assert lines[:2] == [f"{tmp_path}: no clip in Cat: 2 .jpg", f"{tmp_path}: no clip in Empty: empty"]
    assert lines[2:] == [
        f"{tmp_path}: passed over 1 .txt, 1 linked to a folder already searched (Jog), "
        + "1 linked to nothing (Run/lost.avi), 1 neither file nor folder (Run/pipe.avi), "
        + "1 without a suffix (Walk/bare)"
    ]


def test_a_label_whose_folder_cannot_be_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Walk/a.avi", "Run/b.avi", "Shut/c.avi"):
        write_text_as_video(tmp_path / name)
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path.endswith("Shut"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    lines: list[str] = []
    assert [clip.label for clip in find_clips(tmp_path, lines.append)] == ["Run", "Walk"]
    assert lines == [f"{tmp_path}: no clip in Shut: unreadable: Permission denied"]


def test_videos_that_a_folders_csv_does_not_name_are_reported(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi", "more/c.avi"):
        write_text_as_video(tmp_path / name)
    (tmp_path / "clips.csv").write_text("path,label\na.avi,Walk\nb.avi,Run\n")
    lines: list[str] = []
    assert len(find_clips(tmp_path, lines.append)) == 2
    assert len(lines) == 1 and "1 videos beside it are not in it, such as" in lines[0]
    assert lines[0].endswith("more/c.avi")


def test_a_clips_csv_wins_over_folder_names(tmp_path: Path) -> None:
    for name in ("videos/a.avi", "videos/b.avi", "videos/unlisted.avi"):
        write_text_as_video(tmp_path / name)
    (tmp_path / "clips.csv").write_text(
        "path,label,group,note\nvideos/a.avi,Walk,anna,x\nvideos/b.avi, Run ,,\n"
    )
    for source in (tmp_path, tmp_path / "clips.csv"):
        found = [(clip.path.name, clip.label, clip.group) for clip in find_clips(source)]
        assert found == [("a.avi", "Walk", "anna"), ("b.avi", "Run", None)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "Walk/a.avi,Run,\nRun/b.avi,Run,\nx/c.avi,Walk,",
            r"Walk/a\.avi: labelled Run, but its folder says Walk",
        ),
        ("x/v_Walk_g01_c01.avi,Run,\nx/b.avi,Walk,", "labelled Run, but its name says Walk"),
        ("a.avi,Walk,\na.avi,Walk,\nb.avi,Run,", r"line 3: a\.avi is listed twice"),
        ("a.avi,,\nb.avi,Run,", "line 2: path and label must not be empty"),
        ("a.avi,Run,\nb.avi,Run,", r"only one label \(Run\)"),
        ("", "no videos found"),
    ],
)
def test_a_clips_csv_that_contradicts_itself_is_refused(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "clips.csv").write_text("path,label,group\n" + rows)
    with pytest.raises(DataError, match=says):
        find_clips(tmp_path)


@pytest.mark.parametrize("content", [b"name,label\n", b"", b"\xff\xfe\x00path,label"])
def test_a_csv_without_the_columns_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clips.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"clips\.csv"):
        find_clips(tmp_path)


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or csv"):
        find_clips(tmp_path / "absent")
    with pytest.raises(DataError, match="no videos found"):
        find_clips(tmp_path)
    write_text_as_video(tmp_path / "Walk" / "a.avi")
    with pytest.raises(DataError, match=r"only one label \(Walk\)"):
        find_clips(tmp_path)
    write_text_as_video(tmp_path / "deep" / "Run" / "a.avi")
    with pytest.raises(DataError, match=r"deep/Run/a\.avi is not in a label's folder"):
        find_clips(tmp_path)
    with pytest.raises(DataError, match="not a data set"):
        find_clips(tmp_path / "Walk" / "a.avi")


LABELS_THAT_CANNOT_BE = [
    (("Walk", "walk"), "labels 'Walk' and 'walk' differ only in case, blanks or encoding"),
    (("Bend", "Bend "), "labels 'Bend' and 'Bend ' differ only in case"),
    (("\u00e9", "e\u0301"), r"labels 'e\\u0301' and '\\xe9' differ only in case"),
    (("Run", "Bend "), "label 'Bend ' begins or ends with a blank"),
    (("Run", "Be\x1bnd"), r"label 'Be\\x1bnd' holds a control character"),
    (("Run", "Be\u200bnd"), r"label 'Be\\u200bnd' holds a control character, or one that does not show"),
    (("Run", "x" * 65), "a label has 64 characters at most"),
]


@pytest.mark.parametrize(("labels", "says"), LABELS_THAT_CANNOT_BE)
def test_labels_of_folders_that_cannot_be_are_refused_before_a_clip_is_opened(
    tmp_path: Path, labels: tuple[str, str], says: str
) -> None:
    for label in labels:
        write_text_as_video(tmp_path / label / "a.avi")
    with pytest.raises(LabelError, match=says) as caught:
        find_clips(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and str(caught.value).isprintable()


@pytest.mark.parametrize("odd", ["walk", "Wa\u200blk", "x" * 65])
def test_labels_of_a_csv_are_held_to_the_same_rule(tmp_path: Path, odd: str) -> None:
    rows = f"path,label,group\na.avi,Walk,\nb.avi,Run,\nc.avi,{odd},\n"
    (tmp_path / "clips.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(LabelError):
        find_clips(tmp_path)


def test_a_folder_whose_accents_lie_apart_is_the_label_with_them(tmp_path: Path) -> None:
    """As archives made on macOS unpack."""
    for folder in ("Ge\u0301rer", "Run"):
        write_text_as_video(tmp_path / folder / "a.avi")
    found = find_clips(tmp_path)
    assert {clip.label for clip in found} == {"G\u00e9rer", "Run"}
    assert all(clip.path.is_file() for clip in found)


def test_clips_whose_names_are_not_utf8_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    for label in (b"run", b"w\xe9"):
        folder = tmp_path / os.fsdecode(label)
        folder.mkdir()
        (folder / "a.avi").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of its 2 clips have a name that is not UTF-8.*w.udce9/a\.avi"):
        find_clips(tmp_path)


def test_a_clip_in_a_folder_whose_name_is_not_utf8_decodes(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"j\xf6rg")
    write_video(tmp_path / "a.avi", numbered(20), 10.0)
    folder.mkdir()
    clip = (tmp_path / "a.avi").rename(folder / "a.avi")
    assert measure_clip(clip).frames == 20


def test_a_path_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    for read in (find_clips, load_clips, load_run):
        with pytest.raises(DataError, match="cannot be used: File name too long"):
            read(tmp_path / ("n" * 300))
    with pytest.raises(MisuseError, match="cannot be used: File name too long"):
        start_run(tmp_path / ("n" * 300), {}, {})
    with pytest.raises(MisuseError, match="not UTF-8; choose another --out"):
        start_run(tmp_path / os.fsdecode(b"r\xe9"), {}, {})
