"""Graphs are tried in a process of their own: what crashes, hangs or fills it costs a line, and no more."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_har.errors import BundleError
from edge_har.model import trial
from edge_har.model.bundle import Bundle, default_bundle_path, open_bundle
from edge_har.model.trial import MAX_MEMORY_BYTES, RECORD, Part, ensure_tried, try_bundle
from tests.helpers.bundles import variant
from tests.helpers.colours import colour_bundle, colour_bytes, painted
from tests.helpers.command import edge_har, environment, start_edge_har
from tests.helpers.fuzz_bundle import hostile_with_graphs, with_graph_recipe
from tests.helpers.fuzz_commands import problem_of
from tests.helpers.fuzz_graph import crash_at_grey
from tests.helpers.running import wait_until
from tests.helpers.videos import write_pictures

CRASH = "smallest_by_minus_one"
GREY = 200


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("EDGE_HAR_HOME", str(folder))
    return folder


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[..., Path]:
    def write(recipe: str, graph: str = "head.tflite") -> Path:
        path = tmp_path / f"{recipe}.ehar"
        path.write_bytes(with_graph_recipe(graph, recipe))
        return path

    return write


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.ehar"
    path.write_bytes(colour_bytes())
    return path


def ended_by(number: int, stderr: bytes = b"") -> Callable[..., Any]:
    return lambda *_, **__: subprocess.CompletedProcess([], -number, b"", stderr)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (CRASH, r"its graphs crash \S+ \S+ \(SIGFPE\)"),
        ("gigabytes", r"cannot load the graph: .*need \S+ MiB of memory"),
        ("not_a_number", r"scores are no numbers"),
        ("odd_names", r"cannot load the graph: .*utf-8"),
        ("text_output", r"holds no real numbers"),
        ("grows_as_it_runs", r"has the shape \(12, 3\) when it runs"),
    ],
)
@pytest.mark.parametrize("part", [Part.STREAM, Part.GOLDEN])
def test_a_hostile_graph_is_a_line(hostile: Callable[..., Path], recipe: str, why: str, part: Part) -> None:
    path = hostile(recipe)
    with pytest.raises(BundleError, match=why) as caught:
        try_bundle(open_bundle(path), path, part)
    assert "\n" not in str(caught.value)


def test_an_endless_loop_is_cut_off(hostile: Callable[..., Path]) -> None:
    path = hostile("endless_loop")
    with pytest.raises(BundleError, match=r"took longer than 2 s for one window"):
        try_bundle(open_bundle(path), path, Part.STREAM, timeout_s=2.0)


@pytest.mark.parametrize(
    "command",
    [
        ["model", "verify"],
        ["classify", "VIDEO", "--model"],
        ["run", "--source", "VIDEO", "--model"],
        ["bench", "--model"],
    ],
)
def test_commands_refuse_a_graph_that_crashes(
    hostile: Callable[..., Path], tmp_path: Path, command: list[str]
) -> None:
    pictures = write_pictures(tmp_path / "pictures", painted("Red", 12))
    done = edge_har(*[str(pictures) if word == "VIDEO" else word for word in command], hostile(CRASH))
    assert done.returncode == 1
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "(SIGFPE)" in done.stderr


def test_the_whole_clip_is_tried_for_bench_alone(hostile: Callable[..., Path], tmp_path: Path) -> None:
    path = hostile(CRASH, "clip.tflite")
    pictures = write_pictures(tmp_path / "pictures", painted("Red", 12))
    assert edge_har("classify", pictures, "--model", path).returncode == 0
    done = edge_har("bench", "--ticks", "8", "--model", path)
    assert done.returncode == 1 and "(SIGFPE)" in done.stderr


@pytest.mark.parametrize("command", [["classify", "-q"], ["run", "-q", "--source"]])
def test_a_crash_that_no_trial_shows_is_a_line_that_names_the_bundle(
    tmp_path: Path, command: list[str]
) -> None:
    bundle = colour_bundle()
    files = {**bundle.contents, "head.tflite": crash_at_grey(bundle.read("head.tflite"), GREY)}
    path = tmp_path / "grey.ehar"
    path.write_bytes(variant(Bundle(bundle.manifest, bundle.manifest_bytes, files)))
    for grey, code in ((GREY // 2, 0), (GREY, -signal.SIGFPE)):
        pictures = write_pictures(tmp_path / f"{grey}", painted((grey, grey, grey), 12))
        done = edge_har(*command, pictures, "--model", path)
        assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"error: {path}: a graph of this bundle crashed ")
    assert done.stderr.count("\n") == 1


# Why it ended -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "killed", "stderr", "why"),
    [
        (signal.SIGKILL, 0, b"", r"crash .* \(SIGKILL\)$"),
        (signal.SIGKILL, 1, b"", "the system ran out of memory"),
        (signal.SIGSEGV, 1, b"", r"crash .* \(SIGSEGV\)$"),
        (signal.SIGABRT, 0, b"what():  std::bad_alloc\n", f"need more than {MAX_MEMORY_BYTES >> 20} MiB"),
        (signal.SIGABRT, 0, b"assertion failed\n", r"crash .* \(SIGABRT\)$"),
        (signal.SIGXCPU, 0, b"", "took longer than 33 s for the golden clips"),
    ],
)
def test_memory_is_named_only_where_it_was_short(
    good: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    killed: int,
    stderr: bytes,
    why: str,
) -> None:
    counted = iter((5, 5 + killed))
    monkeypatch.setattr(trial, "_killed_for_memory", lambda: next(counted))
    monkeypatch.setattr(subprocess, "run", ended_by(number, stderr))
    with pytest.raises(BundleError, match=why) as caught:
        try_bundle(open_bundle(good), good, Part.GOLDEN)
    assert "memory" in why or "MiB" in why or "memory" not in str(caught.value)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_process_has_limits(good: Path) -> None:
    code = (
        "import sys; from edge_har.model.trial import limit_this_process as limit; limit(1)\n"
        "if sys.argv[1] == 'memory':\n"
        f"    bytearray({MAX_MEMORY_BYTES + 1})\n"
        "while True: pass"
    )
    done = python(code, "memory")
    assert done.returncode == 1 and "MemoryError" in done.stderr
    assert python(code, "time").returncode == -signal.SIGXCPU


def test_the_process_ends_with_who_started_it(hostile: Callable[..., Path]) -> None:
    command = start_edge_har("classify", "absent.avi", "--model", hostile("endless_loop"))
    wait_until(lambda: children_of(command.pid))
    trial_pid = children_of(command.pid)[0]
    # Before its limits it only imports.
    limits = Path(f"/proc/{trial_pid}/limits")
    wait_until(lambda: f"Max data size             {MAX_MEMORY_BYTES}" in limits.read_text())
    command.kill()
    command.communicate()
    wait_until(lambda: not limits.exists() or state_of(trial_pid) in "ZX")


def children_of(pid: int) -> list[int]:
    """The processes that any thread of a process started."""
    of_threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listed in of_threads for child in listed.read_text().split()]


def state_of(pid: int) -> str:
    """The letter of a process's state; X where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def test_a_bundle_that_is_replaced_meanwhile_is_not_taken_for_another(good: Path) -> None:
    bundle = open_bundle(good)
    good.write_bytes(colour_bytes(name="other"))
    with pytest.raises(BundleError, match="was replaced while it was tried"):
        try_bundle(bundle, good, Part.STREAM)


