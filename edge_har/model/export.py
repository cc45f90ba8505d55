"""A bundle's graphs as plain files for other tools: the .tflite files, their labels, and how to feed them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_har.errors import MisuseError, printable
from edge_har.model.bundle import LABELS, Bundle
from edge_har.model.manifest import TensorSpec
from edge_har.system.files import PathKind, path_kind

DESCRIPTION = "export.json"
README = "README.md"
ONNX = "clip.onnx"


def export_bundle(
    bundle: Bundle, folder: Path, *, onnx: bytes | None = None, onnx_facts: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write the graphs, labels.txt, export.json and README.md into `folder`, which is new or empty.

    onnx, onnx_facts: the float model and what was found of it, where it was made. Returns the files written.
    Raises MisuseError where the folder holds something or cannot be written.
    """
    described = description(bundle) | ({"onnx": {"file": ONNX, **(onnx_facts or {})}} if onnx else {})
    files = {
        **{name: bundle.read(name) for name in sorted(bundle.manifest.tensors)},
        **({ONNX: onnx} if onnx else {}),
        LABELS: bundle.read(LABELS),
        DESCRIPTION: (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode(),
        README: "".join(
            f"{printable(line)}\n" for line in readme_lines(bundle, with_onnx=onnx is not None)
        ).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_empty(folder)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise MisuseError(f"{folder}: cannot be written: {error.strerror}") from error
    return [folder / name for name in files]


def check_empty(folder: Path) -> None:
    """Raises MisuseError where `folder` exists and holds something: an export overwrites nothing."""
    kind = path_kind(folder, MisuseError)
    if kind not in (PathKind.ABSENT, PathKind.FOLDER):
        raise MisuseError(f"{folder}: is a file; name a folder")
    try:
        is_empty = kind is PathKind.ABSENT or not any(folder.iterdir())
    except OSError as error:
        raise MisuseError(f"{folder}: cannot be read: {error.strerror}") from error
    if not is_empty:
        raise MisuseError(f"{folder}: is not empty; name a new folder")


def description(bundle: Bundle) -> dict[str, Any]:
    """What a program needs to feed the graphs: the manifest's own words for pixels, time,
    tensors and labels.
    """
    manifest = bundle.manifest.to_json()
    fields = {key: manifest[key] for key in ("precision", "labels", "frame", "temporal", "graphs", "tensors")}
    return {
        "model": bundle.model_id,
        "digest": bundle.digest,
        **fields,
        "temperature": manifest["temperature"],
    }


def readme_lines(bundle: Bundle, *, with_onnx: bool = False) -> list[str]:
    """The same for a person, as Markdown."""
    manifest = bundle.manifest
    (width, height), temporal = manifest.frame.size_wh, manifest.temporal
    interpolation = f"OpenCV's INTER_{manifest.frame.interpolation.upper()}"
    return [
        f"# {bundle.model_id}",
        "",
        (
            f"Plain files of an edge_har bundle ({manifest.precision}); `{DESCRIPTION}` says the same for "
            "programs."
        ),
        "",
        "## Frames",
        "",
        f"- {temporal.frames} frames, {temporal.interval_ms:g} ms apart, taken by time and not by count.",
        (
            f"- Each is resized to {width}x{height} ({manifest.frame.fit}, {interpolation}), then put in RGB "
            "order."
        ),
        "- Values are 0 to 255: the scaling is inside the model.",
        f"- The outputs are probabilities, in the order of `{LABELS}`.",
        "",
        "## Files",
        "",
        *_file_lines(bundle),
        *(_onnx_lines(bundle) if with_onnx else ()),
        "",
        "## Numbers",
        "",
        (
            "- Where a scale is given: stored = round(real / scale) + zero point, real = (stored - zero "
            "point) * "
            "scale."
        ),
        (
            "- Call `reset_all_variables()` before every window: a fused LSTM keeps its state from one call "
            "to "
            "the next."
        ),
        "- States start each window as the stored form of 0.0 (the zero point); what leaves one tick enters "
        "the next, " + "requantised where the scales differ.",
    ]


def _file_lines(bundle: Bundle) -> Iterator[str]:
    graphs = bundle.manifest.graphs
    roles = {
        graphs.clip: "a whole window at once",
        graphs.step: f"one tick: the last {graphs.frames_per_step} frame(s) to a feature",
        graphs.head: "the features of a window to scores",
        graphs.familiarity: "the features of a window to how familiar it is, 0 to 1; by as much as that is "
        "below 1, scores are drawn towards every label alike",
    }
    for name, tensors in sorted(bundle.manifest.tensors.items()):
        yield f"- `{name}`: {roles.get(name, 'a graph')}."
        yield from (f"  - in {_tensor(spec)}" for spec in tensors.inputs)
        yield from (f"  - out {_tensor(spec)}" for spec in tensors.outputs)


def _onnx_lines(bundle: Bundle) -> Iterator[str]:
    (width, height), frames = bundle.manifest.frame.size_wh, bundle.manifest.temporal.frames
    yield f"- `{ONNX}`: the float model before pruning and quantisation, a whole window at once."
    yield f"  - in `clip` float32 [1, {frames}, {height}, {width}, 3]"
    yield f"  - out `scores` float32 [1, {len(bundle.manifest.labels)}]"


def _tensor(spec: TensorSpec) -> str:
    scaled = f", scale {spec.scale:.9g}, zero point {spec.zero_point}" if spec.scale > 0 else ""
    return f"`{spec.role}` {spec.dtype} {list(spec.shape)}{scaled} (`{spec.name}`)"
