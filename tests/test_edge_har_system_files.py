"""What lies at a path, paths that other libraries take, and the folders that `~` and the store mean."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from edge_har.errors import DataError, MisuseError
from edge_har.system.files import (
    HOME_VARIABLE,
    PathKind,
    expand_user,
    home,
    is_utf8,
    path_kind,
    utf8_path,
)


def test_what_lies_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    expected = {
        "": PathKind.FOLDER,
        "file": PathKind.FILE,
        "link": PathKind.FILE,
        "pipe": PathKind.OTHER,
        "none": PathKind.ABSENT,
        "dangling": PathKind.ABSENT,
        "file/below": PathKind.ABSENT,
    }
    assert {name: path_kind(tmp_path / name, DataError) for name in expected} == expected


def test_a_path_that_the_system_refuses_is_an_error_of_the_callers_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for name, why in (
        ("n" * 300, "File name too long"),
        ("circle", "Too many levels of symbolic links"),
        ("a\0b", "it is no path"),
    ):
        with pytest.raises(DataError, match=f"cannot be used: {why}"):
            path_kind(tmp_path / name, DataError)

    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(MisuseError, match=r"^its name: cannot be used: Permission denied$"):
        path_kind(tmp_path, MisuseError, "its name")


def test_a_name_that_is_not_utf8_is_reached_through_a_link(tmp_path: Path) -> None:
    plain, odd = tmp_path / "caf\xe9.avi", tmp_path / os.fsdecode(b"caf\xe9.avi")
    with utf8_path(plain) as path:
        assert path == str(plain)
    with utf8_path(odd) as path:
        assert is_utf8(path) and path.endswith(".avi")
        Path(path).write_bytes(b"written before it was there")
    assert odd.read_bytes() == b"written before it was there" and not os.path.lexists(path)


def test_no_folder_called_tilde_is_ever_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for value in (None, "", "relative"):
        monkeypatch.delenv("HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("HOME", value)
        with pytest.raises(MisuseError, match=r"~/events\.jsonl: this user has no home folder"):
            expand_user("~/events.jsonl")
        with pytest.raises(MisuseError, match=HOME_VARIABLE):
            home()
    with pytest.raises(MisuseError, match="there is no user nobody-of-that-name"):
        expand_user("~nobody-of-that-name/events")
    monkeypatch.setenv(HOME_VARIABLE, "/srv/edge")
    assert home() == Path("/srv/edge") and expand_user("./~/events") == Path("~/events")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv(HOME_VARIABLE)
    assert expand_user("~/a/b") == Path("/home/me/a/b") and expand_user("~") == Path("/home/me")
    assert home() == Path("/home/me/.local/share/edge-har")
