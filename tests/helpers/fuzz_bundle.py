"""Hostile bundles: a valid one with damaged bytes, or with a manifest, golden clips or graphs that say other
things, packed as it should be.

`python -m tests.helpers.fuzz_bundle --count 10000` opens so many, makes a recognizer of what opens and gives
it a window, all in one process: so their graphs are left as they are. What hostile graphs do to commands is
tried by `tests.helpers.fuzz_commands`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import zipfile
from typing import Any

import numpy as np

from edge_har.cli.model import inspect_json, inspect_lines
from edge_har.errors import EdgeHarError
from edge_har.model.bundle import FIXED_ZIP_TIME, LABELS, Bundle, read_bundle
from edge_har.model.manifest import MANIFEST
from edge_har.model.recognizer import TickRecognizer, check_golden
from edge_har.pipeline.events import EventMachine
from edge_har.pipeline.options import RunOptions
from edge_har.pipeline.sampler import Sampler
from tests.helpers.colours import colour_bytes
from tests.helpers.fuzz_graph import described, hostile_graph, with_recipe
from tests.helpers.fuzzing import changed, damaged, main, odd_value

WORDS = (
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"\xff\xff\xff\xff",
    b"manifest.json",
    b"../x",
    b'"files"',
)
MAX_TICKS = 40


@functools.cache
def whole(*, stateful: bool = False) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and files of a valid bundle."""
    with zipfile.ZipFile(io.BytesIO(colour_bytes(stateful))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files.pop(MANIFEST)), files


def packed(manifest: bytes, files: dict[str, bytes]) -> bytes:
    """A ZIP as a bundle is one, whatever it says."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({MANIFEST: manifest, **files}.items()):
            entry = zipfile.ZipInfo(name, FIXED_ZIP_TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def hostile_with_graphs(rng: random.Random) -> bytes:
    """A bundle that nobody should trust, of which the graphs are hostile in half of all cases."""
    if rng.random() < 0.5:
        return hostile(rng)
    manifest, files = whole(stateful=rng.random() < 0.3)
    manifest, files = json.loads(json.dumps(manifest)), dict(files)
    for name in rng.sample(sorted(manifest["tensors"]), rng.choice((1, 1, 1, 2))):
        put_graph(manifest, files, name, hostile_graph(rng, files[name]))
    if rng.random() < 0.1:
        strip = next(name for name in files if name.startswith("golden/"))
        files[strip] = damaged(rng, files[strip], (b"IDAT", b"IHDR", b"IEND", b"\x00\x00\xff\xff"))
        _list(manifest, strip, files[strip])
    if rng.random() < 0.2:
        changed(rng, manifest, times=1)
    return packed(json.dumps(manifest).encode("utf-8", "replace"), files)


def put_graph(manifest: dict[str, Any], files: dict[str, bytes], name: str, content: bytes) -> None:
    """Put another graph into a bundle in the making, whose manifest then repeats what the graph says."""
    files[name] = content
    _list(manifest, name, content)
    found = described(content)
    if found is None:
        return
    for side, tensors in zip(("inputs", "outputs"), found, strict=True):
        roles = [spec["role"] for spec in manifest["tensors"][name][side]]
        roles += [f"state_{number}" for number in range(90, 90 + len(tensors))]
        manifest["tensors"][name][side] = [
            {**tensor, "role": role} for tensor, role in zip(tensors, roles, strict=False)
        ]


def with_graph_recipe(name: str, recipe: str) -> bytes:
    """A bundle whose graph of that name is hostile in the way of that recipe."""
    manifest, files = whole()
    manifest, files = json.loads(json.dumps(manifest)), dict(files)
    put_graph(manifest, files, name, with_recipe(files[name], recipe))
    return packed(json.dumps(manifest).encode(), files)


def hostile(rng: random.Random) -> bytes:
    """A bundle that nobody should trust; its graphs are good."""
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(rng, colour_bytes(), WORDS)
    manifest, files = whole()
    manifest, files = json.loads(json.dumps(manifest)), dict(files)
    if kind == 1:
        return packed(damaged(rng, json.dumps(manifest, indent=1).encode(), WORDS), files)
    if kind == 2 and rng.random() < 0.5:
        # One number alone: most of what else changes is noticed at once.
        part = rng.choice(
            (manifest["temporal"], manifest["frame"], manifest["graphs"], manifest["smoothing"], manifest)
        )
        key = rng.choice(list(part))
        part[key] = rng.choice(
            (odd_value(rng), rng.randrange(-2, 20), rng.choice((0.1, 80.0, 1e9)), [1, 8], [4096, 4096])
        )
    else:
        changed(rng, manifest)
    labels = manifest.get("labels")
    if isinstance(labels, list) and rng.random() < 0.9:
        files[LABELS] = "".join(f"{label}\n" for label in labels).encode("utf-8", "replace")
        _list(manifest, LABELS, files[LABELS])
    return packed(json.dumps(manifest).encode("utf-8", "replace"), files)


def _list(manifest: dict[str, Any], name: str, content: bytes) -> None:
    listed = manifest.get("files")
    if isinstance(listed, dict):
        listed[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def use(bundle: Bundle) -> None:
    """What a device does with a bundle that opens."""
    inspect_lines(bundle, 1)
    json.dumps(inspect_json(bundle, 1))
    manifest = bundle.manifest
    for judge in (check_golden, _run):
        try:
            judge(bundle)
        except EdgeHarError as error:
            refusal = error
            continue
        refusal = None
    if refusal is not None:
        raise refusal
    assert manifest.labels


def _run(bundle: Bundle) -> None:
    manifest = bundle.manifest
    recognizer = TickRecognizer(bundle)
    Sampler(manifest.frame, manifest.temporal, lambda: False)
    options = RunOptions()
    machine = EventMachine(
        manifest.labels,
        options.smoothing(manifest.smoothing),
        options.tuning(manifest, None),
        source="s",
        model=bundle.model_id,
    )
    width, height = manifest.frame.size_wh
    frame = np.full((height, width, 3), 200, np.uint8)
    for tick in range(min(MAX_TICKS, manifest.temporal.frames + 2)):
        scores = recognizer.tick(frame)
        if scores is not None:
            for event in machine.predict(tick * manifest.temporal.interval_ms / 1000, scores):
                json.dumps(event.to_json())
    machine.close("stop")


def case(rng: random.Random) -> None:
    """One of them."""
    use(read_bundle(hostile(rng)))


if __name__ == "__main__":
    main("bundle", case, __doc__)
