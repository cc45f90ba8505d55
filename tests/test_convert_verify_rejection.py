"""What a bundle rejects: familiarity by distance, temperature and threshold by clips held out, as a device
applies them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_har.errors import BundleError, MisuseError
from edge_har.model.bundle import Bundle, pack_bundle, read_bundle
from edge_har.model.manifest import GraphTensors
from edge_har.model.recognizer import Recognizer, check_golden
from tests.helpers.colours import FRAMES, colour_bundle, colour_graphs, painted
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.cli import read_reject
from convert.tflite.build import graph_tensors
from convert.tflite.quantise import convert_one
from convert.verify import rejection
from convert.verify.rejection import Familiarity, SeenWindows

WIDTH, TICKS = 3, FRAMES
CENTRES = np.array([[0.0, 0, 0], [60, 0, 0], [0, 60, 0]])


def windows(count: int = 60, *, seed: int = 0, moved: float = 0.0) -> SeenWindows:
    """Windows round the labels' centres; `moved` away from all of them along the third feature."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CENTRES)
    middle = CENTRES[labels] + random.normal(0, 2, (count, WIDTH)) + [0, 0, moved]
    features = middle[:, np.newaxis] + random.normal(0, 1, (count, TICKS, WIDTH))
    scores = np.full((count, 3), 0.05)
    scores[np.arange(count), labels] = 0.9
    return SeenWindows(features.astype(np.float32), scores, labels, np.arange(count))


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    made = Familiarity.fitted(windows())
    assert made is not None
    near = float(np.quantile(made.distances(windows(seed=1).features), 0.8))
    return replace(made, near=near)


def test_what_lies_where_labels_lie_is_familiar_and_what_lies_apart_is_not(familiarity: Familiarity) -> None:
    assert np.median(familiarity(windows(seed=2).features)) > 0.8
    assert familiarity(windows(seed=2, moved=40).features).max() < 0.01
    between = np.broadcast_to(CENTRES[:2].mean(axis=0), (1, TICKS, WIDTH)).astype(np.float32)
    assert familiarity(between)[0] < 0.01


def test_the_graph_computes_what_was_fitted(familiarity: Familiarity) -> None:
    seen = windows(12, seed=3, moved=5).features
    graph = familiarity.graph((1, TICKS, WIDTH))
    got = [float(graph.run(features=one[np.newaxis])["scores"][0, 0]) for one in seen]
    np.testing.assert_allclose(got, familiarity(seen), atol=1e-3)


def test_a_label_of_few_windows_and_streams_without_features_have_no_familiarity() -> None:
    few = windows(3 * rejection.FEWEST_PER_LABEL - 1)
    assert Familiarity.fitted(few) is None
    two = windows()
    some = two.labels < 2
    assert (
        Familiarity.fitted(
            SeenWindows(two.features[some], two.scores[some], two.labels[some], two.clips[some])
        )
        is None
    )
    assert Familiarity.fitted(replace(windows(), features=None)) is None


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_that_made_the_scores_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    true = random.dirichlet([0.4] * 4, 8000)
    labels = np.array([random.choice(4, p=row) for row in true])
    sharpened = np.maximum(true, 1e-9) ** temperature
    seen = SeenWindows(None, sharpened / sharpened.sum(1, keepdims=True), labels, np.arange(len(labels)))
    assert rejection.fitted_temperature(seen) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize(("clips", "lost"), [(8, 0), (19, 0), (20, 1), (100, 5)])
def test_the_threshold_loses_no_more_known_clips_than_it_may(clips: int, lost: int) -> None:
    sure = np.random.default_rng(0).permutation(np.linspace(0.3, 0.99, clips))
    assert (sure < rejection.fitted_threshold(sure, 9)).sum() == lost
    assert 0.25 < rejection.fitted_threshold(np.full(clips, 0.01), 4) < 0.251


def test_the_calibration_error_is_how_far_confidence_is_from_accuracy() -> None:
    seen = windows(100)
    scores = np.tile([0.8, 0.15, 0.05], (100, 1))
    right = np.arange(100) < 60
    known = replace(seen, labels=np.where(right, 0, 1))
    figures = rejection.calibration(scores, known, np.linspace(0, 1, 100), right[::-1], 0.1)
    assert figures["expected_calibration_error"] == pytest.approx(0.2)
    assert figures["known_clips_rejected"] == pytest.approx(0.1)
    risks = list(figures["risk_by_coverage"].values())
    assert risks[0] == 0 and risks[-1] == pytest.approx(0.4) and risks == sorted(risks)


# On the device ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    folder = tmp_path_factory.mktemp("familiar")
    fitted = Familiarity.fitted(
        SeenWindows(
            np.random.default_rng(0).normal([200, 20, 20], 8, (30, FRAMES, 3)).astype(np.float32),
            np.ones((30, 1)),
            np.zeros(30, np.int64),
            np.arange(30),
        )
    )
    assert fitted is not None
    content = convert_one(replace(fitted, near=9.0).graph((1, FRAMES, 3)), folder / "log")

    def bundle(tensors: GraphTensors | None = None, file: bytes = content) -> Bundle:
        plain = colour_bundle().manifest
        name = rejection.FAMILIARITY
        manifest = replace(
            plain,
            graphs=replace(plain.graphs, familiarity=name),
            tensors={**plain.tensors, name: tensors or graph_tensors(file)},
        )
        own = {file: colour_bundle().read(file) for file in plain.files}
        return read_bundle(pack_bundle(manifest, {**own, name: file})[0])

    return bundle


def test_an_unfamiliar_window_is_drawn_towards_every_label_alike(made: Callable[..., Bundle]) -> None:
    bundle = made()
    assert read_bundle(pack_bundle(bundle.manifest, dict(bundle.contents))[0]).manifest == bundle.manifest
    plain, device = Recognizer(bundle, plain=True), Recognizer(bundle)
    with pytest.raises(MisuseError, match="before the first result"):
        _ = device.features
    familiar, strange = painted((205, 25, 25), FRAMES), painted("Green", FRAMES)
    np.testing.assert_allclose(device.clip(familiar), plain.clip(familiar), atol=0.05)
    np.testing.assert_allclose(device.features, [[205, 25, 25]] * FRAMES)
    assert plain.clip(strange).max() > 0.99
    np.testing.assert_allclose(device.clip(strange), 1 / 3, atol=0.01)
    assert device.clip(strange).sum() == pytest.approx(1, abs=1e-5)
    assert check_golden(bundle) < 1e-3, "golden clips are compared by the head's own probabilities"


def test_a_familiarity_graph_that_does_not_fit_is_refused(made: Callable[..., Bundle]) -> None:
    head = colour_graphs()["head.tflite"]
    wrong = graph_tensors_of_head()
    with pytest.raises(BundleError, match="familiarity have the shape"):
        Recognizer(made(wrong, head))
    with pytest.raises(BundleError, match="not those of the manifest"):
        Recognizer(made(wrong))


def graph_tensors_of_head() -> GraphTensors:
    return colour_bundle().manifest.tensors["head.tflite"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, {}), ("none", {"rejects": False}), ("0.4", {"reject_threshold": 0.4})],
)
def test_what_reject_means(text: str | None, expected: dict[str, object]) -> None:
    assert read_reject(text) == expected


def test_what_reject_cannot_mean() -> None:
    with pytest.raises(MisuseError, match="a probability from 0 to 1, or none, got 'never'"):
        read_reject("never")
