"""From float graphs to TFLite files, in a child process that may crash or hang without taking us with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convert.graphs.float_graphs import FloatGraph, FloatGraphs
from convert.precisions import FLOAT32
from convert.tflite.child import WORKER, run_job, start_child
from edge_har.errors import ConversionError
from edge_har.model.preprocess import Pixels
from train.tf import tf

TIMEOUT_S = 900.0  # of one graph
BLACK, WHITE = 0, 255
STEP_SAMPLES = 400  # of a step with states, whose states are some 150 kB each

Samples = Mapping[str, NDArray[np.float32] | Pixels]  # role -> [samples, *shape of the graph's input]


class Job(NamedTuple):
    """One graph to make.

    precision: one of convert.precisions.PRECISIONS. samples: what sets an integer graph's ranges; None where
    the graph carries them. float_layers: how many layers of an INT8 graph stay float, the worst first.
    """

    graph: FloatGraph
    precision: str
    samples: Samples | None = None
    float_layers: int = 0


def convert_each(
    jobs: Mapping[str, Job],
    *,
    log: Path,
    timeout_s: float = TIMEOUT_S,
    worker: Sequence[str] = WORKER,
) -> Generator[tuple[str, bytes | ConversionError], None, None]:
    """The TFLite file of each graph in turn, or why it cannot be made: in one line naming the graph and the
    log.

    A child process makes them, with timeout_s for each. Its output goes to `log`, and is removed again where
    all went well. Raises ConversionError where files cannot be written.
    """
    size_before, failed = _size(log), False
    start_child(log, worker)  # it loads TensorFlow while the first graph is written
    with _scratch_folder() as folder:
        # One graph in several precisions is written once.
        saved: dict[int, Path] = {}
        for number, (name, job) in enumerate(jobs.items()):
            result: bytes | ConversionError
            try:
                result = _made(name, job, folder / str(number), saved, log, timeout_s, worker)
            except ConversionError as error:
                result, failed = error, True
                # A child that hangs may have written nothing.
                with suppress(OSError), log.open("a") as output:
                    print(error, file=output)
            yield name, result
    if not failed:
        _shorten(log, size_before)


def convert_one(graph: FloatGraph, log: Path, timeout_s: float = TIMEOUT_S) -> bytes:
    """The TFLite file of one graph in float32. Raises ConversionError."""
    jobs = {graph.name: Job(graph, FLOAT32)}
    ((_, result),) = convert_each(jobs, log=log, timeout_s=timeout_s)
    if isinstance(result, ConversionError):
        raise result
    return result


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    try:
        scratch = tempfile.TemporaryDirectory(prefix="edge-har-convert-")
    except OSError as error:
        raise _cannot_write(error) from error
    with scratch as folder:
        yield Path(folder)


def _made(
    name: str,
    job: Job,
    folder: Path,
    saved: dict[int, Path],
    log: Path,
    timeout_s: float,
    worker: Sequence[str],
) -> bytes:
    """The TFLite file of one graph. saved: folders of saved graphs, by identity; it grows."""
    try:
        folder.mkdir()
        if id(job.graph) not in saved:
            job.graph.save(folder / "saved_model")
            saved[id(job.graph)] = folder / "saved_model"
        spec: dict[str, Any] = {
            "name": name,
            "saved_model": str(saved[id(job.graph)]),
            "precision": job.precision,
            "float_layers": job.float_layers,
            "out": str(folder / "graph.tflite"),
        }
        if job.samples is not None:
            np.savez(folder / "samples.npz", **dict[str, Any](job.samples))
            spec["calibration"] = str(folder / "samples.npz")
    except (OSError, tf.errors.OpError) as error:  # TensorFlow writes SavedModels and has errors of its own
        raise _cannot_write(error) from error
    run_job(spec, log=log, timeout_s=timeout_s, worker=worker)
    return Path(spec["out"]).read_bytes()


def _cannot_write(error: Exception) -> ConversionError:
    why = str(error).strip().partition("\n")[0]
    return ConversionError(f"files for the converter cannot be written to {tempfile.gettempdir()}: {why}")


def _size(log: Path) -> int:
    return log.stat().st_size if log.is_file() else 0


def _shorten(log: Path, size: int) -> None:
    """Take out what was added to a log; an empty one goes."""
    if size:
        os.truncate(log, size)
    else:
        log.unlink(missing_ok=True)


def calibration_samples(graphs: FloatGraphs, clips: Pixels, *, seed: int = 0) -> dict[str, Samples]:
    """What sets the integer ranges of the graphs `clip`, `step` and `head`, from clips uint8 [n, N, H, W, 3].

    An all-black and an all-white clip come with them, so that the pixels' range is exactly 0 to 255 and a
    uint8 frame becomes int8 without arithmetic. The head sees the features of the same frames that the step
    sees; a step with states sees those of a float rollout, zeros included, at steps drawn by `seed`.
    """
    extremes = np.empty((2, *clips.shape[1:]), np.uint8)
    extremes[0], extremes[1] = BLACK, WHITE
    every = np.concatenate([clips, extremes])
    if graphs.step is None:
        return {"clip": {"clip": every[:, np.newaxis]}}
    k = graphs.frames_per_step
    steps = np.stack([every[:, at : at + k] for at in range(every.shape[1] - k + 1)], axis=1)
    if graphs.states:
        seen, features = _rollouts(graphs, steps, np.random.default_rng([seed, 6]))
    else:
        seen = {"frames": steps.reshape(-1, 1, *steps.shape[2:])}
        features = np.stack([graphs.step.run(frames=of_one_clip)["feature"] for of_one_clip in steps])
    return {
        "clip": {"clip": every[:, np.newaxis]},
        "step": seen,
        "head": {"features": features[:, np.newaxis]},
    }


def _rollouts(
    graphs: FloatGraphs, steps: Pixels, random: np.random.Generator
) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
    """Inputs of a step with states along clips [n, N, 1, H, W, 3], each first with zero states.

    Returns them with the features [n, N, F].
    """
    count, ticks = steps.shape[:2]
    kept = set(random.permutation(count * ticks)[:STEP_SAMPLES].tolist())
    kept |= {clip * ticks for clip in range(count)}
    assert graphs.step is not None, "a graph without steps has no states to roll out"
    step = tf.function(graphs.step.function)
    seen: dict[str, list[NDArray[Any]]] = {role: [] for role in graphs.step.inputs}
    features = []
    for index in range(count * ticks):
        clip, tick = divmod(index, ticks)
        if tick == 0:
            states = {role: tf.zeros(shape) for role, shape in graphs.states.items()}
        inputs = {"frames": tf.constant(steps[clip, tick][np.newaxis], tf.float32), **states}
        if index in kept:
            for role, tensor in inputs.items():
                seen[role].append(steps[clip, tick][np.newaxis] if role == "frames" else tensor.numpy())
        states = step(**inputs)
        features.append(states.pop("feature").numpy()[0])
    stacked = {role: np.stack(values) for role, values in seen.items()}
    return stacked, np.stack(features).reshape(count, ticks, -1)
