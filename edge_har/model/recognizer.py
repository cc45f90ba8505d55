"""One tick in, probabilities out: every result equals the whole-clip model on its own window, less sure where
the window is unlike what the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import Bundle
from edge_har.model.interpreter import Array, Graph, TensorInfo, dequantise, quantise, requantise, zeros
from edge_har.model.manifest import GraphTensors, Manifest, TensorSpec
from edge_har.model.preprocess import Pixels

Scores = NDArray[np.float32]


class _Bank:
    """The states and features of one window in the making."""

    def __init__(self, states: list[Array]) -> None:
        self.states = states
        self.features: list[Array] = []


class _Ring:
    """The latest features or frames of a stream, in order and in one piece:
    each is written twice, a ring's length apart.

    length: how many. like: one of them, for shape and dtype.
    """

    def __init__(self, length: int, like: Array) -> None:
        self._length = length
        self._next = 0
        self._held = np.zeros((2 * length, *like.shape), like.dtype)

    def append(self, feature: Array) -> None:
        """Take the newest; the oldest goes."""
        self._held[self._next] = self._held[self._next + self._length] = feature
        self._next = (self._next + 1) % self._length

    @property
    def latest(self) -> Array:
        """All of them, oldest first; good until the next comes."""
        return self._held[self._next : self._next + self._length]


class TickRecognizer:
    """Recognises one stream with the bundle's streaming graphs.

    A step graph runs once per tick, a head over the features of a window. Where the step carries states
    (ConvLSTM), window / hop banks are kept, staggered by the hop, each from zero states at its window's
    start; where it does not (LRCN, motion) one ring of features serves every window. A bundle without a step
    has its frames themselves in the ring, and the whole-clip graph for a head.

    Where the bundle has a familiarity graph, probabilities are drawn towards every label alike by as much as
    a window is unfamiliar: none is sure then, and what rejects unsure predictions rejects these too.

    plain: the head's own probabilities, with neither temperature nor familiarity: what other computations of
    the same model are compared with. threads: CPU threads of each graph. beside: another stream's recognizer
    of the same bundle, in the same thread: graphs that hold no state are run for both, which keeps one set of
    weights in the processor's cache.

    Raises BundleError when the bundle's graphs do not fit its manifest.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        beside: TickRecognizer | None = None,
        plain: bool = False,
    ) -> None:
        manifest = bundle.manifest
        self.manifest = manifest
        *step_name, head_name = manifest.graphs.of_stream
        self.step: Graph | None = None
        if step_name:
            self.step = _graph(bundle, step_name[0], threads, beside.step if beside else None)
        self.head: Graph = _graph(bundle, head_name, threads, beside.head if beside else None)
        head_tensors = _tensors(manifest, head_name, self.head)
        self._features_at = _position(
            head_tensors.inputs, "features" if step_name else "clip", self.head.inputs
        )
        self._scores_at = _position(head_tensors.outputs, "scores", self.head.outputs)
        self._temperature = 1.0 if plain else manifest.temperature
        self.familiarity: Graph | None = None
        if manifest.graphs.familiarity is not None and not plain:
            others = beside.familiarity if beside else None
            self.familiarity = _graph(bundle, manifest.graphs.familiarity, threads, others)
            _check_familiarity(manifest, self.familiarity, self.head.inputs[self._features_at])
        self._states_in: list[int] = []
        self._states_out: list[int] = []
        self._frame_info = self.head.inputs[self._features_at]
        if self.step is not None:
            self._place_step(self.step, _tensors(manifest, step_name[0], self.step))
        self._check_graphs()
        self._window = manifest.temporal.frames
        self._hop = manifest.temporal.hop_ticks
        self._read: Array | None = None  # by the head, for the latest result
        self.reset()

    def _place_step(self, step: Graph, tensors: GraphTensors) -> None:
        """Find the step's tensors by their roles."""
        self._frame_info = step.inputs[_position(tensors.inputs, "frames", step.inputs)]
        self._feature_at = _position(tensors.outputs, "feature", step.outputs)
        states = sorted(t.role for t in tensors.inputs if t.role.startswith("state_"))
        self._states_in = [_position(tensors.inputs, role, step.inputs) for role in states]
        self._states_out = [_position(tensors.outputs, role, step.outputs) for role in states]
        frames_per_step = self.manifest.graphs.frames_per_step
        if self._frame_info.shape[1] != frames_per_step:
            raise BundleError("the step graph takes another number of frames than the manifest says")
        if self._states_in and frames_per_step != 1:
            raise BundleError("a step graph with states takes one frame at a time")

    def _check_graphs(self) -> None:
        """Raise BundleError where graphs and manifest do not go together."""
        manifest, step, head = self.manifest, self.step, self.head
        width, height = manifest.frame.size_wh
        at_once = manifest.graphs.frames_per_step if step is not None else manifest.temporal.frames
        feature = self._frame_info.shape[2:] if step is None else step.outputs[self._feature_at].shape[1:]
        states = () if step is None else zip(self._states_in, self._states_out, strict=True)
        expected = {
            "frames": (self._frame_info.shape, (1, at_once, height, width, 3)),
            "features": (head.inputs[self._features_at].shape, (1, manifest.features_per_window, *feature)),
            "scores": (head.outputs[self._scores_at].shape, (1, len(manifest.labels))),
        }
        for into, out in states:
            assert step is not None
            expected[f"state {into}"] = (step.outputs[out].shape, step.inputs[into].shape)
        _check_shapes(expected)
        if len(head.inputs) != 1 or (step is not None and len(step.inputs) != 1 + len(self._states_in)):
            raise BundleError("a graph has inputs that the manifest gives no use for")

    def reset(self) -> None:
        """Forget the stream: a new file, a gap, a reconnect. The next tick is the first of a new window."""
        self._tick = 0
        self._frames: _Ring | None = None
        self._ring: _Ring | None = None
        self._banks: list[_Bank] = []

    @property
    def features(self) -> NDArray[np.float32]:
        """What the head read for the latest result: float32 [features_per_window, ...], of its own numbers.

        Raises MisuseError before the first result.
        """
        if self._read is None:
            raise MisuseError("there are no features before the first result")
        return np.asarray(dequantise(self._read, self.head.inputs[self._features_at]), np.float32)

    def tick(self, frame: Pixels) -> Scores | None:
        """Take one prepared frame (uint8 [height, width, 3], RGB).

        Returns the probabilities (float32 [labels], summing to 1) of the window that ends with this tick, or
        None when no window ends here.
        """
        if frame.shape != self._frame_info.shape[2:]:
            raise MisuseError(
                f"the model takes frames of shape {self._frame_info.shape[2:]}, got {frame.shape}"
            )
        stored, together = quantise(frame, self._frame_info), self.manifest.graphs.frames_per_step
        if self._frames is None:
            self._frames = _Ring(together, stored)
        self._frames.append(stored)
        tick, self._tick = self._tick, self._tick + 1
        if self._tick < together:
            return None
        frames = self._frames.latest[np.newaxis]
        return self._tick_banks(frames, tick) if self._states_in else self._tick_ring(frames, tick)

    def clip(self, frames: Pixels) -> Scores:
        """Probabilities (float32 [labels]) of one whole window: uint8 [frames, height, width, 3], RGB.

        The stream is forgotten before and after.
        """
        if len(frames) != self._window:
            raise MisuseError(f"a window is {self._window} frames, got {len(frames)}")
        self.reset()
        scores = None
        for frame in frames:
            scores = self.tick(frame)
        self.reset()
        assert scores is not None
        return scores

    def _tick_ring(self, frames: Array, tick: int) -> Scores | None:
        feature = frames[0] if self.step is None else self._run_step(self.step, frames, None)
        if self._ring is None:
            self._ring = _Ring(self.manifest.features_per_window, feature[0])
        self._ring.append(feature[0])
        first = tick - self._window + 1
        return self._run_head(self._ring.latest) if first >= 0 and first % self._hop == 0 else None

    def _tick_banks(self, frames: Array, tick: int) -> Scores | None:
        # A bank starts at each hop until the first of them has come to its window's end and starts again.
        assert self.step is not None
        if tick % self._hop == 0 and len(self._banks) < self._window // self._hop:
            self._banks.append(_Bank(self._zero_states(self.step)))
        scores = None
        for bank in self._banks:
            bank.features.append(self._run_step(self.step, frames, bank))
            if len(bank.features) == self.manifest.features_per_window:
                scores = self._run_head(np.stack([feature[0] for feature in bank.features]))
                bank.features.clear()
                bank.states = self._zero_states(self.step)
        return scores

    def _zero_states(self, step: Graph) -> list[Array]:
        return [zeros(step.inputs[at]) for at in self._states_in]

    def _run_step(self, step: Graph, frames: Array, bank: _Bank | None) -> Array:
        inputs: list[Array] = [frames] * len(step.inputs)
        if bank is not None:
            for at, state in zip(self._states_in, bank.states, strict=True):
                inputs[at] = state
        outputs = step.run_raw(*inputs)
        if bank is not None:
            bank.states = [
                requantise(outputs[out], step.outputs[out], step.inputs[into])
                for out, into in zip(self._states_out, self._states_in, strict=True)
            ]
        feature = outputs[self._feature_at]
        return requantise(feature, step.outputs[self._feature_at], self.head.inputs[self._features_at])

    def _run_head(self, features: Array) -> Scores:
        self.head.reset()  # a fused LSTM keeps its state from one invoke to the next
        self._read = features
        stored = self.head.run_raw(features[np.newaxis])[self._scores_at]
        scores = _probabilities(stored, self.head.outputs[self._scores_at], self._temperature)
        if self.familiarity is None:
            return scores
        familiar = float(self.familiarity.run_raw(self.features[np.newaxis])[0][0, 0])
        if not 0 <= familiar <= 1:
            raise BundleError("the familiarity graph's output is no number from 0 to 1")
        return np.asarray(familiar * scores + (1 - familiar) / len(scores), np.float32)


