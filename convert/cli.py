"""`edge-har convert`: a RUN folder or a model file in, a bundle out, or one line with the reason."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from convert.precisions import AUTO, PRECISIONS
from edge_har.cli.command import Command
from edge_har.errors import DataError, MisuseError
from edge_har.model.labels import composed
from edge_har.model.values import read_json

PATH = click.Path(path_type=Path)
# What people write elsewhere.
INSTEAD = {
    **dict.fromkeys(("--output", "-o", "--bundle"), "did you mean --out?"),
    **dict.fromkeys(("--input", "--model", "--run", "-i"), "the RUN or model file needs none: convert RUN"),
    **dict.fromkeys(("--quantize", "--quantise", "--int8", "--dtype"), "did you mean --precision?"),
    **dict.fromkeys(("--pruning", "--sparsity"), "did you mean --prune?"),
    "--classes": "did you mean --labels?",
}


@click.command(
    cls=Command,
    instead=INSTEAD,
    groups={
        "The bundle": "--out --name --version --release --golden --runtime --figures --weights-terms "
        "--data-terms",
        "Size and speed": "--precision --shrink --prune --qat --fine-tune-steps --control",
        "The parity gate": "--min-agreement --max-drop --allow-drop",
        "What is not known": "--temperature --reject --familiarity",
        "Events": "--smooth --enter --leave --min-duration",
        "A model file": "--labels --input-range --color --interval-ms --calibration --fit --interpolation",
        "The conversion": "--data --cache --timeout",
    },
    examples={
        "What train made": "edge-har convert runs/mine --out mine.ehar",
        "A model file of your own": "edge-har convert model.h5 --out mine.ehar --labels Walk,Run "
        "--input-range 0..1 --color rgb --interval-ms 80",
    },
)
@click.argument("source", metavar="RUN|MODEL.h5|MODEL.keras", type=PATH)
@click.option("--out", required=True, metavar="NAME.ehar", type=PATH, help="The bundle to write.")
@click.option(
    "--prune",
    type=click.FloatRange(0, 0.95),
    help="Fraction of every kernel's weights set to zero: the file compresses better. [default: 0]",
)
@click.option(
    "--shrink",
    type=click.FloatRange(0, 0.75),
    help="Fraction of filters and units removed: the lever for speed. [default: 0]",
)
@click.option(
    "--qat", is_flag=True, help="Fine-tune with the rounding of int8, for a model that loses accuracy by it."
)
@click.option(
    "--fine-tune-steps",
    type=click.IntRange(min=1),
    help="Training batches after each of --prune, --shrink and --qat. [default: 200]",
)
@click.option(
    "--control",
    is_flag=True,
    help="Also fine-tune the whole model just as long, and compare the two: for --prune, --shrink and --qat. "
    "Takes as long again.",
)
@click.option(
    "--precision",
    type=click.Choice([AUTO, *PRECISIONS]),
    help="Numbers in the graphs; auto takes the fastest that passes. [default: int8; int8-weights for a "
    "model with states; float16 for a pretrained encoder]",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Smallest fraction of windows that get the float model's label. [default: 0.98 for int8 without "
    "states, else 0.97]",
)
@click.option(
    "--max-drop",
    "max_drop_points",
    type=click.FloatRange(0, 100),
    help="Largest loss of accuracy over windows, in percentage points. [default: 2]",
)
@click.option(
    "--allow-drop",
    is_flag=True,
    help="Write the bundle although it breaks these two limits; the bundle records that.",
)
@click.option("--name", help="The bundle's name. [default: from --out]")
@click.option("--version", help="Version text, for people. [default: from the release]")
@click.option(
    "--release",
    type=click.IntRange(min=1),
    help="Release number, which only grows. [default: 1 more than the bundle at --out, else 1]",
)
@click.option(
    "--golden", metavar="DIR", type=PATH, help="Pack these clips as golden clips, instead of synthetic ones."
)
@click.option(
    "--runtime",
    "runtimes",
    metavar="PYTHON",
    multiple=True,
    type=PATH,
    help="List the TFLite runtime of this interpreter in the manifest if it runs the golden clips; may be "
    "repeated.",
)
@click.option(
    "--temperature",
    type=float,
    help="Above 1, probabilities become less sure; below 1, more. [default: fitted on "
    "validation clips; 1 without any]",
)
@click.option(
    "--reject",
    metavar="P|none",
    help="Probability below which no label is reported. [default: fitted, so that 5 % of known validation "
    "clips are lost; 0.5 without any]",
)
@click.option(
    "--familiarity/--no-familiarity",
    default=None,
    help="Also reject what lies far from all labels in the model's features; switch it off where the camera "
    "shows other scenes than the clips.  [default: yes]",
)
@click.option("--weights-terms", help="Terms of the weights, for the manifest and the model card.")
@click.option("--data-terms", help="Terms of the clips they were trained on.")
@click.option(
    "--figures",
    metavar="JSON",
    type=PATH,
    help='Figures measured elsewhere, for the manifest: {"protocol": "...", "metrics": {...}}.',
)
@click.option("--data", metavar="DIR|INDEX", type=PATH, help="The RUN's clips, where they have moved.")
@click.option("--cache", type=PATH, help="Where decoded clips are kept.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    help="Seconds that the TFLite converter may take for one graph. [default: 900]",
)
@click.option("--labels", metavar="A,B,...|FILE", help="Model file: its labels in the order of its outputs.")
@click.option(
    "--input-range",
    metavar="0..1|0..255|-1..1",
    help="Model file: the range that its pixels were scaled to.",
)
@click.option(
    "--color", metavar="rgb|bgr", help="Model file: the order of its colour channels (OpenCV's is bgr)."
)
@click.option("--interval-ms", type=float, metavar="MS", help="Model file: time between two of its frames.")
@click.option(
    "--calibration",
    metavar="DIR",
    type=PATH,
    help="Model file: clips that set its ranges and check it; in a folder per label, its accuracy is "
    "measured too.",
)
@click.option(
    "--fit", metavar="stretch|letterbox|crop", help="Model file: how frames were resized. [default: stretch]"
)
@click.option(
    "--interpolation",
    metavar="linear|area",
    help="Model file: how pixels were interpolated. [default: linear]",
)
@click.option(
    "--smooth", "smooth_s", type=float, metavar="S", help="Seconds over which probabilities are averaged."
)
@click.option("--enter", type=float, help="Average probability at which an event starts.")
@click.option("--leave", type=float, help="Average probability below which an event ends.")
@click.option(
    "--min-duration", "min_s", type=float, metavar="S", help="Seconds that an event lasts at least."
)
def convert(source: Path, out: Path, figures: Path | None, **given: Any) -> None:
    """Quantise, check and pack a trained model: a RUN of `edge-har train`, or a Keras 2 model file.

    Of a model file nothing is executed; what it does not hold has to be given: --labels, --input-range,
    --color, --interval-ms, --calibration.

    The bundle is written only when the parity gate passes: whole clip and stream are compared with the float
    model on held-out clips. NAME.report.html shows every figure, NAME.report.json holds it for programs; both
    are written when the gate refuses, too.
    """
    from convert.inputs.source_model import FileFacts
    from convert.pipeline import Options  # TensorFlow takes seconds to load
    from convert.pipeline import convert as convert_any
    from edge_har.model.manifest import Smoothing

    given = {name: value for name, value in given.items() if value is not None}
    if figures is not None:
        given |= read_figures(figures)
    if "labels" in given:
        given["labels"] = read_labels(given["labels"])
    given |= read_reject(given.pop("reject", None))
    given["file"] = FileFacts(**_options_of(FileFacts, given))
    given["smoothing"] = Smoothing(**_options_of(Smoothing, given))
    convert_any(source, out, Options(**given))


def read_figures(path: Path) -> dict[str, Any]:
    """`protocol` and `metrics` of a file, each where it holds it. Raises DataError for what no manifest can
    hold.
    """
    try:
        record = read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: figures cannot be read: {error}") from error
    expected = {"protocol": str, "metrics": dict}
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key, kind()), kind) for key, kind in expected.items()
    ):
        raise DataError(f"{path}: expected an object with 'protocol', a text, and 'metrics', an object")
    return {key: record[key] for key in expected if key in record}


def read_reject(text: str | None) -> dict[str, Any]:
    """The options that `--reject` means. Raises MisuseError for neither a number nor `none`."""
    if text is None:
        return {}
    if text == "none":
        return {"rejects": False}
    try:
        return {"reject_threshold": float(text)}
    except ValueError:
        raise MisuseError(f"--reject takes a probability from 0 to 1, or none, got {text!r}") from None


def read_labels(text: str) -> tuple[str, ...]:
    """Labels separated by commas, or the lines of a file. Raises DataError for a file that cannot be read."""
    listed = text.split(",")
    if len(listed) == 1 and os.path.isfile(text):
        try:
            listed = Path(text).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{text}: labels cannot be read: {error}") from error
    return tuple(composed(label.strip()) for label in listed if label.strip())


def _options_of(group: type, given: dict[str, Any]) -> dict[str, Any]:
    """The options that belong to a dataclass, taken out of all that were given."""
    return {field.name: given.pop(field.name) for field in fields(group) if field.name in given}
