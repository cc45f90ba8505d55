"""A RUN folder is read whole, or refused in one line; without TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_har.errors import DataError, MisuseError
from train.models.families import Design
from train.runs import default_config, load_run, settings_json


def finished_run(folder: Path, labels: object) -> Path:
    identity = {
        "settings": {"model": "motion"},
        "labels": labels,
        "groups": "known",
        "index_sha256": "0" * 64,
    }
    for name, content in (("config", identity), ("split", {}), ("metrics", {})):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_labels_of_a_run_are_those_of_its_model(tmp_path: Path) -> None:
    assert load_run(finished_run(tmp_path, ["Walk", "Run"])).labels == ("Walk", "Run")


@pytest.mark.parametrize("labels", [["Walk", "walk"], ["Walk", "Ru\u200bn"], ["Walk"], ["Walk", "x" * 65], 7])
def test_labels_of_a_run_are_held_to_the_rule_of_all_labels(tmp_path: Path, labels: object) -> None:
    with pytest.raises(DataError, match=r"config\.json: not a RUN's configuration") as caught:
        load_run(finished_run(tmp_path, labels))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["config", "split", "metrics"])
def test_a_file_nested_without_end_is_one_line(tmp_path: Path, name: str) -> None:
    path = finished_run(tmp_path, ["Walk", "Run"]) / f"{name}.json"
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match=f"{name}\\.json: cannot be read"):
        load_run(tmp_path)


def test_designs_are_checked_and_old_runs_have_the_published_one(tmp_path: Path) -> None:
    assert load_run(finished_run(tmp_path, ["Walk", "Run"])).config.design == Design()
    assert "encoder" not in settings_json(default_config("lrcn"))
    pretrained = default_config("lrcn", encoder="mobilenet_v1_0.25")
    assert (pretrained.size, pretrained.head) == (96, "statistics")
    assert settings_json(pretrained)["encoder"] == "mobilenet_v1_0.25"
    for changes, message in (
        ({"encoder": "resnet"}, "encoder must be one of published, mobilenet_v1_0.25"),
        ({"encoder": "mobilenet_v1_0.25", "size": 100}, "96, 128, 160, 192, 224 pixels"),
        ({"encoder": "mobilenet_v1_0.25", "standardise": True}, "own scaling of pixels"),
        ({"encoder": "mobilenet_v1_0.25", "synthetic_share": 0.2}, "omit --synthetic"),
        ({"fine_tune": 2}, "choose one with --encoder"),
    ):
        with pytest.raises(MisuseError, match=message):
            default_config("lrcn", **changes)
    with pytest.raises(MisuseError, match="choices of lrcn, not of motion"):
        default_config("motion", motion_branch=True)
