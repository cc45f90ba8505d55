"""A run ends soon after a signal, whatever it is at, and what was open is reported; in its own process.

Each would go on for far longer than a test waits, if nothing ended it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_har.model.bundle import Bundle
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import Scores, TickRecognizer
from edge_har.sinks.spool import Spool
from edge_har.sources.named import NamedSource
from tests.helpers.colours import colour_bundle, colour_bytes
from tests.helpers.command import environment
from tests.helpers.hooks import HookServer
from tests.helpers.need import need_program
from tests.helpers.pipes import full_pipe
from tests.helpers.processes import catches
from tests.helpers.running import Running, ScriptedSource, steady, wait_until, write_scene
from tests.helpers.slow_model import SLOW

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT_S = 100.0  # for what must come, on a busy machine
HANGS_S = 300.0  # nothing waits for that
FIRST_CALLS = 40  # of graphs, before one hangs: an event is open by then


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "colours.ehar"
    path.write_bytes(colour_bytes())
    return path


class Process:
    """A slow `edge-har`, killed at the end of the block; its outputs go to files."""

    def __init__(
        self, folder: Path, when: object, *arguments: object, prefix: Sequence[str] = (), **changes: str
    ) -> None:
        self._outputs = [folder / "stdout", folder / "stderr"]
        files = [path.open("wb") for path in self._outputs]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.helpers.slow_model", str(when), str(HANGS_S)]
            + [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=files[0],
            stderr=files[1],
            env=environment() | changes,
        )
        for file in files:
            file.close()

    def __enter__(self) -> Self:
        try:
            wait_until(lambda: SLOW in self.stderr.splitlines() or self.process.poll() is not None, WAIT_S)
            assert self.process.poll() is None, self.stderr
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text()

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._outputs[0].read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_model_that_does_not_come_back_ends_with_what_is_open(
    bundle: Path, number: signal.Signals, tmp_path: Path
) -> None:
    with steady() as camera:
        arguments = ("run", "--model", bundle, "--source", camera.url)
        with Process(tmp_path, FIRST_CALLS, *arguments) as running:
            running.process.send_signal(number)
            assert running.process.wait(WAIT_S) == 0
    emitted = [(e["type"], e.get("reason")) for e in running.events if e["type"] != "update"]
    assert emitted == [("start", None), ("end", "stop")]
    assert "events: Red 1" in running.stderr.splitlines()[-1] and "Traceback" not in running.stderr


def test_a_second_ctrl_c_ends_at_once_although_the_model_does_not_come_back(
    bundle: Path, tmp_path: Path
) -> None:
    with (
        steady() as camera,
        Process(tmp_path, FIRST_CALLS, "run", "--model", bundle, "--source", camera.url) as running,
    ):
        running.process.send_signal(signal.SIGINT)
        # Two at once would be one: the first must have been heeded.
        wait_until(lambda: not catches(running.process.pid, signal.SIGINT))
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT_S) in (0, -signal.SIGINT)


def test_several_sources_of_a_model_that_does_not_come_back_all_end_theirs(
    bundle: Path, tmp_path: Path
) -> None:
    with steady("Red") as door, steady("Green") as attic:
        sources = ("--source", f"door={door.url}", "--source", f"attic={attic.url}")
        with Process(tmp_path, 4 * FIRST_CALLS, "run", "--model", bundle, *sources) as running:
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(WAIT_S) == 0
    ends = [(e["source"], e["label"], e.get("reason")) for e in running.events if e["type"] == "end"]
    assert sorted(ends) == [("attic", "Green", "stop"), ("door", "Red", "stop")]


def test_a_webhook_that_does_not_answer_finds_all_events_after_a_model_that_did_not_either(
    bundle: Path, tmp_path: Path
) -> None:
    home = {"EDGE_HAR_HOME": str(tmp_path / "home")}
    with steady() as camera, HookServer() as hook:
        hook.hang = True
        arguments = ("run", "--model", bundle, "--source", camera.url, "--sink", hook.url)
        with Process(tmp_path, FIRST_CALLS, *arguments, **home) as running:
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(WAIT_S) == 0, running.stderr
    (folder,) = {path.parent for path in tmp_path.glob("home/**/*.events")}
    spool = Spool(folder)
    kept = [(e.type, e.reason) for e in spool.peek(100) if e.type != "update"]
    spool.close()
    assert kept == [("start", None), ("end", "stop")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_graph_that_takes_for_ever_to_load_is_not_waited_for(
    bundle: Path, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with Process(tmp_path, "load", "run", "--model", bundle, "--source", "synthetic:Walk") as running:
        running.process.send_signal(number)
        assert running.process.wait(WAIT_S) == code
    assert running.events == [] and "Traceback" not in running.stderr


@pytest.mark.parametrize("command", ["classify", "bench"])
def test_ctrl_c_ends_other_commands_at_once_whatever_the_model_does(
    command: str, bundle: Path, tmp_path: Path
) -> None:
    files = [write_scene(tmp_path / "scene.avi")] if command == "classify" else []
    with Process(tmp_path, 0, command, *files, "--model", bundle) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT_S) == 128 + signal.SIGINT, running.stderr
    assert running.stderr.splitlines()[-1] == "interrupted" and "Traceback" not in running.stderr


def test_a_reader_of_a_files_events_who_does_not_read_holds_up_no_end(bundle: Path, tmp_path: Path) -> None:
    """Where the sources are files recognition waits for the reader; once it has to end it does not."""
    scene, beside = write_scene(tmp_path / "scene.avi"), tmp_path / "beside.jsonl"
    arguments = ("--source", scene, "--sink", f"jsonl:{beside}?name=beside", "--sink", "jsonl:-")
    reader, writer = full_pipe()
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_har", "run", "-q", "--model", bundle, *arguments],
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    os.close(writer)
    try:
        wait_until(lambda: beside.exists() and "start" in beside.read_text())  # and stdout is next
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_S) == 1  # what was not read is lost
    finally:
        running.kill()
        running.wait()
        os.close(reader)
    emitted = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [(e["type"], e.get("reason")) for e in emitted] == [("start", None), ("end", "stop")]


IN_A_CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork")


def test_sigterm_is_heeded_in_a_container_from_the_start(bundle: Path, tmp_path: Path) -> None:
    """There the kernel lets no signal do anything by itself to the first process."""
    need_program("unshare", "util-linux")
    if subprocess.run([*IN_A_CONTAINER, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets its users make no process namespaces")
    arguments = ("run", "--model", bundle, "--source", "synthetic:Walk")
    with Process(tmp_path, "load", *arguments, prefix=IN_A_CONTAINER) as running:
        outside = running.process.pid
        (first,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        try:
            assert running.process.wait(WAIT_S) == 128 + signal.SIGTERM
        finally:
            with suppress(ProcessLookupError):
                os.kill(int(first), signal.SIGKILL)


class HangingRecognizer(TickRecognizer):
    """Its `hangs_at`th tick waits until it is released."""

    def __init__(self, bundle: Bundle, hangs_at: int) -> None:
        super().__init__(bundle)
        self.hangs, self.released = threading.Event(), threading.Event()
        self._left = hangs_at

    def tick(self, frame: Pixels) -> Scores | None:
        self._left -= 1
        if self._left == 0:
            self.hangs.set()
            self.released.wait(WAIT_S)
        return super().tick(frame)


def test_what_a_graph_finds_after_the_end_from_outside_is_dropped() -> None:
    """One frame that serves several ticks: what the first of them found is emitted, in order."""
    recognizer = HangingRecognizer(colour_bundle(), hangs_at=FIRST_CALLS)
    source = ScriptedSource()
    with Running(NamedSource("cam", lambda: source)) as running:
        lane = running.pipeline.lanes[0]
        lane.stream.recognizer = recognizer
        assert recognizer.hangs.wait(WAIT_S)
        running.pipeline.end_from_outside()
        assert running.sink.types_and_labels == [("start", "Red"), ("end", "Red")]
        assert running.sink.events[-1].reason == "stop"
        before = list(running.sink.events)
        recognizer.released.set()
    assert running.sink.events == before
