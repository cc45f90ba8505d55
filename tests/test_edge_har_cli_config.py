"""`edge-har config check` and `edge-har run --config` in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from edge_har.cli import run
from edge_har.config.file import Config
from edge_har.config.plan import CommandLine, merge
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.rules import UNKNOWN, LabelRule, Rules
from tests.helpers.broker import USER, Broker, free_port
from tests.helpers.colours import GREY, colour_bytes, painted
from tests.helpers.command import edge_har, environment, start_edge_har
from tests.helpers.hooks import HookServer
from tests.helpers.mjpeg import MjpegServer, jpeg
from tests.helpers.sinks import wait_until
from tests.helpers.videos import write_video

TIMEOUT_S = 60


class Lines:
    """What a process says, read as it comes."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))

    def wait(self, found: str, after: int = 0) -> str:
        """The first line that `found` matches somewhere, of those behind the first `after`."""
        wait_until(lambda: any(re.search(found, line) for line in self.lines[after:]), found)
        return next(line for line in self.lines[after:] if re.search(found, line))

    @property
    def text(self) -> str:
        """All of it, once the process has ended."""
        self._thread.join(TIMEOUT_S)
        return "\n".join(self.lines)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundles that tell colours, one by other names."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "colours.ehar").write_bytes(colour_bytes())
    (folder / "other.ehar").write_bytes(
        colour_bytes(name="other", labels=("Rot", "Green", "Blue"), golden=())
    )
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of edge_har that the test can look into."""
    monkeypatch.setenv("EDGE_HAR_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def red() -> Iterator[MjpegServer]:
    """A camera that shows red for ever."""
    with MjpegServer([jpeg(painted("Red", 1, (32, 24))[0])], 25.0, loop=True) as server:
        yield server


def write(path: Path, text: str) -> Path:
    """A configuration file, there at once as editors do it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)
    return path


def events_in(text: str) -> list[tuple[str, str, str | None]]:
    """Source, type and label of events but updates."""
    events = [json.loads(line) for line in text.splitlines()]
    return [(e["source"], e["type"], e["label"]) for e in events if e["type"] != "update"]


# config check -----------------------------------------------------------------------------------------------


def test_check_says_what_would_run_and_opens_no_camera(models: Path, tmp_path: Path) -> None:
    config = write(
        tmp_path / "c.toml",
        f'model = "{models}/colours.ehar"\n[[source]]\nname = "door"\nuri = "/dev/video77"\nrotate = 90\n'
        '[labels.Red]\nenabled = false\n[[sink]]\nkind = "webhook"\nurl = '
        '"http://127.0.0.1:1/SECRET"\n[web]\n',
    )
    done = edge_har("config", "check", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "model", "source", "events", "label", "sink", "sink", "web"
    ]  # fmt: skip
    assert "door: /dev/video77 (rotate)" in done.stdout and "Red: off" in done.stdout
    as_json = json.loads(edge_har("config", "check", config, "--json").stdout)
    assert as_json["ok"] and as_json["bundle"].startswith("colours@")
    assert as_json["settings"]["source"][0]["rotate"] == 90
    assert as_json["settings"]["labels"]["Red"]["enabled"] is False
    assert "SECRET" not in json.dumps(as_json) + done.stdout


