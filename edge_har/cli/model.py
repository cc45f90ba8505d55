"""`edge-har model`: what is in a bundle, whether it computes the same here, and its graphs as files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_har.cli import workstation_part
from edge_har.cli.command import Group
from edge_har.errors import printable

if TYPE_CHECKING:
    from edge_har.model.bundle import Bundle
    from edge_har.model.manifest import GraphTensors, TensorSpec

INDENT = "  "
EXPORTERS = "edge_har.exporters"  # entry points: (source of the float model, Bundle) -> (bytes, facts)
PATH = click.Path(path_type=Path)


@click.group(
    "model",
    cls=Group,
    examples={
        "What is in the shipped bundle": "edge-har model inspect",
    },
)
def command() -> None:
    """Inspect bundles, verify them, export their graphs."""


@command.command(
    "inspect",
    examples={
        "The shipped bundle": "edge-har model inspect",
        "Another one, as JSON": "edge-har model inspect mine.ehar --json",
    },
)
@click.argument("bundle", metavar="[BUNDLE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole manifest as one JSON object.")
def inspect(bundle: str | None, as_json: bool) -> None:
    """Show what is in a bundle; the shipped one by default."""
    opened, size = _open(bundle)
    if as_json:
        # ASCII: a bundle's texts may hold what steers a terminal.
        click.echo(json.dumps(inspect_json(opened, size)))
    else:
        click.echo("\n".join(inspect_lines(opened, size)))


@command.command(
    "verify",
    examples={
        "A bundle": "edge-har model verify mine.ehar",
    },
)
@click.argument("bundle", metavar="[BUNDLE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a line.")
def verify(bundle: str | None, as_json: bool) -> None:
    """Check every byte of a bundle, and run its golden clips on this machine; the shipped one by default."""
    from edge_har.model.interpreter import runtime_name
    from edge_har.model.trial import Part, try_bundle

    opened, _ = _open(bundle)
    worst = try_bundle(opened, _path(bundle), Part.GOLDEN)
    manifest = opened.manifest
    if as_json:
        report = {
            "model": opened.model_id,
            "digest": opened.digest,
            "golden_clips": len(manifest.golden),
            "max_difference": round(worst, 6),
            "tolerance": manifest.golden_tolerance,
            "runtime": runtime_name(),
        }
        click.echo(json.dumps(report))
        return
    click.echo(
        f"{opened.model_id}: whole and unaltered; {len(manifest.golden)} golden clips within {worst:.4f} "
        f"(allowed {manifest.golden_tolerance:g}) on {runtime_name()}"
    )


@command.command(
    "export",
    examples={
        "The graphs of a bundle": "edge-har model export mine.ehar --to graphs",
    },
)
@click.argument("bundle", metavar="[BUNDLE]", required=False)
@click.option("--to", "folder", required=True, metavar="DIR", type=PATH, help="A new or empty folder.")
@click.option(
    "--float",
    "source",
    metavar="RUN|FILE",
    type=PATH,
    help="Also ONNX of the float model that the bundle was made from (workstation).",
)
def export(bundle: str | None, folder: Path, source: Path | None) -> None:
    """Write the plain .tflite files with labels and how to feed them; the shipped bundle by default."""
    from edge_har.model.export import check_empty, export_bundle

    opened, _ = _open(bundle)
    check_empty(folder)
    onnx, facts = (None, None) if source is None else workstation_part(EXPORTERS, "onnx")(source, opened)
    for path in export_bundle(opened, folder, onnx=onnx, onnx_facts=facts):
        click.echo(printable(str(path)))
    if facts is not None:
        click.echo(
            f"ONNX differs from Keras by at most {facts['max_difference']:.1e} "
            f"over {facts['clips_compared']} clips",
            err=True,
        )


def _open(given: str | None) -> tuple[Bundle, int]:
    from edge_har.model.bundle import open_bundle

    path = _path(given)
    bundle = open_bundle(path)
    return bundle, _size(Path(os.path.realpath(path)))


def _path(given: str | None) -> Path:
    from edge_har.model.bundle import default_bundle_path

    return Path(given) if given is not None else default_bundle_path()


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def inspect_json(bundle: Bundle, size: int) -> dict[str, Any]:
    """The manifest as it is in the bundle, and before it `model`, `digest`, `bytes`, `signed` (whether a
    signature was checked: never yet) and `signature` (`none` or `unchecked`), whatever it says of these.
    """
    manifest: dict[str, Any] = json.loads(bundle.manifest_bytes)
    own = {
        "model": bundle.model_id,
        "digest": bundle.digest,
        "bytes": size,
        "signed": False,
        "signature": "none" if bundle.signature is None else "unchecked",
    }
    return own | {key: value for key, value in manifest.items() if key not in own}


def inspect_lines(bundle: Bundle, size: int) -> list[str]:
    """The bundle for a person: labels, contract, tensors, figures, provenance, terms, files. Whatever its
    texts hold, each line is one, without control characters.
    """
    manifest = bundle.manifest
    frame, temporal, smoothing = manifest.frame, manifest.temporal, manifest.smoothing
    reject = "never" if manifest.reject_threshold is None else f"below {manifest.reject_threshold:g}"
    lines = [
        (
            f"{manifest.name} {manifest.version}, release {manifest.release}: "
            f"{manifest.kind}, {manifest.precision}, "
            f"{size:,} bytes"
        ),
        f"digest      {bundle.digest} ({_signature(bundle)})",
        f"labels      {', '.join(manifest.labels)}",
        (
            f"frames      {frame.size_wh[0]}x{frame.size_wh[1]} {frame.color}, "
            f"{frame.fit}, {frame.interpolation}"
        ),
        (
            f"time        {temporal.frames} frames, {temporal.interval_ms:g} ms apart: "
            f"a window of {temporal.window_s:.2f} s, "
            f"a prediction every {_ticks(temporal.hop_ticks)}; "
            f"a gap above {temporal.gap_ms:g} ms starts over ({temporal.sampling})"
        ),
        (
            f"events      mean of {smoothing.smooth_s:g} s, enter {smoothing.enter:g}, "
            f"leave {smoothing.leave:g}, "
            f"at least {smoothing.min_s:g} s; temperature {manifest.temperature:g}, rejects {reject}"
        ),
        f"golden      {len(manifest.golden)} clips, tolerance {manifest.golden_tolerance:g}: "
        + ", ".join(golden.label for golden in manifest.golden),
        f"runtimes    {', '.join(manifest.runtimes) or 'none listed'}",
        f"protocol    {manifest.protocol}",
        *_gate_lines(manifest.metrics),
    ]
    for title, table in (
        ("graphs", vars(manifest.graphs)),
        ("metrics", manifest.metrics),
        ("calibration", manifest.calibration),
        ("provenance", manifest.provenance),
        ("licence", manifest.licence),
    ):
        lines += [f"{title}:", *_tree(table)]
    lines.append("tensors:")
    for name, tensors in sorted(manifest.tensors.items()):
        lines += [f"{INDENT}{name}", *_tensor_lines(tensors)]
    lines.append("files:")
    lines += [f"{INDENT}{name}  {length:,} bytes" for name, (length, _) in sorted(manifest.files.items())]
    return [printable(line) for line in lines]


def _signature(bundle: Bundle) -> str:
    return "unsigned" if bundle.signature is None else "it holds a signature, which is not checked"


def _gate_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the parity gate found when the bundle was made, and what its maker let pass; absent from older
    bundles.
    """
    from edge_har.model.bundle import GATE

    verdict = metrics.get(GATE)
    if not isinstance(verdict, Mapping):
        return
    allowed = verdict.get("allowed_by_user", [])
    yield f"gate        {'passed only with --allow-drop:' if allowed else 'passed'}"
    yield from (
        f"{INDENT}{_short(breach)}" for breach in (allowed if isinstance(allowed, list) else [allowed])
    )


