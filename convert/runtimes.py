"""Which other TFLite runtimes compute a bundle's golden clips: asked of them, each in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from convert.quantise import PROJECT
from edge_har.errors import MisuseError

TIMEOUT_S = 120.0

Report = Callable[[str], None]


def runtimes_that_agree(content: bytes, interpreters: Sequence[Path], report: Report) -> list[str]:
    """Names and versions of the runtimes, among those of some Python interpreters, that pass `model verify`.

    content: the bundle's bytes. interpreters: each of an environment with a TFLite runtime, numpy, OpenCV and click.
    One that does not pass is reported and left out. Raises MisuseError for one that cannot be started.
    """
    agreed = []
    with tempfile.TemporaryDirectory(prefix="edge-har-convert-") as folder:
        bundle = Path(folder) / "bundle.ehar"
        bundle.write_bytes(content)
        for interpreter in interpreters:
            command = [str(interpreter), "-m", "edge_har", "model", "verify", "--json", str(bundle)]
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            try:
                child = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise MisuseError(f"{interpreter}: cannot be asked for its runtime: {error}") from error
            if child.returncode == 0:
                agreed.append(str(json.loads(child.stdout)["runtime"]))
            else:
                said = child.stderr.strip().splitlines() or [f"exit {child.returncode}"]
                report(f"{interpreter}: does not run this bundle: {said[-1]}")
    return agreed
