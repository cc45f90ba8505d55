"""Keeping native libraries off standard error."""

from __future__ import annotations

import subprocess
import sys


def test_only_what_is_written_in_the_block_is_dropped() -> None:
    code = (
        "import os, sys\n"
        "from edge_har.system.stderr import quiet_stderr\n"
        # what waits in a buffer belongs to its own time
        "sys.stderr = open(2, 'w', buffering=100, closefd=False)\n"
        "sys.stderr.write('before ')\n"
        "try:\n"
        "    with quiet_stderr():\n"
        "        os.write(2, b'native')\n"
        "        sys.stderr.write('python')\n"
        "        raise ValueError\n"
        "except ValueError:\n"
        "    os.write(2, b'after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "before after"


def test_a_process_without_standard_error_goes_on() -> None:
    code = (
        "import os; os.close(2)\n"
        "from edge_har.system.stderr import quiet_stderr\n"
        "with quiet_stderr(): print('fine')\n"
        "print(os.path.exists('/proc/self/fd/2'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "fine\nFalse\n"
