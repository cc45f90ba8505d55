"""The bundle (`.ehar`): model, contract and proof in one file; write, verify, open and unpack it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from edge_har.cadence import TemporalContract
from edge_har.errors import BundleError, EdgeHarError, MisuseError
from edge_har.preprocess import FrameSpec, Pixels

SCHEMA_VERSION = 1
SUFFIX = ".ehar"
DEFAULT_NAME = "default.ehar"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
LABELS = "labels.txt"
MODEL_CARD = "MODEL_CARD.md"
GATE = "gate"  # the key of a manifest's metrics under which the parity gate's verdict stands
SLOW_SOURCE = "slow_source"  # and what a source costs that lends each frame to several ticks
MAX_BUNDLE_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024
TEMPERATURES = (0.01, 100.0)  # beyond, a probability to the power of 1 / temperature is lost in rounding
MAX_SCORE = 1.001  # of a probability, rounding and all
FIXED_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: equal content must be equal bytes
FILE_MODE = 0o644
NAME_RULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99})?")
ROLES = re.compile(r"clip|frames|features|feature|scores|state_\d+")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. scale and zero_point are 0 for tensors that are not quantised."""

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not ROLES.fullmatch(self.role):
            raise BundleError(f"tensor {self.name!r} has the unknown role {self.role!r}")


@dataclass(frozen=True)
class GraphTensors:
    """The tensors of one graph in the interpreter's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Graphs:
    """File names of the graphs. frames_per_step: consecutive frames that one step looks at.

    A model that cannot be cut into step and head (convolutions over time and space, say) has neither: a stream then
    runs `clip` over the last window. Raises BundleError where only one of both is named.
    """

    clip: str
    step: str | None = None
    head: str | None = None
    frames_per_step: int = 1

    def __post_init__(self) -> None:
        if (self.step is None) != (self.head is None):
            raise BundleError("a bundle has both a step and a head graph, or neither")

    @property
    def by_part(self) -> dict[str, str]:
        """`clip`, and `step` and `head` where there are such: part to file."""
        named = {"clip": self.clip, "step": self.step, "head": self.head}
        return {part: file for part, file in named.items() if file is not None}

    @property
    def of_stream(self) -> tuple[str, ...]:
        """The graphs that a stream runs: step and head, else the clip's."""
        return (self.clip,) if self.step is None or self.head is None else (self.step, self.head)


@dataclass(frozen=True)
class Smoothing:
    """When predictions become events, in seconds and probabilities.

    smooth_s: predictions are averaged over this time. enter, leave: an event starts at or above `enter` and ends
    below `leave`. min_s: shorter events are not reported.
    """

    smooth_s: float = 0.5
    enter: float = 0.6
    leave: float = 0.4
    min_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.leave <= self.enter <= 1):
            raise MisuseError(
                f"0 <= leave <= enter <= 1 must hold, got leave {self.leave}, enter {self.enter}"
            )
        if not (self.smooth_s >= 0 and self.min_s >= 0):
            raise MisuseError("smooth_s and min_s must be 0 or more seconds")


