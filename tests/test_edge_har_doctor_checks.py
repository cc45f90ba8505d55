"""`edge-har doctor` as a whole: order, exit codes, JSON, and what it does where libraries are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_har.doctor.checks import read_settings
from edge_har.doctor.finding import Level
from tests.helpers.broker import free_port
from tests.helpers.command import edge_har
from tests.helpers.doctor import found, write

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ["python", "libraries", "cpu", "glibc", "clock", "model", "config", "camera", "csi", "power", "disk"]
CHECKS += ["unit", "keys", "store", "network"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))


def test_json_has_every_check_in_order_and_problems_are_exit_1(tmp_path: Path) -> None:
    config = write(
        tmp_path / "e.toml", f'[[source]]\nname = "door"\nuri = "rtsp://127.0.0.1:{free_port()}/"\n'
    )
    done = edge_har("doctor", "--config", config, "--json")
    report = json.loads(done.stdout)
    assert list(dict.fromkeys(finding["check"] for finding in report["findings"])) == CHECKS
    assert (done.returncode, report["ok"], done.stderr) == (1, False, "")
    (network,) = [finding for finding in report["findings"] if finding["check"] == "network"]
    assert network["level"] == "problem" and network["text"].startswith("source door: ")
    assert network["advice"].startswith("start the server")


def test_text_names_what_to_do_and_ends_with_a_count(tmp_path: Path) -> None:
    config = write(tmp_path / "e.toml", '[[source]]\nuri = "0"\nrotat = 90\n')
    done = edge_har("doctor", "--config", config)
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("problem  config"))
    assert "source[1].rotat: no such key; did you mean rotate?" in lines[at]
    assert lines[at + 1].strip().startswith("-> edge-har config check")
    assert lines[-1].startswith("1 problem, ")


def test_broken_libraries_are_found_and_the_rest_is_left_out(tmp_path: Path) -> None:
    for name in ("cv2", "numpy"):
        write(tmp_path / "packages" / name / "__init__.py", "raise ImportError('damaged')")
    done = subprocess.run(
        [sys.executable, "-m", "edge_har", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'packages'}{os.pathsep}{ROOT}"},
    )
    findings = json.loads(done.stdout)["findings"]
    problems = [finding["text"] for finding in findings if finding["level"] == "problem"]
    assert problems[:2] == ["numpy: ImportError: damaged", "cv2: ImportError: damaged"]
    assert findings[-1]["text"].startswith("not looked at without them: camera")
    assert (done.returncode, done.stderr) == (1, "")


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    config, findings = read_settings(tmp_path / "absent.toml")
    assert config is None
    ((level, text, _),) = found(findings)
    assert level is Level.PROBLEM and "cannot be read: No such file" in text


def test_a_bundle_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "e.toml", 'model = "absent.ehar"\n[[source]]\nuri = "0"\n')
    ((level, text, _),) = found(read_settings(path)[1])
    assert level is Level.PROBLEM and "model: " in text


def test_a_secret_that_only_systemd_hands_over_is_no_fault_of_the_settings(tmp_path: Path) -> None:
    source = '[[source]]\nuri = "rtsp://u@h/"\npassword_file = "${CREDENTIALS_DIRECTORY}/door"\n'
    ((level, text, _),) = found(read_settings(write(tmp_path / "e.toml", source))[1])
    assert level is Level.WARNING and "only systemd hands it over" in text
