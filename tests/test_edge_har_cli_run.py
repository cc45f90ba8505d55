"""`edge-har run` in a process of its own: streams and exit codes, signals, broken pipes, memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.colours import GREY, colour_bytes, painted
from tests.helpers.command import edge_har, environment, peak_mb, start_edge_har
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.need import need_program
from tests.helpers.processes import catches
from tests.helpers.published import published_bundle
from tests.helpers.rtsp import rtsp_camera
from tests.helpers.running import wait_until
from tests.helpers.terminal import edge_har_on_terminal
from tests.helpers.videos import write_text_as_video, write_video

PEAK_LIMIT_MB = 120
ENOUGH_S = 4.5  # less than a source waits by itself: nobody waited for it, on a busy machine either


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "colours.ehar"
    path.write_bytes(colour_bytes())
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey, red, green, grey."""
    parts = [painted(c, n, (32, 24)) for c, n in ((GREY, 50), ("Red", 75), ("Green", 75), (GREY, 50))]
    return write_video(tmp_path_factory.mktemp("scene") / "scene.avi", np.concatenate(parts))


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_gives_json_lines_a_line_for_people_and_a_summary(bundle: Path, scene: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", scene)
    assert done.returncode == 0
    events = lines(done.stdout)
    assert [(e["type"], e["label"]) for e in events if e["type"] != "update"] == [
        ("start", "Red"),
        ("end", "Red"),
        ("start", "Green"),
        ("end", "Green"),
    ]
    assert all(e["v"] == 1 and e["source"] == str(scene) for e in events)
    assert all(e["model"].startswith("colours@") and len(e["model"]) == len("colours@") + 12 for e in events)
    for_people = done.stderr.splitlines()
    assert len(for_people) == len(events) + 1
    assert re.match(r"\d\d:\d\d:\d\d  start  Red  ", for_people[0]) and "\x1b" not in done.stderr
    assert "250 frames, 125 ticks, 125 unused; events: Red 1, Green 1" in for_people[-1]
    assert "ms a tick (p50)" in for_people[-1]


def test_quiet_says_nothing_on_stderr_and_verbose_more(bundle: Path, scene: Path) -> None:
    quiet = edge_har("run", "--model", bundle, "--source", scene, "-q")
    assert quiet.stderr == "" and len(lines(quiet.stdout)) > 4
    verbose = edge_har("run", "--model", bundle, "--source", scene, "-v")
    assert f"{scene} 3." in verbose.stderr
    assert re.search(r"start  Red  .*  \d\.\d\d s  ", verbose.stderr)


def test_a_terminal_shows_a_readable_line_an_event_and_no_json(bundle: Path, scene: Path) -> None:
    code, shown, errors = edge_har_on_terminal("run", "--model", bundle, "--source", f"door={scene}")
    assert code == 0
    events = lines(edge_har("run", "--model", bundle, "--source", f"door={scene}").stdout)
    readable = [re.sub("\x1b\\[[0-9]*m", "", line) for line in shown.splitlines()]
    assert [line.split()[1:3] + line.split()[-1:] for line in readable] == [
        [e["type"], e["label"], "door"] for e in events
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in readable)
    assert errors.splitlines() == [errors.strip()] and "events: Red 1, Green 1" in errors


def test_a_terminal_shows_json_on_request_and_colours_only_where_wanted(bundle: Path, scene: Path) -> None:
    arguments = ("run", "--model", bundle, "--source", scene)
    _, shown, errors = edge_har_on_terminal(*arguments, "--json")
    assert len(lines(shown)) > 4 and len(errors.splitlines()) == 1
    _, shown, _ = edge_har_on_terminal(*arguments, "--sink", "jsonl:-?updates=no")
    assert [e["type"] for e in lines(shown)] == ["start", "end"] * 2
    assert "\x1b" in edge_har_on_terminal(*arguments)[1]
    _, plain, _ = edge_har_on_terminal(*arguments, "-v", NO_COLOR="1")
    assert "\x1b" not in plain and re.search(r"end    Red  .*  \d\.\d\d to \d\.\d\d s  after", plain)


def test_json_into_a_pipe_repeats_nothing_for_people(bundle: Path, scene: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", scene, "--json")
    assert len(lines(done.stdout)) > 4 and len(done.stderr.splitlines()) == 1


def test_thresholds_can_be_set(bundle: Path, scene: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", scene, "--min-duration", 20, "-q")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_built_in_source_runs_until_its_time_is_up(bundle: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", "synthetic:Walk?size=160x120", "--duration", 2)
    assert done.returncode == 0 and "26 ticks" in done.stderr


def test_the_demo_needs_no_camera_and_plays_in_real_time(bundle: Path) -> None:
    began_s = time.monotonic()
    done = edge_har("run", "--model", bundle, "--demo", "--duration", 2)
    assert time.monotonic() - began_s > 2
    assert done.returncode == 0 and done.stderr.splitlines()[-1].startswith("demo: ")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--camera", "9"], 1, "error: no camera /dev/video9"),
        (["--source", "none.avi"], 1, "error: none.avi: no such file"),
        (["--source", "http://me@127.0.0.1:1/x"], 1, "error: http://me@127.0.0.1:1/x: cannot be"),
        (["--source", "gopher://x"], 2, "error: no source is called 'gopher://x'"),
        ([], 2, "error: name a source, with --source [NAME=]URI or --camera N"),
        (["--demo", "--camera", "0"], 2, "error: --demo is a source of its own"),
        (["--source", "0", "--camera", "0"], 2, "error: 2 sources are called 0; give each a name"),
        (["--source", "x=gopher://x"], 2, "error: no source is called 'gopher://x'"),
        (["--source", "a", "--unknown"], 2, "error: the bundle has no reject threshold"),
    ],
)
def test_what_cannot_run_is_one_line(bundle: Path, arguments: list[str], code: int, says: str) -> None:
    done = edge_har("run", "--model", bundle, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("http://me:s3cret@127.0.0.1:1/x", "http://me:***@127.0.0.1:1/x: cannot be reached"),
        ("http://me:12/s3cret@127.0.0.1:1/x", "http://me:***@127.0.0.1:1/x: cannot be reached"),
        ("http://me@home:a s3cret@127.0.0.1:1/", "http://me%40home:***@127.0.0.1:1/: cannot be reached"),
        ("rtsp://my name:a\ts3cret@127.0.0.1:1/x", "rtsp://my%20name:***@127.0.0.1:1/x: no stream could be"),
        ("rtsp:/me:s3cret@h", "***@h: no such file"),
        ("rtsp//me:s3cret@h", "***@h: no such file"),
        ("gst:a location=rtsp:/me:s3cret@h ! b", "gst:***@h ! b: "),
        ("http://127.0.0.1:1/x?token=s3cret", "http://127.0.0.1:1/x?token=***: cannot be reached"),
    ],
)
def test_a_password_on_the_command_line_is_one_warning_and_never_shown(
    bundle: Path, address: str, error: str
) -> None:
    done = edge_har("run", "--model", bundle, "-v", "--source", address)
    assert done.returncode == 1 and "s3cret" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    (warning,) = (line for line in lines if line.startswith("warning: "))
    assert "list of processes" in warning and "password_env or password_file" in warning
    assert lines[-1].startswith(f"error: {error}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["rtsp://me:12/s3cret@h/x"],
        ["--camera", "rtsp://me:s3cret@h/x"],
        ["--source", "0", "--web", "me:s3cret@h:x"],
        ["--source", "0", "--sink", "http://me:a#s3cret@h/x"],
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(bundle: Path, arguments: list[str]) -> None:
    done = edge_har("run", "--model", bundle, *arguments)
    assert done.returncode == 2 and "s3cret" not in done.stdout + done.stderr


def test_an_address_that_holds_no_password_is_no_warning(bundle: Path) -> None:
    for address in ("http://me@127.0.0.1:1/x", "http://127.0.0.1:1/a@b", "12:30 at home.avi"):
        done = edge_har("run", "--model", bundle, "--source", address)
        assert done.stderr.startswith("error: ") and "list of processes" not in done.stderr


def test_a_file_that_is_no_video_and_a_bundle_that_is_none_are_one_line(bundle: Path, tmp_path: Path) -> None:
    text = write_text_as_video(tmp_path / "text.avi")
    for arguments, says in (
        (["--model", bundle, "--source", text], "a text file, not a video"),
        (["--model", text, "--source", text], "not a whole bundle"),
        (["--model", "none.ehar", "--source", text], "none.ehar: no such bundle"),
    ):
        done = edge_har("run", *arguments)
        assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_and_closes_what_is_open(bundle: Path, number: signal.Signals) -> None:
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as server:
        running = start_edge_har("run", "--model", bundle, "--source", server.url)
        assert json.loads(running.stdout.readline())["type"] == "start"
        running.send_signal(number)
        began_s = time.monotonic()
        rest, errors = running.communicate(timeout=20)
        assert time.monotonic() - began_s < ENOUGH_S
    assert running.returncode == 0
    last = lines(rest)[-1]
    assert (last["type"], last["reason"]) == ("end", "stop")
    assert "Red 1" in errors.splitlines()[-1] and "Traceback" not in errors


def test_a_camera_that_hangs_does_not_keep_the_program(bundle: Path) -> None:
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as server:
        running = start_edge_har("run", "--model", bundle, "--source", server.url)
        running.stdout.readline()
        server.stall()
        wait_until(lambda: server.standing)
        running.send_signal(signal.SIGTERM)
        began_s = time.monotonic()
        rest, errors = running.communicate(timeout=20)
    assert time.monotonic() - began_s < ENOUGH_S
    assert running.returncode == 0 and lines(rest)[-1]["reason"] == "stop" and "Traceback" not in errors


def test_a_second_ctrl_c_ends_at_once(bundle: Path) -> None:
    # Its first open hangs: nobody accepts.
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        running = start_edge_har(
            "run", "--model", bundle, "--source", f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        )
        connection, _ = deaf.accept()
        with connection:
            running.send_signal(signal.SIGINT)
            # Two at once would be one: the first must have been handled.
            wait_until(lambda: not catches(running.pid, signal.SIGINT))
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=20)
    assert running.returncode in (0, -signal.SIGINT) and "Traceback" not in errors


