"""A bundle that tells colours: predictions that a test can script with the pixels it shows.

Its graphs are kept beside this file, so that tests without TensorFlow have them. They are made again with
`python -m tests.helpers.colours`.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from edge_har.model.bundle import MODEL_CARD, Bundle, encode_strip, pack_bundle, read_bundle
from edge_har.model.cadence import TemporalContract
from edge_har.model.interpreter import Graph
from edge_har.model.manifest import Golden, Graphs, GraphTensors, Manifest, Smoothing, TensorSpec
from edge_har.model.preprocess import FrameSpec, Pixels

GRAPHS = Path(__file__).with_name("graphs")
COLOURS: dict[str, tuple[int, int, int]] = {"Red": (255, 0, 0), "Green": (0, 255, 0), "Blue": (0, 0, 255)}
LABELS = tuple(COLOURS)
GREY = (128, 128, 128)  # no label: each has a third
FRAMES, SIDE, INTERVAL_MS = 4, 8, 80.0
SHARPNESS = 8.0  # a window of one colour has that label at .999
ROLES = {
    "step.tflite": (("frames",), ("feature",)),
    "bank.tflite": (("frames", "state_0"), ("feature", "state_0")),
    "head.tflite": (("features",), ("scores",)),
    "clip.tflite": (("clip",), ("scores",)),
}


def colour_graphs() -> dict[str, bytes]:
    """The graphs by name; `step` is stateless, `bank` carries a sum that nobody reads, as a state."""
    return {name: (GRAPHS / name).read_bytes() for name in ROLES}


@functools.cache
def colour_bytes(stateful: bool = False, **changes: Any) -> bytes:
    """The bytes of a bundle that tells LABELS by mean colour over windows of 4 ticks;
    changes: of its manifest.
    """
    graphs = colour_graphs()
    step = "bank.tflite" if stateful else "step.tflite"
    names = ("clip.tflite", step, "head.tflite")
    golden = painted("Red", FRAMES)
    fields: dict[str, Any] = {
        "name": "colours",
        "version": "1.0",
        "release": 1,
        "kind": "convlstm" if stateful else "lrcn",
        "precision": "float32",
        "labels": LABELS,
        "frame": FrameSpec((SIDE, SIDE)),
        "temporal": TemporalContract(FRAMES, INTERVAL_MS, hop_ticks=2 if stateful else 1),
        "graphs": Graphs(*names),
        "tensors": {name: _tensors(name, graphs[name]) for name in names},
        "smoothing": Smoothing(0.3, 0.6, 0.4),
        "golden": (Golden("golden/00.png", "Red", (0.9993, 0.00034, 0.00034)),),
    }
    files = {name: graphs[name] for name in names}
    files |= {MODEL_CARD: b"# Tells colours\n", "golden/00.png": encode_strip(golden)}
    return pack_bundle(Manifest(**(fields | changes)), files)[0]


def colour_bundle(stateful: bool = False, **changes: Any) -> Bundle:
    """As `colour_bytes`, opened."""
    return read_bundle(colour_bytes(stateful, **changes))


def painted(
    colour: str | tuple[int, int, int], frames: int, size_wh: tuple[int, int] = (SIDE, SIDE)
) -> Pixels:
    """Frames of one colour: uint8 [frames, height, width, 3], RGB."""
    width, height = size_wh
    rgb = COLOURS[colour] if isinstance(colour, str) else colour
    return np.broadcast_to(np.array(rgb, np.uint8), (frames, height, width, 3)).copy()


def _tensors(name: str, content: bytes) -> GraphTensors:
    graph = Graph(content)
    roles_in, roles_out = ROLES[name]
    inputs, outputs = (
        tuple(TensorSpec(i.name, role, i.shape, str(i.dtype)) for i, role in zip(infos, roles, strict=True))
        for infos, roles in ((graph.inputs, roles_in), (graph.outputs, roles_out))
    )
    return GraphTensors(inputs, outputs)


def make_graphs(folder: Path) -> None:
    """Write the graphs; needs TensorFlow."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    def feature(frames: Any) -> Any:
        return tf.reduce_mean(frames, axis=[2, 3])

    def scores(features: Any) -> Any:
        return tf.nn.softmax(tf.reduce_mean(features, axis=1) * (SHARPNESS / 255))

    def spec(name: str, *shape: int) -> Any:
        return tf.TensorSpec(shape, tf.float32, name=name)

    one = spec("frames", 1, 1, SIDE, SIDE, 3)
    functions = {
        "step.tflite": (lambda frames: {"feature": feature(frames)[:, 0]}, [one]),
        "bank.tflite": (
            lambda frames, state: {
                "feature": feature(frames)[:, 0],
                "state_out": state * 0.5 + feature(frames)[:, 0],
            },
            [one, spec("state", 1, 3)],
        ),
        "head.tflite": (lambda features: {"scores": scores(features)}, [spec("features", 1, FRAMES, 3)]),
        "clip.tflite": (
            lambda clip: {"scores": scores(feature(clip))},
            [spec("clip", 1, FRAMES, SIDE, SIDE, 3)],
        ),
    }
    folder.mkdir(exist_ok=True)
    for name, (function, signature) in functions.items():
        concrete = tf.function(function, input_signature=signature).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        (folder / name).write_bytes(converter.convert())


if __name__ == "__main__":
    make_graphs(GRAPHS)
