"""An index names exactly the clips that decode, wherever it lies and whichever way they were found."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from edge_har.errors import DataError
from tests.helpers.need import need_clips
from tests.helpers.videos import make_dataset, noise, write_text_as_video, write_video
from train.data.index import COLUMNS, Dataset, build_index, load_clips, shared_content, write_index


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two labels, five groups, twenty clips of six frames."""
    return make_dataset(tmp_path / "clips", ("Walk", "Run"), groups=5, clips_per_group=2, frames=6)


def test_the_index_states_what_was_decoded(clips: Path, tmp_path: Path) -> None:
    write_index(build_index(clips), tmp_path / "index.csv")
    with (tmp_path / "index.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 20
    first = rows[0]
    assert first["path"] == "clips/Run/v_Run_g01_c01.avi"
    assert (first["label"], first["group"], first["frames"]) == ("Run", "g01", "6")
    assert [float(first[key]) for key in ("rate_hz", "width", "height", "duration_s")] == [25, 32, 32, 0.24]
    assert first["sha256"] == hashlib.sha256((tmp_path / first["path"]).read_bytes()).hexdigest()


def test_folder_csv_and_index_name_the_same_set(clips: Path, tmp_path: Path) -> None:
    of_folder = load_clips(clips)
    (tmp_path / "elsewhere").mkdir()
    index = tmp_path / "elsewhere" / "index.csv"
    write_index(of_folder, index)
    assert load_clips(index) == of_folder
    rows = [f"{clip.name},{clip.label},{clip.group}" for clip in of_folder.clips]
    (clips / "clips.csv").write_text("\n".join(["path,label,group", *reversed(rows)]))
    assert load_clips(clips) == load_clips(clips / "clips.csv") == of_folder
    assert of_folder.labels == ("Run", "Walk") and of_folder.groups == ("g01", "g02", "g03", "g04", "g05")


def test_an_index_found_through_a_link_still_finds_its_clips(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "data").symlink_to(clips)
    write_index(build_index(tmp_path / "data"), tmp_path / "link" / "index.csv")
    assert len(load_clips(tmp_path / "link" / "index.csv").clips) == 20


def test_the_hash_follows_content_label_and_group(clips: Path) -> None:
    dataset = build_index(clips)
    first, *rest = dataset.clips
    for changed in (
        replace(first, sha256="0" * 64),
        replace(first, label="Walk"),
        replace(first, group="g09"),
    ):
        assert Dataset((changed, *rest), True).sha256 != dataset.sha256
    moved = tuple(replace(clip, path=Path("elsewhere") / clip.name) for clip in dataset.clips)
    assert Dataset(moved, True).sha256 == dataset.sha256


def test_without_groups_every_clip_is_its_own(tmp_path: Path) -> None:
    for label in ("Walk", "Run"):
        for number in range(3):
            write_video(tmp_path / "clips" / label / f"{number}.avi", noise(2, seed=number))
    dataset = build_index(tmp_path / "clips")
    assert not dataset.groups_known and dataset.groups == tuple(clip.name for clip in dataset.clips)
    write_index(dataset, tmp_path / "index.csv")
    assert load_clips(tmp_path / "index.csv") == dataset
    assert len(shared_content(dataset)) == 3  # the same noise stands under both labels


def test_an_unreadable_clip_is_left_out_and_named(clips: Path) -> None:
    before = build_index(clips)
    broken = write_text_as_video(clips / "Run" / "v_Run_g01_c09.avi")
    after = build_index(clips)
    assert [path for path, _ in after.unreadable] == [broken] and after.clips == before.clips
    assert after.sha256 == before.sha256


def test_more_than_a_twentieth_unreadable_is_an_error(clips: Path) -> None:
    for number in (7, 8):
        write_text_as_video(clips / "Run" / f"v_Run_g01_c0{number}.avi")
    with pytest.raises(
        DataError, match=r"2 of 22 clips cannot be decoded, more than 5%.*c07\.avi, v_Run_g01_c08"
    ):
        build_index(clips)


def test_clips_without_frames_and_clips_that_are_gone_are_unreadable(clips: Path) -> None:
    (clips / "Run" / "v_Run_g01_c01.avi").write_bytes(b"")
    assert len(build_index(clips).unreadable) == 1
    names = [path.relative_to(clips).as_posix() for path in sorted(clips.rglob("*.avi"))]
    listed = "\n".join(f"{name},{Path(name).parent.name},g1" for name in [*names[1:], "Run/gone.avi"])
    (clips / "clips.csv").write_text("path,label,group\n" + listed)
    assert [path.name for path, _ in build_index(clips).unreadable] == ["gone.avi"]


def test_a_label_of_which_nothing_decodes_is_an_error(clips: Path) -> None:
    write_text_as_video(clips / "Fall" / "a.avi")
    with pytest.raises(DataError, match="no clip of Fall can be decoded"):
        build_index(clips)


def test_an_index_whose_clips_are_gone_or_damaged_is_refused(clips: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    write_index(build_index(clips), index)
    good = index.read_text()
    index.write_text(good.replace(",6,", ",six,", 1))
    with pytest.raises(DataError, match=r"line 2.*make the index again"):
        load_clips(index)
    index.write_text(good)
    (clips / "Run" / "v_Run_g01_c01.avi").unlink()
    with pytest.raises(DataError, match=r"1 of its clips are gone, such as .*v_Run_g01_c01\.avi"):
        load_clips(index)


def test_progress_counts_to_the_end(clips: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_index(clips, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 20) for done in range(1, 21)]


def test_real_clips_have_the_frames_that_their_list_states() -> None:
    folder = need_clips()
    with (folder / "clips.csv").open(newline="") as lines:
        stated = {row["path"]: (row["group"], int(row["frames"])) for row in csv.DictReader(lines)}
    dataset = load_clips(folder)
    assert {clip.name: (clip.group, clip.facts.frames) for clip in dataset.clips} == stated
    assert len(dataset.labels) == 9 and dataset.groups_known


def test_labels_of_an_index_are_held_to_the_rule(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    write_index(build_index(make_dataset(tmp_path / "clips", ("Walk", "Run"))), index)
    text = index.read_text()
    index.write_text(text.replace(",Run,", ",walk,"))
    with pytest.raises(DataError, match=r"index\.csv: labels 'Walk' and 'walk' differ only in case"):
        load_clips(index)
    index.write_text(text.replace(",Run,", ",Ge\u0301rer,"), encoding="utf-8")
    assert load_clips(index).labels == ("G\u00e9rer", "Walk")


def test_clips_of_nothing_in_particular_are_no_label(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    write_index(build_index(make_dataset(tmp_path / "clips", ("Walk", "Run", "_other"), groups=2)), index)
    dataset = load_clips(index)
    assert dataset.labels == ("Run", "Walk") and len(dataset.clips) == 6
    assert {clip.label for clip in dataset.other} == {"_other"} and len(dataset.labelled) == 4
    with pytest.raises(DataError, match="only one label"):
        build_index(make_dataset(tmp_path / "few", ("Walk", "_other"), groups=2))
