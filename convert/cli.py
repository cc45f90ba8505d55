"""`edge-har convert`: a RUN folder in, a bundle out, or one line that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from convert.modes import PRECISIONS

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", metavar="RUN", type=PATH)
@click.option("--out", required=True, metavar="NAME.ehar", type=PATH, help="The bundle to write.")
@click.option(
    "--prune",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.5,
    show_default=True,
    help="Share of every kernel's weights set to zero; 0 prunes nothing.",
)
@click.option("--prune-steps", type=click.IntRange(min=1), help="Batches of fine-tuning while pruning.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Every graph's. [default: int8; int8-weights for a model with states]",
)
@click.option("--name", help="The bundle's name. [default: from --out]")
@click.option("--version", help="A version for people. [default: from the release]")
@click.option(
    "--release",
    type=click.IntRange(min=1),
    help="A number that only grows. [default: 1 more than the bundle at --out, else 1]",
)
@click.option("--golden", metavar="DIR", type=PATH, help="Pack these clips as golden clips, not drawn ones.")
@click.option(
    "--runtime",
    "runtimes",
    metavar="PYTHON",
    multiple=True,
    type=PATH,
    help="List the TFLite runtime of this interpreter in the manifest if it runs the golden clips; may be repeated.",
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
    "--timeout", "timeout_s", type=click.FloatRange(min=1), help="Seconds the TFLite converter may take."
)
def convert(run: Path, out: Path, figures: Path | None, **given: Any) -> None:
    """Prune, quantise, check and pack a trained model.

    The bundle is written only when the parity gate passes: whole clip and stream are compared with the float model on
    held-out clips. NAME.report.json holds every figure.
    """
    from convert.pipeline import Options, convert_run  # TensorFlow takes seconds to load
    from train.runs import read_json

    if figures is not None:
        said = read_json(figures)
        given |= {"protocol": said.get("protocol"), "metrics": said.get("metrics")}
    convert_run(run, out, Options(**{name: value for name, value in given.items() if value is not None}))
