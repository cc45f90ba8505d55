"""`edge-har train` from the outside: a RUN at the end, one line where the input is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_har.cli import cli
from edge_har.errors import EdgeHarError, MisuseError
from tests.helpers.need import need_module
from tests.helpers.videos import make_dataset, write_text_as_video

need_module("tensorflow", "pip install -e '.[workstation]'")
from train.cli.train import chosen_model

REPOSITORY = Path(__file__).parents[1]
LABELS = ("Down", "Right")
QUICK = ["--frames", "4", "--size", "16", "--epochs", "1", "--windows", "8", "--batch", "4"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("clips"), LABELS, groups=5, frames=20)


def edge_har(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_har", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=REPOSITORY)


def refused(*arguments: object) -> str:
    """The message of a call that must fail on purpose."""
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)], standalone_mode=False)
    assert isinstance(result.exception, EdgeHarError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def metrics_of(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "metrics.json").read_text()))


def test_clips_in_a_run_out(clips, tmp_path) -> None:
    out = tmp_path / "RUN"
    done = edge_har(
        "train",
        "--data",
        clips,
        "--model",
        "motion",
        "--out",
        out,
        "--seed",
        1,
        "--cache",
        tmp_path / "c",
        *QUICK,
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stderr and "Traceback" not in done.stderr and "oneDNN" not in done.stderr
    finished, judgement, following = done.stdout.splitlines()[-3:]
    assert finished == f"finished {out}: best epoch 1"
    assert judgement == metrics_of(out)["advice"]["sentence"]
    assert following.startswith("next: edge-har ")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["labels"] == list(LABELS) and metrics["groups"] == "known"
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["seed"] == 1 and config["temporal"]["frames"] == 4
    parts = json.loads((out / "split.json").read_text())["parts"]
    assert sorted(group for groups in parts.values() for group in groups) == [
        "g01",
        "g02",
        "g03",
        "g04",
        "g05",
    ]


def test_a_fold_and_training_on_everything(clips, tmp_path) -> None:
    folds = tmp_path / "folds.json"
    common = ["train", "--data", clips, "--model", "motion", "--cache", tmp_path / "c", *QUICK]
    runner = CliRunner()
    made = runner.invoke(
        cli, ["data", "split", str(clips), "--folds", "leave-one-group-out", "--out", str(folds)]
    )
    assert made.exit_code == 0, made.output
    for name, more in (("fold", ["--split", folds, "--fold", 2]), ("all", ["--no-validation"])):
        result = runner.invoke(cli, [*map(str, (*common, "--out", tmp_path / name, *more))])
        assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "fold" / "metrics.json").read_text())["test"]["groups"] == ["g03"]
    everything = json.loads((tmp_path / "all" / "metrics.json").read_text())
    assert len(everything["trained_on"]["groups"]) == 5 and "test" not in everything
    assert "folds 0 to 4" in refused(*common[1:], "--out", tmp_path / "x", "--split", folds, "--fold", 5)
    assert "holds 5 folds" in refused(*common[1:], "--out", tmp_path / "x", "--split", folds)


def test_a_cross_validation_holds_each_group_out_once_and_goes_on(clips, tmp_path) -> None:
    out = tmp_path / "folds"
    command = ["train", "--data", clips, "--model", "motion", "--out", out, "--cache", tmp_path / "c", *QUICK]
    runner = CliRunner()
    for _ in range(2):
        result = runner.invoke(cli, [*map(str, command), "--cross-validate"])
        assert result.exit_code == 0, result.output
    assert result.stderr.count("is finished already") == 5
    table = result.stdout.splitlines()
    assert table[0].startswith("fold") and table[-1].startswith("on groups held out: ")
    written = json.loads((out / "cross-validation.json").read_text())
    assert [fold["groups"] for fold in written["folds"]] == [[f"g{number:02d}"] for number in range(1, 6)]
    assert written["clips"] == 10 and written["right"] == sum(fold["right"] for fold in written["folds"])
    low, high = written["interval"]
    assert 0 <= low <= written["accuracy"] <= high <= 1
    assert "more than 4 folds" in refused(*command[1:], "--cross-validate", "--folds", 4)
    assert "exists and is not a RUN" in refused(*command[1:])


def test_the_notebooks_recipe_gives_both_figures_and_no_bundle(clips, tmp_path) -> None:
    out = tmp_path / "notebook"
    command = ["--data", clips, "--model", "convlstm", "--out", out, "--recipe", "notebook"]
    small = ["--frames", "4", "--hop", "1", "--size", "32", "--epochs", "1", "--cache", tmp_path / "c"]
    result = CliRunner().invoke(cli, ["train", *map(str, [*command, *small])])
    assert result.exit_code == 0, result.output
    leaky, honest, gap = result.stdout.splitlines()
    assert leaky.startswith("random-leaky: ") and honest.startswith("grouped: ") and gap.startswith("gap: ")
    assert json.loads((out / "random-leaky" / "metrics.json").read_text())["groups"] == "unknown"
    config = json.loads((out / "grouped" / "config.json").read_text())
    assert config["temporal"]["sampling"] == "spread" and config["settings"]["batch"] == 4
    converted = CliRunner().invoke(
        cli, ["convert", str(out / "grouped"), "--out", str(tmp_path / "x.ehar")], standalone_mode=False
    )
    assert isinstance(converted.exception, EdgeHarError)
    assert "spread over whole clips, which a live stream does not have" in str(converted.exception)


def test_the_next_command_repeats_what_was_given(clips, tmp_path) -> None:
    out, cache = tmp_path / "RUN", tmp_path / "c"
    command = [
        "--data",
        clips,
        "--model",
        "motion",
        "--out",
        out,
        "--cache",
        cache,
        "--no-validation",
        *QUICK,
    ]
    result = CliRunner().invoke(cli, ["train", *map(str, command)])
    assert result.exit_code == 0, result.output
    following = result.stdout.splitlines()[-1]
    assert following.startswith(f"next: edge-har train --data {clips} --model motion ")
    assert " --frames 4 --size 16 " in following and following.endswith(f" --out {out}-2")
    assert str(out) not in following.removesuffix(f"{out}-2")


def test_presets_and_encoders_choose_the_model() -> None:
    assert chosen_model(None, "s", {}) == ("motion", {})
    model, settings = chosen_model(None, "l", {"head": "gru"})
    assert model == "lrcn" and (settings["size"], settings["head"]) == (224, "gru")
    assert chosen_model(None, None, {"encoder": "mobilenet_v1_0.5"})[0] == "lrcn"
    with pytest.raises(MisuseError, match=r"--preset s\|m\|l or --model lrcn"):
        chosen_model(None, None, {})


def test_wrong_data_is_one_line(clips, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    make_dataset(tmp_path / "one", ("Down",), groups=3, frames=4)
    make_dataset(tmp_path / "text", LABELS, groups=3, frames=4)
    write_text_as_video(tmp_path / "text" / "Down" / "v_Down_g04_c01.avi")
    for data, message in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "empty", "no videos found"),
        (tmp_path / "one", "only one label"),
        (tmp_path / "text", "cannot be decoded, more than 5%"),
    ):
        assert message in refused("--data", data, "--model", "lrcn", "--out", tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()


def test_a_group_on_both_sides_of_a_hand_made_split_is_one_line(clips, tmp_path) -> None:
    split = tmp_path / "split.json"
    parts = {"train": ["g01", "g02", "g03"], "validation": ["g03", "g04"], "test": ["g05"]}
    split.write_text(json.dumps({"schema": 1, "parts": parts}))
    done = edge_har("train", "--data", clips, "--model", "lrcn", "--out", tmp_path / "RUN", "--split", split)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "g03" in line and "two parts" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "4"], "--folds is the number of folds of --cross-validate"),
        (["--cross-validate", "--folds", "9"], "folds must be 3 to 5"),
        (["--cross-validate", "--split", "s.json"], "--cross-validate makes its own folds"),
        (["--cross-validate", "--no-validation"], "--cross-validate chooses the best epoch by validation"),
        (["--cross-validate", "--recipe", "notebook"], "--recipe notebook trains on two splits"),
        (["--recipe", "notebook"], "the notebooks' recipe is for lrcn and convlstm, not for 'motion'"),
        (["--fold", "1"], "--fold chooses from the folds of --split"),
        (["--model", "lrcn", "--size", "32"], "lrcn needs frames of 64 pixels"),
        (["--frames", "4", "--hop", "3"], "hop_ticks must divide"),
        (["--frames", "601", "--hop", "1"], "frames must be 2 to 600, got 601"),
        (["--interval-ms", "5"], "interval_ms must be 10 to 10,000, got 5.0"),
        (["--frames", "600", "--hop", "1", "--size", "256"], "a window of 600 frames of 256x256"),
        (["--synthetic", "0.6"], "under half"),
        (["--mirror", "nowhere.json"], "auto, off or a JSON file"),
        (["--synthetic", "0.2"], "cannot do 'Down'"),
        (["--preset", "m"], "--preset m is a lrcn: omit --model motion"),
        (["--head", "gru"], "choices of lrcn, not of motion"),
        (["--model", "lrcn", "--encoder-weights", "w.h5"], "--encoder-weights is for a pretrained encoder"),
    ],
)
def test_wrong_options_are_one_line(clips, tmp_path, options: list[str], message: str) -> None:
    model = [] if "--model" in options else ["--model", "motion"]
    assert message in refused("--data", clips, "--out", tmp_path / "RUN", *model, *options)
    assert not (tmp_path / "RUN").exists()
