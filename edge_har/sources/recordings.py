"""What counts as a recording, on every walk through folders: video files, and folders of numbered pictures.

A walk gives what it found together with what it passed over, so that nothing is left out in silence.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_har.errors import printable
from edge_har.sources.files import FileSource
from edge_har.sources.numbered import PicturesSource, numbered_pictures, pictures_of, suffix_of

# Containers and bare streams that FFmpeg knows by their content; the suffix only says where to look.
KNOWN_VIDEO_SUFFIXES = """
    264 265 3g2 3gp 3gpp amv asf av1 avc avi dav dif divx dv dvr-ms f4v flv gif gxf h261 h263 h264 h265 hevc
    ivf m1v m2p m2t m2ts m2v m4v mj2 mjpeg mjpg mk3d mkv mod mov mp2v mp4 mpe mpeg mpg mpv mts mxf nut obu ogm
    ogv ogx qt rm rmvb tod trp ts vc1 vob webm wmv wtv xvid y4m
"""
VIDEO_SUFFIXES = frozenset(f".{name}" for name in KNOWN_VIDEO_SUFFIXES.split())
HASH_CHUNK_BYTES = 1 << 20
MAX_EXAMPLES = 3  # paths named for each kind of what was passed over

NO_SUFFIX = "without a suffix"
EMPTY = "empty"
NOWHERE = "linked to nothing"
ABOVE = "linked to a folder above"
SEARCHED = "linked to a folder already searched"
NO_FILE = "neither file nor folder"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class PassedOver:
    """Something on a walk's way that is no recording. kind: a suffix, or words such as `EMPTY`."""

    path: str
    kind: str
    detail: str = ""


@dataclass(frozen=True)
class Walk:
    """What a walk through a folder met, each in sorted order. folders: all that were entered, itself too."""

    recordings: tuple[str, ...]
    passed_over: tuple[PassedOver, ...]
    folders: tuple[str, ...]


def walk(folder: str) -> Walk:
    """Search a folder at any depth.

    Hidden names are skipped. Links are followed, to files and to folders; but no folder is entered twice, nor
    one in which `folder` itself lies. Never raises: a folder that cannot be read is passed over.
    """
    recordings: list[str] = []
    passed_over: list[PassedOver] = []
    entered: dict[tuple[int, int], str] = {}
    # Links wait until all else is searched: what has a place of its own is found there.
    waiting = [folder]
    linked: list[str] = []
    while waiting or linked:
        at = waiting.pop() if waiting else linked.pop(0)
        try:
            if (identity := _identity(at)) in entered or _lies_in(folder, at):
                passed_over.append(PassedOver(at, SEARCHED if identity in entered else ABOVE))
                continue
            entered[identity] = at
            names = sorted(name for name in os.listdir(at) if not name.startswith("."))
        except OSError as error:
            passed_over.append(_unreadable(at, error))
            continue
        files: list[str] = []
        for path in (os.path.join(at, name) for name in names):
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                passed_over.append(
                    PassedOver(path, NOWHERE) if os.path.islink(path) else _unreadable(path, error)
                )
                continue
            if stat.S_ISDIR(mode):
                (linked if os.path.islink(path) else waiting).append(path)
            elif stat.S_ISREG(mode):
                files.append(path)
            else:
                passed_over.append(PassedOver(path, NO_FILE))
        if not names:
            passed_over.append(PassedOver(at, EMPTY))
        videos = [path for path in files if suffix_of(path) in VIDEO_SUFFIXES]
        pictures = [] if videos else numbered_pictures(files)
        recordings += [at] if pictures else videos
        taken = {*videos, *pictures}
        passed_over += [PassedOver(path, suffix_of(path) or NO_SUFFIX) for path in files if path not in taken]
    return Walk(
        tuple(sorted(recordings, key=_files_first)),
        tuple(sorted(passed_over, key=lambda one: _files_first(one.path))),
        tuple(sorted(entered.values())),
    )


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _lies_in(folder: str, other: str) -> bool:
    """Whether `folder` is somewhere below `other`, links aside."""
    return os.path.realpath(folder).startswith(os.path.join(os.path.realpath(other), ""))


def _unreadable(path: str, error: OSError) -> PassedOver:
    return PassedOver(path, UNREADABLE, error.strerror or str(error))


def find_recordings(path: str, report: Callable[[str], None] | None = None) -> list[str]:
    """The recordings that `path` means: itself, those of a folder at any depth, or what a pattern matches; in
    sorted order.

    A path that is not there is given as it is: whoever opens it says so. Folders that a pattern matches are
    searched. report: gets one line about what a folder holds besides.
    """
    if not glob.has_magic(path) or os.path.exists(path):
        return _recordings_at(path, report)
    matches = sorted(glob.glob(path, recursive=True)) or [path]
    # A pattern may match a folder and what is in it.
    return list(dict.fromkeys(one for match in matches for one in _recordings_at(match, report)))


def _recordings_at(path: str, report: Callable[[str], None] | None) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    found = walk(path)
    if found.passed_over and report is not None:
        report(f"{printable(path)}: passed over {listed(found.passed_over)}")
    return list(found.recordings)


def listed(passed_over: Sequence[PassedOver]) -> str:
    """What was passed over, counted by kind; paths are named where the kind is no suffix."""
    kinds: dict[str, list[PassedOver]] = {}
    for one in passed_over:
        kinds.setdefault(one.kind, []).append(one)
    parts = []
    for kind, those in sorted(kinds.items(), key=lambda item: (not item[0].startswith("."), item)):
        examples = [f"{one.path}: {one.detail}" if one.detail else one.path for one in those[:MAX_EXAMPLES]]
        if len(those) > MAX_EXAMPLES:
            examples.append("...")
        named = "" if kind.startswith(".") else f" ({', '.join(examples)})"
        parts.append(f"{len(those)} {kind}{named}")
    return printable(", ".join(parts))


def open_recording(path: str | os.PathLike[str]) -> FileSource | PicturesSource:
    """A recording, open: a video file, or a folder of numbered pictures.

    Raises SourceError for what cannot be read as one.
    """
    return PicturesSource(path) if os.path.isdir(path) else FileSource(path)


def content_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a recording's bytes, in hex: of the file, or of the pictures in their order. Raises OSError."""
    digest = hashlib.sha256()
    if os.path.isdir(path):
        for picture in pictures_of(path):
            digest.update(bytes.fromhex(content_sha256(picture)))
        return digest.hexdigest()
    with open(path, "rb") as content:
        while chunk := content.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _files_first(path: str) -> list[tuple[bool, str]]:
    """The order of a walk: a folder's own files, then each of its folders."""
    *folders, name = path.split(os.sep)
    return [*((True, folder) for folder in folders), (False, name)]
