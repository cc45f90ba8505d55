"""docs/figures/recipe.md: the published models trained by default beside the tutorial notebooks' recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.experiments.cache import keep
from benchmarks.experiments.folds import CACHE, LOG, RUN, Say
from benchmarks.experiments.subset import index_of_labels
from benchmarks.measure import provenance
from benchmarks.measure.commands import edge_har, interrupt_all
from benchmarks.pages.markdown import markdown_table
from edge_har.errors import EdgeHarError
from train.fitting.notebook import HONEST, LEAKY, RESULT

SCHEMA = 1
LABELS = ("HighJump", "PlayingGuitar", "Punch", "PushUps")  # of ucf9: those that UCF50 has too
MODELS = {"lrcn": "LRCN", "convlstm": "ConvLSTM"}
SEEDS = (0, 1, 2)  # of the split, and of weights and windows
DEFAULT, NOTEBOOK = "default", "notebook"
OPTIONS = {DEFAULT: (), NOTEBOOK: ("--recipe", NOTEBOOK)}
OWN = "default"  # the part of a result that the default recipe gives

INTRODUCTION = (
    "Four classes of `ucf9` that UCF50 shares ({labels}): {clips} clips. *default* is `edge-har train "
    "--model MODEL` without any option; *notebook* is `--recipe notebook`: 20 frames spread over the whole "
    "clip, batch 4, Adam at .001, plain pixels, no augmentation, early stopping on validation loss. Both "
    "train on the same groups and are measured on the same held-out groups, three splits with a seed each. "
    "*{leaky}* is the notebooks' recipe on a random split of the same clips, in which clips of one video "
    "stand on both sides: what the notebooks report."
)


@dataclass(frozen=True)
class Trained:
    """One training. right, clips: of the held-out part, by its name."""

    model: str
    recipe: str
    seed: int
    parts: Mapping[str, tuple[int, int]]
    made_at: str

    def accuracy(self, part: str) -> float:
        """Fraction of the clips of a part that are right."""
        right, clips = self.parts[part]
        return right / clips


@dataclass(frozen=True)
class Recipes:
    """Everything that the page reports. index_sha256: of the clips, of which there are `clips`."""

    trained: tuple[Trained, ...]
    clips: int
    index_sha256: str

    def row(self, model: str, part: str) -> list[Trained]:
        """The trainings of one model that have a part, by seed."""
        return [one for one in self.trained if one.model == model and part in one.parts]

    def mean(self, model: str, part: str) -> float:
        """Mean accuracy over the seeds."""
        return mean(one.accuracy(part) for one in self.row(model, part))

    def check_limits(self) -> None:
        """Raises EdgeHarError naming a model that its default trains worse than the notebooks' recipe."""
        worse = [MODELS[model] for model in MODELS if self.mean(model, OWN) < self.mean(model, HONEST)]
        if worse:
            raise EdgeHarError(f"{' and '.join(worse)}: the notebooks' recipe is better than the default")


def measure_recipe(clips: Path, *, say: Say, jobs: int, cache: Path = CACHE) -> Recipes:
    """Train what is not in the cache. clips: of ucf9. Raises EdgeHarError with the first failure."""
    index, splits = index_of_labels(clips, LABELS, SEEDS, cache, say)
    work = [(model, recipe, seed) for model in MODELS for seed in SEEDS for recipe in OPTIONS]

    def run(one: tuple[str, str, int]) -> Trained:
        model, recipe, seed = one
        trained = _train(model, recipe, seed, index, splits[seed], cache)
        figures = ", ".join(f"{part} {right} of {of}" for part, (right, of) in trained.parts.items())
        say(f"{MODELS[model]}, {recipe}, seed {seed}: {figures}")
        return trained

    with ThreadPoolExecutor(jobs) as pool:
        try:
            trained = tuple(pool.map(run, work))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            interrupt_all()
            raise
    written = json.loads(splits[SEEDS[0]].read_text())
    return Recipes(trained, sum(1 for _ in index.open(encoding="utf-8")) - 1, written["index_sha256"])


def _train(model: str, recipe: str, seed: int, index: Path, split: Path, cache: Path) -> Trained:
    options: list[str | Path] = [
        "--data",
        index,
        "--model",
        model,
        "--seed",
        str(seed),
        "--split",
        split,
        *OPTIONS[recipe],
    ]
    out = cache / "unused"
    made_of = {
        "schema": SCHEMA,
        "work": "recipe",
        "identity": json.loads(edge_har("train", *options, "--out", out, "--describe", log=cache / LOG)),
        "split": json.loads(split.read_text())["parts"],
    }

    def make(folder: Path) -> dict[str, Any]:
        edge_har("train", *options, "--out", folder / RUN, log=folder / LOG, threads=1)
        if recipe == NOTEBOOK:
            figures = json.loads((folder / RUN / RESULT).read_text())
            parts = {part: (figures[part]["right"], figures[part]["clips"]) for part in (LEAKY, HONEST)}
        else:
            test = json.loads((folder / RUN / "metrics.json").read_text())["test"]
            parts = {OWN: (test["clips"] - len(test["wrong"]), test["clips"])}
        return {"parts": parts, "made_at": provenance.commit()}

    try:
        _, made = keep(cache, made_of, make)
    except EdgeHarError as error:
        raise EdgeHarError(f"{MODELS[model]}, {recipe}, seed {seed}: {error}") from error
    parts = {part: (right, clips) for part, (right, clips) in made["parts"].items()}
    return Trained(model, recipe, seed, parts, made["made_at"])


def page(measured: Recipes, command: list[str]) -> str:
    """The page as Markdown."""
    head = ["model", "recipe", "split", *(f"seed {seed}" for seed in SEEDS), "mean"]
    rows = [
        [MODELS[model], recipe, split, *_cells(measured, model, part)]
        for model in MODELS
        for recipe, split, part in (
            (DEFAULT, "groups", OWN),
            (NOTEBOOK, "groups", HONEST),
            (NOTEBOOK, LEAKY, LEAKY),
        )
    ]
    lines = [
        "# The default recipe beside the notebooks'",
        "",
        INTRODUCTION.format(labels=", ".join(LABELS), clips=measured.clips, leaky=LEAKY),
        "",
        *markdown_table([head, *rows]),
        "",
        *(_sentence(measured, model) for model in MODELS),
        "",
    ]
    made_at = [one.made_at for one in measured.trained]
    return "\n".join([*lines, *provenance.section(command, measured.index_sha256, made_at)])


def _cells(measured: Recipes, model: str, part: str) -> list[str]:
    row = measured.row(model, part)
    return [
        *(f"{one.parts[part][0]}/{one.parts[part][1]}" for one in row),
        f"{measured.mean(model, part):.3f}",
    ]


def _sentence(measured: Recipes, model: str) -> str:
    own, notebook, leaky = (measured.mean(model, part) for part in (OWN, HONEST, LEAKY))
    return (
        f"- {MODELS[model]}: the default is {own - notebook:+.3f} from the notebooks' recipe on the same "
        f"groups; a random split shows {leaky - notebook:+.3f} more than held-out groups."
    )
