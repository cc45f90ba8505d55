"""A program whose output is read through a pipe; it ends with us, however we end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

CHUNK_BYTES = 256 * 1024
STDERR_BYTES = 4096  # of the end of what the program wrote to stderr
MAX_LINE = 300  # characters of its last line that are reported
LAST_WORDS_S = 1.0  # after the end of stdout, for stderr
END_S = 3.0  # longer than the shell below needs to end the program

# The shell waits for the program; beside it `cat` waits for the end of our pipe, which comes even where we
# are killed. (A parent-death signal would come at the end of the thread that started the program.)
WITH_US = """
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
{ cat <&3; kill "$program"; sleep 1; kill -KILL "$program"; } >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$program"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"""


class Child:
    """A running program. Raises OSError where it cannot be started."""

    def __init__(self, command: Sequence[str]) -> None:
        # A session of its own: Ctrl-C is for us, and whatever the program starts can be ended with it.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WITH_US, command[0], *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._ours: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._err: IO[bytes] = self._process.stderr
        self._err_open = True
        self._stderr = b""
        self._closed = False

    @property
    def last_line(self) -> str:
        """The last line that the program wrote to stderr, or nothing."""
        lines = [line.strip() for line in self._stderr.decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return "".join(c if c.isprintable() else " " for c in last)[:MAX_LINE]

    def read(self, timeout_s: float) -> bytes | None:
        """More of its output; b"" when it has ended, None where nothing comes in time."""
        deadline_s = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        if self._err_open:
            poll.register(self._err, select.POLLIN)
        while not self._closed:
            left_s = deadline_s - time.monotonic()
            ready = [fd for fd, _ in poll.poll(max(0.0, 1000 * left_s))]
            if self._err_open and self._err.fileno() in ready and not self._read_stderr():
                poll.unregister(self._err)
            if self._out.fileno() in ready:
                data = os.read(self._out.fileno(), CHUNK_BYTES)
                if not data:
                    self._drain_stderr()
                return data
            if left_s <= 0:
                return None
        return b""

    def close(self) -> None:
        """End the program and all that it started, and wait until they are gone; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._ours.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._out.close()
        self._err.close()

    def _read_stderr(self) -> bool:
        """Read what stderr holds now; False at its end."""
        text = os.read(self._err.fileno(), CHUNK_BYTES)
        self._stderr = (self._stderr + text)[-STDERR_BYTES:]
        self._err_open = bool(text)
        return self._err_open

    def _drain_stderr(self) -> None:
        """After the end of stdout: the last words, for which an ending program needs a moment."""
        deadline_s = time.monotonic() + LAST_WORDS_S
        while self._err_open and (left_s := deadline_s - time.monotonic()) > 0:
            if select.select([self._err], [], [], left_s)[0]:
                self._read_stderr()
