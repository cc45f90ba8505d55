"""`edge-har data` as a user meets it: files, exit codes, one clear line for what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.videos import make_dataset, noise, write_text_as_video, write_video


def edge_har(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "edge_har", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_line(run: subprocess.CompletedProcess[str], exit_code: int, *says: str) -> None:
    """The run failed with that code and a last line that says it, with no traceback."""
    assert run.returncode == exit_code, run.stderr
    assert run.stdout == "" and "Traceback" not in run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.lower().startswith("error: ") and all(word in last for word in says), run.stderr


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "clips", ("Walk", "Run"), groups=5, clips_per_group=2, frames=3)


def test_a_folder_of_what_else_happens_joins_the_index(clips: Path, tmp_path: Path) -> None:
    for name in ("v_Talk_g01_c01.avi", "deep/er/2.avi"):
        (tmp_path / "else" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "else" / name, noise(3))
    (tmp_path / "else" / "notes.txt").write_text("filmed on Monday")
    made = edge_har("data", "index", "clips", "--other", "else", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "else: passed over 1 .txt" in made.stderr
    rows = [line.split(",")[:3] for line in (tmp_path / "index.csv").read_text().splitlines()]
    other = [row for row in rows if row[1] == "_other"]
    assert other == [
        ["else/deep/er/2.avi", "_other", ""],
        ["else/v_Talk_g01_c01.avi", "_other", "else/g01"],
    ]
    assert edge_har("data", "split", "index.csv", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "split.json").read_text())["groups"] == "known"
    indexed = edge_har(
        "train", "--data", "index.csv", "--other", "else", "--model", "motion", "--out", "R", cwd=tmp_path
    )
    assert_one_line(indexed, 2, "index.csv: an index holds its other clips")
    gone = edge_har("data", "index", "clips", "--other", "nowhere", cwd=tmp_path)
    assert_one_line(gone, 1, "nowhere: no such folder")
    (tmp_path / "empty").mkdir()
    empty = edge_har("data", "index", "clips", "--other", "empty", cwd=tmp_path)
    assert_one_line(empty, 1, "empty: no videos found; empty: passed over")
    inside = edge_har("data", "index", "clips", "--other", "else", "--out", "else/index.csv", cwd=tmp_path)
    assert_one_line(inside, 2, "lies in the data set else")


def test_index_then_split(clips: Path, tmp_path: Path) -> None:
    write_text_as_video(clips / "Run" / "v_Run_g01_c09.avi")
    before = {path: path.stat().st_mtime_ns for path in [clips, *clips.rglob("*")]}
    made = edge_har("data", "index", "clips", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "v_Run_g01_c09.avi" in made.stderr and "skipped 1 of 21 clips" in made.stderr
    assert "20 clips, 2 labels, groups: 5" in made.stderr
    assert {path: path.stat().st_mtime_ns for path in [clips, *clips.rglob("*")]} == before
    split = edge_har("data", "split", "index.csv", "--seed", 2, cwd=tmp_path)
    assert split.returncode == 0 and "train: 12 clips, validation: 4 clips, test: 4 clips" in split.stderr
    assert json.loads((tmp_path / "split.json").read_text())["seed"] == 2
    folds = edge_har(
        "data", "split", "index.csv", "--folds", "leave-one-group-out", "--out", "f.json", cwd=tmp_path
    )
    assert folds.returncode == 0 and len(json.loads((tmp_path / "f.json").read_text())["folds"]) == 5
    three = edge_har("data", "split", "index.csv", "--folds", 3, "--out", "f.json", cwd=tmp_path)
    held_out = [fold["test"] for fold in json.loads((tmp_path / "f.json").read_text())["folds"]]
    assert (
        three.returncode == 0
        and len(held_out) == 3
        and len({group for test in held_out for group in test}) == 5
    )
    other = edge_har("data", "split", "index.csv", "--folds", "some", cwd=tmp_path)
    assert other.returncode == 2 and "a number from 3, got 'some'" in other.stderr


def test_unknown_groups_are_recorded(tmp_path: Path) -> None:
    for label in ("Walk", "Run"):
        for number in range(3):
            write_video(tmp_path / "clips" / label / f"{number}.avi", noise(2, seed=number))
    made = edge_har("data", "index", "clips", cwd=tmp_path)
    assert "groups: unknown" in made.stderr and "warning: 3 clips have the same content" in made.stderr


def test_what_an_index_leaves_out_or_doubts_is_reported(clips: Path, tmp_path: Path) -> None:
    (clips / "Jump").mkdir()
    (clips / "Jump" / "cat.jpg").touch()
    shutil.copy(clips / "Run" / "v_Run_g01_c01.avi", clips / "Walk" / "v_Walk_g01_c09.avi")
    long = write_video(clips / "Walk" / "v_Walk_g02_c09.avi", noise(50))
    long.write_bytes(long.read_bytes()[: long.stat().st_size // 2])
    made = edge_har("data", "index", "clips", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "clips: no clip in Jump: 1 .jpg\n" in made.stderr
    assert re.search(r"warning: .*v_Walk_g02_c09\.avi: its video ends after .* states 2\.0 s\n", made.stderr)
    assert (
        "warning: 1 clips have the same content as a clip of another label, such as "
        "Run/v_Run_g01_c01.avi and Walk/v_Walk_g01_c09.avi; one of the two labels is wrong\n"
    ) in made.stderr
    assert "another group" not in made.stderr


def test_the_data_set_is_never_written_to(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(clips)
    assert_one_line(edge_har("data", "index", ".", cwd=clips), 2, "index.csv lies in the data set")
    assert_one_line(
        edge_har("data", "index", "clips", "--out", "link/Run/i.csv", cwd=tmp_path), 2, "choose another"
    )
    (clips / "clips.csv").write_text("path,label\n")
    assert_one_line(
        edge_har("data", "index", "clips.csv", "--out", "clips.csv", cwd=clips), 2, "choose another"
    )


def test_bad_folders_give_one_line(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_text_as_video(tmp_path / "one" / "Walk" / "a.avi")
    write_text_as_video(tmp_path / "two" / "Walk" / "a.avi")
    write_text_as_video(tmp_path / "two" / "Run" / "b.avi")
    for name, *says in (
        ("absent", "absent", "no such folder"),
        ("empty", "no videos found"),
        ("one", "only one label (Walk)"),
        ("two", "2 of 2 clips cannot be decoded", "a.avi", "b.avi"),
    ):
        assert_one_line(edge_har("data", "index", name, cwd=tmp_path), 1, *says)
    assert not (tmp_path / "index.csv").exists()
    assert_one_line(
        edge_har("data", "index", "clips", "--out", "no/i.csv", cwd=tmp_path), 1, "cannot be written"
    )


@pytest.mark.parametrize(
    "options",
    [["--parts", "60,40"], ["--parts", "a,b,c"], ["--parts", "60,20,20", "--folds", "leave-one-group-out"]],
)
def test_wrong_shares_are_misuse_before_any_clip_is_looked_for(tmp_path: Path, options: list[str]) -> None:
    assert_one_line(edge_har("data", "split", "absent", *options, cwd=tmp_path), 2, "parts")


@pytest.mark.parametrize("folds", ["2", "-1", "leave-one-out"])
def test_a_wrong_number_of_folds_is_misuse_before_any_clip_is_looked_for(tmp_path: Path, folds: str) -> None:
    split = edge_har("data", "split", "absent", "--folds", folds, cwd=tmp_path)
    assert_one_line(split, 2, "leave-one-group-out or a number from 3", folds)


def test_a_full_disk_leaves_nothing_behind(clips: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        ["bash", "-c", f"ulimit -f 0; exec {sys.executable} -m edge_har data index clips"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1 and "cannot be written" in run.stderr.splitlines()[-1], run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def quick_to_refuse(tmp_path: Path, *arguments: object, code: int = 1, says: str) -> None:
    """Refused for `says` although no clip can be decoded: what costs nothing to check comes before that."""
    run = edge_har(*arguments, cwd=tmp_path)
    assert_one_line(run, code, says)
    assert "decoded" not in run.stderr


@pytest.fixture
def undecodable(tmp_path: Path) -> Path:
    for label in ("Walk", "Run"):
        for group in (1, 2):
            write_text_as_video(tmp_path / "clips" / label / f"v_{label}_g{group:02d}_c01.avi")
    return tmp_path


@pytest.mark.parametrize("out", ["no/there.csv", "clips.txt/i.csv"])
@pytest.mark.parametrize("command", ["index", "split"])
def test_what_cannot_be_written_is_refused_before_clips_are_decoded(
    undecodable: Path, command: str, out: str
) -> None:
    (undecodable / "clips.txt").touch()
    quick_to_refuse(undecodable, "data", command, "clips", "--out", out, says=f"{out}: cannot be written")


def test_too_few_groups_are_refused_before_clips_are_decoded(undecodable: Path) -> None:
    quick_to_refuse(undecodable, "data", "split", "clips", says="label Run has clips of 2 groups only")
    folds = ("--folds", "leave-one-group-out")
    quick_to_refuse(undecodable, "data", "split", "clips", *folds, says="needs 3 groups or more, got 2")


@pytest.mark.parametrize("labels", [("Walk", "walk"), ("Bend", "Bend "), ("\u00e9", "e\u0301")])
def test_labels_that_are_one_are_refused_before_clips_are_decoded(
    tmp_path: Path, labels: tuple[str, str]
) -> None:
    for label in labels:
        write_text_as_video(tmp_path / "clips" / label / "a.avi")
    quick_to_refuse(tmp_path, "data", "index", "clips", says="differ only in case, blanks or encoding")


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--split", "none.json"], 1, "none.json: cannot be read"),
        (["--split", "deep.json"], 1, "deep.json: not a split file"),
        (["--split", "folds.json"], 1, "folds.json: holds 2 folds"),
        (["--split", "folds.json", "--fold", "2"], 2, "--fold 2: folds.json holds folds 0 to 1"),
        (["--mirror", "none.json"], 1, "--mirror takes auto, off or a JSON file"),
        (["--mirror", "list.json"], 1, "must hold an object of labels"),
        (["--out", "clips"], 2, "exists and is not a RUN"),
        ([], 1, "label Run has clips of 2 groups only"),
    ],
)
def test_a_training_refuses_what_it_can_before_clips_are_decoded(
    undecodable: Path, options: list[str], code: int, says: str
) -> None:
    (undecodable / "deep.json").write_text("[" * 200_000)
    (undecodable / "list.json").write_text("[]")
    (undecodable / "folds.json").write_text(json.dumps({"schema": 1, "folds": [{}, {}]}))
    given = ["train", "--data", "clips", "--model", "motion", "--out", "RUN", *options]
    quick_to_refuse(undecodable, *given, code=code, says=says)