@dataclass(frozen=True)
class Golden:
    """A clip that proves a device computes the same: frames as one PNG strip, and the scores to expect.

    Raises BundleError for scores that are no probabilities: nothing differs from NaN.
    """

    file: str
    label: str
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(abs(score) <= MAX_SCORE for score in self.scores):
            raise BundleError(f"{self.file}: scores to expect are probabilities, got {list(self.scores)}")


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; see docs/bundle.md for every key.

    tensors: by graph file. golden_tolerance: largest allowed difference of a probability. files: name to
    (size in bytes, sha256), filled by `write_bundle`. Raises BundleError when the parts do not fit each other.
    """

    name: str
    version: str
    release: int
    kind: str
    precision: str
    labels: tuple[str, ...]
    frame: FrameSpec
    temporal: TemporalContract
    graphs: Graphs
    tensors: Mapping[str, GraphTensors]
    smoothing: Smoothing = Smoothing()
    temperature: float = 1.0
    reject_threshold: float | None = None
    golden: tuple[Golden, ...] = ()
    golden_tolerance: float = 0.05
    metrics: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "none"
    calibration: Mapping[str, Any] = field(default_factory=dict)
    runtimes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.name):
            raise BundleError(f"a bundle's name is letters, digits, '.', '_' and '-', got {self.name!r}")
        if self.release < 1:
            raise BundleError(f"release must be 1 or more, got {self.release}")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise BundleError(f"labels must be two or more different names, got {list(self.labels)}")
        if not all(label.isprintable() for label in self.labels):
            raise BundleError("a label must be one line without control characters")
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            raise BundleError(f"temperature must be {low:g} to {high:g}, got {self.temperature}")
        if self.reject_threshold is not None and not 0 <= self.reject_threshold <= 1:
            raise BundleError(f"reject_threshold must be 0 to 1, got {self.reject_threshold}")
        if not 1 <= self.graphs.frames_per_step <= self.temporal.frames:
            raise BundleError(f"frames_per_step must be 1 to {self.temporal.frames}")
        missing = {self.graphs.clip, *self.graphs.of_stream} - set(self.tensors)
        if missing:
            raise BundleError(f"the manifest lists no tensors for {', '.join(sorted(missing))}")

    @property
    def slow_source(self) -> dict[int, float]:
        """Share of held-out windows that are right where each frame serves so many ticks; {} where not measured."""
        said = self.metrics.get(SLOW_SOURCE)
        shares = said.get("window_accuracy") if isinstance(said, Mapping) else None
        if not isinstance(shares, Mapping):
            return {}
        return {int(ticks): float(share) for ticks, share in shares.items() if str(ticks).isdecimal()}

    @property
    def features_per_window(self) -> int:
        """How many step results the head reads."""
        return self.temporal.frames - self.graphs.frames_per_step + 1

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "version": self.version,
            "release": self.release,
            "kind": self.kind,
            "precision": self.precision,
            "labels": list(self.labels),
            "frame": self.frame.to_json(),
            "temporal": self.temporal.to_json(),
            "graphs": vars(self.graphs),
            "tensors": {
                name: {"inputs": [vars(t) for t in g.inputs], "outputs": [vars(t) for t in g.outputs]}
                for name, g in self.tensors.items()
            },
            "smoothing": vars(self.smoothing),
            "temperature": self.temperature,
            "reject_threshold": self.reject_threshold,
            "golden": {
                "tolerance": self.golden_tolerance,
                "clips": [{"file": g.file, "label": g.label, "scores": list(g.scores)} for g in self.golden],
            },
            "metrics": dict(self.metrics),
            "protocol": self.protocol,
            "calibration": dict(self.calibration),
            "runtimes": list(self.runtimes),
            "provenance": dict(self.provenance),
            "licence": dict(self.licence),
            "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in self.files.items()},
        }

    def to_bytes(self) -> bytes:
        """The manifest's exact bytes; their sha256 is the bundle's identity."""
        text = json.dumps(self.to_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read `manifest.json`; unknown keys are ignored, a newer schema is refused with BundleError."""
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{MANIFEST} is not JSON: {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("schema_version"), int):
            raise BundleError(f"{MANIFEST} has no schema_version; it is not a bundle's manifest")
        if data["schema_version"] > SCHEMA_VERSION:
            raise BundleError(
                f"the bundle has schema {data['schema_version']}, this edge-har reads up to {SCHEMA_VERSION}: "
                "update edge-har on this machine"
            )
        try:
            return cls._from_json(data)
        except KeyError as error:
            raise BundleError(f"{MANIFEST} lacks the key {error}") from error
        except (TypeError, AttributeError, ValueError, OverflowError) as error:
            raise BundleError(f"{MANIFEST} is not valid: {error}") from error

    @classmethod
    def _from_json(cls, data: Mapping[str, Any]) -> Manifest:
        graphs = data["graphs"]
        smoothing = data["smoothing"]
        reject = data.get("reject_threshold")
        return cls(
            name=str(data["name"]),
            version=str(data["version"]),
            release=int(data["release"]),
            kind=str(data["kind"]),
            precision=str(data["precision"]),
            labels=tuple(str(label) for label in data["labels"]),
            frame=FrameSpec.from_json(data["frame"]),
            temporal=TemporalContract.from_json(data["temporal"]),
            graphs=Graphs(
                str(graphs["clip"]),
                _name_or_none(graphs.get("step")),
                _name_or_none(graphs.get("head")),
                int(graphs["frames_per_step"]),
            ),
            tensors={
                str(name): GraphTensors(
                    tuple(_tensor_from_json(t) for t in sides["inputs"]),
                    tuple(_tensor_from_json(t) for t in sides["outputs"]),
                )
                for name, sides in data["tensors"].items()
            },
            smoothing=Smoothing(
                float(smoothing["smooth_s"]),
                float(smoothing["enter"]),
                float(smoothing["leave"]),
                float(smoothing.get("min_s", 0.0)),
            ),
            temperature=float(data["temperature"]),
            reject_threshold=None if reject is None else float(reject),
            golden=tuple(
                Golden(str(g["file"]), str(g["label"]), tuple(float(s) for s in g["scores"]))
                for g in data["golden"]["clips"]
            ),
            golden_tolerance=float(data["golden"]["tolerance"]),
            metrics=dict(data.get("metrics", {})),
            protocol=str(data.get("protocol", "none")),
            calibration=dict(data.get("calibration", {})),
            runtimes=tuple(str(r) for r in data.get("runtimes", ())),
            provenance=dict(data.get("provenance", {})),
            licence={str(k): str(v) for k, v in data.get("licence", {}).items()},
            files={str(n): (int(f["size"]), str(f["sha256"])) for n, f in data["files"].items()},
        )


