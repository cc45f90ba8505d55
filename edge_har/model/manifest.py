"""A bundle's description of itself: `manifest.json` as values that validate themselves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_har.errors import BundleError, EdgeHarError, MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.labels import check_labels
from edge_har.model.preprocess import FrameSpec
from edge_har.model.values import check_range, read_json, real, whole

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
# The key of the metrics under which the cost of repeated frames is kept.
SLOW_SOURCE = "slow_source"
# Bounds of the numbers, both ends included, and why. Those of the contract and the frame stand with them.
RELEASE = (1, 2**53 - 1)  # beyond, readers of JSON in other languages round it: two releases would be one
TEMPERATURE = (0.01, 100)  # beyond, a probability to the power of 1 / temperature is lost in rounding
TOLERANCE = (0, 0.5)  # of a probability; above, a clip passes whatever the device computes
SCORE = (-0.001, 1.001)  # a probability, rounding and all
PROBABILITY = (0, 1)
SMOOTH_S = (0, 60)  # every tick averages all predictions of this time: 6,000 at most
MIN_S = (0, 3600)  # an event that has to last longer is never seen
DIMENSION = (1, 2**31 - 1)  # as graphs hold it
SCALE = (0, 3.4028234663852886e38)  # a float32
ZERO_POINT = (-(2**31), 2**31 - 1)  # as graphs hold it
MAX_DIMENSIONS = 8  # as many as the runtimes' operators take
FILE_BYTES = (0, 64 * 1024 * 1024)  # that of a whole bundle
MAX_GOLDEN = 32  # clips: each device runs them all before it takes the bundle
MAX_WINDOW_PIXELS = 2**25  # frames times width times height: 100 MB as RGB, which devices have to hold
MAX_TEXT = 64  # characters of a version and of the other short texts
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
        what = f"tensor {self.name!r}:"
        check_range(f"{what} the number of dimensions", len(self.shape), 0, MAX_DIMENSIONS, BundleError)
        for length in self.shape:
            check_range(f"{what} a dimension", length, *DIMENSION, BundleError)
        check_range(f"{what} scale", self.scale, *SCALE, BundleError)
        check_range(f"{what} zero_point", self.zero_point, *ZERO_POINT, BundleError)


@dataclass(frozen=True)
class GraphTensors:
    """The tensors of one graph in the interpreter's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Graphs:
    """File names of the graphs. frames_per_step: consecutive frames that one step looks at.

    A model that cannot be cut into step and head (convolutions over time and space, say) has neither: a
    stream then runs `clip` over the last window. familiarity: reads what the head reads and gives how much
    that is like what the model was trained on, 0 to 1; None: nothing is known of that. Raises BundleError
    where only one of step and head is named, or a familiarity without them.
    """

    clip: str
    step: str | None = None
    head: str | None = None
    frames_per_step: int = 1
    familiarity: str | None = None

    def __post_init__(self) -> None:
        if (self.step is None) != (self.head is None):
            raise BundleError("a bundle has both a step and a head graph, or neither")
        if self.familiarity is not None and self.head is None:
            raise BundleError("a familiarity graph reads what the head reads: it needs one")

    @property
    def by_part(self) -> dict[str, str]:
        """`clip`, and `step` and `head` where there are such: part to file."""
        named = {"clip": self.clip, "step": self.step, "head": self.head}
        return {part: file for part, file in named.items() if file is not None}

    @property
    def of_stream(self) -> tuple[str, ...]:
        """The graphs that a stream runs: step and head, else the clip's."""
        return (self.clip,) if self.step is None or self.head is None else (self.step, self.head)

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds them; a familiarity only where there is one, which older readers ignore."""
        return {key: value for key, value in vars(self).items() if key != "familiarity" or value is not None}


@dataclass(frozen=True)
class Smoothing:
    """When predictions become events, in seconds and probabilities.

    smooth_s: predictions are averaged over this time. enter, leave: an event starts at or above `enter` and
    ends below `leave`. min_s: shorter events are not reported. Of a bundle's own, SMOOTH_S and MIN_S are the
    bounds; whoever runs it may set longer ones.
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
        if not (0 <= self.smooth_s < math.inf and 0 <= self.min_s < math.inf):
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
        for score in self.scores:
            check_range(f"{self.file}: scores to expect are probabilities; one", score, *SCORE, BundleError)


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself; see docs/bundle.md for every key.

    tensors: by graph file. golden_tolerance: largest allowed difference of a probability. files: name to
    (size in bytes, sha256), filled by `write_bundle`.
    Raises BundleError when the parts do not fit each other.
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
        check_name(self.name, BundleError)
        for what in ("version", "kind", "precision"):
            check_text(what, getattr(self, what), BundleError)
        check_range("release", self.release, *RELEASE, BundleError)
        check_labels(self.labels, BundleError)
        check_window(self.frame, self.temporal, BundleError)
        check_settings(self.smoothing, self.temperature, self.reject_threshold, BundleError)
        check_range("the number of golden clips", len(self.golden), 0, MAX_GOLDEN, BundleError)
        check_range("the golden clips' tolerance", self.golden_tolerance, *TOLERANCE, BundleError)
        for name, (size, _) in self.files.items():
            check_range(f"the size of {name!r}", size, *FILE_BYTES, BundleError)
        if not 1 <= self.graphs.frames_per_step <= self.temporal.frames:
            raise BundleError(f"frames_per_step must be 1 to {self.temporal.frames}")
        used = {self.graphs.clip, *self.graphs.of_stream}
        if self.graphs.familiarity is not None:
            used.add(self.graphs.familiarity)
        missing = used - set(self.tensors)
        if missing:
            raise BundleError(f"the manifest lists no tensors for {', '.join(sorted(missing))}")
        try:
            measured = self.slow_source.values()
        except TypeError as error:
            raise BundleError(f"accuracy by the number of ticks: {error}") from error
        for accuracy in measured:
            check_range("a measured accuracy", accuracy, *PROBABILITY, BundleError)

    @property
    def slow_source(self) -> dict[int, float]:
        """Accuracy on held-out windows by the number of ticks that each frame serves;
        {} where not measured.
        """
        record = self.metrics.get(SLOW_SOURCE)
        accuracies = record.get("window_accuracy") if isinstance(record, Mapping) else None
        if not isinstance(accuracies, Mapping):
            return {}
        possible = {str(ticks): ticks for ticks in range(1, self.temporal.frames + 1)}
        return {possible[key]: real(value) for key, value in accuracies.items() if key in possible}

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
            "graphs": self.graphs.to_json(),
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
            data = read_json(content)
        except ValueError as error:
            raise BundleError(f"{MANIFEST} is not JSON: {error}") from error
        if not isinstance(data, dict) or "schema_version" not in data:
            raise BundleError(f"{MANIFEST} has no schema_version; it is not a bundle's manifest")
        if type(data["schema_version"]) is not int or data["schema_version"] < 1:
            raise BundleError(f"schema_version must be a number from 1 up, got {data['schema_version']!r}")
        if data["schema_version"] > SCHEMA_VERSION:
            raise BundleError(
                f"the bundle has schema {data['schema_version']}, this edge-har reads up to "
                f"{SCHEMA_VERSION}: update edge-har on this machine"
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
            release=whole(data["release"]),
            kind=str(data["kind"]),
            precision=str(data["precision"]),
            labels=tuple(str(label) for label in data["labels"]),
            frame=FrameSpec.from_json(data["frame"]),
            temporal=TemporalContract.from_json(data["temporal"]),
            graphs=Graphs(
                str(graphs["clip"]),
                _name_or_none(graphs.get("step")),
                _name_or_none(graphs.get("head")),
                whole(graphs["frames_per_step"]),
                _name_or_none(graphs.get("familiarity")),
            ),
            tensors={
                str(name): GraphTensors(
                    tuple(_tensor_from_json(t) for t in sides["inputs"]),
                    tuple(_tensor_from_json(t) for t in sides["outputs"]),
                )
                for name, sides in data["tensors"].items()
            },
            smoothing=Smoothing(
                real(smoothing["smooth_s"]),
                real(smoothing["enter"]),
                real(smoothing["leave"]),
                real(smoothing.get("min_s", 0.0)),
            ),
            temperature=real(data["temperature"]),
            reject_threshold=None if reject is None else real(reject),
            golden=tuple(
                Golden(str(g["file"]), str(g["label"]), tuple(real(s) for s in g["scores"]))
                for g in data["golden"]["clips"]
            ),
            golden_tolerance=real(data["golden"]["tolerance"]),
            metrics=dict(data.get("metrics", {})),
            protocol=str(data.get("protocol", "none")),
            calibration=dict(data.get("calibration", {})),
            runtimes=tuple(str(r) for r in data.get("runtimes", ())),
            provenance=dict(data.get("provenance", {})),
            licence={str(k): str(v) for k, v in data.get("licence", {}).items()},
            files={str(n): (whole(f["size"]), str(f["sha256"])) for n, f in data["files"].items()},
        )