def test_several_sources_in_one_run(bundle: Path, scene: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", f"a={scene}", "--source", f"b={scene}")
    assert done.returncode == 0
    events = lines(done.stdout)
    for name in ("a", "b"):
        told = [(e["type"], e["label"]) for e in events if e["source"] == name and e["type"] != "update"]
        assert told == [("start", "Red"), ("end", "Red"), ("start", "Green"), ("end", "Green")]
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[-2:]] == ["a", "b"]


def test_one_source_that_fails_ends_alone_and_the_run_with_1(bundle: Path, scene: Path) -> None:
    done = edge_har("run", "--model", bundle, "--source", "gone=none.avi", "--source", f"a={scene}")
    assert done.returncode == 1
    assert [e["source"] for e in lines(done.stdout)] == ["a"] * len(lines(done.stdout)) != []
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == [
        "error: gone: none.avi: no such file"
    ]


def test_a_camera_that_stays_away_is_given_up(bundle: Path) -> None:
    arguments = ("--source", "http://127.0.0.1:1/x", "--wait-for-source", "--give-up", 0.5, "-q")
    done = edge_har("run", "--model", bundle, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: http://127.0.0.1:1/x: gave no frame for 0.5 s, given up\n"


def test_hanging_up_has_settings_and_model_read_again(tmp_path: Path) -> None:
    """SIGHUP ends nothing, and a model whose file was written over is found at once."""
    path = tmp_path / "colours.ehar"
    path.write_bytes(colour_bytes())
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as server:
        running = start_edge_har("run", "--model", path, "--source", server.url)
        assert json.loads(running.stdout.readline())["model"].startswith("colours@")
        path.write_bytes(colour_bytes(name="other"))
        running.send_signal(signal.SIGHUP)
        for line in running.stdout:
            if json.loads(line)["model"].startswith("other@"):
                break
        running.send_signal(signal.SIGTERM)
        rest, _ = running.communicate(timeout=20)
    assert running.returncode == 0 and lines(rest)[-1]["reason"] == "stop"


def test_a_reader_that_goes_away_is_no_news(bundle: Path, scene: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_har", "run", "--model", str(bundle), "--source", str(scene)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    running.stdout.close()
    errors = running.stderr.read().decode()
    assert running.wait(60) == 128 + signal.SIGPIPE  # as the shell calls it
    assert "rror" not in errors and "Traceback" not in errors


def test_readers_of_both_outputs_that_go_away_are_no_news(bundle: Path, scene: Path) -> None:
    """`edge-har run ... 2>&1 | head -1`, whose answer may be anything but a hang."""
    running = subprocess.Popen(
        [sys.executable, "-m", "edge_har", "run", "--model", str(bundle), "--source", str(scene)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    )
    running.stdout.close()
    assert running.wait(60) == 128 + signal.SIGPIPE


def test_a_full_disk_is_one_line(bundle: Path, scene: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_har", "run", "--model", bundle, "--source", scene, "-q"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment(),
        )
    assert done.returncode == 1
    assert done.stderr == "error: events cannot be written: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stderr_costs_no_event(bundle: Path, scene: Path) -> None:
    told = edge_har("run", "--model", bundle, "--source", scene)
    done = _with_streams(f"{RUN_OF} 2>/dev/full", bundle, scene)
    assert done.returncode == told.returncode == 0
    assert len(lines(done.stdout)) == len(lines(told.stdout)) > 0
    assert _with_streams('"$0" -m edge_har run --config /nosuch 2>/dev/full', bundle, scene).returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ["--version", "run --help", "sources", "classify --model $1 $2"])
def test_output_that_cannot_be_written_is_one_line(command: str, bundle: Path, scene: Path) -> None:
    done = _with_streams(f'"$0" -m edge_har {command} >/dev/full', bundle, scene)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_streams_that_are_closed_are_void(bundle: Path, scene: Path) -> None:
    """No file of ours takes the place of one, and reading nothing is the end."""
    told = edge_har("run", "--model", bundle, "--source", scene)
    quiet = _with_streams(f"{RUN_OF} >&-", bundle, scene)
    assert (quiet.returncode, quiet.stdout) == (0, "") and "Traceback" not in quiet.stderr
    silent = _with_streams(f"{RUN_OF} 2>&- <&-", bundle, scene)
    assert silent.returncode == 0 and len(lines(silent.stdout)) == len(lines(told.stdout))
    empty = _with_streams('"$0" -m edge_har run --model "$1" --source - <&-', bundle, scene)
    assert (empty.returncode, empty.stderr.splitlines()[-1]) == (1, "error: standard input held nothing")


def test_a_reader_of_the_versions_who_has_gone_is_no_error() -> None:
    running = start_edge_har("--version")
    running.stdout.close()
    assert running.wait(60) == 128 + signal.SIGPIPE


def test_an_empty_model_is_not_the_shipped_one() -> None:
    done = edge_har("run", "--model", "", "--source", "synthetic:Walk")
    assert done.returncode == 2 and "--model: '' is not a text" in done.stderr


RUN_OF = '"$0" -m edge_har run --model "$1" --source "$2"'


def _with_streams(script: str, bundle: Path, scene: Path) -> subprocess.CompletedProcess[str]:
    """What a shell makes of `script`, whose $0 is Python."""
    return subprocess.run(
        ["sh", "-c", script, sys.executable, str(bundle), str(scene)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(),
    )


def test_an_rtsp_camera(bundle: Path) -> None:
    with rtsp_camera("red", 20) as url:
        done = edge_har("run", "--model", bundle, "--source", url, "--duration", 4)
    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    assert [(e["type"], e["label"]) for e in events if e["type"] != "update"] == [
        ("start", "Red"),
        ("end", "Red"),
    ]
    assert " skipped" not in done.stderr and " repeated" not in done.stderr


@pytest.mark.parametrize("kind", ["lrcn", "convlstm"])
def test_peak_memory_at_1280x720(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "hd.mp4"
    made = "testsrc2=size=1280x720:rate=30:duration=6"
    command = [
        need_program("ffmpeg"),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        made,
        "-c:v",
        "libx264",
        "-bf",
        "3",
        path,
    ]
    subprocess.run(command, check=True)
    model = published_bundle(kind)
    assert peak_mb("run", "--model", model, "--source", path) < PEAK_LIMIT_MB
    assert peak_mb("classify", path, "--model", model) < PEAK_LIMIT_MB