def _name_or_none(name: Any) -> str | None:
    return None if name is None else str(name)


def _tensor_from_json(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=str(data["name"]),
        role=str(data["role"]),
        shape=tuple(int(n) for n in data["shape"]),
        dtype=str(data["dtype"]),
        scale=float(data["scale"]),
        zero_point=int(data["zero_point"]),
    )


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

    def golden_clips(self) -> list[tuple[Golden, Pixels]]:
        """Golden clips with their frames: uint8 [frames, height, width, 3], RGB."""
        spec, frames = self.manifest.frame, self.manifest.temporal.frames
        return [
            (golden, decode_strip(self.read(golden.file), frames, spec)) for golden in self.manifest.golden
        ]

    def extract(self, folder: Path) -> None:
        """Write every file into the existing, empty `folder`, each synced to disk; nothing is overwritten."""
        for name, content in {MANIFEST: self.manifest_bytes, **self.contents}.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            _write_synced(target, content)
        if self.signature is not None:
            _write_synced(folder / SIGNATURE, self.signature)
        for directory in {folder, *(p.parent for p in folder.rglob("*"))}:
            sync_directory(directory)


def _write_synced(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make a rename or a new name in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_strip(frames: Pixels) -> bytes:
    """Frames (uint8 [n, h, w, 3], RGB) one below the other as one PNG."""
    count, height, width, _ = frames.shape
    strip = cv2.cvtColor(frames.reshape(count * height, width, 3), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".png", strip, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise BundleError("a golden clip could not be written as PNG")
    return content.tobytes()


def decode_strip(content: bytes, frames: int, spec: FrameSpec) -> Pixels:
    """Frames of a PNG strip: uint8 [frames, height, width, 3], RGB. Raises BundleError when it is another size."""
    width, height = spec.size_wh
    strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if strip is None or strip.shape != (frames * height, width, 3):
        raise BundleError(f"a golden clip is not a PNG strip of {frames} frames of {width}x{height}")
    return cast(Pixels, cv2.cvtColor(strip, cv2.COLOR_BGR2RGB).reshape(frames, height, width, 3))


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
    _check(bundle)
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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BundleError(f"{path}: the bundle could not be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
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
        return read_bundle(path.read_bytes())
    raise BundleError("no such bundle; expected an .ehar file or a folder unpacked from one")


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
        raise BundleError(f"not a whole bundle (truncated or damaged): {error}") from error


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
    _check(bundle)
    return bundle


def _read_folder(folder: Path) -> Bundle:
    manifest_bytes = _read_capped(folder / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = Manifest.from_bytes(manifest_bytes)
    for name in manifest.files:
        _check_name(name)
    contents = {name: _read_capped(folder / name, size) for name, (size, _) in manifest.files.items()}
    signature = (
        _read_capped(folder / SIGNATURE, MAX_MANIFEST_BYTES) if (folder / SIGNATURE).is_file() else None
    )
    bundle = Bundle(manifest, manifest_bytes, contents, signature)
    _check(bundle)
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


def _check(bundle: Bundle) -> None:
    manifest = bundle.manifest
    if set(bundle.contents) != set(manifest.files):
        odd = sorted(set(bundle.contents) ^ set(manifest.files))
        raise BundleError(f"files of the bundle and of its manifest differ: {', '.join(odd)}")
    for name, (size, digest) in manifest.files.items():
        _check_name(name)
        content = bundle.contents[name]
        if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"{name} is not what the manifest lists (damaged or altered)")
    needed = {LABELS, MODEL_CARD, *manifest.tensors, *(golden.file for golden in manifest.golden)}
    if not needed <= set(bundle.contents):
        raise BundleError(f"the bundle lacks {', '.join(sorted(needed - set(bundle.contents)))}")
    if bundle.contents[LABELS] != labels_text(manifest.labels):
        raise BundleError(f"{LABELS} does not agree with the manifest's labels")
    for golden in manifest.golden:
        if len(golden.scores) != len(manifest.labels) or golden.label not in manifest.labels:
            raise BundleError(f"{golden.file} does not go with the manifest's labels")
