"""`edge-har train`: clips in, a RUN folder out."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_har.errors import MisuseError
from train.models.families import ENCODER_NAMES, FAMILIES, HEADS, INPUTS, LRCN, PRESETS
from train.runs import MONITORS

if TYPE_CHECKING:
    from train.data.splits import Split
    from train.runs import Run

TENSORFLOW = "tensorflow"


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="DIR|INDEX",
    type=click.Path(path_type=Path),
    help="A folder of clips, a clips.csv, or an index by 'edge-har data index'.",
)
@click.option("--model", type=click.Choice(tuple(FAMILIES)), help="The architecture.")
@click.option(
    "--preset",
    type=click.Choice(tuple(PRESETS)),
    help="A model in place of --model and its design, from small and fast to large and accurate.",
)
@click.option(
    "--encoder", type=click.Choice(ENCODER_NAMES), help="What makes features of each frame of an lrcn."
)
@click.option(
    "--encoder-weights",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Weights of the encoder (.h5); default the folder in EDGE_HAR_ENCODERS, else Keras' download.",
)
@click.option(
    "--inputs",
    type=click.Choice(tuple(INPUTS)),
    help="What the encoder sees: a frame, the difference of two, or three grey ones.",
)
@click.option("--head", type=click.Choice(HEADS), help="What makes scores of the features of a window.")
@click.option(
    "--motion-branch/--no-motion-branch",
    default=None,
    help="A small network over differences of frames beside the encoder.",
)
@click.option(
    "--fine-tune",
    metavar="EPOCHS",
    type=click.IntRange(min=0),
    help="Epochs in which a pretrained encoder learns too, after its head has.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The RUN folder to make, or to continue."
)
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    help="A file made by 'edge-har data split'; without it the clips are split 60/20/20.",
)
@click.option(
    "--fold", type=click.IntRange(min=0), help="The fold to train, counted from 0, where --split holds folds."
)
@click.option(
    "--validation/--no-validation",
    default=True,
    help="--no-validation trains on the validation groups too (without --split: on all), for all --epochs.",
)
@click.option("--frames", type=click.IntRange(min=2), help="Frames in a window.")
@click.option("--interval-ms", type=float, help="Milliseconds between two frames of a window.")
@click.option(
    "--hop", "hop_ticks", type=click.IntRange(min=1), help="Frames between two results; must divide --frames."
)
@click.option("--size", type=click.IntRange(min=1), help="Width and height of the model's frames, in pixels.")
@click.option(
    "--fit", type=click.Choice(["stretch", "letterbox", "crop"]), help="How a frame is made square."
)
@click.option("--interpolation", type=click.Choice(["area", "linear"]), help="How frames are resized.")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Number of epochs; --patience may end training earlier."
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after this many epochs without a better validation result.",
)
@click.option(
    "--windows", "windows_per_epoch", type=click.IntRange(min=1), help="Training windows per epoch."
)
@click.option("--batch", type=click.IntRange(min=1), help="Windows per batch.")
@click.option(
    "--learning-rate", type=float, help="Learning rate at the start; it falls to nearly 0 by the end."
)
@click.option(
    "--mirror",
    metavar="auto|off|FILE",
    help="Whether clips are also mirrored: auto (not where a label names a direction), off, or a JSON file.",
)
@click.option(
    "--augmentation",
    type=float,
    help="Strength of random shift, scale, light and noise: 1 is normal, 0 is none.",
)
@click.option(
    "--synthetic",
    "synthetic_share",
    metavar="SHARE",
    type=float,
    help="Fraction of each batch taken from the synthetic person; below 0.5.",
)
@click.option(
    "--still",
    "still_share",
    metavar="SHARE",
    type=float,
    help="Fraction of each batch that shows scenes without any activity.",
)
@click.option(
    "--monitor",
    type=click.Choice(MONITORS),
    help="The validation figure that chooses the best epoch; none keeps the last epoch.",
)
@click.option(
    "--standardise/--no-standardise",
    default=None,
    help="Scale pixels by the mean and deviation of the training clips; helps where contrast is low.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Random seed of weights, windows, augmentation and the split."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder in which decoded clips are kept.")
@click.option(
    "--tensorboard",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the figures of each epoch to DIR for TensorBoard (needs the package tensorboard).",
)
@click.option(
    "--describe",
    is_flag=True,
    help="Print the settings and data that define this training as JSON, and exit.",
)
def train(
    data: Path,
    model: str | None,
    preset: str | None,
    encoder_weights: Path | None,
    out: Path,
    split: Path | None,
    fold: int | None,
    validation: bool,
    cache: Path | None,
    tensorboard: Path | None,
    describe: bool,
    **settings: Any,
) -> None:
    """Train a model on clips.

    Give the same command again to continue an interrupted training after its last whole epoch. Defaults
    depend on the model; RUN/config.json holds the values that were used.
    """
    if fold is not None and split is None:
        raise MisuseError("--fold chooses from the folds of --split FILE")
    from train.cli.data import load_and_report
    from train.data.mirror import check_mirror
    from train.data.splits import (
        check_groups_for_parts,
        check_split_file,
        load_split,
        load_splits,
        make_split,
    )
    from train.runs import check_run_folder, default_config

    given = {name: value for name, value in settings.items() if value is not None}
    model, given = chosen_model(model, preset, given)
    config = default_config(model, validate=validation, **given)
    if encoder_weights is not None and not config.design.pretrained:
        raise MisuseError("--encoder-weights is for a pretrained encoder: choose one with --encoder")
    # Clips may take minutes to check: that this cannot be done at all is reported before.
    if find_spec(TENSORFLOW) is None:
        raise ModuleNotFoundError(f"No module named {TENSORFLOW!r}", name=TENSORFLOW)
    check_mirror(config.mirror)
    check_run_folder(out)
    if split is not None:
        check_split_file(split, fold)
    dataset = load_and_report(data, check_groups_for_parts if validation and split is None else None)
    if split is not None and fold is not None:
        parts: Split | None = load_splits(split, dataset)[fold]
    elif split is not None:
        parts = load_split(split, dataset)
    else:
        parts = make_split(dataset, config.seed) if validation else None

    # TensorFlow takes seconds to load: wrong input is reported before.
    from train.fitting.fit import identity, train_run

    if describe:
        click.echo(json.dumps(identity(config, dataset), indent=1, ensure_ascii=False))
        return
    run = train_run(
        config,
        dataset,
        out,
        split=parts,
        cache=cache,
        tensorboard=tensorboard,
        encoder_weights=encoder_weights,
    )
    for line in summary(run):
        click.echo(line)


def chosen_model(model: str | None, preset: str | None, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The family and the settings that `--model`, `--preset` and the other options choose.

    An encoder is one of an lrcn, so that `--model` may be left out beside it. Raises MisuseError.
    """
    if preset is not None:
        if model not in (None, PRESETS[preset].model):
            raise MisuseError(f"--preset {preset} is a {PRESETS[preset].model}: omit --model {model}")
        return PRESETS[preset].model, {**PRESETS[preset].settings, **given}
    if model is None and "encoder" in given:
        return LRCN, given
    if model is None:
        raise MisuseError(f"choose a model with --preset {'|'.join(PRESETS)} or --model {'|'.join(FAMILIES)}")
    return model, given


def summary(run: Run) -> list[str]:
    """The lines for a person about a finished RUN."""
    lines = []
    for part in ("validation", "test"):
        figures = run.metrics.get(part)
        if figures is None:
            continue
        low, high = figures["interval_wilson"]
        groups = "unknown" if figures["groups"] == "unknown" else ", ".join(figures["groups"])
        lines.append(
            f"{part}: {figures['clip_accuracy']:.3f} of {figures['clips']} clips right "
            f"(95 % {low:.3f} to {high:.3f}), "
            f"{figures['window_accuracy']:.3f} of {figures['windows']} windows; groups: {groups}"
        )
    return [*lines, f"finished {run.folder}: best epoch {run.metrics['best_epoch']}"]
