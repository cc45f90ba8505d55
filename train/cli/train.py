"""`edge-har train`: clips in, a RUN folder out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_har.errors import MisuseError
from train.runs import MODELS, MONITORS

if TYPE_CHECKING:
    from train.runs import Run


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="DIR|INDEX",
    type=click.Path(path_type=Path),
    help="A folder of clips, a clips.csv, or an index by 'edge-har data index'.",
)
@click.option("--model", required=True, type=click.Choice(MODELS), help="Which architecture.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The RUN folder to make or go on with."
)
@click.option(
    "--split", type=click.Path(path_type=Path), help="A file by 'edge-har data split'; else one is made."
)
@click.option("--fold", type=click.IntRange(min=0), help="Which fold of a --split file of folds, from 0.")
@click.option(
    "--validation/--no-validation",
    default=True,
    help="Without: train on the validation groups too (on all groups without --split), for exactly --epochs.",
)
@click.option("--frames", type=click.IntRange(min=2), help="Ticks in a window.")
@click.option("--interval-ms", type=float, help="Milliseconds between ticks.")
@click.option(
    "--hop", "hop_ticks", type=click.IntRange(min=1), help="Ticks between results; divides --frames."
)
@click.option("--size", type=click.IntRange(min=1), help="Side of the model's frames, pixels.")
@click.option("--fit", type=click.Choice(["stretch", "letterbox", "crop"]), help="How frames become square.")
@click.option("--interpolation", type=click.Choice(["area", "linear"]), help="How frames are resized.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs at most.")
@click.option(
    "--patience", type=click.IntRange(min=1), help="Epochs without a better validation that end it."
)
@click.option(
    "--windows", "windows_per_epoch", type=click.IntRange(min=1), help="Training windows in an epoch."
)
@click.option("--batch", type=click.IntRange(min=1), help="Windows in a batch.")
@click.option("--learning-rate", type=float, help="Of the first step; it falls along a cosine.")
@click.option("--mirror", metavar="auto|off|FILE", help="Mirrored clips as extra data.")
@click.option("--augmentation", type=float, help="Factor of shift, scale, light and noise; 0 for none.")
@click.option("--synthetic", "synthetic_share", metavar="SHARE", type=float, help="Of each batch; below 0.5.")
@click.option(
    "--still",
    "still_share",
    metavar="SHARE",
    type=float,
    help="Of each batch: scenes in which nothing is done.",
)
@click.option(
    "--monitor", type=click.Choice(MONITORS), help="What chooses the best epoch on validation windows."
)
@click.option(
    "--standardise/--no-standardise",
    default=None,
    help="Scale pixels by the training clips' own mean and deviation: for low contrast.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Of weights, windows, augmentation and a made split."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Where decoded clips are kept.")
@click.option("--describe", is_flag=True, help="Print what the training would be made of, as JSON, and stop.")
def train(
    data: Path,
    model: str,
    out: Path,
    split: Path | None,
    fold: int | None,
    validation: bool,
    cache: Path | None,
    describe: bool,
    **settings: Any,
) -> None:
    """Train a model on clips.

    An interrupted training goes on from its last whole epoch when the same command is given again. What an option's
    default is depends on the model; RUN/config.json says what was used.
    """
    if fold is not None and split is None:
        raise MisuseError("--fold chooses from the folds of --split FILE")
    from train.cli.data import load_and_report
    from train.data.splits import load_split, load_splits, make_split
    from train.runs import default_config

    given = {name: value for name, value in settings.items() if value is not None}
    config = default_config(model, validate=validation, **given)
    dataset = load_and_report(data)
    if split is not None and fold is not None:
        folds = load_splits(split, dataset)
        if fold >= len(folds):
            raise MisuseError(f"--fold {fold}: {split} holds folds 0 to {len(folds) - 1}")
        parts = folds[fold]
    elif split is not None:
        parts = load_split(split, dataset)
    else:
        parts = make_split(dataset, config.seed) if validation else None
    from train.fitting.fit import (  # TensorFlow takes seconds to load: wrong input is told before
        identity,
        train_run,
    )

    if describe:
        click.echo(json.dumps(identity(config, dataset), indent=1, ensure_ascii=False))
        return
    run = train_run(config, dataset, out, split=parts, cache=cache)
    for line in summary(run):
        click.echo(line)


def summary(run: Run) -> list[str]:
    """What a person wants to know of a finished RUN."""
    lines = []
    for part in ("validation", "test"):
        figures = run.metrics.get(part)
        if figures is None:
            continue
        low, high = figures["interval_wilson"]
        groups = "unknown" if figures["groups"] == "unknown" else ", ".join(figures["groups"])
        lines.append(
            f"{part}: {figures['clip_accuracy']:.3f} of {figures['clips']} clips right (95 % {low:.3f} to {high:.3f}), "
            f"{figures['window_accuracy']:.3f} of {figures['windows']} windows; groups: {groups}"
        )
    return [*lines, f"finished {run.folder}: best epoch {run.metrics['best_epoch']}"]
