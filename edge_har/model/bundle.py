"""The bundle (`.ehar`): model, contract and proof in one file; write, verify, open and unpack it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from edge_har.errors import BundleError, EdgeHarError
from edge_har.model.manifest import FILE_BYTES, MANIFEST, Golden, Manifest
from edge_har.model.preprocess import FrameSpec, Pixels
from edge_har.system.files import FILE_MODE, sync_directory, write_atomically, write_new

SUFFIX = ".ehar"
GRAPH_SUFFIX = ".tflite"
DEFAULT_NAME = "default.ehar"
SIGNATURE = "manifest.json.sig"
LABELS = "labels.txt"
MODEL_CARD = "MODEL_CARD.md"
# The key of a manifest's metrics that holds the parity gate's verdict.
GATE = "gate"
MAX_BUNDLE_BYTES = max(FILE_BYTES)
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_NAMED = 5  # files named in an error's one line
FIXED_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: equal content must be equal bytes
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_BYTES = 12  # of a chunk beside its content: length, kind, checksum
NAME_RULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99})?")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, held in memory: what `current` points to may change while it runs.

    digest: sha256 of the manifest's bytes, hexadecimal. contents: every listed file by name.
    """

    manifest: Manifest
    manifest_bytes: bytes
    contents: Mapping[str, bytes]
    signature: bytes | None = None

    @property
    def digest(self) -> str:
        """Identity of the bundle: sha256 of the manifest's bytes."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def model_id(self) -> str:
        """`name@` and the first 12 digits of the digest, as events carry it."""
        return f"{self.manifest.name}@{self.digest[:12]}"

    def read(self, name: str) -> bytes:
        """Content of one file; raises BundleError when the bundle has none of that name."""
        try:
            return self.contents[name]
        except KeyError as error:
            raise BundleError(f"the bundle has no file {name!r}") from error

    def golden_clips(self) -> Iterator[tuple[Golden, Pixels]]:
        """Golden clips with their frames: uint8 [frames, height, width, 3], RGB. One at a time is decoded."""
        spec, frames = self.manifest.frame, self.manifest.temporal.frames
        for golden in self.manifest.golden:
            yield golden, decode_strip(self.read(golden.file), frames, spec)

    def extract(self, folder: Path) -> None:
        """Write every file into the existing, empty `folder`, each synced to disk; nothing is overwritten."""
        for name, content in {MANIFEST: self.manifest_bytes, **self.contents}.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            write_new(target, content)
        if self.signature is not None:
            write_new(folder / SIGNATURE, self.signature)
        for directory in {folder, *(p.parent for p in folder.rglob("*"))}:
            sync_directory(directory)


def encode_strip(frames: Pixels) -> bytes:
    """Frames (uint8 [n, h, w, 3], RGB) one below the other as one PNG."""
    count, height, width, _ = frames.shape
    strip = cv2.cvtColor(frames.reshape(count * height, width, 3), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".png", strip, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise BundleError("a golden clip could not be written as PNG")
    return content.tobytes()


def decode_strip(content: bytes, frames: int, spec: FrameSpec) -> Pixels:
    """Frames of a PNG strip: uint8 [frames, height, width, 3], RGB.
    Raises BundleError when it is another size or kind of PNG; then nothing is decoded.
    """
    width, height = spec.size_wh
    strip = None
    # A few bytes of PNG can hold gigabytes of picture: what its header says is looked at first.
    if _is_plain_png(content, width, frames * height):
        with suppress(cv2.error):
            strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if strip is None or strip.shape != (frames * height, width, 3):
        raise BundleError(f"a golden clip is not a PNG strip of {frames} frames of {width}x{height}")
    return cast(Pixels, cv2.cvtColor(strip, cv2.COLOR_BGR2RGB).reshape(frames, height, width, 3))


def _is_plain_png(content: bytes, width: int, height: int) -> bool:
    """Whether it is the PNG that `encode_strip` makes: 8 bits, RGB, not interlaced, of this size, and no
    chunk but header, pixels and end. Other chunks may be compressed too, or hold more pictures.
    """
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    if not content.startswith(PNG_SIGNATURE + struct.pack(">I", len(header) - 4) + header):
        return False
    at, kind = len(PNG_SIGNATURE), b""
    while at + PNG_CHUNK_BYTES <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind not in (b"IHDR", b"IDAT", b"IEND"):
            return False
        at += length + PNG_CHUNK_BYTES
    return at == len(content) and kind == b"IEND"


def labels_text(labels: tuple[str, ...]) -> bytes:
    """`labels.txt`, generated from the manifest: one label a line."""
    return "".join(f"{label}\n" for label in labels).encode()


def pack_bundle(manifest: Manifest, files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """The bytes of a bundle and its digest: a pure function of its arguments.

    files: name to content, without the manifest and `labels.txt`, which are made here.
    """
    contents = {**files, LABELS: labels_text(manifest.labels)}
    table = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
    manifest_bytes = replace(manifest, files=table).to_bytes()
    bundle = Bundle(Manifest.from_bytes(manifest_bytes), manifest_bytes, contents)
    _check_contents(bundle)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({MANIFEST: manifest_bytes, **contents}.items()):
            entry = zipfile.ZipInfo(name, FIXED_ZIP_TIME)
            entry.create_system = 3  # Unix, wherever it is packed
            entry.external_attr = (0o100000 | FILE_MODE) << 16
            archive.writestr(entry, data)
    return buffer.getvalue(), bundle.digest


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> str:
    """Write a bundle and return its digest; on any error (a full disk) nothing half-written remains.

    Raises BundleError when the parts do not fit each other or the file cannot be written.
    """
    content, digest = pack_bundle(manifest, files)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BundleError(f"{path}: the bundle could not be written: {error.strerror}") from error
    return digest


def default_bundle_path() -> Path:
    """The bundle that ships with the package; raises BundleError where this installation lacks it."""
    path = Path(str(package_files("edge_har") / DEFAULT_NAME))
    if not path.is_file():
        raise BundleError("this installation has no model of its own: name a bundle with --model")
    return path


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open and verify a bundle: an `.ehar` file, or the folder it was unpacked into (links are followed once,
    so that the files of two versions never mix).

    Raises BundleError with what is wrong: missing, truncated, altered, of a newer schema, unlisted files.
    """
    given = os.fspath(path)
    while True:
        resolved = Path(os.path.realpath(given))
        try:
            return _open_resolved(resolved)
        except (BundleError, OSError) as error:
            if Path(os.path.realpath(given)) != resolved:
                continue  # a link that has moved on meanwhile: what it pointed to may be gone
            why = error if isinstance(error, BundleError) else f"the bundle cannot be read: {error.strerror}"
            raise BundleError(f"{given}: {why}") from error


