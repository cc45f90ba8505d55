"""What pruning and shrinking saved and cost.

Compared are size, accuracy and latency of the exported files, beside a dense control.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.tflite import flatbuffer
from convert.tflite.build import Built
from convert.verify.comparison import stream_predict
from edge_har.errors import MisuseError
from edge_har.model.recognizer import TickRecognizer
from train.data.batches import CachedClip
from train.fitting.evaluate import Predictions, predict_clips
from train.intervals import fraction_interval

REPEATS = 30  # windows timed for each model
FASTER = 0.95  # of the original's time per tick; above, noise could be taken for a speed-up
PERCENT = (25, 50, 75)
ZIP_LEVEL = 9
DIGITS = 4


@dataclass(frozen=True)
class Variant:
    """A model and what was exported from it. name: for the table, as `pruned 50 %`."""

    name: str
    model: Any
    built: Built

    @property
    def files(self) -> dict[str, bytes]:
        """What a device runs at each tick: step and head."""
        return {name: self.built.files[name] for name in self.built.manifest.graphs.of_stream}


def compactness(
    variants: Sequence[Variant],
    clips: Sequence[CachedClip],
    *,
    groups_known: bool = True,
    repeats: int = REPEATS,
) -> dict[str, Any]:
    """Compare variants of one model, the original first: a row of figures for each, and sentences that sum
    them up.

    clips: labelled and held out; without any the rows have no accuracy. Times are of one thread and only to
    be compared with one another. Raises MisuseError without two variants.
    """
    if len(variants) < 2:
        raise MisuseError(f"a comparison needs the original and another model, got {len(variants)} in all")
    times_ms = stream_times_ms([variant.built for variant in variants], repeats)
    ratios = times_ms / times_ms[:, :1]
    rows = []
    for variant, own_ms, ratio in zip(variants, times_ms.T, ratios.T, strict=True):
        low, middle, high = np.percentile(ratio, PERCENT)
        row = {
            "name": variant.name,
            "parameters": int(variant.model.count_params()),
            "zero_share": _rounded(files_zero_fraction(variant.files)),
            "bytes": sum(map(len, variant.files.values())),
            "zipped_bytes": sum(len(zlib.compress(content, ZIP_LEVEL)) for content in variant.files.values()),
            "tick_ms": _rounded(np.median(own_ms)),
            "tick_ratio": _rounded(middle),
            "tick_ratio_quartiles": [_rounded(low), _rounded(high)],
        }
        rows.append(row | ({"accuracy": _accuracy(variant.built, clips, groups_known)} if clips else {}))
    return {"rows": rows, "says": [_sentence(row, rows[0]) for row in rows[1:]]}


def stream_times_ms(built: Sequence[Built], repeats: int) -> NDArray[np.float64]:
    """Time per tick of each stream over whole windows, in turns: float64 [repeats, models], milliseconds.

    It is the processor time of the thread that computes, so that other work on the machine counts little.
    """
    streams = [TickRecognizer(one.bundle()) for one in built]
    contract, size_wh = built[0].manifest.temporal, built[0].manifest.frame.size_wh
    frames = np.random.default_rng(0).integers(0, 256, (contract.frames, *size_wh[::-1], 3), np.uint8)
    times = np.empty((repeats, len(streams)))
    for repeat in range(-1, repeats):  # one round fills rings and banks and warms up
        for at, stream in enumerate(streams):
            start_s = time.thread_time()
            for frame in frames:
                stream.tick(frame)
            if repeat >= 0:
                times[repeat, at] = (time.thread_time() - start_s) / contract.frames * 1000
    return times


def files_zero_fraction(files: Mapping[str, bytes]) -> float:
    """Fraction of zeros among all weights of all kernels in TFLite files, as stored."""
    values = [kernel.values for content in files.values() for kernel in flatbuffer.kernels(content)]
    return float(sum((v == 0).sum() for v in values) / sum(v.size for v in values))


def table(record: Mapping[str, Any]) -> list[str]:
    """The rows of `compactness` as lines of a Markdown table, its sentences below."""
    lines = [
        "| Model | Parameters | Zeros | KiB | KiB zipped | Window accuracy | Clip accuracy | Time per tick |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        accuracy = row.get("accuracy", {})
        cells = [
            row["name"],
            f"{row['parameters']:,}",
            f"{row['zero_share']:.0%}",
            f"{row['bytes'] / 1024:.0f}",
            f"{row['zipped_bytes'] / 1024:.0f}",
            _percent(accuracy.get("windows")),
            _percent(accuracy.get("clips")),
            f"{row['tick_ms']:.3f} ms, × {row['tick_ratio']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *record["says"]]


def _accuracy(built: Built, clips: Sequence[CachedClip], groups_known: bool) -> dict[str, Any]:
    bundle = built.bundle()
    predictions: Predictions = predict_clips(stream_predict(bundle), clips, bundle.manifest.temporal)
    truth, place = predictions.truth, predictions.clip_index
    by_window = tuple(predictions.groups[clip] for clip in place)
    return {
        "windows": fraction_interval(
            predictions.windows.argmax(axis=1) == truth[place], by_window, groups_known
        ),
        "clips": fraction_interval(
            predictions.clips.argmax(axis=1) == truth, predictions.groups, groups_known
        ),
    }


def _sentence(row: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    size = f"{row['zipped_bytes'] / original['zipped_bytes']:.2f} of the original's size zipped"
    if "accuracy" in row:
        before, after = (of["accuracy"]["windows"]["share"] for of in (original, row))
        size += f", {100 * (after - before):+.1f} points of window accuracy"
    if row["tick_ratio_quartiles"][1] < FASTER:
        return f"{row['name']}: {size}; a tick takes {row['tick_ratio']:.2f} of the original's time"
    why = (
        ": a zero is computed like any other weight" if row["zero_share"] > 2 * original["zero_share"] else ""
    )
    return f"{row['name']}: {size}; no speed-up ({row['tick_ratio']:.2f} of the original's time){why}"


def _percent(accuracy: Mapping[str, Any] | None) -> str:
    if accuracy is None:
        return "not measured"
    low, high = accuracy["interval"]
    return f"{accuracy['share']:.1%} ({low:.0%} to {high:.0%})"


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
