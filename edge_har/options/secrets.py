"""Secrets: where the values of options that are never shown are looked up:
the environment, or a private file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from edge_har.errors import MisuseError
from edge_har.options.addresses import mask_uri
from edge_har.system.files import expand_user

FROM_ENVIRONMENT, FROM_FILE = "_env", "_file"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"  # where systemd puts what LoadCredential= names
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_SECRET_BYTES = 65_536
GROUP_AND_OTHERS, OTHERS = 0o077, 0o007


def base_of(key: str, names: Collection[str]) -> str | None:
    """The field whose value `key` says where to find; None where it is another key."""
    for ending in (FROM_ENVIRONMENT, FROM_FILE):
        base = key.removesuffix(ending)
        if base != key and base in names:
            return base
    return None


def look_up(key: str, location: object, folder: Path | None = None) -> str:
    """The secret that `location` names: for a key that ends in `_env` a variable of the environment, else a
    file, whose first line it is. folder: where relative paths begin; None: the current one.

    Raises MisuseError, which never shows the secret.
    """
    if not isinstance(location, str) or not location:
        raise MisuseError(
            f"{key}: expected the name of a {'variable' if key.endswith(FROM_ENVIRONMENT) else 'file'}"
        )
    return (
        _from_environment(key, location)
        if key.endswith(FROM_ENVIRONMENT)
        else _from_file(key, location, folder)
    )


def _from_environment(key: str, variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        # Whoever wrote the secret itself there is not shown it again.
        shown = f"variable {variable!r}" if VARIABLE.fullmatch(variable) else "variable of that name"
        raise MisuseError(f"{key}: the environment has no {shown}")
    return value


def _from_file(key: str, file_name: str, folder: Path | None) -> str:
    shown = mask_uri(file_name)
    path = (folder or Path()) / expand_user(os.path.expandvars(file_name))
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & (OTHERS if _is_credential(path) else GROUP_AND_OTHERS):
                raise MisuseError(f"{key}: others may read {shown}; chmod 600 it")
            value = file.readline(MAX_SECRET_BYTES).rstrip("\r\n")
    except (OSError, ValueError) as error:
        if isinstance(error, MisuseError):
            raise
        raise MisuseError(
            f"{key}: {shown} cannot be read: {getattr(error, 'strerror', None) or 'no text'}"
        ) from error
    if not value:
        raise MisuseError(f"{key}: {shown} is empty")
    return value


def _is_credential(path: Path) -> bool:
    """Whether systemd guards it: the folder is closed to others,
    and the group's bits are its access list's mask.
    """
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    return bool(folder) and os.path.realpath(path).startswith(os.path.realpath(str(folder)) + os.sep)
