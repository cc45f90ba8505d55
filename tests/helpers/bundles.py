"""Small bundles with golden clips: the shipped one where it is there, else one made once with TensorFlow."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_har.model.bundle import (
    LABELS,
    MODEL_CARD,
    Bundle,
    encode_strip,
    open_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from edge_har.model.cadence import TemporalContract
from edge_har.model.interpreter import Graph, TensorInfo
from edge_har.model.manifest import Golden, Graphs, GraphTensors, Manifest, TensorSpec
from edge_har.model.preprocess import FrameSpec
from edge_har.model.recognizer import TickRecognizer
from tests.helpers.alone import made_once
from tests.helpers.need import need_module

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "edge_har" / "default.ehar"
TINY = ROOT / ".cache" / "tests" / "tiny-1.ehar"  # another number where `_make_tiny` changes
TINY_LABELS = ("Left", "Middle", "Right")
TINY_FRAMES = 4
TINY_SIDE = 8  # pixels
TINY_FEATURES = 6


@functools.cache
def some_bundle() -> Bundle:
    """A valid bundle with golden clips that runs on this machine: the shipped one, else the tiny one."""
    return open_bundle(SHIPPED) if SHIPPED.is_file() else tiny_bundle()


@functools.cache
def tiny_bundle() -> Bundle:
    """A stateless float stream of 4 frames of 8x8 and 3 labels;
    made with TensorFlow once, then kept in .cache.
    """
    if not TINY.is_file():
        need_module("tensorflow", "pip install -e '.[workstation]'")
    return open_bundle(made_once(TINY, lambda: _make_tiny(TINY)))


def variant(bundle: Bundle, **changes: Any) -> bytes:
    """The bytes of the same bundle with its manifest's fields changed: name, version, release, golden, ..."""
    files = {name: content for name, content in bundle.contents.items() if name != LABELS}
    return pack_bundle(replace(bundle.manifest, **changes), files)[0]


def release(number: int) -> bytes:
    """The bytes of `some_bundle()` as release `number`."""
    return variant(some_bundle(), release=number, version=f"{number}.0")


def failing_golden(number: int) -> bytes:
    """As `release`, whole and well formed, but its golden clips expect another top label."""
    bundle = some_bundle()
    golden = tuple(
        replace(clip, scores=(clip.scores[-1], *clip.scores[:-1])) for clip in bundle.manifest.golden
    )
    return variant(bundle, release=number, version=f"{number}.0", golden=golden)


def _make_tiny(path: Path) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    from tf_keras import Sequential, layers

    spread, spread_head = (tf.keras.initializers.RandomNormal(stddev=0.5, seed=seed) for seed in (1, 2))
    shape = (TINY_SIDE, TINY_SIDE, 3)
    step = [
        layers.Rescaling(1 / 255),
        layers.Reshape((-1, TINY_SIDE * TINY_SIDE * 3)),
        layers.Dense(TINY_FEATURES, activation="tanh", kernel_initializer=spread),
    ]
    head = [
        layers.Flatten(),
        layers.Dense(len(TINY_LABELS), kernel_initializer=spread_head),
        layers.Softmax(),
    ]
    models = {
        "encoder.tflite": Sequential([layers.Input((1, *shape), 1), *step, layers.Reshape((TINY_FEATURES,))]),
        "head.tflite": Sequential([layers.Input((TINY_FRAMES, TINY_FEATURES), 1), *head]),
        "clip.tflite": Sequential([layers.Input((TINY_FRAMES, *shape), 1), *step, *head]),
    }
    files = {
        name: tf.lite.TFLiteConverter.from_keras_model(model).convert() for name, model in models.items()
    }
    roles = {"encoder.tflite": ("frames", "feature"), "head.tflite": ("features", "scores")}
    manifest = Manifest(
        name="tiny",
        version="1.0",
        release=1,
        kind="lrcn",
        precision="float32",
        labels=TINY_LABELS,
        frame=FrameSpec((TINY_SIDE, TINY_SIDE)),
        temporal=TemporalContract(TINY_FRAMES, 80.0),
        graphs=Graphs("clip.tflite", "encoder.tflite", "head.tflite"),
        tensors={
            name: _tensors(Graph(content), *roles.get(name, ("clip", "scores")))
            for name, content in files.items()
        },
    )
    files[MODEL_CARD] = b"# Made for tests; recognises nothing\n"
    recognizer = TickRecognizer(read_bundle(pack_bundle(manifest, files)[0]))
    golden = []
    for seed in range(1000):
        frames = np.random.default_rng(seed).integers(0, 256, (TINY_FRAMES, *shape), np.uint8)
        scores = recognizer.clip(frames)
        if np.diff(np.sort(scores))[-1] > 0.2 and len(golden) < 3:
            file = f"golden/{len(golden):02d}.png"
            files[file] = encode_strip(frames)
            golden.append(Golden(file, TINY_LABELS[int(scores.argmax())], tuple(float(s) for s in scores)))
    write_bundle(path, replace(manifest, golden=tuple(golden)), files)


def _tensors(graph: Graph, role_in: str, role_out: str) -> GraphTensors:
    def spec(info: TensorInfo, role: str) -> TensorSpec:
        return TensorSpec(info.name, role, info.shape, str(info.dtype), info.scale, info.zero_point)

    return GraphTensors((spec(graph.inputs[0], role_in),), (spec(graph.outputs[0], role_out),))
