"""`edge-har train`: clips in, a RUN folder out."""

from __future__ import annotations

import json
import shlex
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge_har.cli.command import ARGUMENTS, Command
from edge_har.errors import MisuseError
from train.cli.data import OTHER_HELP
from train.models.families import ENCODER_NAMES, FAMILIES, HEADS, INPUTS, LRCN, PRESETS
from train.runs import MONITORS, NOTEBOOK, RECIPES

if TYPE_CHECKING:
    from train.data.index import Dataset
    from train.data.splits import Split
    from train.runs import Run, TrainConfig

TENSORFLOW = "tensorflow"
# What people write elsewhere, or as an argument.
INSTEAD = {
    ARGUMENTS: "did you mean --data {}?",
    **dict.fromkeys(("--dataset", "--input", "--clips", "--videos", "-d"), "did you mean --data?"),
    **dict.fromkeys(("--output", "--run", "-o", "--save"), "did you mean --out?"),
    **dict.fromkeys(("--lr", "--rate"), "did you mean --learning-rate?"),
    **dict.fromkeys(("--batch-size", "-b"), "did you mean --batch?"),
    **dict.fromkeys(("--labels", "--classes"), "labels are the names of the folders in --data"),
    "--resume": "the same command again continues an interrupted training",
    **dict.fromkeys(("--image-size", "--resolution"), "did you mean --size?"),
    **dict.fromkeys(("--arch", "--architecture", "--network"), "did you mean --model?"),
}