# What is remembered -----------------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of which a process was started, instead of starting one."""
    started: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        started.append(command[-2])
        return subprocess.CompletedProcess(command, 0, b'{"worst": 0.0}\n', b"")

    monkeypatch.setattr(subprocess, "run", run)
    return started


def test_what_passed_is_not_tried_again(
    good: Path, home: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(good)
    for part in (Part.STREAM, Part.STREAM, Part.ALL, Part.ALL):
        ensure_tried(bundle, good, part)
    assert runs == ["stream", "all"]
    assert (home / RECORD).read_text().count(bundle.digest) == 2
    monkeypatch.setattr(trial, "runtime_name", lambda: "ai-edge-litert 99.0")
    ensure_tried(bundle, good)
    assert runs == ["stream", "all", "stream"]


def test_verified_bundles_and_the_shipped_one_are_not_tried_again(good: Path, runs: list[str]) -> None:
    try_bundle(open_bundle(good), good, Part.GOLDEN)
    ensure_tried(open_bundle(good), good)
    shipped = default_bundle_path()
    ensure_tried(open_bundle(shipped), shipped, Part.ALL)
    assert runs == ["golden"]


def test_without_a_record_every_start_tries(good: Path, home: Path, runs: list[str]) -> None:
    home.rmdir()
    for _ in range(2):
        ensure_tried(open_bundle(good), good)
    assert runs == ["stream", "stream"]
    assert not home.exists()  # no folder is made where nothing was asked to be kept


def test_the_record_does_not_grow_without_end(good: Path, home: Path, runs: list[str]) -> None:
    (home / RECORD).write_text("x\n" * 1000)
    ensure_tried(open_bundle(good), good)
    lines = (home / RECORD).read_text().splitlines()
    assert len(lines) == trial.MAX_RECORDS + 1 and open_bundle(good).digest in lines[-1]


# Hostile bundles through every command; 2,000 are fed by `make fuzz` ----------------------------------------


def test_hostile_bundles_through_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.fuzz_commands", "--count", "8", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "8 hostile bundles (seed 1): 0 failures" in done.stdout
    commands = ["inspect", "inspect --json", "verify", "classify", "run", "bench", "export", "receive"]
    assert [line[:15].strip() for line in done.stdout.splitlines()[:-2]] == commands


def test_what_the_cases_call_a_failure() -> None:
    assert problem_of(0, 50.0, b"fine\n") is None
    assert problem_of(1, 50.0, b"error: refused\n") is None
    assert problem_of(1, 50.0, b"") == "no word"
    assert problem_of(-11, 50.0, b"") == "exit -11"
    assert problem_of(1, 50.0, b"Traceback (most recent call last)\n") == "traceback"
    assert problem_of(0, 400.0, b"fine\n") == "400 MB"
    assert problem_of(0, 50.0, b"\x1b[2J\n") == "control characters"


def test_the_cases_are_the_same_each_time() -> None:
    first, second = (
        [hostile_with_graphs(random.Random(f"3-{number}")) for number in range(20)] for _ in range(2)
    )
    assert first == second and len(set(first)) == 20
