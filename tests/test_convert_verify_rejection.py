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
from edge_har.model.recognizer import TickRecognizer, check_golden
from tests.helpers.colours import FRAMES, colour_bundle, colour_graphs, painted
from tests.helpers.need import need_module

need_module("tensorflow", "pip install -e '.[workstation]'")

from convert.cli import read_reject
from convert.tflite.build import graph_tensors
from convert.tflite.quantise import convert_one
from convert.verify import rejection
from convert.verify.rejection import Familiarity, SeenWindows, summary

WIDTH, TICKS = 3, FRAMES
CENTRES = np.array([[0.0, 0, 0], [60, 0, 0], [0, 60, 0]])


def drawn(count: int, seed: int, moved: float = 0.0, varied: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [count, TICKS, WIDTH] round the labels' centres, and the labels; `moved` away from all
    along the third feature, `varied` along the second by one of four people.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CENTRES)
    people = random.normal(0, varied, 4)[people_of(count)]
    middle = CENTRES[labels] + random.normal(0, 2, (count, WIDTH)) + [0, 0, moved]
    middle[:, 1] += people
    features = middle[:, np.newaxis] + random.normal(0, 1, (count, TICKS, WIDTH))
    return features.astype(np.float32), labels


def people_of(count: int) -> np.ndarray:
    """Which of four people each window is of."""
    return np.arange(count) * 4 // count


def windows(count: int = 60, *, seed: int = 0, moved: float = 0.0, varied: float = 0.0) -> SeenWindows:
    features, labels = drawn(count, seed, moved, varied)
    scores = np.full((count, 3), 0.05)
    scores[np.arange(count), labels] = 0.9
    return SeenWindows(summary(features), scores, labels, np.arange(count), people_of(count))


def familiar(familiarity: Familiarity, seen: SeenWindows) -> np.ndarray:
    assert seen.summaries is not None
    return familiarity.at(familiarity.distances(seen.summaries))


@pytest.fixture(scope="module")
def familiarity() -> Familiarity:
    made = Familiarity.fitted(windows(), windows(seed=1))
    assert made is not None
    return made[0]


def test_what_lies_where_labels_lie_is_familiar_and_what_lies_apart_is_not(familiarity: Familiarity) -> None:
    assert np.median(familiar(familiarity, windows(seed=2))) > 0.8
    assert familiar(familiarity, windows(seed=2, moved=40)).max() < 0.01
    between = np.broadcast_to(CENTRES[:2].mean(axis=0), (1, TICKS, WIDTH)).astype(np.float32)
    assert familiarity.at(familiarity.distances(summary(between)))[0] < 0.01


def test_how_people_vary_who_were_held_out_counts_for_little() -> None:
    """Others who vary alike are familiar; what lies as far in a direction in which nobody varies is not."""
    made = Familiarity.fitted(windows(240), windows(240, seed=1, varied=15))
    assert made is not None
    others = familiar(made[0], windows(240, seed=5, varied=15))
    apart = familiar(made[0], windows(240, seed=5, moved=30))
    assert np.median(others) > 0.8 and np.median(apart) < 0.3


@pytest.mark.parametrize(("people", "farther"), [(4, (1.2, 1.45)), (1, (1.0, 1.1))])
def test_distances_of_those_held_out_are_measured_without_them(
    people: int, farther: tuple[float, float]
) -> None:
    """By people, or by clips where too few people are held out: their own spread would hide how far they
    are.
    """
    held = windows(240, seed=1, varied=15)
    made = Familiarity.fitted(windows(240), replace(held, groups=np.minimum(held.groups, people - 1)))
    assert made is not None and held.summaries is not None
    without = made[1] / made[0].distances(held.summaries)
    assert farther[0] < without.max() < farther[1]
    assert made[0].near == pytest.approx(np.quantile(made[1], 0.95))


def test_synthetic_clips_are_apart() -> None:
    both = windows().joined(windows(moved=60))
    made = Familiarity.fitted(both, windows(seed=1))
    assert made is not None and len(made[0].centres) == 6
    assert np.median(familiar(made[0], windows(seed=2, moved=60))) > 0.8


def test_the_graph_computes_what_was_fitted(familiarity: Familiarity) -> None:
    features, _ = drawn(12, 3, moved=5)
    graph = familiarity.graph((1, TICKS, WIDTH))
    got = [float(graph.run(features=one[np.newaxis])["scores"][0, 0]) for one in features]
    np.testing.assert_allclose(got, familiarity.at(familiarity.distances(summary(features))), atol=1e-3)


def test_every_second_window_of_each_clip() -> None:
    seen = replace(windows(7), clips=np.array([0, 0, 0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(seen.every(2).scores, seen.scores[[0, 2, 4, 5]])


def test_a_label_of_few_windows_and_streams_without_features_have_no_familiarity() -> None:
    assert Familiarity.fitted(windows(3 * rejection.FEWEST_PER_LABEL - 1), windows()) is None
    two = windows()
    assert Familiarity.fitted(replace(two, labels=two.labels % 2), windows()) is None
    assert Familiarity.fitted(replace(windows(), summaries=None), windows()) is None
    assert Familiarity.fitted(windows(), windows(1)) is None


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_that_made_the_scores_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    true = random.dirichlet([0.4] * 4, 8000)
    labels = np.array([random.choice(4, p=row) for row in true])
    sharpened = np.maximum(true, 1e-9) ** temperature
    each = np.arange(len(labels))
    seen = SeenWindows(None, sharpened / sharpened.sum(1, keepdims=True), labels, each, each)
    assert rejection.fitted_temperature(seen) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("clips", [10, 50])
def test_clips_that_are_all_right_do_not_make_a_model_sure_of_everything(clips: int) -> None:
    """By Laplace's rule; likelihood alone would take the least temperature."""
    seen = windows(5 * clips)
    seen = replace(seen, clips=seen.clips // 5)
    temperature = rejection.fitted_temperature(seen)
    sure = rejection.device_scores(seen, temperature, None).max(axis=1).mean()
    assert sure == pytest.approx((clips + 1) / (clips + 2), abs=0.005)


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
    random = np.random.default_rng(0)
    red = summary(random.normal([200, 20, 20], 8, (30, FRAMES, 3)).astype(np.float32))
    seen = SeenWindows(red, np.ones((30, 1)), np.zeros(30, np.int64), np.arange(30), np.arange(30))
    fitted = Familiarity.fitted(seen, seen)
    assert fitted is not None
    content = convert_one(replace(fitted[0], near=9.0).graph((1, FRAMES, 3)), folder / "log")

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
    plain, device = TickRecognizer(bundle, plain=True), TickRecognizer(bundle)
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
        TickRecognizer(made(wrong, head))
    with pytest.raises(BundleError, match="not those of the manifest"):
        TickRecognizer(made(wrong))


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
