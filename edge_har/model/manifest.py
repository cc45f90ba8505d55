"""A bundle's description of itself: `manifest.json` as values that validate themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_har.errors import BundleError, MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
# The key of the metrics under which the cost of repeated frames is kept.
SLOW_SOURCE = "slow_source"
TEMPERATURES = (0.01, 100.0)  # beyond, a probability to the power of 1 / temperature is lost in rounding
MAX_SCORE = 1.001  # of a probability, rounding and all
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

    A model that cannot be cut into step and head (convolutions over time and space, say) has neither: a
    stream then runs `clip` over the last window. Raises BundleError where only one of both is named.
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

    smooth_s: predictions are averaged over this time. enter, leave: an event starts at or above `enter` and
    ends below `leave`. min_s: shorter events are not reported.
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
        """Accuracy on held-out windows by the number of ticks that each frame serves;
        {} where not measured.
        """
        record = self.metrics.get(SLOW_SOURCE)
        accuracies = record.get("window_accuracy") if isinstance(record, Mapping) else None
        if not isinstance(accuracies, Mapping):
            return {}
        return {int(ticks): float(value) for ticks, value in accuracies.items() if str(ticks).isdecimal()}

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
                f"the bundle has schema {data['schema_version']}, this edge-har reads up to "
                f"{SCHEMA_VERSION}: "
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
