"""The last line of a process that crashes in a library: code of ours cannot run then, a shell can."""

from __future__ import annotations

import faulthandler
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# It waits for what Python writes as it crashes, which is nothing where the process ends in another way.
# $1: what stands in a dump that is meant. $2: the line in place of such a dump.
SHELL = r"""
dump=
while IFS= read -r row; do
    dump="$dump$row
"
done
case $dump in
*"$1"*) printf '%s\n' "$2" ;;
?*) printf '%s' "$dump" ;;
esac
"""


@contextmanager
def crash_line(line: str, within: str, stderr: TextIO) -> Iterator[None]:
    """In the block, a crash of this process in code of the file `within`, or in what that calls, leaves
    `line` on `stderr`; any other crash leaves Python's own lines there.

    Costs a sleeping shell; where none can be started nothing is written. Signals end the process as ever.
    """
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", SHELL, "sh", f'File "{within}"', line],
            stdin=subprocess.PIPE,
            stdout=stderr.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )
    except (OSError, ValueError):
        yield
        return
    assert shell.stdin is not None
    enabled = faulthandler.is_enabled()
    faulthandler.enable(shell.stdin, all_threads=False)
    try:
        yield
    finally:
        faulthandler.disable()
        if enabled:
            faulthandler.enable(stderr)
        shell.stdin.close()
        shell.wait()