class WholeClip:
    """Recognises whole windows with the bundle's reference graph; nothing is carried from one to the next.

    plain: the graph's own probabilities, without temperature. What is familiar it does not know.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, plain: bool = False) -> None:
        manifest = bundle.manifest
        self._temperature = 1.0 if plain else manifest.temperature
        self.manifest = manifest
        self.graph = Graph(bundle.read(manifest.graphs.clip), threads=threads)
        tensors = _tensors(manifest, manifest.graphs.clip, self.graph)
        self._clip_at = _position(tensors.inputs, "clip", self.graph.inputs)
        self._scores_at = _position(tensors.outputs, "scores", self.graph.outputs)
        width, height = manifest.frame.size_wh
        _check_shapes(
            {
                "clip": (
                    self.graph.inputs[self._clip_at].shape,
                    (1, manifest.temporal.frames, height, width, 3),
                ),
                "scores": (self.graph.outputs[self._scores_at].shape, (1, len(manifest.labels))),
            }
        )
        if len(self.graph.inputs) != 1:
            raise BundleError("a graph has inputs that the manifest gives no use for")

    def clip(self, frames: Pixels) -> Scores:
        """Probabilities (float32 [labels]) of one window: uint8 [frames, height, width, 3], RGB."""
        info = self.graph.inputs[self._clip_at]
        if frames.shape != info.shape[1:]:
            raise MisuseError(f"a window has the shape {info.shape[1:]}, got {frames.shape}")
        self.graph.reset()
        stored = self.graph.run_raw(quantise(frames[np.newaxis], info))[self._scores_at]
        return _probabilities(stored, self.graph.outputs[self._scores_at], self._temperature)


def check_golden(bundle: Bundle, *, threads: int = 1) -> float:
    """Run the bundle's golden clips through its streaming graphs on this machine: the head's own
    probabilities, as few of these clips are familiar.

    Returns the largest difference of a probability. Raises BundleError, naming the worst clip, where one
    differs by more than the manifest's tolerance or has another top label,
    or where the bundle has no golden clips.
    """
    manifest = bundle.manifest
    if not manifest.golden:
        raise BundleError("the bundle has no golden clips to check this machine with")
    recognizer = TickRecognizer(bundle, threads=threads, plain=True)
    worst, worst_file = 0.0, ""
    for golden, frames in bundle.golden_clips():
        expected = np.asarray(golden.scores, np.float32)
        scores = recognizer.clip(frames)
        difference = float(np.abs(scores - expected).max())
        if int(scores.argmax()) != int(expected.argmax()):
            got, golden_label = (manifest.labels[int(s.argmax())] for s in (scores, expected))
            raise BundleError(
                f"golden clip {golden.file}: this machine predicts {got}, expected {golden_label}"
            )
        if difference >= worst:
            worst, worst_file = difference, golden.file
    if not worst <= manifest.golden_tolerance:
        raise BundleError(
            f"golden clip {worst_file}: a probability differs by {worst:.3f}, more than "
            f"{manifest.golden_tolerance}"
        )
    return worst


def _check_familiarity(manifest: Manifest, graph: Graph, features: TensorInfo) -> None:
    """Raise BundleError for a familiarity graph that does not read what the head reads, as floats."""
    name = manifest.graphs.familiarity
    assert name is not None
    tensors = _tensors(manifest, name, graph)
    read = graph.inputs[_position(tensors.inputs, "features", graph.inputs)]
    given = graph.outputs[_position(tensors.outputs, "scores", graph.outputs)]
    _check_shapes({"features": (read.shape, features.shape), "familiarity": (given.shape, (1, 1))})
    if read.dtype != np.float32 or given.dtype != np.float32 or len(graph.inputs) + len(graph.outputs) != 2:
        raise BundleError("the familiarity graph must take features and give one number, both float32")


def _graph(bundle: Bundle, name: str, threads: int, others: Graph | None) -> Graph:
    if others is not None and not others.holds_state:
        return others
    return Graph(bundle.read(name), threads=threads)


def _probabilities(stored: Array, info: TensorInfo, temperature: float) -> Scores:
    """Probabilities that sum to 1 (an int8 softmax does not quite),
    softened by the manifest's temperature. Raises BundleError where the graph gives no numbers.
    """
    scores = np.maximum(dequantise(stored, info)[0].astype(np.float64), 1e-9)
    if temperature != 1.0:
        with np.errstate(over="ignore", under="ignore"):
            scores = scores ** (1 / temperature)
    total = scores.sum()
    if not 0 < total < np.inf:
        raise BundleError("the graph's scores are no numbers (NaN or infinite)")
    return np.asarray(scores / total, np.float32)


def _tensors(manifest: Manifest, name: str, graph: Graph) -> GraphTensors:
    """What the manifest has to say of a graph's tensors. Raises BundleError where the graph has others."""
    tensors = manifest.tensors[name]
    for specs, actual in ((tensors.inputs, graph.inputs), (tensors.outputs, graph.outputs)):
        if [(spec.shape, spec.dtype) for spec in specs] != [(one.shape, str(one.dtype)) for one in actual]:
            raise BundleError(f"the tensors of {name} are not those of the manifest")
    return tensors


def _check_shapes(expected: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """Raise BundleError where a shape is not the needed one; both by name."""
    for name, (shape, needed) in expected.items():
        if shape != needed:
            raise BundleError(f"the graph's {name} have the shape {shape}, the manifest needs {needed}")


def _position(specs: tuple[TensorSpec, ...], role: str, actual: list[TensorInfo]) -> int:
    positions = [i for i, spec in enumerate(specs) if spec.role == role]
    if len(positions) != 1 or len(specs) != len(actual):
        raise BundleError(f"the graph's tensors are not those of the manifest (role {role!r})")
    return positions[0]
