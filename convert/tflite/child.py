"""The child process that runs the TFLite converter, kept for the next graph: loading TensorFlow takes longer
than most.

It may crash or hang without taking us with it; either costs that process alone.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from edge_har.errors import ConversionError

PROJECT = Path(__file__).resolve().parents[2]
WORKER = (sys.executable, "-m", "convert.tflite.worker")
REPLY_BYTES = 65536
# After its last reply.
ENDS_WITHIN_S = 10.0

_kept: dict[tuple[str, ...], ConverterProcess] = {}


def start_child(log: Path, worker: Sequence[str] = WORKER) -> None:
    """Start a child for the next job, unless one is kept.

    Raises ConversionError where the log cannot be written.
    """
    command = tuple(worker)
    if command not in _kept:
        with _open_log(log) as output:
            _kept[command] = ConverterProcess(command, output)


def run_job(job: Mapping[str, Any], *, log: Path, timeout_s: float, worker: Sequence[str] = WORKER) -> None:
    """Have one graph made: `job` as of convert.tflite.worker. The child's output is appended to `log`.

    A child that did other graphs before and crashes on this one has it tried once more by a fresh one. Raises
    ConversionError, in one line naming the graph and the log, when it fails, crashes or takes longer than
    timeout_s.
    """
    command, graph = tuple(worker), f"the graph '{job['name']}'"
    for last in (False, True):
        start_child(log, worker)
        child = _kept.pop(command)
        fresh = child.jobs_done == 0
        try:
            code, reason = child.run({**job, "log": str(log.absolute())}, timeout_s)
        except TimeoutError:
            raise ConversionError(
                f"the converter took longer than {timeout_s:g} s on {graph} and was stopped; see {log}"
            ) from None
        if code is None:
            _kept[command] = child
            if reason is None:
                return
        elif code < 0:
            if not (fresh or last):
                continue
            raise ConversionError(f"the converter crashed ({_signal_name(-code)}) on {graph}; see {log}")
        raise ConversionError(f"the converter failed on {graph}: {reason or _last_line(log)}; see {log}")


class ConverterProcess:
    """One process of `command`, which reads a job a line on stdin and replies on the descriptor it is given.

    jobs_done: how many it replied to. output: where its own output goes until its first job names a log.
    """

    def __init__(self, command: Sequence[str], output: IO[str]) -> None:
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.jobs_done = 0
        self._replies, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                pass_fds=(theirs,),
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    def run(self, job: Mapping[str, Any], timeout_s: float) -> tuple[int | None, str | None]:
        """Its exit code where it ended (below 0: by that signal), else None; and why it could not make the
        graph.

        Raises TimeoutError. Whatever is raised, it has ended by then, with its own children.
        """
        try:
            reply = self._request(json.dumps(job) + "\n", timeout_s)
        except BaseException:  # a timeout, or an interruption of our own
            self.stop()
            raise
        if not reply:
            return self._ended(), None
        self.jobs_done += 1
        return None, json.loads(reply)["error"]

    def stop(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._ended()

    def _request(self, line: str, timeout_s: float) -> bytes:
        """The reply, ending with a new line; empty where the process ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        until_s, reply = time.monotonic() + timeout_s, b""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        while not reply.endswith(b"\n"):
            if not poll.poll(max(0.0, until_s - time.monotonic()) * 1000):
                raise TimeoutError
            more = os.read(self._replies, REPLY_BYTES)
            if not more:
                return b""
            reply += more
        return reply

    def _ended(self) -> int:
        assert self._process.stdin is not None
        try:
            code = self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:  # it closed its end and lives on
            os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait()
        with suppress(BrokenPipeError):  # it ended before it read
            self._process.stdin.close()
        os.close(self._replies)
        return code


@atexit.register
def _stop_kept() -> None:
    while _kept:
        _kept.popitem()[1].stop()


os.register_at_fork(after_in_child=_kept.clear)  # they are their starter's


def _open_log(log: Path) -> IO[str]:
    try:
        return log.open("a", encoding="utf-8")
    except OSError as error:
        raise ConversionError(f"{log}: the converter's log cannot be written: {error.strerror}") from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path, limit: int = 200) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:limit] if lines else "it wrote nothing"
