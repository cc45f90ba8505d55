"""The comparison says what the exported files show: sizes, zeros, accuracy of the stream,
and whether it is faster.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_har.errors import MisuseError
from edge_har.model.cadence import TemporalContract
from edge_har.model.preprocess import FrameSpec
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")


from convert.compress.shrink import Units, least_important, trace_units, without
from convert.tflite.build import Built, GraphBuilder
from convert.verify.compactness import FASTER, Variant, compactness, stream_times_ms, table
from edge_har.model.recognizer import WholeClip
from train.data.batches import CachedClip, store
from train.fitting.evaluate import Predict, predict_clips
from train.models.architectures import build
from train.tf import keras

FRAMES = 4
SIZE = 32
LABELS = ("dark", "bright")
CONTRACT = TemporalContract(FRAMES, 100.0, 1)


def halved(model: Any) -> Any:
    """Without half of its filters, whichever."""
    units: Units = trace_units(model)
    return without(model, units, least_important(units, np.arange(units.count, dtype=np.float64), 0.5))


def mostly_zero(model: Any) -> Any:
    """Four of five weights at zero, whichever."""
    copy, random = keras.models.clone_model(model), np.random.default_rng(0)
    copy.set_weights([w * (random.random(w.shape) < 0.2) if w.ndim > 1 else w for w in model.get_weights()])
    return copy


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> list[Variant]:
    keras.utils.set_random_seed(1)
    log = tmp_path_factory.mktemp("made") / "convert.log"
    model = build("motion", FRAMES, SIZE, len(LABELS))
    windows = np.random.default_rng(2).integers(0, 256, (8, FRAMES, SIZE, SIZE, 3), np.uint8)
    models = {"original": model, "pruned 80%": mostly_zero(model), "shrunk 50%": halved(model)}
    return [
        Variant(
            name,
            made,
            GraphBuilder(
                made,
                kind="motion",
                labels=LABELS,
                frame=FrameSpec((SIZE, SIZE)),
                temporal=CONTRACT,
                calibration=windows,
                log=log,
            ).forced(),
        )
        for name, made in models.items()
    ]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[CachedClip]:
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(3)
    made = [CachedClip(f"{i}.avi", i % 2, f"g{i // 2}", folder / str(i)) for i in range(6)]
    for clip in made:
        store(clip, np.arange(7) / 10.0, random.integers(0, 256, (7, SIZE, SIZE, 3), np.uint8))
    return made


@pytest.fixture(scope="module")
def record(variants: list[Variant], clips: list[CachedClip]) -> dict[str, Any]:
    return compactness(variants, clips, repeats=15)


def test_sizes_and_zeros_are_those_of_the_files(record: dict[str, Any], variants: list[Variant]) -> None:
    original, pruned, shrunk = record["rows"]
    assert [row["name"] for row in record["rows"]] == ["original", "pruned 80%", "shrunk 50%"]
    assert original["parameters"] == pruned["parameters"] > 2 * shrunk["parameters"]
    assert original["zero_share"] < 0.05 and shrunk["zero_share"] < 0.05
    assert pruned["zero_share"] == pytest.approx(0.8, abs=0.03)
    assert original["bytes"] == pruned["bytes"] == sum(map(len, variants[0].files.values()))
    assert shrunk["bytes"] < 0.6 * original["bytes"]
    assert pruned["zipped_bytes"] < 0.6 * original["zipped_bytes"]


def by_whole_clip(built: Built) -> Predict:
    graph = WholeClip(built.bundle())
    return lambda windows: np.stack([graph.clip(window) for window in windows])


def test_accuracy_is_the_streams(
    record: dict[str, Any], variants: list[Variant], clips: list[CachedClip]
) -> None:
    for row, variant in zip(record["rows"], variants, strict=True):
        found = predict_clips(by_whole_clip(variant.built), clips, CONTRACT)
        right = found.windows.argmax(axis=1) == found.truth[found.clip_index]
        assert row["accuracy"]["windows"]["share"] == pytest.approx(right.mean(), abs=1.5 / len(right))
        assert row["accuracy"]["clips"]["interval_by"] == "groups"


def test_times_are_compared_with_the_original(record: dict[str, Any]) -> None:
    original, pruned, _ = record["rows"]
    assert original["tick_ratio"] == 1.0 and original["tick_ratio_quartiles"] == [1.0, 1.0]
    assert pruned["tick_ratio"] == pytest.approx(1.0, abs=0.2), "zeros are not skipped"
    for row, sentence in zip(record["rows"][1:], record["says"], strict=True):
        faster = row["tick_ratio_quartiles"][1] < FASTER
        assert ("no speed-up" in sentence) != faster and sentence.startswith(row["name"])
    assert record["says"][0].endswith("a zero is computed like any other weight")


def test_a_row_each_in_the_table(record: dict[str, Any]) -> None:
    lines = table(record)
    assert lines[3].startswith("| pruned 80% |") and lines[-1] == record["says"][-1]
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_without_clips_there_is_no_accuracy(variants: list[Variant]) -> None:
    record = compactness(variants[:2], [], repeats=1)
    assert "accuracy" not in record["rows"][0]
    assert "not measured" in table(record)[2]


def test_streams_are_timed_in_turns(variants: list[Variant]) -> None:
    times = stream_times_ms([variant.built for variant in variants], 3)
    assert times.shape == (3, 3) and (times > 0).all()


def test_one_model_is_no_comparison(variants: list[Variant], tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="got 1 in all"):
        compactness(variants[:1], [])