def check_name(name: str, error: type[EdgeHarError]) -> None:
    """Raise `error` unless `name` may be a bundle's: it is a part of paths and topics."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise error(f"a bundle's name is 1 to 64 letters, digits, '.', '_' and '-', got {name!r}")


def check_text(what: str, text: str, error: type[EdgeHarError]) -> None:
    """Raise `error` unless `text` is 1 to MAX_TEXT characters that show."""
    if not (1 <= len(text) <= MAX_TEXT and text.isprintable()):
        raise error(f"{what} must be 1 to {MAX_TEXT} characters that show, got {text[:MAX_TEXT]!r}")


def check_window(frame: FrameSpec, temporal: TemporalContract, error: type[EdgeHarError]) -> None:
    """Raise `error` for a window of more than MAX_WINDOW_PIXELS."""
    width, height = frame.size_wh
    pixels = temporal.frames * width * height
    if pixels > MAX_WINDOW_PIXELS:
        raise error(
            f"a window of {temporal.frames} frames of {width}x{height} has {pixels:,} pixels, a device holds "
            f"{MAX_WINDOW_PIXELS:,} at most: take fewer or smaller frames"
        )


def check_settings(
    smoothing: Smoothing, temperature: float, reject_threshold: float | None, error: type[EdgeHarError]
) -> None:
    """Raise `error` for what a bundle cannot say of the way from probabilities to events."""
    check_range("smooth_s", smoothing.smooth_s, *SMOOTH_S, error)
    check_range("min_s", smoothing.min_s, *MIN_S, error)
    check_range("temperature", temperature, *TEMPERATURE, error)
    if reject_threshold is not None:
        check_range("reject_threshold", reject_threshold, *PROBABILITY, error)


def _name_or_none(name: Any) -> str | None:
    return None if name is None else str(name)


def _tensor_from_json(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=str(data["name"]),
        role=str(data["role"]),
        shape=tuple(whole(n) for n in data["shape"]),
        dtype=str(data["dtype"]),
        scale=real(data["scale"]),
        zero_point=whole(data["zero_point"]),
    )