def _open_resolved(path: Path) -> Bundle:
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return read_bundle(read_bundle_bytes(path))
    raise BundleError("no such bundle; expected an .ehar file or a folder unpacked from one")


def read_bundle_bytes(path: Path) -> bytes:
    """The bytes of an `.ehar` file, for `read_bundle`; of one that is larger than any bundle only so many
    that it is refused. Raises BundleError where there is no such file, OSError.
    """
    if not path.is_file():
        raise BundleError("no such bundle; expected an .ehar file")
    return _read_capped(path, MAX_BUNDLE_BYTES)


def read_bundle(content: bytes) -> Bundle:
    """Verify the bytes of an `.ehar` file; raises BundleError."""
    if len(content) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_archive(archive, len(content))
    except EdgeHarError:
        raise
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError, struct.error) as error:
        raise BundleError(
            f"not a whole bundle (truncated or damaged): {error}; expected an .ehar file"
        ) from error


def _read_archive(archive: zipfile.ZipFile, length: int) -> Bundle:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise BundleError("the bundle names a file twice")
    if MANIFEST not in names:
        raise BundleError(f"the bundle has no {MANIFEST}")
    manifest_entry = archive.getinfo(MANIFEST)
    if manifest_entry.compress_type != zipfile.ZIP_STORED or manifest_entry.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{MANIFEST} must be stored uncompressed and below {MAX_MANIFEST_BYTES} bytes")
    manifest_bytes = archive.read(manifest_entry)
    manifest = Manifest.from_bytes(manifest_bytes)
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 0x1:
            raise BundleError(f"{entry.filename!r} must be stored uncompressed and unencrypted")
        if entry.file_size != entry.compress_size or entry.file_size > length:
            raise BundleError(f"{entry.filename!r} has sizes that differ")
        if (entry.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise BundleError(f"{entry.filename!r} is not a plain file")
    # A ZIP may carry bytes before, between or behind what its directory lists; a bundle must not.
    listed = sum(30 + 46 + 2 * len(e.filename.encode()) + e.file_size for e in entries) + 22
    if listed != length:
        raise BundleError("the bundle holds bytes that no entry accounts for")
    contents = {e.filename: archive.read(e) for e in entries if e.filename not in (MANIFEST, SIGNATURE)}
    signature = archive.read(SIGNATURE) if SIGNATURE in names else None
    bundle = Bundle(manifest, manifest_bytes, contents, signature)
    _check_contents(bundle)
    return bundle


def _read_folder(folder: Path) -> Bundle:
    manifest_bytes = _read_capped(folder / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = Manifest.from_bytes(manifest_bytes)
    _check_names(manifest.files)
    contents = {name: _read_capped(folder / name, size) for name, (size, _) in manifest.files.items()}
    signature = (
        _read_capped(folder / SIGNATURE, MAX_MANIFEST_BYTES) if (folder / SIGNATURE).is_file() else None
    )
    bundle = Bundle(manifest, manifest_bytes, contents, signature)
    _check_contents(bundle)
    return bundle


def _read_capped(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(min(limit, MAX_BUNDLE_BYTES) + 1)
    except FileNotFoundError as error:
        raise BundleError(f"{path.name} is missing") from error


def _check_name(name: str) -> None:
    if not NAME_RULE.fullmatch(name) or name in (MANIFEST, SIGNATURE):
        raise BundleError(f"the bundle has a file name that is not allowed: {name!r}")


def _check_names(names: Collection[str]) -> None:
    """Raise BundleError for names that cannot all be files of one folder."""
    for name in names:
        _check_name(name)
    folders = {name.partition("/")[0] for name in names if "/" in name}
    both = sorted(folders & {MANIFEST, SIGNATURE, *names})
    if both:
        raise BundleError(f"the bundle has both a file and a folder of the name {both[0]!r}")


def _check_contents(bundle: Bundle) -> None:
    manifest = bundle.manifest
    _check_names(manifest.files)
    if set(bundle.contents) != set(manifest.files):
        odd = sorted(set(bundle.contents) ^ set(manifest.files))
        shown = ", ".join(odd[:MAX_NAMED]) + ", ..." * (len(odd) > MAX_NAMED)
        raise BundleError(f"files of the bundle and of its manifest differ: {shown}")
    for name, (size, digest) in manifest.files.items():
        content = bundle.contents[name]
        if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"{name} is not what the manifest lists (damaged or altered)")
    odd_graphs = sorted(name for name in manifest.tensors if "/" in name or not name.endswith(GRAPH_SUFFIX))
    if odd_graphs:
        raise BundleError(f"a graph's file is NAME{GRAPH_SUFFIX}, in no folder; got {odd_graphs[0]!r}")
    needed = {LABELS, MODEL_CARD, *manifest.tensors, *(golden.file for golden in manifest.golden)}
    if not needed <= set(bundle.contents):
        raise BundleError(f"the bundle lacks {', '.join(sorted(needed - set(bundle.contents)))}")
    if bundle.contents[LABELS] != labels_text(manifest.labels):
        raise BundleError(f"{LABELS} does not agree with the manifest's labels")
    for golden in manifest.golden:
        if len(golden.scores) != len(manifest.labels) or golden.label not in manifest.labels:
            raise BundleError(f"{golden.file} does not go with the manifest's labels")
