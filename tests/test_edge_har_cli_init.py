"""`edge-har config init`, by flags and by questions on a terminal: what it writes passes `config check`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_har.config.file import read_config
from tests.helpers.command import edge_har, environment
from tests.helpers.running import LONG_S, wait_until


class Terminal:
    """A process on a terminal of its own: `reply` waits for a question and types."""

    def __init__(self, arguments: Sequence[object], folder: Path) -> None:
        self._controller, inner = pty.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_har", *map(str, arguments)],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
        os.close(inner)
        self._seen = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                read = os.read(self._controller, 4096)
            except OSError:  # the process has ended
                return
            self.text += read.decode()

    def reply(self, question: str, text: str) -> None:
        """Type `text` at the first line after those replied to that holds `question`."""
        wait_until(lambda: question in self.text[self._seen :])
        self._seen = len(self.text)
        os.write(self._controller, f"{text}\n".encode())

    def end(self) -> int:
        """The exit code, once the process has ended."""
        code = self.process.wait(LONG_S)
        self._thread.join(LONG_S)
        os.close(self._controller)
        return code


def test_questions_on_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(["config", "init"], tmp_path)
    terminal.reply("Source: ", "rtsp://guard@192.168.1.2/s")
    terminal.reply("Its name in events", "do or")
    terminal.reply("Password of that user", "x")
    terminal.reply("Source: ", "rtsp://guard@192.168.1.2/s")  # a name cannot hold a space
    terminal.reply("Its name in events", "door")
    terminal.reply("Password of that user", "hunter2")
    terminal.reply("Another source?", "y")
    terminal.reply("Source: ", "synthetic:demo")
    terminal.reply("Its name in events [camera2]", "")
    terminal.reply("Another source?", "")
    terminal.reply("MQTT broker", "broker.local")
    terminal.reply("User at the broker", "me")
    terminal.reply("Password of that user", "sesame")
    terminal.reply("Web address that gets a POST", "https://u:p@h.example/x")
    terminal.reply("Web address that gets a POST", "https://h.example/x")
    terminal.reply("Live page", "network")
    assert terminal.end() == 0, terminal.text
    assert "a source's name is" in terminal.text and "next: edge-har run" in terminal.text
    assert "hunter2" not in terminal.text and "sesame" not in terminal.text
    config = read_config(tmp_path / "edge-har.toml")
    assert [source.name for source in config.sources] == ["door", "camera2"]
    assert [sink.kind for sink in config.sinks] == ["mqtt", "webhook"]
    assert config.web is not None and config.web.listen == "0.0.0.0:8080"
    checked = edge_har("config", "check", tmp_path / "edge-har.toml")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_flags_write_a_file_that_passes_the_check_and_runs(tmp_path: Path) -> None:
    done = edge_har("config", "init", "c.toml", "--source", "demo=synthetic:Walk?duration=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert edge_har("config", "check", tmp_path / "c.toml").returncode == 0
    assert edge_har("run", "--config", tmp_path / "c.toml", "--duration", "1", "-q").returncode == 0
    again = edge_har("config", "init", "c.toml", "--source", "0", cwd=tmp_path)
    assert again.returncode == 2 and again.stderr == "error: c.toml is there already: --force replaces it\n"
    assert edge_har("config", "init", "c.toml", "--source", "0", "--force", cwd=tmp_path).returncode == 0
    assert 'uri = "0"' in (tmp_path / "c.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "error: name a source with --source"),
        (("--web", "127.0.0.1:1"), "error: name a source with --source"),
        (("--source", "a=0", "--source", "a=1"), "2 of them are called a"),
        (("--source", "a=rtsp://u:p@h/", "--model", "absent.ehar"), "model: "),
        (("--source", "0", "--sink", "nonsense"), "a sink is"),
        (("--source", "0", "--web", "nowhere"), "the page cannot listen"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = edge_har("config", "init", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and problem in done.stderr and len(done.stderr.splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
