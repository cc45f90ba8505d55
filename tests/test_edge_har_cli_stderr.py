"""Standard error that nobody reads, or that is on a full disk:
a run goes on, and ends when that is requested.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from edge_har.cli.stderr import LINES, NonBlockingStderr
from tests.helpers.command import edge_har, environment
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.running import wait_until
from tests.helpers.videos import noise

PIPE_BYTES = 4096
WAIT_S = 60.0


def small_pipe() -> tuple[int, int]:
    """A pipe that holds little; its ends."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reader, writer


def test_a_full_disk_for_messages_ends_no_run() -> None:
    command = [
        sys.executable,
        "-m",
        "edge_har",
        "run",
        "--source",
        "synthetic:WaveTwoHands?duration=6&size=160x120",
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
            timeout=WAIT_S,
            env=environment(),
        )
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()][-1] == "end"
    assert done.returncode == 0


def test_who_does_not_read_messages_stops_neither_the_run_nor_its_end() -> None:
    reader, writer = small_pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    command = [sys.executable, "-m", "edge_har", "run", "--realtime"]
    command += ["--source", "synthetic:WaveTwoHands?live=yes&size=160x120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=environment()) as run:
        late = threading.Timer(WAIT_S, run.kill)
        late.start()
        try:
            assert run.stdout is not None
            assert all(run.stdout.readline() for _ in range(3))
            run.terminate()
            assert run.wait(WAIT_S) == 0
        finally:
            late.cancel()
            run.kill()
    os.close(reader)
    os.close(writer)


def test_what_libraries_say_of_damaged_pictures_is_shown_only_on_request() -> None:
    whole = jpeg(noise(1, (64, 48))[0])
    damaged = whole[: len(whole) // 2] + b"\xff\xd9"
    pictures = [damaged if n % 2 else whole for n in range(50)]
    shown = {}
    for flag in ("-q", "-v"):
        with MjpegServer(pictures, 100.0, loop=True) as server:
            shown[flag] = edge_har("run", flag, "--source", server.url, "--duration", "2").stderr
    assert "JPEG data" in shown["-v"] and "JPEG data" not in shown["-q"]


def test_lines_come_in_order_and_the_newest_go_where_too_many_wait() -> None:
    reader, writer = small_pipe()
    stream = NonBlockingStderr(writer, lambda: False)
    count = 2 * LINES
    for number in range(count):
        stream.write(f"{number}\n")
    got: list[str] = []
    with os.fdopen(reader, closefd=True) as lines:
        thread = threading.Thread(target=lambda: got.extend(lines), daemon=True)
        thread.start()
        wait_until(lambda: any("could not be written" in line for line in list(got)))
        stream.write("after\n")
        wait_until(lambda: "after\n" in got)
        stream.finish()
        os.close(writer)
        thread.join(WAIT_S)
    dropped = [int(line.split()[1]) for line in got if "could not be written" in line]
    numbers = [int(line) for line in got if line.strip().isdigit()]
    # The thread may have found room for one in between.
    assert numbers[:LINES] == list(range(LINES)) and numbers == sorted(set(numbers))
    assert LINES <= len(numbers) < count and sum(dropped) == count - len(numbers)


def test_where_it_waits_every_line_comes() -> None:
    reader, writer = small_pipe()
    stream = NonBlockingStderr(writer, lambda: True)

    def write() -> None:
        for number in range(3 * LINES):
            stream.write(f"{number}\n")
        stream.finish()
        os.close(writer)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    with os.fdopen(reader) as lines:
        assert [int(line) for line in lines] == list(range(3 * LINES))


def test_a_reader_who_has_gone_is_told_of() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = NonBlockingStderr(writer, lambda: False)
    with pytest.raises(BrokenPipeError):
        wait_until(lambda: not stream.write("anything\n"))
    os.close(writer)


def test_a_disk_with_room_again_gets_what_waited(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stream = NonBlockingStderr(full, lambda: False)
    stream.write("first\n")
    wait_until(lambda: stream._failing)
    path = tmp_path / "log"
    with open(path, "wb") as file:
        os.dup2(file.fileno(), full)
    wait_until(lambda: path.read_text() == "first\n")
    stream.finish()
    os.close(full)
