"""Work that takes minutes is kept by what it was made of, and goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_har.system.files import write_atomically

MADE_OF = "made_of.json"
RESULT = "result.json"  # written last: a folder without it is unfinished
KEY_DIGITS = 16

Make = Callable[[Path], dict[str, Any]]
Published = Mapping[str, dict[str, Any]]  # results by key, of work done elsewhere
NOTHING_PUBLISHED: Published = MappingProxyType({})


def key_of(made_of: Mapping[str, Any]) -> str:
    """Names one piece of work by everything it is made of (JSON values)."""
    return hashlib.sha256(_text(made_of).encode()).hexdigest()[:KEY_DIGITS]


def kept(root: Path, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of finished work, or None."""
    return result_in(root / key_of(made_of))


def result_in(folder: Path) -> dict[str, Any] | None:
    """The result of the finished work that a folder of a cache holds, or None."""
    path = folder / RESULT
    return dict(json.loads(path.read_text())) if path.is_file() else None


def keep(
    root: Path, made_of: Mapping[str, Any], make: Make, published: Published = NOTHING_PUBLISHED
) -> tuple[Path, dict[str, Any]]:
    """The folder and result of a piece of work, made now unless it is finished already. published: results
    that serve as well, whose folders are not here.

    make: gets the folder, where an interrupted attempt may have left something to go on with; its result gets
    `seconds` of this attempt added. What it raises passes through, and the folder stays.
    """
    folder = root / key_of(made_of)
    found = kept(root, made_of) or published.get(folder.name)
    if found is not None:
        return folder, dict(found)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / MADE_OF, made_of)
    started = time.monotonic()
    result = make(folder)
    _write(folder / RESULT, result | {"seconds": round(time.monotonic() - started, 1)})
    return folder, json.loads((folder / RESULT).read_text())


def read_published(path: Path) -> dict[str, dict[str, Any]]:
    """The results of a file by `write_published`; none where there is no file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def write_published(path: Path, results: Published) -> None:
    """Write results, a line each, so that what was measured need not be measured again elsewhere."""
    lines = (f"{json.dumps(key)}: {json.dumps(results[key], sort_keys=True)}" for key in sorted(results))
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, value: Mapping[str, Any]) -> None:
    write_atomically(path, _text(value).encode())
