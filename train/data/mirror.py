"""Which labels mirrored clips take, as a file says it; read without TensorFlow, before a clip is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_har.errors import DataError
from edge_har.model.values import read_json

OFF = "off"
AUTO = "auto"


def check_mirror(choice: str) -> None:
    """Raises DataError where `--mirror` names a file that cannot be read as one."""
    if choice not in (OFF, AUTO):
        read_mirror_file(Path(choice))


def read_mirror_file(path: Path) -> dict[str, Any]:
    """Label to the label of its mirror image, or to None; raises DataError for what is no such file."""
    try:
        targets = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"--mirror takes auto, off or a JSON file; {path} cannot be read: {error}") from error
    if not isinstance(targets, dict):
        raise DataError(f"mirror file {path} must hold an object of labels, got {type(targets).__name__}")
    return targets