def test_check_warns_of_what_has_no_effect(tmp_path: Path) -> None:
    bundle = tmp_path / "sure.ehar"
    bundle.write_bytes(colour_bytes(reject_threshold=0.5))
    config = write(
        tmp_path / "c.toml",
        f'model = "{bundle}"\n[[source]]\nuri = "0"\n[events]\nunknown = true\n'
        "[labels.unknown]\nenter = 0.9\n",
    )
    done = edge_har("config", "check", config)
    assert done.returncode == 0
    assert done.stderr == (
        "warning: enter of the label 'unknown' has no effect: it begins where no label reaches the bundle's "
        "reject threshold, 0.5\n"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (("[[source]]\nuri = '0'\nrotat = "
         "90\n"), ["c.toml: source[1].rotat: no such key; did you mean rotate?"]),
        ("model = 'x'\nthreads 1\n", ["c.toml:2: Expected '=' after a key"]),
        ("model = 'none.ehar'\n", [("c.toml: model: {folder}/none.ehar: no such "
                                   "bundle"), "c.toml: source: there is none"]),
        (("[[source]]\nuri = "
         "'0'\n[labels.Wlak]\n"), ["labels.Wlak: no label of the model is called 'Wlak'; did you"]),
    ],
)  # fmt: skip
def test_check_names_every_problem_and_exits_with_2(text: str, says: list[str], tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", text)
    done = edge_har("config", "check", config)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(says) and all(line.startswith("error: ") for line in lines)
    for line, expected in zip(lines, says, strict=True):
        assert expected.format(folder=tmp_path) in line
    as_json = edge_har("config", "check", config, "--json")
    assert as_json.returncode == 2 and as_json.stderr == ""
    assert [f"error: {line}" for line in json.loads(as_json.stdout)["problems"]] == lines
    ran = edge_har("run", "--config", config)
    assert ran.returncode in (1, 2) and "Traceback" not in ran.stderr and ran.stdout == ""


# run --config -----------------------------------------------------------------------------------------------


def test_the_file_is_followed_and_the_command_line_wins(models: Path, tmp_path: Path) -> None:
    parts = [painted(c, n, (32, 24)) for c, n in ((GREY, 50), ("Red", 75), ("Green", 75), (GREY, 50))]
    write_video(tmp_path / "scene.avi", np.concatenate(parts))
    write_video(tmp_path / "green.avi", painted("Green", 75, (32, 24)))
    (tmp_path / "colours.ehar").write_bytes((models / "colours.ehar").read_bytes())
    config = write(
        tmp_path / "c.toml",
        "model = 'colours.ehar'\n[[source]]\nname = 'door'\nuri = 'scene.avi'\n[labels.Red]\nenabled = "
        "false\n"
        "[[sink]]\nkind = 'jsonl'\npath = 'events.jsonl'\n[log]\nlevel = 'error'\n",
    )
    done = edge_har("run", "--config", config, cwd=models)
    assert (done.returncode, done.stderr) == (0, "")
    assert events_in(done.stdout) == [("door", "start", "Green"), ("door", "end", "Green")]
    assert (tmp_path / "events.jsonl").read_text() == done.stdout

    other = edge_har(
        *("run", "--config", config, "-v"),
        *("--source", f"attic={tmp_path}/green.avi", "--sink", f"jsonl:{tmp_path}/o.jsonl"),
    )
    assert events_in(other.stdout) == [("attic", "start", "Green"), ("attic", "end", "Green")]
    assert (tmp_path / "o.jsonl").read_text() == other.stdout and "attic: " in other.stderr
    assert (tmp_path / "events.jsonl").read_text() == done.stdout
    none = edge_har("run", "--config", config, "--enter", 1, "--min-duration", "10s", "-q")
    assert (none.returncode, none.stdout) == (0, "")
    rules = ("--label", "Red?sources=door", "--label", "Green?enabled=no", "--zone", "UTC")
    ruled = edge_har("run", "--config", config, *rules)
    assert events_in(ruled.stdout) == [("door", "start", "Red"), ("door", "end", "Red")]
    wrong = edge_har("run", "--config", config, "--label", "Green?sources=attic")
    assert wrong.returncode == 2 and "the rule of 'Green' names the source 'attic'" in wrong.stderr


def test_a_label_alone_is_the_only_one(models: Path, tmp_path: Path) -> None:
    parts = [painted(c, n, (32, 24)) for c, n in (("Red", 50), ("Green", 50), ("Blue", 50))]
    scene = write_video(tmp_path / "scene.avi", np.concatenate(parts))
    given = ("run", "--model", models / "colours.ehar", "--source", f"door={scene}")
    done = edge_har(*given, "--label", "Green")
    assert events_in(done.stdout) == [("door", "start", "Green"), ("door", "end", "Green")]
    two = edge_har(*given, "--label", "Green", "--label", "Blue?enter=0.9")
    assert [label for _, kind, label in events_in(two.stdout) if kind == "start"] == ["Green", "Blue"]
    wrong = edge_har(*given, "--label", "green")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: the model has no label 'green'; did you mean Green?\n"


def test_a_label_alone_keeps_its_rule_and_unknown_comes_on_request() -> None:
    walk, sit = LabelRule(enabled=False, enter=0.9), LabelRule(enter=0.5)
    of_file = Config(options=RunOptions(rules=Rules({"Walk": walk, "Sit": sit})))
    alone = merge(of_file, CommandLine(labels=("Walk",))).options.rules
    assert alone.only and alone.labels == {"Walk": LabelRule(enter=0.9)}
    ruled = merge(of_file, CommandLine(labels=("Walk?enter=0.2",))).options.rules
    assert not ruled.only and ruled.labels == {"Walk": LabelRule(enter=0.2), "Sit": sit}
    both = merge(of_file, CommandLine(labels=("Walk",), options={"unknown": True})).options.rules
    assert set(both.labels) == {"Walk", UNKNOWN}


def test_a_label_option_replaces_the_files_rule_of_that_label_alone(models: Path, tmp_path: Path) -> None:
    parts = [painted(c, n, (32, 24)) for c, n in (("Red", 50), ("Green", 50))]
    write_video(tmp_path / "scene.avi", np.concatenate(parts))
    config = write(
        tmp_path / "c.toml",
        f"model = '{models}/colours.ehar'\n[[source]]\nname = 'door'\nuri = 'scene.avi'\n"
        "[labels.Red]\nenabled = false\n[labels.Green]\nenabled = false\nsources = ['nowhere']\n",
    )
    wrong = edge_har("run", "--config", config)
    assert wrong.returncode == 2 and "no source is called 'nowhere'" in wrong.stderr
    # What is wrong in the rule that is replaced does not matter any more.
    done = edge_har("run", "--config", config, "--label", "Green?enabled=yes")
    assert done.returncode == 0, done.stderr
    assert events_in(done.stdout) == [("door", "start", "Green"), ("door", "end", "Green")]


def test_without_any_source_it_says_where_one_may_be(tmp_path: Path) -> None:
    done = edge_har("run", "--config", write(tmp_path / "c.toml", "threads = 1\n"))
    assert done.returncode == 2 and "add a [[source]], or name one with --source" in done.stderr


def test_times_are_the_same_on_the_command_line() -> None:
    arguments = [
        "--source",
        "0",
        "--give-up",
        "10m",
        "--duration",
        "90",
        "--cooldown",
        "1.5s",
        "--smooth",
        "0",
    ]
    with run.command.make_context("run", arguments) as context:
        found = {name: context.params[name] for name in ("give_up_s", "duration_s", "cooldown_s", "smooth_s")}
    assert found == {"give_up_s": 600.0, "duration_s": 90.0, "cooldown_s": 1.5, "smooth_s": 0.0}
    done = edge_har("run", "--source", "0", "--give-up", "soon")
    assert done.returncode == 2 and "'soon' is not a time, such as 90, 1.5, 90s, 10m or 2h" in done.stderr


def test_a_hangup_has_the_file_read_again(models: Path, tmp_path: Path, red: MjpegServer) -> None:
    (tmp_path / "secret").touch(mode=0o600)
    path = tmp_path / "c.toml"
    begin = f'model = "{models}/colours.ehar"\nthreads = 1\n[[source]]\nname = "door"\nuri = "{red.url}"\n'
    write(path, begin + "[labels.Red]\nenabled = false\n")
    running = start_edge_har("run", "--config", path, "-v")
    out, said = Lines(running.stdout), Lines(running.stderr)
    said.wait(r"^door [\d.]+ s: Red 1.00")
    assert out.lines == []

    write(path, begin + "[labels.Red]\nenabled = perhaps\n")
    running.send_signal(signal.SIGHUP)
    why = said.wait("the old ones go on")
    assert why.startswith("error: the new settings cannot be used") and f"{path}:7: Invalid value" in why
    write(path, begin + "[labels.Rde]\n[events]\nentr = 1\n")
    running.send_signal(signal.SIGHUP)
    said.wait(r"the old ones go on: .*events\.entr: no such key; did you mean enter\?")
    assert out.lines == []

    begin = begin.replace("threads = 1", "threads = 2")
    write(path, begin + '[[sink]]\nkind = "jsonl"\npath = "x"\n[web]\n')
    before = len(said.lines)
    running.send_signal(signal.SIGHUP)
    out.wait('"start".*"Red"')
    assert said.wait("only a restart takes it", before) == (
        "warning: changed, but only a restart takes it: threads, sink, web"
    )
    assert said.wait("settings were read again", before)

    # Another model, and rules for labels that only it has.
    write(path, begin.replace("colours.ehar", "other.ehar") + "[labels.Rot]\nenter = 0.9\n")
    running.send_signal(signal.SIGHUP)
    out.wait('"end".*"Red".*"swap"')
    out.wait('"start".*"Rot".*"other@')
    running.terminate()
    assert running.wait(TIMEOUT_S) == 0
    assert "Traceback" not in said.text


# Secrets ----------------------------------------------------------------------------------------------------


def test_no_secret_of_any_kind_shows_anywhere(
    models: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        name: f"hunter2-{name}-{'x' * 12}"
        for name in [
            *("camera", "refused", "rtsp", "query", "whole"),
            *("broker", "path", "basic", "sign", "bearer", "page"),
        ]
    }
    for name, value in secrets.items():
        (home / name).touch(mode=0o600)
        (home / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"TEST_{name.upper()}", value)
    picture = jpeg(painted("Red", 1, (32, 24))[0])
    closed = free_port()
    monkeypatch.setenv("TEST_QUERY", f"http://127.0.0.1:{closed}/x?channel=1&token={secrets['query']}")
    (home / "whole").write_text(f"http://me@home:12/a {secrets['whole']}@127.0.0.1:{closed}/y")
    with (
        MjpegServer([picture], 25.0, loop=True, user_password=f"me:{secrets['camera']}") as camera,
        MjpegServer([picture], 25.0, loop=True, user_password="me:another") as refusing,
        HookServer() as hook,
        Broker(home / "broker-data", password=True) as broker,
    ):
        hook.status = 500
        url = hook.url.replace("://", f"://my name:1/ {secrets['basic']}@") + f"/{secrets['path']}"
        monkeypatch.setenv("TEST_PATH", url)
        config = write(
            home / "c.toml",
            f'model = "{models}/colours.ehar"\nwait_for_source = true\n'
            f'[[source]]\nname = "works"\nuri = "{camera.url.replace("://", "://me@")}"\npassword_env = '
            '"TEST_CAMERA"\n'
            f'[[source]]\nuri = "{refusing.url.replace("://", "://me@")}"\npassword_file = "refused"\n'
            f'[[source]]\nuri = "rtsp://me@127.0.0.1:{closed}/s"\npassword_file = "rtsp"\n'
            '[[source]]\nuri_env = "TEST_QUERY"\n[[source]]\nuri_file = "whole"\n'
            f'[[sink]]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {broker.port}\nuser = "{USER}"\n'
            'password_file = "broker"\n'
            '[[sink]]\nkind = "webhook"\nname = "hook"\nurl_env = "TEST_PATH"\nsecret_file = "sign"\n'
            'token_env = "TEST_BEARER"\n'
            f'[[sink]]\nkind = "webhook"\nname = "gone"\nurl = "http://127.0.0.1:{closed}/z"\nsecret_env = '
            '"TEST_SIGN"\n'
            '[web]\nlisten = "127.0.0.1:0"\ntoken_file = "page"\n[log]\nlevel = "debug"\n',
        )
        checked = edge_har("config", "check", config)
        as_json = edge_har("config", "check", config, "--json")
        assert checked.returncode == 0, checked.stderr
        running = start_edge_har("run", "--config", config, "-v")
        out, said = Lines(running.stdout), Lines(running.stderr)
        page = said.wait(r"the live page is at http").split()[-1]
        out.wait('"start".*"Red"')

        def get(route: str) -> str:
            asked = urllib.request.Request(
                page + route, headers={"Authorization": f"Bearer {secrets['page']}"}
            )
            try:
                with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
                    return str(answer.read().decode())
            except urllib.error.HTTPError as error:
                return str(error.read().decode())

        def all_fail() -> bool:
            state = json.loads(get("api/state"))
            sinks = {sink["name"]: sink for sink in state["sinks"]}
            return all(sinks[name]["failed"] for name in ("mqtt", "hook", "gone"))

        wait_until(all_fail, "every sink to fail")
        with open(f"/proc/{running.pid}/cmdline") as command:
            shown = [command.read()]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(page + "api/state", timeout=TIMEOUT_S)
        shown += [get(route) for route in ("", "api/state", "metrics", "readyz", "healthz")]
        running.send_signal(signal.SIGHUP)
        said.wait("settings were read again")
        running.terminate()
        assert running.wait(TIMEOUT_S) == 0
        shown += [out.text, said.text, checked.stdout, checked.stderr, as_json.stdout, as_json.stderr]
    kept = [path.read_text(errors="replace") for path in (home / "home").rglob("*") if path.is_file()]
    everything = "\n".join((*shown, *kept))
    assert "edge_har_source_frames_total" in everything and "***" in everything
    assert any(kept), "no event waits on the disk"
    for name, secret in secrets.items():
        assert secret not in everything, name
        assert f"hunter2-{name}" not in everything, name


# The journal, and what is not installed ---------------------------------------------------------------------


def journal_lines(arguments: tuple[object, ...], *, matches: bool) -> list[str]:
    """What a command says on a standard error that the journal reads, or (another one) does not."""
    reading, writing = os.pipe()
    facts = os.fstat(writing)
    stream = f"{facts.st_dev}:{facts.st_ino + (not matches)}"
    with subprocess.Popen(
        [sys.executable, "-m", "edge_har", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
        env=environment() | {"JOURNAL_STREAM": stream},
    ) as running:
        os.close(writing)
        with open(reading) as said:
            lines = said.read().splitlines()
        running.wait(TIMEOUT_S)
    return lines


def test_the_journal_gets_priorities(models: Path, tmp_path: Path) -> None:
    text = tmp_path / "short.avi"
    write_video(text, painted("Red", 3, (32, 24)))
    arguments = ("run", "--model", models / "colours.ehar", "--source", text, "-v")
    for more, matches, journald in (
        ((), True, True),
        ((), False, False),
        (("--log-format", "plain"), True, False),
        (("--log-format", "journald"), False, True),
    ):
        lines = journal_lines((*arguments, *more), matches=matches)
        warning = next(line for line in lines if "shorter than the model's window" in line)
        assert warning.startswith("<4>" if journald else "warning: "), more
        assert any(line.startswith("<7>") for line in lines) == journald
        assert lines[-1].startswith("<6>" if journald else str(text))  # the summary
    write_video(text, painted("Red", 100, (32, 24)))
    lines = journal_lines(arguments, matches=True)
    assert any(re.match(r"<6>[\d:]{8}  start  Red", line) for line in lines)
    assert all(line[0] == "<" for line in lines)
    failed = journal_lines(("run", "--source", "none.avi"), matches=True)
    assert failed == ["<3>none.avi: no such file"]
    failed = journal_lines(("config", "check", "none.toml"), matches=True)
    assert failed == ["<3>none.toml: cannot be read: No such file or directory"]


def command_without(module: str, *arguments: object) -> list[str]:
    """The command where a library is not installed."""
    code = f"import sys; sys.modules[{module!r}] = None; from edge_har.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def without(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command where a library is not installed."""
    return subprocess.run(
        command_without(module, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment(),
    )


@pytest.mark.parametrize(
    ("module", "table", "option", "install"),
    [
        ("tornado", "[web]\n", ("--web", "127.0.0.1:0"), "pip install 'edge-har[web]'"),
        ("paho", ("[[sink]]\nkind = 'mqtt'\nhost = "
                 "'h'\n"), ("--sink", "mqtt://h"), "pip install 'edge-har[mqtt]'"),
    ],
)  # fmt: skip
def test_what_is_not_installed_is_one_line_with_its_command(
    module: str, table: str, option: tuple[str, str], install: str, tmp_path: Path, home: Path
) -> None:
    config = write(tmp_path / "c.toml", f"[[source]]\nuri = 'synthetic:Walk?duration=1'\n{table}")
    for arguments, code in (
        (("run", "--source", "synthetic:Walk?duration=1", *option), 1),
        (("run", "--config", config), 1),
        (("config", "check", config), 2),
    ):
        done = without(module, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.endswith(f"{install}\n"), done.stderr
        assert done.stderr.count("\n") == 1


def test_metrics_that_are_not_installed_are_one_line_and_the_page_works(red: MjpegServer) -> None:
    arguments = command_without("prometheus_client", "run", "--source", red.url, "--web", "127.0.0.1:0")
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
    ) as running:
        page = Lines(running.stderr).wait(r"the live page is at http").split()[-1]
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(page + "metrics", timeout=TIMEOUT_S)
        assert caught.value.read() == b"metrics need prometheus-client: pip install 'edge-har[metrics]'\n"
        with urllib.request.urlopen(page + "api/state", timeout=TIMEOUT_S) as answer:
            assert answer.status == 200
        running.terminate()
        assert running.wait(TIMEOUT_S) == 0
