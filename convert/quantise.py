"""From float graphs to TFLite files, in a child process that may crash or hang without taking us with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convert.graphs import FloatGraph, FloatGraphs
from edge_har.errors import ConversionError
from edge_har.preprocess import Pixels
from train.tf import tf

TIMEOUT_S = 900.0
PROJECT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, "-m", "convert.worker")
SPEC = "spec.json"
BLACK, WHITE = 0, 255
STEP_SAMPLES = 400  # of a step with states, whose states are some 150 kB each

Samples = Mapping[str, NDArray[np.float32] | Pixels]  # role -> [samples, *shape of the graph's input]


class Job(NamedTuple):
    """One graph to make. mode: of convert.modes. samples: what sets an integer graph's ranges; None where the graph
    carries them. float_layers: how many layers of an INT8 graph stay float, the worst first.
    """

    graph: FloatGraph
    mode: str
    samples: Samples | None = None
    float_layers: int = 0


def convert_graphs(
    jobs: Mapping[str, Job],
    *,
    log: Path,
    timeout_s: float = TIMEOUT_S,
    worker: Sequence[str] = WORKER,
) -> dict[str, bytes]:
    """The TFLite files of several graphs, by name.

    One child process does them in turn; what it says goes to `log`, which is removed when all went well. Raises
    ConversionError, in one line naming the graph and the log, when it fails, crashes or takes longer than timeout_s.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edge-har-convert-") as folder:
            out_of = _write_jobs(jobs, Path(folder))
            _run_worker([*worker, str(Path(folder, SPEC))], log, timeout_s)
            made = {name: out.read_bytes() for name, out in out_of.items()}
    except (OSError, tf.errors.OpError) as error:  # TensorFlow writes SavedModels and has errors of its own
        why = str(error).strip().partition("\n")[0]
        raise ConversionError(
            f"files for the converter cannot be written to {tempfile.gettempdir()}: {why}"
        ) from error
    log.unlink(missing_ok=True)
    return made


def _write_jobs(jobs: Mapping[str, Job], place: Path) -> dict[str, Path]:
    """The spec of all jobs, with what they read; returns where each one's file will be."""
    specs, saved, out_of = [], {}, {}
    for name, (graph, mode, samples, float_layers) in jobs.items():
        folder = place / name
        if id(graph) not in saved:  # one graph in several modes is written once
            saved[id(graph)] = folder / "saved_model"
            graph.save(saved[id(graph)])
        folder.mkdir(exist_ok=True)
        out_of[name] = folder / "graph.tflite"
        spec = {
            "name": name,
            "saved_model": str(saved[id(graph)]),
            "mode": mode,
            "float_layers": float_layers,
            "out": str(out_of[name]),
        }
        if samples is not None:
            np.savez(folder / "samples.npz", **dict[str, Any](samples))
            spec["calibration"] = str(folder / "samples.npz")
        specs.append(spec)
    (place / SPEC).write_text(json.dumps({"jobs": specs}))
    return out_of


def _run_worker(command: Sequence[str], log: Path, timeout_s: float) -> None:
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        output = log.open("w+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConversionError(f"{log}: the converter's log cannot be written: {error.strerror}") from error
    with output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ConversionError(
                f"the converter took longer than {timeout_s:g} s on {_current_job(log)} and was stopped; see {log}"
            ) from None
        finally:
            if child.poll() is None:  # a timeout, or an interruption of our own
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if code < 0:
        raise ConversionError(
            f"the converter crashed ({_signal_name(-code)}) on {_current_job(log)}; see {log}"
        )
    if code > 0:
        raise ConversionError(f"the converter failed on {_current_job(log)}: {_last_line(log)}; see {log}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _current_job(log: Path) -> str:
    started = [line[6:] for line in log.read_text(errors="replace").splitlines() if line.startswith("start ")]
    return f"the graph '{started[-1]}'" if started else "start-up"


def _last_line(log: Path, limit: int = 200) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:limit] if lines else "it said nothing"


def calibration_samples(graphs: FloatGraphs, clips: Pixels, *, seed: int = 0) -> dict[str, Samples]:
    """What sets the integer ranges of the graphs `clip`, `step` and `head`, from clips uint8 [n, N, H, W, 3].

    An all-black and an all-white clip come with them, so that the pixels' range is exactly 0 to 255 and a uint8 frame
    becomes int8 without arithmetic. The head sees the features of the same frames that the step sees; a step with
    states sees those of a float rollout, zeros included, at steps drawn by `seed`.
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
    """Inputs of a step with states along clips [n, N, 1, H, W, 3], each first with zero states; features [n, N, F]."""
    count, ticks = steps.shape[:2]
    kept = set(random.permutation(count * ticks)[:STEP_SAMPLES].tolist())
    kept |= {clip * ticks for clip in range(count)}
    step = tf.function(graphs.step.function)
    seen: dict[str, list[NDArray[Any]]] = {role: [] for role in graphs.step.inputs}
    features = []
    for place in range(count * ticks):
        clip, tick = divmod(place, ticks)
        if tick == 0:
            states = {role: tf.zeros(shape) for role, shape in graphs.states.items()}
        inputs = {"frames": tf.constant(steps[clip, tick][np.newaxis], tf.float32), **states}
        if place in kept:
            for role, tensor in inputs.items():
                seen[role].append(steps[clip, tick][np.newaxis] if role == "frames" else tensor.numpy())
        states = step(**inputs)
        features.append(states.pop("feature").numpy()[0])
    stacked = {role: np.stack(values) for role, values in seen.items()}
    return stacked, np.stack(features).reshape(count, ticks, -1)
