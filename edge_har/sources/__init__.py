"""From an address to the source that it names: one grammar for cameras, streams, files and drawings."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from edge_har.errors import MisuseError, printable
from edge_har.options.addresses import GSTREAMER, SCHEME, USB, mask_uri, parse_url, with_password
from edge_har.sources.base import Source
from edge_har.sources.options import (
    SYNTHETIC_OWN,
    SourceOptions,
    looks_like_options,
    parse_query,
    unknown_option,
)
from edge_har.system.files import is_utf8

CAMERA = re.compile(r"\d+|/dev/video\d+|/dev/v4l/by-(?:id|path)/.+")
CSI_NUMBER = re.compile(r"\d{1,3}")
SYNTHETIC, CSI, FILE, STDIN = "synthetic:", "csi:", "file://", "-"
GRAMMAR = (
    "a camera (0, /dev/video0, usb:NAME, csi:0), rtsp://, http:// or https:// (motion JPEG), a file, a "
    "folder, "
    "a pattern, - (standard input), gst:PIPELINE, or synthetic:LABEL"
)
NOT_UTF8 = "it holds bytes that are not UTF-8; in a URL write them as %XX"
TURNS = ("rotate", "flip", "mirror", "crop")
SCHEMES = {"rtsp": "rtsp", "rtsps": "rtsp", "http": "http", "https": "http", "file": "files"}


@dataclass(frozen=True)
class Address:
    """What an address means. kind: one of KINDS. target: the address without our options, passwords and all.

    name: what may be shown. joint: what stands in its text between what is there and one more option.
    crop_written: whether its own text has a `crop`. Made by `parse_address`.
    """

    kind: str
    target: str = field(repr=False)
    name: str
    options: SourceOptions
    joint: str = field(default="?", compare=False)
    crop_written: bool = field(default=False, compare=False)

    def open(self, *, realtime: bool = False) -> Source:
        """Open it; see `open_source`."""
        source = KINDS[self.kind].open(self)
        if any(name in TURNS for name in self.options.named):
            from edge_har.sources.turned import TurnedSource

            source = TurnedSource(source, self.options)
        if source.ends and (realtime or source.live):
            from edge_har.sources.paced import PacedSource

            source = PacedSource(source)
        source.address = self
        return source

    def crop_advice(self, part: tuple[int, int, int, int]) -> str:
        """How to write that only `part` of its pictures is kept, as an option of this address.

        part: x, y, width, height in px, in the middle of the pictures as the source gives them: cut, turned
        and so on by its options.
        """
        crop = f"crop={','.join(map(str, self._before_turning(part)))}"
        if self.crop_written:
            assert self.options.crop is not None
            return f'write "{crop}" in its address instead of "crop={",".join(map(str, self.options.crop))}"'
        return f'append "{self.joint}{crop}" to its address'

    def _before_turning(self, part: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """A part in the middle of the turned picture, in the picture as it comes."""
        x, y, width, height = part
        if self.options.rotate in (90, 270):
            x, y, width, height = y, x, height, width
        left, top = (0, 0) if self.options.crop is None else self.options.crop[:2]
        return left + x, top + y, width, height


def open_source(uri: str, *, options: SourceOptions | None = None, realtime: bool = False) -> Source:
    """Open what `uri` names, by the grammar of docs/sources.md.

    options: those that do not stand in the address, which wins. realtime: play a recording or a drawing by
    the clock; cameras and streams do so anyway. Each kind's own libraries are loaded when it is opened.

    Raises MisuseError for an address or option that cannot be, SourceError when it cannot be opened,
    RuntimeMissingError where something has to be installed first.
    """
    return parse_address(uri, options).open(realtime=realtime)


def parse_address(uri: str, options: SourceOptions | None = None) -> Address:
    """What `uri` means, without opening it. Raises MisuseError for an address or option that cannot be."""
    name = mask_uri(uri)
    kind, target, query = _split(uri, name)
    requested = parse_query(query)
    if kind == "synthetic":
        own = "&".join(f"{key}={value}" for key, value in requested.items() if key in SYNTHETIC_OWN)
        for key in requested:
            if key not in (*SYNTHETIC_OWN, *TURNS):
                raise unknown_option(key, (*SYNTHETIC_OWN, *TURNS))
        requested = {key: value for key, value in requested.items() if key not in SYNTHETIC_OWN}
        target += f"?{own}" if own else ""
    if "password" in requested:
        raise MisuseError(
            f"{name}: a password stands in the address itself, user:password@, or in the config"
        )
    found = SourceOptions.from_table(requested)
    if options is not None:
        found = found.over(options)
    found.check_known((*KINDS[kind].options, *TURNS), name)
    if found.password is not None:
        try:
            target = with_password(target, found.password)
        except ValueError as error:
            raise MisuseError(f"{name}: a password was given, but of the address {error}") from None
    joint = "&" if query else "#" if SCHEME.match(uri) or uri.startswith(GSTREAMER) else "?"
    return Address(kind, target, name, replace(found, password=None), joint, "crop" in requested)


def _split(uri: str, name: str) -> tuple[str, str, str]:
    """Kind, target and options of `uri`: behind `#` in a URL, whose query is its server's;
    else behind `?`.
    """
    if not uri:
        raise MisuseError(f"an empty address names no source; expected {GRAMMAR}")
    if uri.startswith(GSTREAMER):
        pipeline, query = _options_at_end(uri.removeprefix(GSTREAMER), "#")
        return "gst", pipeline, query
    scheme = SCHEME.match(uri)
    if scheme:
        return _split_url(uri, scheme[1].lower(), name)
    head, _, query = uri.partition("?")
    if CAMERA.fullmatch(head) or (head.startswith(USB) and head != USB):
        return "camera", head, query
    if head.startswith(CSI):
        if not CSI_NUMBER.fullmatch(head.removeprefix(CSI)):
            raise MisuseError(f"a csi: camera is named by its number, like csi:0, got {name!r}")
        return "csi", head, query
    if head.startswith(SYNTHETIC):
        return "synthetic", head, query
    if head == STDIN:
        return "stdin", head, query
    return ("files", uri, "") if os.path.exists(uri) else ("files", *_options_at_end(uri, "?"))


def _split_url(uri: str, scheme: str, name: str) -> tuple[str, str, str]:
    if scheme not in SCHEMES:
        raise MisuseError(f"no source is called {name!r}; expected {GRAMMAR}")
    if uri.lower().startswith(FILE):
        target, _, fragment = uri[len(FILE) :].partition("#")
        return SCHEMES[scheme], unquote(target), fragment
    try:
        url = parse_url(uri)
    except ValueError as error:
        raise MisuseError(
            f"{printable(name)}: {NOT_UTF8}"
            if not is_utf8(uri)
            else f"{printable(name)}: {error}; expected {scheme}://HOST:PORT/PATH, with a port of 1 to 65535"
        ) from None
    if not is_utf8(url.rest):  # in a user and a password any bytes may stand
        raise MisuseError(f"{printable(name)}: {NOT_UTF8}")
    rest, _, fragment = url.rest.partition("#")
    if "@" in fragment:
        raise MisuseError(
            f"{printable(name)}: what follows # is options of ours; in a password # is written %23"
        )
    return SCHEMES[scheme], replace(url, rest=rest).text, fragment


def _options_at_end(text: str, mark: str) -> tuple[str, str]:
    """`text` without options behind the last `mark`, and these;
    a mark may as well belong to a name or pattern.
    """
    head, found, query = text.rpartition(mark)
    return (head, query) if found and head and looks_like_options(query) else (text, "")


def _open_files(address: Address) -> Source:
    path = address.target
    from edge_har.sources.recordings import find_recordings, open_recording

    several = os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path))
    passed_over: list[str] = []
    if several and (paths := find_recordings(path, passed_over.append)) != [path]:
        from edge_har.sources.playlist import PlaylistSource

        return PlaylistSource(paths, path, passed_over)
    return open_recording(path)


def _open_camera(address: Address) -> Source:
    from edge_har.sources.camera import CameraSource

    return CameraSource(address.target, address.options)


def _open_csi(address: Address) -> Source:
    from edge_har.sources.csi import open_csi

    return open_csi(int(address.target.removeprefix(CSI)), address.options)


def _open_rtsp(address: Address) -> Source:
    from edge_har.sources.rtsp import RtspSource

    return RtspSource(address.target, transport=address.options.transport)


def _open_mjpeg(address: Address) -> Source:
    from edge_har.sources.mjpeg import MjpegSource

    return MjpegSource(address.target)


def _open_stdin(address: Address) -> Source:
    from edge_har.sources.stdin import StdinSource

    return StdinSource(address.options)


def _open_gstreamer(address: Address) -> Source:
    from edge_har.sources.gstreamer import GstreamerSource

    return GstreamerSource(address.target, address.name)


def _open_synthetic(address: Address) -> Source:
    from edge_har.sources.synthetic import SyntheticSource

    return SyntheticSource.from_uri(address.target)


@dataclass(frozen=True)
class SourceKind:
    """A kind of source. open: opens an address, and loads its module then.
    options: that it takes, besides TURNS.
    """

    open: Callable[[Address], Source]
    options: tuple[str, ...] = ()


KINDS = {
    "camera": SourceKind(_open_camera, ("size", "rate", "format")),
    "csi": SourceKind(_open_csi, ("size", "rate", "format")),
    "rtsp": SourceKind(_open_rtsp, ("transport", "password")),
    "http": SourceKind(_open_mjpeg, ("password",)),
    "files": SourceKind(_open_files),
    "stdin": SourceKind(_open_stdin, ("format", "size", "rate")),
    "gst": SourceKind(_open_gstreamer),
    "synthetic": SourceKind(_open_synthetic),
}
