"""Mistakes that people type, and their answers: docs/mistakes.md, and a folder in which they are typed.

`python -m tests.helpers.mistakes` writes the answers into the page as they are now.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from edge_har.cli import call
from edge_har.system.files import HOME_VARIABLE
from tests.helpers.colours import colour_bytes, painted
from tests.helpers.videos import make_dataset, write_video

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mistakes.md"
TYPED = re.compile(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that `run` handles


def mistakes() -> dict[str, str]:
    """The command lines of the page with what answers them."""
    return dict(TYPED.findall(PAGE.read_text(encoding="utf-8")))


def write_files(folder: Path) -> None:
    """What is there when the mistakes are typed: two recordings, a text, a bundle, sets of clips."""
    make_dataset(folder / "clips")
    make_dataset(folder / "one_label")
    for label in sorted(path for path in (folder / "one_label").iterdir() if path.is_dir())[1:]:
        shutil.rmtree(label)
    write_video(folder / "clip.avi", painted("Red", 30, (32, 24)))
    (folder / "loose").mkdir()
    for name in ("a.avi", "b.avi"):
        shutil.copy(folder / "clip.avi", folder / "loose" / name)
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("Remember the milk.\n")
    (folder / "mine.ehar").write_bytes(colour_bytes())


@contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """In the block, a command of this process runs in `folder`, which is also the home of edge_har; what it
    sets for the whole process is set back.
    """
    log = logging.getLogger("edge_har")
    before = log.handlers, log.propagate, log.level
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    here, home = Path.cwd(), os.environ.get(HOME_VARIABLE)
    os.chdir(folder)
    os.environ[HOME_VARIABLE] = str(folder / "home")
    try:
        yield
    finally:
        os.chdir(here)
        del os.environ[HOME_VARIABLE]
        os.environ |= {} if home is None else {HOME_VARIABLE: home}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        log.handlers, log.propagate = before[:2]
        log.setLevel(before[2])


def answer(line: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line, in this process and folder."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        with redirect_stdout(output), redirect_stderr(errors):
            code = call(shlex.split(line)[1:])
        for stream in (output, errors):
            stream.seek(0)
        return code, output.read(), errors.read()


def _write_page() -> None:
    with tempfile.TemporaryDirectory() as name, in_folder(Path(name)):
        write_files(Path(name))
        page = TYPED.sub(
            lambda found: f"$ {found[1]}\n{answer(found[1])[2]}", PAGE.read_text(encoding="utf-8")
        )
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    _write_page()
    sys.exit()