@click.command(
    cls=Command,
    instead=INSTEAD,
    groups={
        "Clips": "--data --other --split --fold --validation --cross-validate --folds --cache --mirror",
        "Model": "--preset --model --encoder --encoder-weights --inputs --head --motion-branch",
        "What the model sees": "--frames --interval-ms --hop --size --fit --interpolation --standardise",
        "Training": "--epochs --patience --windows --batch --learning-rate --fine-tune --refit --monitor "
        "--recipe --seed",
        "Variety of the clips": "--augmentation --synthetic --still --outliers --other-share",
        "A model that teaches": "--teacher --teacher-share",
        "Outputs": "--out --tensorboard --describe",
    },
    examples={
        "A small, fast model of a folder with a folder per label": "edge-har train "
        "--data my_clips --preset s --out runs/mine",
        "The accuracy to expect: each group held out in turn": "edge-har train "
        "--data my_clips --preset s --out runs/folds --cross-validate",
    },
)
@click.option(
    "--data",
    required=True,
    metavar="DIR|INDEX",
    type=click.Path(path_type=Path),
    help="A folder of clips, a clips.csv, or an index by 'edge-har data index'.",
)
@click.option(
    "--model", type=click.Choice(tuple(FAMILIES)), help="The architecture, with its default settings."
)
@click.option(
    "--preset",
    type=click.Choice(tuple(PRESETS)),
    help="A ready-made model, in place of --model: s is small and fast, l is large and accurate.",
)
@click.option(
    "--encoder",
    type=click.Choice(ENCODER_NAMES),
    help="The network that turns each frame into features (lrcn).",
)
@click.option(
    "--encoder-weights",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Weights of the encoder (.h5).  [default: in $EDGE_HAR_ENCODERS, else downloaded by Keras]",
)
@click.option(
    "--inputs",
    type=click.Choice(tuple(INPUTS)),
    help="What the encoder sees: a frame, the difference of two, three grey ones, or both of the first two.",
)
@click.option(
    "--head", type=click.Choice(HEADS), help="The layer that turns the features of a window into scores."
)
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
    help="--no-validation also trains on the validation groups (without --split: on all), for all --epochs.",
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
    "--outliers",
    "outlier_share",
    metavar="SHARE",
    type=float,
    help="Fraction of each batch that is rotated by 90 or 180 degrees, to make the model unsure of it.",
)
@click.option("--other", metavar="DIR", type=click.Path(path_type=Path), help=OTHER_HELP)
@click.option(
    "--other-share",
    metavar="SHARE",
    type=float,
    help="Fraction of each batch from the clips of the folder _other, in which none of the labels happens.  "
    "[default: 0.15]",
)
@click.option(
    "--teacher",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="A finished, larger model of the same labels and split; the new one also learns its probabilities.",
)
@click.option(
    "--teacher-share",
    metavar="SHARE",
    type=float,
    help="How much is learned from the teacher instead of the labels, 0 to 1.  [default: 0.5]",
)
@click.option(
    "--monitor",
    type=click.Choice(MONITORS),
    help="The validation figure that chooses the best epoch; none keeps the last epoch.",
)
@click.option(
    "--refit/--no-refit",
    default=None,
    help="Finally train on the validation groups too, for as many epochs.  [default: with --encoder]",
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
@click.option(
    "--cross-validate",
    is_flag=True,
    help="Train several times into OUT/fold-N, each time with other groups held out; print the accuracy.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=3),
    help="Folds of --cross-validate.  [default: one for each group, or 5 where there are more than 10]",
)
@click.option(
    "--recipe",
    type=click.Choice(RECIPES),
    default=RECIPES[0],
    show_default=True,
    help="notebook: train as the tutorial notebooks do, on a random split and on groups held out.",
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
    cross_validate: bool,
    folds: int | None,
    recipe: str,
    other: Path | None,
    teacher: Path | None,
    **settings: Any,
) -> None:
    """Train a model on clips.

    Give the same command again to continue an interrupted training after its last whole epoch. Defaults
    depend on the model; RUN/config.json holds the values that were used.
    """
    if fold is not None and split is None:
        raise MisuseError("--fold chooses from the folds of --split FILE")
    notebook = recipe == NOTEBOOK
    _check_ways(cross_validate, folds, notebook, split, fold, validation)
    if teacher is not None and cross_validate:
        raise MisuseError(
            "--teacher has seen most groups: leave out --cross-validate, and train each fold apart"
        )
    from train.cli.data import load_and_report
    from train.data.mirror import check_mirror
    from train.data.splits import (
        check_groups_for_folds,
        check_groups_for_parts,
        check_split_file,
        group_folds,
        load_split,
        load_splits,
        make_split,
    )
    from train.fitting import cross_validation
    from train.fitting import notebook as notebook_recipe
    from train.runs import MODEL_SHA256, check_run_folder, default_config, load_run

    given = {name: value for name, value in settings.items() if value is not None}
    model, given = chosen_model(model, preset, given)
    taught_by = None if teacher is None else load_run(teacher)
    if taught_by is not None:
        given["teacher"] = taught_by.metrics[MODEL_SHA256]
    elif "teacher_share" in given:
        raise MisuseError("--teacher-share is for a model with a --teacher RUN")
    config = default_config(model, validate=validation, recipe=recipe, **given)
    by_teacher = taught_by is not None and taught_by.config.design.pretrained
    if encoder_weights is not None and not (config.design.pretrained or by_teacher):
        raise MisuseError("--encoder-weights is for a pretrained encoder: choose one with --encoder")
    # Clips may take minutes to check: that this cannot be done at all is reported before.
    if find_spec(TENSORFLOW) is None:
        raise ModuleNotFoundError(f"No module named {TENSORFLOW!r}", name=TENSORFLOW)
    check_mirror(config.mirror)
    if cross_validate:
        cross_validation.check_folder(out)
    elif notebook:
        notebook_recipe.check_folder(out)
    else:
        check_run_folder(out)
    if split is not None:
        check_split_file(split, fold)
    check_groups = check_groups_for_folds if cross_validate else check_groups_for_parts
    dataset = load_and_report(data, check_groups if validation and split is None else None, other)
    parts: Split | None = None
    if split is not None:
        parts = load_split(split, dataset) if fold is None else load_splits(split, dataset)[fold]
    elif validation and not cross_validate:
        parts = make_split(dataset, config.seed)
    of_folds = group_folds(dataset, folds, config.seed) if cross_validate else ()

    # TensorFlow takes seconds to load: wrong input is reported before.
    from train.fitting.fit import identity, train_run

    if describe:
        click.echo(json.dumps(identity(config, dataset), indent=1, ensure_ascii=False))
        return

    def run_of(settings: TrainConfig, clips: Dataset, parts: Split | None, folder: Path) -> Run:
        logs = tensorboard / folder.relative_to(out) if tensorboard is not None else None
        return train_run(
            settings,
            clips,
            folder,
            split=parts,
            cache=cache,
            tensorboard=logs,
            encoder_weights=encoder_weights,
            teacher=taught_by,
        )

    if cross_validate:

        def fold_of(settings: TrainConfig, parts: Split, folder: Path) -> Run:
            return run_of(settings, dataset, parts, folder)

        write = partial(click.echo, err=True)
        lines = cross_validation.cross_validate(config, dataset, of_folds, out, fold_of, write).lines()
    elif notebook:
        assert parts is not None
        lines = notebook_recipe.train_notebook(config, dataset, parts, out, run_of).lines()
    else:
        run = run_of(config, dataset, parts, out)
        lines = [*summary(run), *advice_lines(click.get_current_context(), run)]
    for line in lines:
        click.echo(line)


def _check_ways(
    cross_validate: bool,
    folds: int | None,
    notebook: bool,
    split: Path | None,
    fold: int | None,
    validation: bool,
) -> None:
    """Raises MisuseError for options that exclude each other."""
    if folds is not None and not cross_validate:
        raise MisuseError("--folds is the number of folds of --cross-validate")
    if cross_validate and (split is not None or fold is not None):
        raise MisuseError("--cross-validate makes its own folds: leave out --split and --fold")
    if cross_validate and notebook:
        raise MisuseError("--recipe notebook trains on two splits of its own; leave out --cross-validate")
    if not validation and (cross_validate or notebook):
        what = "--cross-validate" if cross_validate else "--recipe notebook"
        raise MisuseError(f"{what} chooses the best epoch by validation: leave out --no-validation")


def advice_lines(context: click.Context, run: Run) -> list[str]:
    """A finished RUN's judgement and the command to try next; none for a RUN of before there was advice."""
    advice = run.metrics.get("advice")
    if advice is None:
        return []
    if not advice["options"]:
        return [advice["sentence"], f"next: edge-har convert {shlex.quote(str(run.folder))} --out NAME.ehar"]
    added = list(advice["options"])
    dropped = {"out", "describe", added[0].removeprefix("--").replace("-", "_")}
    if added[0] == "--cross-validate":
        dropped |= {"split", "fold", "validation", "epochs"}
    words = ["edge-har", "train"]
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and name not in dropped:
            value = context.params[name]
            if isinstance(value, bool):
                words.append(option.opts[0] if value else (option.secondary_opts or option.opts)[0])
            else:
                words += [option.opts[0], str(value)]
    command = shlex.join([*words, *added, "--out", f"{run.folder}-2"])
    return [advice["sentence"], f"next: {command}"]


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
    for part, figures in run.metrics.get("other", {}).items():
        lines.append(
            f"{part}: more sure than not of a label in {figures['clips_above_half']} of "
            f"{figures['clips']} clips in which none happens (mean probability "
            f"{figures['mean_top_probability']:.2f})"
        )
    return [*lines, f"finished {run.folder}: best epoch {run.metrics['best_epoch']}"]
