"""Folders and patterns as one source: file after file, nothing of one in the next."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_har.errors import SourceError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.pipeline.events import Event
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.pipeline import Pipeline, Summary
from edge_har.pipeline.sampler import Sampler, Ticks, ticks_of
from edge_har.sources import open_source
from edge_har.sources.files import FileSource
from edge_har.sources.paced import PacedSource
from edge_har.sources.playlist import PlaylistSource
from tests.helpers.colours import FRAMES, GREY, INTERVAL_MS, colour_bundle, painted
from tests.helpers.running import Kept
from tests.helpers.videos import noise, numbered, write_text_as_video, write_video

INTERVAL_S = INTERVAL_MS / 1000


def reading(uri: str) -> tuple[list[float], list[int], list[Pixels], str | None]:
    """Times, parts and frames (BGR) of a source to its end, and its warning."""
    times_s, parts, pictures = [], [], []
    with open_source(uri) as source:
        while (time_s := source.grab()) is not None:
            times_s.append(time_s)
            parts.append(source.part)
            pictures.append(source.retrieve())
        return times_s, parts, pictures, source.warning


def test_a_folder_plays_its_videos_in_sorted_order_with_times_that_run_on(tmp_path: Path) -> None:
    content = noise(9, (34, 22))
    write_video(tmp_path / "b.avi", content[3:6], 10.0)
    write_video(tmp_path / "a.avi", content[:3], 25.0)
    write_video(tmp_path / "c" / "d.avi", content[6:], 25.0)
    write_video(tmp_path / ".hidden.avi", content[:1])
    (tmp_path / "notes.txt").write_text("no video")
    times_s, parts, pictures, warning = reading(str(tmp_path))
    assert np.array_equal(np.stack(pictures)[..., ::-1], content)
    assert parts == [0, 0, 0, 1, 1, 1, 2, 2, 2] and warning is None
    assert times_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.22, 0.32, 0.42, 0.46, 0.50], abs=1e-4)


def test_a_pattern_plays_what_it_matches_and_options_hold_for_all(tmp_path: Path) -> None:
    for name in ("one.avi", "two.avi", "three.mkv.avi", "x.mp4"):
        write_video(tmp_path / name, numbered(2, (34, 22)))
    times_s, parts, pictures, _ = reading(f"{tmp_path}/*.avi?rotate=90")
    assert len(times_s) == 6 and parts[-1] == 2 and pictures[0].shape == (34, 22, 3)
    assert reading(f"{tmp_path}/t[w]o.avi")[1] == [0, 0]
    with pytest.raises(SourceError, match="no such file"):
        open_source(f"{tmp_path}/*.mov")
    with pytest.raises(SourceError, match="no videos"):
        (tmp_path / "empty").mkdir()
        open_source(str(tmp_path / "empty"))


def test_a_name_with_the_signs_of_a_pattern_is_a_file_where_it_is_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", numbered(2)).rename(tmp_path / "a[1]?rotate=90")
    with open_source(str(path)) as source:
        assert isinstance(source, FileSource) and source.path == path


def test_files_that_cannot_be_read_are_told_and_the_rest_plays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_text_as_video(tmp_path / "a.avi")
    whole = write_video(tmp_path / "b.avi", noise(50, (64, 48)))
    (tmp_path / "c.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "d.avi").write_bytes(whole.read_bytes()[:3000])
    write_video(tmp_path / "e.avi", noise(3))
    with caplog.at_level(logging.INFO, "edge_har"):
        times_s, parts, _, warning = reading(str(tmp_path))
    assert sorted(set(parts)) == [1, 2, 4] and parts.count(1) == 50 and parts.count(4) == 3
    assert warning == "3 of 5 files could not be read wholly"
    assert "a.avi: a text file, not a video" in caplog.text and "c.avi: its video ends after" in caplog.text
    assert "e.avi begins at" in caplog.text
    assert all(b > a for a, b in pairwise(times_s))
    for name in ("b.avi", "c.avi", "e.avi"):
        (tmp_path / name).unlink()
    with pytest.raises(SourceError, match="none of its 2 files can be read"):
        reading(str(tmp_path))


def test_it_plays_by_the_clock_where_that_is_asked_and_stops_when_closed(tmp_path: Path) -> None:
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, numbered(3), 50.0)
    with open_source(str(tmp_path), realtime=True) as source:
        assert isinstance(source, PacedSource) and source.live
        parts = [source.part for _ in range(6) if source.grab() is not None]
        assert parts == [0, 0, 0, 1, 1, 1] and source.grab() is None
    source = PlaylistSource([str(tmp_path / "a.avi"), str(tmp_path / "b.avi")], "x")
    source.grab()
    source.close()
    assert source.grab() is None
    with pytest.raises(SourceError):
        source.retrieve()


# Ticks and events -------------------------------------------------------------------------------------------


def test_every_file_has_a_tick_clock_of_its_own(tmp_path: Path) -> None:
    """As if each were alone: the first frame of each is a tick, whatever the file before left over."""
    lengths = (7, 4, 9)
    for number, length in enumerate(lengths):
        write_video(tmp_path / f"{number}.avi", numbered(length))
    sampler = Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0))
    with open_source(str(tmp_path)) as source:
        made = list(ticks_of(source, sampler))
    assert [int(ticks.frame[0, 0, 0]) for ticks in made] == [0, 2, 4, 6, 0, 2, 0, 2, 4, 6, 8]
    assert [ticks.reset for ticks in made] == [i in (0, 4, 6) for i in range(11)]
    assert [len(ticks.times_s) for ticks in made] == [1] * 11


def scene(path: Path, *parts: tuple[object, float]) -> Path:
    return write_video(path, np.concatenate([painted(c, round(s * 25), (32, 24)) for c, s in parts]))


def told_by(uri: Path | str, **options: object) -> tuple[list[Event], Summary]:
    """All events but updates of a run with the bundle that tells colours."""

    sink = Kept()
    (summary,) = Pipeline(colour_bundle(), [str(uri)], [sink], RunOptions(**options)).run()
    return [event for event in sink.events if event.type != "update"], summary


def test_a_folder_tells_what_its_files_tell_alone(tmp_path: Path) -> None:
    """Red to the last frame of one file and from the first frame of the next is two events,
    each of its own file.
    """
    folder = tmp_path / "clips"
    files = [
        scene(folder / "a.avi", (GREY, 0.8), ("Red", 1.6)),
        scene(folder / "b.avi", ("Red", 1.6), (GREY, 1.2)),
        scene(folder / "c.avi", (GREY, (FRAMES - 1) * INTERVAL_S / 2)),  # too short for a window
        scene(folder / "d.avi", ("Green", 1.6)),
    ]
    together, summary = told_by(folder)
    alone = [told_by(path) for path in files]
    shift_s, expected = 0.0, []
    for path, (events, _) in zip(files, alone, strict=True):
        expected += [(e.type, e.label, e.start_s + shift_s) for e in events]
        with FileSource(path) as source:
            shift_s += sum(1 for _ in iter(source.grab, None)) / 25
    assert [(e.type, e.label) for e in together] == [(kind, label) for kind, label, _ in expected]
    assert [e.start_s for e in together] == pytest.approx([start_s for *_, start_s in expected], abs=1e-3)
    assert [label for kind, label, _ in expected if kind == "start"] == ["Red", "Red", "Green"]
    assert summary.ticks == sum(s.ticks for _, s in alone)
    assert (summary.skipped, summary.repeated) == (0, 0)
    assert [e.reason for e in together if e.type == "end"] == ["gap", "left", "stop"]


def test_a_new_part_begins_anew_for_any_source() -> None:
    class Two(PlaylistSource):
        """Two parts without a gap in time."""

        def __init__(self) -> None:
            self.part, self.count = 0, 0

        def grab(self) -> float | None:
            self.count += 1
            self.part = int(self.count > 3)
            return self.count * 0.08 if self.count <= 6 else None

        def retrieve(self) -> Pixels:
            return numbered(1)[0]

    made: list[Ticks] = list(ticks_of(Two(), Sampler(FrameSpec((8, 8)), TemporalContract(4, 80.0))))
    assert [ticks.reset for ticks in made] == [True, False, False, True, False, False]