def _ticks(count: int) -> str:
    return "tick" if count == 1 else f"{count} ticks"


def _tree(table: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    for key, value in table.items():
        figure = _figure(value)
        if figure is not None:
            share, low, high = figure
            yield f"{INDENT * depth}{key}: {share:.3f} (95 % {low:.3f} to {high:.3f})"
        elif isinstance(value, Mapping):
            yield f"{INDENT * depth}{key}:"
            yield from _tree(value, depth + 1)
        else:
            yield f"{INDENT * depth}{key}: {_short(value)}"


def _figure(value: Any) -> tuple[float, float, float] | None:
    """Fraction and interval, where the value is a figure as `convert` writes it."""
    if not isinstance(value, Mapping):
        return None
    interval = value.get("interval")
    numbers = [value.get("share"), *(interval if isinstance(interval, list) else ())]
    if len(numbers) != 3 or not all(isinstance(n, (int, float)) and 0 <= n <= 1 for n in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _tensor_lines(tensors: GraphTensors) -> Iterator[str]:
    for way, specs in (("in ", tensors.inputs), ("out", tensors.outputs)):
        for spec in sorted(specs, key=lambda spec: spec.role):
            yield f"{INDENT * 2}{way} {spec.role:<9} {_tensor(spec)}"


def _tensor(spec: TensorSpec) -> str:
    shape = "x".join(str(side) for side in spec.shape)
    scaled = f", scale {spec.scale:.6g}, zero point {spec.zero_point}" if spec.scale > 0 else ""
    return f"{spec.dtype} {shape}{scaled}"
