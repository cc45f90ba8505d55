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

Samples = Mapping[str, NDArray[np.float32] | Pixels]  # role -> [samples, *shape of the graph's input]


def convert_graphs(
    graphs: Mapping[str, tuple[FloatGraph, str, Samples | None]],
    *,
    log: Path,
    timeout_s: float = TIMEOUT_S,
    worker: Sequence[str] = WORKER,
) -> dict[str, bytes]:
    """The TFLite files of several graphs: name -> (graph, one of convert.modes, calibration samples for INT8).

    Samples are None where the graph carries its ranges (convert.integer).

    One child process does them in turn; what it says goes to `log`, which is removed when all went well. Raises
    ConversionError, in one line naming the graph and the log, when it fails, crashes or takes longer than timeout_s.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edge-har-convert-") as folder:
            jobs = _write_jobs(graphs, Path(folder))
            _run_worker([*worker, str(Path(folder, SPEC))], log, timeout_s)
            made = {job["name"]: Path(job["out"]).read_bytes() for job in jobs}
    except (OSError, tf.errors.OpError) as error:  # TensorFlow writes SavedModels and has errors of its own
        why = str(error).strip().partition("\n")[0]
        raise ConversionError(
            f"files for the converter cannot be written to {tempfile.gettempdir()}: {why}"
        ) from error
    log.unlink(missing_ok=True)
    return made


def _write_jobs(
    graphs: Mapping[str, tuple[FloatGraph, str, Samples | None]], place: Path
) -> list[dict[str, str]]:
    jobs = []
    for name, (graph, mode, samples) in graphs.items():
        graph.save(place / name / "saved_model")
        job = {
            "name": name,
            "saved_model": str(place / name / "saved_model"),
            "mode": mode,
            "out": str(place / name / "graph.tflite"),
        }
        if samples is not None:
            np.savez(place / name / "samples.npz", **samples)
            job["calibration"] = str(place / name / "samples.npz")
        jobs.append(job)
    (place / SPEC).write_text(json.dumps({"jobs": jobs}))
    return jobs


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


def calibration_samples(graphs: FloatGraphs, clips: Pixels) -> dict[str, Samples]:
    """What sets the int8 ranges of a stateless model's graphs, from clips uint8 [n, N, H, W, 3].

    An all-black and an all-white clip come with them, so that the pixels' range is exactly 0 to 255 and a uint8 frame
    becomes int8 without arithmetic. The head sees the features of the same frames that the step sees.
    """
    extremes = np.empty((2, *clips.shape[1:]), np.uint8)
    extremes[0], extremes[1] = BLACK, WHITE
    every = np.concatenate([clips, extremes])
    k = graphs.frames_per_step
    steps = np.stack([every[:, at : at + k] for at in range(every.shape[1] - k + 1)], axis=1)
    features = [graphs.step.run(frames=of_one_clip)["feature"] for of_one_clip in steps]
    return {
        "clip": {"clip": every[:, np.newaxis]},
        "step": {"frames": steps.reshape(-1, 1, *steps.shape[2:])},
        "head": {"features": np.stack(features)[:, np.newaxis]},
    }
